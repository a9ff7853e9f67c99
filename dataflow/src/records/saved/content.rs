//! Writes and reads the content of a live record. The caller writes the record's address and the
//! time at which it was first seen before it.

use std::sync::Arc;

use skytide_core::id::PostKey;
use skytide_core::limits::{
    self, DESCRIPTION_BYTES_MAX, FACET_TAGS_MAX, KEY_BYTES_MAX, LINKS_MAX, MENTIONS_MAX,
    NAME_BYTES_MAX, TAG_BYTES_MAX, truncated,
};
use skytide_core::record::{Lang, Langs};

use super::bytes::{Reader, Unreadable, Writer};
use crate::fact::{Edge, Fact, Post, Profile, Reaction, Subject};
use crate::records::content::{Content, RecordRef};

/// The bits of a record's first byte that give the kind of content. The caller uses another bit for
/// the kind of the record key: a TID or a text.
pub(super) const KIND: u8 = 0b111;
const NOTHING: u8 = 0;
const LIKE: u8 = 1;
const REPOST: u8 = 2;
const FOLLOW: u8 = 3;
const BLOCK: u8 = 4;
const POST: u8 = 5;
const OTHER: u8 = 6;

/// The kind of a content, as bits of the first byte.
pub(super) fn kind(content: &Content) -> u8 {
    match content {
        Content::Nothing | Content::Removed => NOTHING,
        Content::Like { .. } => LIKE,
        Content::Repost { .. } => REPOST,
        Content::Follow(_) => FOLLOW,
        Content::Block(_) => BLOCK,
        Content::Post(_) => POST,
        Content::Other(_) => OTHER,
    }
}

/// Writes the content after the first byte. `write_account` writes the account with this number in
/// memory.
pub(super) fn write(
    content: &Content,
    to: &mut Writer,
    mut write_account: impl FnMut(u32, &mut Writer),
) {
    match content {
        Content::Nothing | Content::Removed => {}
        Content::Like { did, tid } | Content::Repost { did, tid } => {
            write_account(*did, to);
            to.tid(*tid);
        }
        Content::Follow(did) | Content::Block(did) => write_account(*did, to),
        Content::Post(post) => write_post(post, to),
        Content::Other(fact) => write_other(fact, to),
    }
}

