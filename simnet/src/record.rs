//! Records: 16 bytes of a world ([`Rec`]) to the DAG-CBOR that stands in the repo, always the same.

mod fault;
mod post;
pub(crate) mod profile;
mod text;

use skytide_core::id::{Cid, PostKey, Tid};
use skytide_core::time::Timestamp;

use crate::bad::Kind;
use crate::cbor::{Cbor, Digest, digest};
use crate::content::Content;
use crate::identity::handle;
use crate::random::{Random, mix};
use crate::words::names;
use crate::world::World;
use crate::world::cast::{Class, NONE, Rec};

/// A record's bytes and what they say.
pub(crate) fn render(world: &mut World, account: u32, rec: Rec) -> (Vec<u8>, Content) {
    if rec.class == Class::Post {
        return post::render(world, rec.subject, rec.version);
    }
    let subject = match rec.class {
        Class::Like | Class::Repost | Class::Threadgate => {
            let digest = post_digest(world, rec.subject, rec.subject_version);
            Some((post_key(world, rec.subject), digest))
        }
        _ => None,
    };
    let page = Page {
        world,
        account,
        rec,
    };
    let (bytes, content) = page.write(subject);
    fault::apply(bytes, content, rec.fault())
}

/// The hash of a post's version, from which what refers to it takes its CID.
pub(crate) fn post_digest(world: &mut World, post: u32, version: u8) -> Digest {
    let known = &world.posts[post as usize];
    if let Some(digest) = known.digest
        && known.version == version
    {
        return digest;
    }
    let (bytes, _) = post::render(world, post, version);
    let digest = digest(&bytes);
    let known = &mut world.posts[post as usize];
    if known.version == version {
        known.digest = Some(digest);
    }
    digest
}

/// The hash of a record, with as little work as will do.
pub(crate) fn rec_digest(world: &mut World, account: u32, rec: Rec) -> Digest {
    if rec.class == Class::Post {
        return post_digest(world, rec.subject, rec.version);
    }
    digest(&render(world, account, rec).0)
}

/// A post's address.
pub(crate) fn post_key(world: &World, post: u32) -> PostKey {
    let post = &world.posts[post as usize];
    let author = &world.accounts[post.author as usize];
    PostKey::new(&author.identity.did, &post.tid.into())
}

/// `createdAt` of a record: a moment before its key, or what its fault makes of it; `None`: there is none.
fn created(tid: Tid, seed: u64, fault: Option<Kind>) -> Option<String> {
    let at = Timestamp((tid.micros() / 1_000).saturating_sub(seed % 2_500)).rfc3339();
    Some(match fault {
        Some(Kind::CreatedFuture) => "9999-12-31T23:59:59.999Z".to_owned(),
        Some(Kind::CreatedOne) => "0001-01-01T00:00:00.000Z".to_owned(),
        Some(Kind::CreatedEmpty) => String::new(),
        Some(Kind::CreatedAbsent) => return None,
        Some(Kind::CreatedDigits) => format!("{}4567Z", &at[..23]),
        Some(Kind::CreatedOffset) => format!("{}+05:30", &at[..23]),
        Some(Kind::CreatedNoDay) => "2024-02-30T12:00:00.000Z".to_owned(),
        _ => at,
    })
}

/// `{cid, uri}` of a post.
fn strong_ref(cbor: &mut Cbor, key: &PostKey, digest: &Digest) {
    cbor.map(2)
        .text("cid")
        .text(&Cid::dag_cbor(*digest).to_string());
    cbor.text("uri").text(&key.to_string());
}

/// The CID of a blob that nobody has.
pub(crate) fn blob(seed: u64) -> Cid {
    let mut bytes = [0; Cid::LENGTH];
    bytes[..4].copy_from_slice(&[1, 0x55, 0x12, 0x20]);
    bytes[4..].copy_from_slice(&digest(&seed.to_be_bytes()));
    Cid::from_bytes(&bytes).expect("it is one of raw bytes")
}

fn write_blob(cbor: &mut Cbor, seed: u64, kind: &str) {
    cbor.map(4).text("ref").cid(&blob(seed));
    cbor.text("size").uint(20_000 + seed % 900_000);
    cbor.text("$type").text("blob").text("mimeType").text(kind);
}

/// A record that is no post.
struct Page<'a> {
    world: &'a World,
    account: u32,
    rec: Rec,
}

