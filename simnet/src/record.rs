//! Renders a record: from its compact form of 16 bytes ([`CompactRecord`]) to the DAG-CBOR in the
//! repo. The same record is always rendered to the same bytes.

mod fault;
mod post;
pub(crate) mod profile;
mod text;

use skytide_core::id::{Cid, PostKey, Tid};
use skytide_core::time::Timestamp;

use crate::cbor::{Cbor, Digest, digest};
use crate::content::Content;
use crate::identity::handle;
use crate::malformed::Kind;
use crate::random::{Random, mix};
use crate::words::names;
use crate::world::World;
use crate::world::accounts::{CompactRecord, NONE, RecordClass};

/// The bytes of a record and its content.
pub(crate) fn render(world: &mut World, account: u32, rec: CompactRecord) -> (Vec<u8>, Content) {
    if rec.class == RecordClass::Post {
        return post::render(world, rec.subject, rec.version);
    }
    let subject = match rec.class {
        RecordClass::Like | RecordClass::Repost | RecordClass::Threadgate => {
            let digest = post_digest(world, rec.subject, rec.subject_version);
            Some((post_key(world, rec.subject), digest))
        }
        _ => None,
    };
    let writer = RecordWriter {
        world,
        account,
        rec,
    };
    let (bytes, content) = writer.write(subject);
    fault::apply(bytes, content, rec.fault())
}

/// The hash of a version of a post. Records that refer to the post contain it as a CID.
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

/// The hash of a record. A post's hash comes from its cache if possible.
pub(crate) fn record_digest(world: &mut World, account: u32, rec: CompactRecord) -> Digest {
    if rec.class == RecordClass::Post {
        return post_digest(world, rec.subject, rec.version);
    }
    digest(&render(world, account, rec).0)
}

/// The address of a post.
pub(crate) fn post_key(world: &World, post: u32) -> PostKey {
    let post = &world.posts[post as usize];
    let author = &world.accounts[post.author as usize];
    PostKey::new(&author.identity.did, &post.tid.into())
}

/// `createdAt` of a record: a moment before its key, or the value that its fault demands. `None`
/// omits it.
fn created_at(tid: Tid, seed: u64, fault: Option<Kind>) -> Option<String> {
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

/// The CID of a blob that does not exist.
pub(crate) fn blob(seed: u64) -> Cid {
    let mut bytes = [0; Cid::LENGTH];
    bytes[..4].copy_from_slice(&[1, 0x55, 0x12, 0x20]);
    bytes[4..].copy_from_slice(&digest(&seed.to_be_bytes()));
    Cid::from_bytes(&bytes).expect("the bytes are a valid CID")
}

fn write_blob(cbor: &mut Cbor, seed: u64, kind: &str) {
    cbor.map(4).text("ref").cid(&blob(seed));
    cbor.text("size").uint(20_000 + seed % 900_000);
    cbor.text("$type").text("blob").text("mimeType").text(kind);
}

/// A writer for one record other than a post.
struct RecordWriter<'a> {
    world: &'a World,
    account: u32,
    rec: CompactRecord,
}

impl RecordWriter<'_> {
    fn seed(&self) -> u64 {
        let CompactRecord { tid, version, .. } = self.rec;
        mix(&[
            self.world.options.seed,
            u64::from(self.account),
            tid.0,
            u64::from(version),
        ])
    }

    /// The time of the record's creation, as a TID. A profile was created some time before the
    /// start of the network.
    fn tid(&self) -> Tid {
        let start = self.world.options.start.0 * 1_000;
        let days = u64::from(self.account) % 700;
        match self.rec.class {
            RecordClass::Profile => Tid((start - days * 86_400_000_000) << 10),
            _ => self.rec.tid,
        }
    }

    /// For some records, the repost through which the account found the post. That repost is older
    /// than the network.
    fn via(&self) -> Option<(String, Digest)> {
        let mut random = Random::new(self.seed() ^ 1);
        let percent = if self.rec.class == RecordClass::Like {
            4
        } else {
            9
        };
        random.percent(percent).then(|| {
            let account = random.below(u64::from(self.world.options.accounts.max(1)));
            let did = &self.world.accounts[account as usize].identity.did;
            let tid = Tid(self.tid().0 - (1 << 40) - random.below(1 << 30));
            let uri = format!("at://{did}/{}/{tid}", RecordClass::Repost.collection());
            (uri, digest(&random.bits().to_be_bytes()))
        })
    }

    fn write(&self, subject: Option<(PostKey, Digest)>) -> (Vec<u8>, Content) {
        let mut cbor = Cbor::with_capacity(320);
        let created = created_at(self.tid(), self.seed(), self.rec.fault());
        let (class, dated) = (self.rec.class, created.is_some());
        let start_map = |cbor: &mut Cbor, fields: usize| {
            cbor.map(fields + 1 + usize::from(dated));
            cbor.text("$type").text(class.collection());
        };
        let content = match (class, subject) {
            (RecordClass::Like | RecordClass::Repost, Some((key, digest))) => {
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
                if class == RecordClass::Like {
                    Content::Like(key)
                } else {
                    Content::Repost(key)
                }
            }
            (RecordClass::Follow | RecordClass::Block, _) => {
                start_map(&mut cbor, 1);
                let did = self.world.accounts[self.rec.subject as usize]
                    .identity
                    .did
                    .clone();
                cbor.text("subject");
                did.with_str(|did| cbor.text(did));
                if class == RecordClass::Follow {
                    Content::Follow(did)
                } else {
                    Content::Block(did)
                }
            }
            (RecordClass::Threadgate, Some((key, _))) => {
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
            (RecordClass::Profile, _) => {
                return profile::render(self.world, self.account, self.rec.version, created);
            }
            _ => self.other(&mut cbor, dated),
        };
        if let Some(created) = created {
            cbor.text("createdAt").text(&created);
        }
        (cbor.0, content)
    }

    /// Writes a record whose content is not counted.
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
            RecordClass::ListItem => {
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
            RecordClass::Bookmark => {
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

/// The current handle of an account.
pub(crate) fn current_handle(world: &World, account: u32) -> String {
    handle(account, world.accounts[account as usize].handle)
}