/// Reads the content after the first byte. `read_account` reads an account and returns its number
/// in memory.
pub(super) fn read(
    kind: u8,
    address: &RecordRef<'_>,
    from: &mut Reader<'_>,
    mut read_account: impl FnMut(&mut Reader<'_>) -> Result<u32, Unreadable>,
) -> Result<Content, Unreadable> {
    Ok(match kind {
        NOTHING => Content::Nothing,
        LIKE => Content::Like {
            did: read_account(from)?,
            tid: from.tid()?,
        },
        REPOST => Content::Repost {
            did: read_account(from)?,
            tid: from.tid()?,
        },
        FOLLOW => Content::Follow(read_account(from)?),
        BLOCK => Content::Block(read_account(from)?),
        POST => Content::Post(Arc::new(read_post(address, from)?)),
        OTHER => Content::Other(Box::new(read_other(address, from)?)),
        _ => return Err(Unreadable),
    })
}

fn write_post(post: &Post, to: &mut Writer) {
    for subject in [&post.parent, &post.root, &post.quote] {
        write_subject(subject.as_ref(), to);
    }
    to.count(post.langs.len());
    post.langs.iter().for_each(|lang| to.text(lang.tag()));
    for texts in [&post.tags, &post.domains, &post.links] {
        to.count(texts.len());
        texts.iter().for_each(|text| to.text(text));
    }
    to.count(post.mentions.len());
    post.mentions.iter().for_each(|did| to.did(did));
    to.number(u64::from(post.characters));
}

/// Older versions wrote posts without [`limits`]. Entries beyond a limit are skipped here, so they
/// never enter the graph and are never retracted.
fn read_post(address: &RecordRef<'_>, from: &mut Reader<'_>) -> Result<Post, Unreadable> {
    Ok(Post {
        key: PostKey::new(address.did, address.rkey),
        first_seen: address.first_seen,
        parent: read_subject(from)?,
        root: read_subject(from)?,
        quote: read_subject(from)?,
        langs: {
            let mut langs = Langs::default();
            for _ in 0..from.count()? {
                langs.insert(Lang::of(from.text()?));
            }
            langs
        },
        tags: read_texts(from, limits::TAGS_MAX + FACET_TAGS_MAX, TAG_BYTES_MAX)?,
        domains: read_texts(from, LINKS_MAX, KEY_BYTES_MAX)?,
        links: read_texts(from, LINKS_MAX, KEY_BYTES_MAX)?,
        mentions: {
            let mut mentions = Vec::new();
            for _ in 0..from.count()? {
                let did = from.did()?;
                if mentions.len() < MENTIONS_MAX {
                    mentions.push(did);
                }
            }
            mentions.into()
        },
        characters: u32::try_from(from.number()?).map_err(|_| Unreadable)?,
    })
}

/// Reads texts that were written without duplicates. Returns the first `texts_max` of those that
/// have at most `bytes_max` bytes.
fn read_texts(
    from: &mut Reader<'_>,
    texts_max: usize,
    bytes_max: usize,
) -> Result<Box<[Box<str>]>, Unreadable> {
    let mut texts = Vec::<Box<str>>::new();
    for _ in 0..from.count()? {
        let text = from.text()?;
        if text.len() <= bytes_max && texts.len() < texts_max {
            texts.push(text.into());
        }
    }
    Ok(texts.into())
}

fn write_subject(subject: Option<&Subject>, to: &mut Writer) {
    match subject {
        None => to.byte(0),
        Some(Subject::Post(post)) => {
            to.byte(1);
            to.did(&post.did());
            to.rkey(&post.rkey());
        }
        Some(Subject::Other(did)) => {
            to.byte(2);
            to.did(did);
        }
    }
}

fn read_subject(from: &mut Reader<'_>) -> Result<Option<Subject>, Unreadable> {
    Ok(match from.byte()? {
        0 => None,
        1 => {
            let did = from.did()?;
            Some(Subject::Post(PostKey::new(&did, &from.rkey()?)))
        }
        2 => Some(Subject::Other(from.did()?)),
        _ => return Err(Unreadable),
    })
}

/// Writes a [`Content::Other`]: a like or repost whose subject is not a post with a TID, a follow
/// or block without a subject, or a profile.
fn write_other(fact: &Fact, to: &mut Writer) {
    match fact {
        Fact::Like(reaction) | Fact::Repost(reaction) => {
            to.byte(if matches!(fact, Fact::Like(_)) { 0 } else { 1 });
            write_subject(reaction.subject.as_ref(), to);
        }
        Fact::Follow(edge) | Fact::Block(edge) => {
            assert_eq!(
                edge.subject, None,
                "a follow or block with a subject has a kind of its own"
            );
            to.byte(if matches!(fact, Fact::Follow(_)) {
                2
            } else {
                3
            });
        }
        Fact::Profile(profile) => {
            to.byte(4);
            let texts = [&profile.display_name, &profile.description, &profile.avatar];
            for text in texts {
                to.byte(u8::from(text.is_some()));
                text.iter().for_each(|text| to.text(text));
            }
        }
        _ => unreachable!("no record gives {fact:?}"),
    }
}

fn read_other(address: &RecordRef<'_>, from: &mut Reader<'_>) -> Result<Fact, Unreadable> {
    let (author, first_seen) = (address.did.clone(), address.first_seen);
    let edge = |author| Edge {
        author,
        subject: None,
        first_seen,
    };
    Ok(match from.byte()? {
        kind @ (0 | 1) => {
            let reaction = Reaction {
                author,
                subject: read_subject(from)?,
                first_seen,
            };
            if kind == 0 {
                Fact::Like(reaction)
            } else {
                Fact::Repost(reaction)
            }
        }
        2 => Fact::Follow(edge(author)),
        3 => Fact::Block(edge(author)),
        4 => Fact::Profile(Arc::new(Profile {
            did: author,
            display_name: read_text(from, NAME_BYTES_MAX)?,
            description: read_text(from, DESCRIPTION_BYTES_MAX)?,
            avatar: read_text(from, usize::MAX)?,
        })),
        _ => return Err(Unreadable),
    })
}

fn read_text(from: &mut Reader<'_>, bytes_max: usize) -> Result<Option<Box<str>>, Unreadable> {
    match from.byte()? {
        0 => Ok(None),
        1 => Ok(Some(truncated(from.text()?, bytes_max).into())),
        _ => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::id::{Did, Rkey, Tid};
    use skytide_core::time::Minute;

    use super::*;

    /// Reads a post and a profile in the form that versions without limits wrote.
    #[test]
    fn limits_apply_when_content_of_an_older_version_is_read() {
        let (did, rkey): (Did, Rkey) = ("did:web:ana.example".parse().unwrap(), Tid(7).into());
        let address = RecordRef {
            did: &did,
            collection: "",
            rkey: &rkey,
            first_seen: Minute(1),
        };
        let mut to = Writer::default();
        (0..3).for_each(|_| write_subject(None, &mut to));
        let texts = |to: &mut Writer, name: &str| {
            to.count(2_001);
            to.text(&name.repeat(5_000));
            (0..2_000).for_each(|i| to.text(&format!("{name}{i}")));
        };
        let langs = ["pt_BR", "qqq", "en-us", "EN-US", "ja", "ko"];
        to.count(langs.len());
        langs.iter().for_each(|lang| to.text(lang));
        ["tag", "domain", "link"]
            .iter()
            .for_each(|name| texts(&mut to, name));
        to.count(2_000);
        (0..2_000).for_each(|i| to.did(&format!("did:web:m{i}").parse().unwrap()));
        to.number(9);
        let read_back = |bytes: &[u8]| {
            let mut from = Reader(bytes);
            let post = read_post(&address, &mut from).unwrap();
            assert_eq!(from.0, [], "the whole post is read");
            post
        };
        let post = read_back(&to.0);
        assert_eq!(post.langs, ["und", "other", "en-US"]);
        assert_eq!((post.tags.len(), &*post.tags[71]), (72, "tag71"));
        assert_eq!((post.domains.len(), post.links.len()), (64, 64));
        assert_eq!((post.mentions.len(), post.characters), (64, 9));

        // The post is the same after it is written and read again: the facts that it gives now are
        // those that are retracted after the next restart.
        let mut again = Writer::default();
        write_post(&post, &mut again);
        assert_eq!(format!("{:?}", read_back(&again.0)), format!("{post:?}"));

        let profile = Profile {
            did: did.clone(),
            display_name: Some("n".repeat(900_000).into()),
            description: Some("é".repeat(900_000).into()),
            avatar: None,
        };
        let mut to = Writer::default();
        write_other(&Fact::Profile(Arc::new(profile)), &mut to);
        let Ok(Fact::Profile(profile)) = read_other(&address, &mut Reader(&to.0)) else {
            panic!("a profile");
        };
        let bytes = |text: &Option<Box<str>>| text.as_deref().map(str::len);
        let found = (bytes(&profile.display_name), bytes(&profile.description));
        assert_eq!(found, (Some(640), Some(2_560)));
    }
}