impl Page<'_> {
    fn seed(&self) -> u64 {
        let Rec { tid, version, .. } = self.rec;
        mix(&[
            self.world.options.seed,
            u64::from(self.account),
            tid.0,
            u64::from(version),
        ])
    }

    /// When it was made: of a profile, some time before the network starts.
    fn tid(&self) -> Tid {
        let start = self.world.options.start.0 * 1_000;
        let days = u64::from(self.account) % 700;
        match self.rec.class {
            Class::Profile => Tid((start - days * 86_400_000_000) << 10),
            _ => self.rec.tid,
        }
    }

    /// The repost over which somebody came to a post; one from before the network.
    fn via(&self) -> Option<(String, Digest)> {
        let mut random = Random::new(self.seed() ^ 1);
        let percent = if self.rec.class == Class::Like { 4 } else { 9 };
        random.percent(percent).then(|| {
            let account = random.below(u64::from(self.world.options.accounts.max(1)));
            let did = &self.world.accounts[account as usize].identity.did;
            let tid = Tid(self.tid().0 - (1 << 40) - random.below(1 << 30));
            let uri = format!("at://{did}/{}/{tid}", Class::Repost.collection());
            (uri, digest(&random.bits().to_be_bytes()))
        })
    }

    fn write(&self, subject: Option<(PostKey, Digest)>) -> (Vec<u8>, Content) {
        let mut cbor = Cbor::with_capacity(320);
        let created = created(self.tid(), self.seed(), self.rec.fault());
        let (class, dated) = (self.rec.class, created.is_some());
        let begin = |cbor: &mut Cbor, fields: usize| {
            cbor.map(fields + 1 + usize::from(dated));
            cbor.text("$type").text(class.collection());
        };
        let content = match (class, subject) {
            (Class::Like | Class::Repost, Some((key, digest))) => {
                let via = self.via();
                cbor.map(2 + usize::from(dated) + usize::from(via.is_some()));
                if let Some((uri, digest)) = via {
                    cbor.text("via").map(2).text("cid");
                    cbor.text(&Cid::dag_cbor(digest).to_string())
                        .text("uri")
                        .text(&uri);
                }
                cbor.text("$type").text(class.collection()).text("subject");
                strong_ref(&mut cbor, &key, &digest);
                if class == Class::Like {
                    Content::Like(key)
                } else {
                    Content::Repost(key)
                }
            }
            (Class::Follow | Class::Block, _) => {
                begin(&mut cbor, 1);
                let did = self.world.accounts[self.rec.subject as usize]
                    .identity
                    .did
                    .clone();
                cbor.text("subject");
                did.with_str(|did| cbor.text(did));
                if class == Class::Follow {
                    Content::Follow(did)
                } else {
                    Content::Block(did)
                }
            }
            (Class::Threadgate, Some((key, _))) => {
                cbor.map(3 + usize::from(dated));
                cbor.text("post").text(&key.to_string());
                cbor.text("$type")
                    .text(class.collection())
                    .text("allow")
                    .list(1)
                    .map(1);
                cbor.text("$type")
                    .text("app.bsky.feed.threadgate#followingRule");
                Content::Other
            }
            (Class::Profile, _) => {
                return profile::render(self.world, (self.account, self.rec.version), created);
            }
            _ => self.other(&mut cbor, dated),
        };
        if let Some(created) = created {
            cbor.text("createdAt").text(&created);
        }
        (cbor.0, content)
    }

    /// Records that nobody counts.
    fn other(&self, cbor: &mut Cbor, dated: bool) -> Content {
        let mut random = Random::new(self.seed());
        let did = |world: &World| {
            let account = if self.rec.subject == NONE {
                self.account
            } else {
                self.rec.subject
            };
            world.accounts[account as usize].identity.did.to_string()
        };
        cbor.map(3 + usize::from(dated));
        match self.rec.class {
            Class::ListItem => {
                let list = format!(
                    "at://{}/app.bsky.graph.list/3l{}",
                    did(self.world),
                    "aaaaaaaaaaa"
                );
                cbor.text("list")
                    .text(&list)
                    .text("$type")
                    .text(self.rec.class.collection());
                cbor.text("subject").text(&did(self.world));
            }
            Class::Bookmark => {
                cbor.text("$type").text(self.rec.class.collection());
                cbor.text("title").text(&names::display(random.bits()));
                cbor.text("target")
                    .text(&format!("https://reader.example/{}", random.below(100_000)));
            }
            _ => {
                cbor.text("$type").text(self.rec.class.collection());
                cbor.text("track")
                    .map(2)
                    .text("name")
                    .text(&names::display(random.bits()));
                cbor.text("length").uint(60 + random.below(400));
                cbor.text("played").boolean(random.percent(70));
            }
        }
        Content::Other
    }
}

/// The handle of an account as it is.
pub(crate) fn current_handle(world: &World, account: u32) -> String {
    handle(account, world.accounts[account as usize].handle)
}
