//! What a live record gave, as bytes. Its address and when it was first seen stand before it.

use std::sync::Arc;

use skytide_core::id::PostKey;
use skytide_core::limits::{
    self, DESCRIPTION_BYTES_MAX, FACET_TAGS_MAX, KEY_BYTES_MAX, LINKS_MAX, MENTIONS_MAX,
    NAME_BYTES_MAX, TAG_BYTES_MAX, truncated,
};
use skytide_core::record::{Lang, Langs};

use super::bytes::{Reader, Unreadable, Writer};
use crate::fact::{Act, Edge, Fact, Post, Profile, Subject};
use crate::records::content::{Content, Place};

/// Bits of a record's first byte that say what follows; the others are free for the record key's form.
pub(super) const KIND: u8 = 0b111;
const NOTHING: u8 = 0;
const LIKE: u8 = 1;
const REPOST: u8 = 2;
const FOLLOW: u8 = 3;
const BLOCK: u8 = 4;
const POST: u8 = 5;
const ODD: u8 = 6;

/// The bits of a content.
pub(super) fn kind(content: &Content) -> u8 {
    match content {
        Content::Nothing => NOTHING,
        Content::Like { .. } => LIKE,
        Content::Repost { .. } => REPOST,
        Content::Follow(_) => FOLLOW,
        Content::Block(_) => BLOCK,
        Content::Post(_) => POST,
        Content::Odd(_) => ODD,
    }
}

/// Writes what follows the first byte. `place_of` gives a numbered account its place in the section's list.
pub(super) fn write(content: &Content, to: &mut Writer, mut place_of: impl FnMut(u32) -> u64) {
    match content {
        Content::Nothing => {}
        Content::Like { did, tid } | Content::Repost { did, tid } => {
            to.number(place_of(*did));
            to.tid(*tid);
        }
        Content::Follow(did) | Content::Block(did) => to.number(place_of(*did)),
        Content::Post(post) => write_post(post, to),
        Content::Odd(fact) => write_odd(fact, to),
    }
}

/// Reads what follows the first byte. `number_of` gives a place in the section's list the account's number.
pub(super) fn read(
    kind: u8,
    place: &Place<'_>,
    from: &mut Reader<'_>,
    mut number_of: impl FnMut(u64) -> Result<u32, Unreadable>,
) -> Result<Content, Unreadable> {
    Ok(match kind {
        NOTHING => Content::Nothing,
        LIKE => Content::Like {
            did: number_of(from.number()?)?,
            tid: from.tid()?,
        },
        REPOST => Content::Repost {
            did: number_of(from.number()?)?,
            tid: from.tid()?,
        },
        FOLLOW => Content::Follow(number_of(from.number()?)?),
        BLOCK => Content::Block(number_of(from.number()?)?),
        POST => Content::Post(Arc::new(read_post(place, from)?)),
        ODD => Content::Odd(Box::new(read_odd(place, from)?)),
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

/// Older versions wrote posts without [`limits`]: what exceeds one is left out here, so it never enters the graph and is
/// never taken back.
fn read_post(place: &Place<'_>, from: &mut Reader<'_>) -> Result<Post, Unreadable> {
    Ok(Post {
        key: PostKey::new(place.did, place.rkey),
        first_seen: place.first_seen,
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
        tags: read_texts(from, (limits::TAGS_MAX + FACET_TAGS_MAX, TAG_BYTES_MAX))?,
        domains: read_texts(from, (LINKS_MAX, KEY_BYTES_MAX))?,
        links: read_texts(from, (LINKS_MAX, KEY_BYTES_MAX))?,
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

/// The first texts that are not too long; they are distinct.
fn read_texts(
    from: &mut Reader<'_>,
    (texts_max, bytes_max): (usize, usize),
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

/// The odd ones: likes and reposts of what is no usual post, follows and blocks of nobody, profiles.
fn write_odd(fact: &Fact, to: &mut Writer) {
    match fact {
        Fact::Like(act) | Fact::Repost(act) => {
            to.byte(if matches!(fact, Fact::Like(_)) { 0 } else { 1 });
            write_subject(act.subject.as_ref(), to);
        }
        Fact::Follow(edge) | Fact::Block(edge) => {
            assert_eq!(edge.subject, None, "an edge with a subject is not odd");
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

fn read_odd(place: &Place<'_>, from: &mut Reader<'_>) -> Result<Fact, Unreadable> {
    let (author, first_seen) = (place.did.clone(), place.first_seen);
    let edge = |author| Edge {
        author,
        subject: None,
        first_seen,
    };
    Ok(match from.byte()? {
        kind @ (0 | 1) => {
            let act = Act {
                author,
                subject: read_subject(from)?,
                first_seen,
            };
            if kind == 0 {
                Fact::Like(act)
            } else {
                Fact::Repost(act)
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

    /// A post and a profile as versions without limits wrote them.
    #[test]
    fn what_an_older_version_wrote_is_limited_where_it_is_read() {
        let (did, rkey): (Did, Rkey) = ("did:web:ana.example".parse().unwrap(), Tid(7).into());
        let place = Place {
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
            let post = read_post(&place, &mut from).unwrap();
            assert_eq!(from.0, [], "all of it is read");
            post
        };
        let post = read_back(&to.0);
        assert_eq!(post.langs, ["und", "other", "en-US"]);
        assert_eq!((post.tags.len(), &*post.tags[71]), (72, "tag71"));
        assert_eq!((post.domains.len(), post.links.len()), (64, 64));
        assert_eq!((post.mentions.len(), post.characters), (64, 9));

        // Written again it is the same: what it gives now is what is taken back after the next restart.
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
        write_odd(&Fact::Profile(Arc::new(profile)), &mut to);
        let Ok(Fact::Profile(profile)) = read_odd(&place, &mut Reader(&to.0)) else {
            panic!("a profile");
        };
        let bytes = |text: &Option<Box<str>>| text.as_deref().map(str::len);
        let found = (bytes(&profile.display_name), bytes(&profile.description));
        assert_eq!(found, (Some(640), Some(2_560)));
    }
}
