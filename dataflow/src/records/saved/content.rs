//! What a live record gave, as bytes. Its address and when it was first seen stand before it.

use std::sync::Arc;

use skytide_core::id::{Did, PostKey};

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
    for texts in [&post.langs, &post.tags, &post.domains, &post.links] {
        to.count(texts.len());
        texts.iter().for_each(|text| to.text(text));
    }
    to.count(post.mentions.len());
    post.mentions.iter().for_each(|did| to.did(did));
    to.number(u64::from(post.characters));
}

fn read_post(place: &Place<'_>, from: &mut Reader<'_>) -> Result<Post, Unreadable> {
    Ok(Post {
        key: PostKey::new(place.did, place.rkey),
        first_seen: place.first_seen,
        parent: read_subject(from)?,
        root: read_subject(from)?,
        quote: read_subject(from)?,
        langs: read_texts(from)?,
        tags: read_texts(from)?,
        domains: read_texts(from)?,
        links: read_texts(from)?,
        mentions: {
            let count = from.count()?;
            let dids: Result<Vec<Did>, _> = (0..count).map(|_| from.did()).collect();
            dids?.into()
        },
        characters: u32::try_from(from.number()?).map_err(|_| Unreadable)?,
    })
}

fn read_texts(from: &mut Reader<'_>) -> Result<Box<[Box<str>]>, Unreadable> {
    let count = from.count()?;
    (0..count).map(|_| Ok(from.text()?.into())).collect()
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
            display_name: read_text(from)?,
            description: read_text(from)?,
            avatar: read_text(from)?,
        })),
        _ => return Err(Unreadable),
    })
}

fn read_text(from: &mut Reader<'_>) -> Result<Option<Box<str>>, Unreadable> {
    match from.byte()? {
        0 => Ok(None),
        1 => Ok(Some(from.text()?.into())),
        _ => Err(Unreadable),
    }
}
