//! The one parser of records: DAG-CBOR bytes to the typed facts that the views count.
//!
//! ```text
//! collection, bytes ─▶ parse ─▶ Like, Repost   subject: UriRef
//!                               Follow, Block  subject: Did
//!                               Post           reply, quote, langs, tags, links, domains, mentions
//!                               Profile        name, description, avatar
//!                               Other          checked, nothing read
//! ```
//!
//! Pure, and in one pass: every byte of the record is checked by the strict rules of
//! [`cbor`](crate::cbor), and the facts borrow from it. A record that breaks those rules is refused
//! as a whole, so no two readers can see different things in it. A field that is absent, of another
//! type than its lexicon says, or not a valid identifier counts as absent, and the rest of the
//! record is kept.
//!
//! Strangers write records, so what one of them gives is bounded ([`limits`](crate::limits)): the first entries of
//! each list count and long texts are truncated, whatever wrote the record. What is left out is counted.
//!
//! Memory: a record without lists allocates nothing (but for a DID that is no did:plc); one with lists, as much as their
//! limits allow. Work: linear in the bytes, as each entry is compared with the few that are kept.

mod lang;
mod post;
mod uri;
mod url;

pub use lang::{Lang, Langs, is_well_formed};
pub use post::{LeftOut, Post};
pub use uri::UriRef;

use crate::cbor::{Error, Reader, Strict};
use crate::event::DropReason;
use crate::id::{Cid, Collection, Did};
use crate::limits::{DESCRIPTION_BYTES_MAX, NAME_BYTES_MAX, truncated};

/// What a record says, as far as views count it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// `app.bsky.feed.like`
    Like {
        /// What is liked.
        subject: Option<UriRef<'a>>,
    },
    /// `app.bsky.feed.repost`
    Repost {
        /// What is reposted.
        subject: Option<UriRef<'a>>,
    },
    /// `app.bsky.graph.follow`
    Follow {
        /// Who is followed.
        subject: Option<Did>,
    },
    /// `app.bsky.graph.block`
    Block {
        /// Who is blocked.
        subject: Option<Did>,
    },
    /// `app.bsky.feed.post`
    Post(Post<'a>),
    /// `app.bsky.actor.profile`
    Profile(Profile<'a>),
    /// A record of any other collection: valid, and not read.
    Other,
}

/// What an account says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile<'a> {
    /// The name to show.
    pub display_name: Option<&'a str>,
    /// The text below it.
    pub description: Option<&'a str>,
    /// The picture's blob.
    pub avatar: Option<Cid>,
    /// Texts that were truncated ([`DropReason::TextLimit`]).
    pub truncated: u32,
}

/// Reads a record of `collection`.
///
/// # Errors
/// [`DropReason::RecordCbor`] if it is not strict DAG-CBOR as the protocol narrows it,
/// [`DropReason::RecordShape`] if it is no map.
pub fn parse<'a>(collection: &str, bytes: &'a [u8]) -> Result<Record<'a>, DropReason> {
    let mut reader = Reader::new(bytes);
    let record = match collection {
        "app.bsky.feed.like" => subject_uri(&mut reader).map(|subject| Record::Like { subject }),
        Collection::POST => post::read(&mut reader).map(Record::Post),
        "app.bsky.feed.repost" => {
            subject_uri(&mut reader).map(|subject| Record::Repost { subject })
        }
        "app.bsky.graph.follow" => {
            subject_did(&mut reader).map(|subject| Record::Follow { subject })
        }
        "app.bsky.graph.block" => subject_did(&mut reader).map(|subject| Record::Block { subject }),
        "app.bsky.actor.profile" => profile(&mut reader).map(Record::Profile),
        _ => reader.skip().map(|()| Record::Other),
    };
    match record.and_then(|record| reader.end().map(|()| record)) {
        Ok(record) if is_map(bytes) => Ok(record),
        Ok(_) => Err(DropReason::RecordShape),
        Err(_) => Err(DropReason::RecordCbor),
    }
}

/// Whether an item begins as a map does.
fn is_map(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 5 == 5)
}

/// `subject.uri`, of a like or a repost.
fn subject_uri<'a>(reader: &mut Reader<'a, Strict>) -> Result<Option<UriRef<'a>>, Error> {
    let mut subject = None;
    reader.map(|reader, key| match key {
        b"subject" => {
            subject = strong_ref(reader)?;
            Ok(())
        }
        _ => reader.skip(),
    })?;
    Ok(subject)
}

/// The `uri` of a strong reference: `{cid, uri}`.
fn strong_ref<'a>(reader: &mut Reader<'a, Strict>) -> Result<Option<UriRef<'a>>, Error> {
    let mut uri = None;
    reader.map(|reader, key| match key {
        b"uri" => {
            uri = reader.text()?.and_then(UriRef::parse);
            Ok(())
        }
        _ => reader.skip(),
    })?;
    Ok(uri)
}

/// `subject`, of a follow or a block.
fn subject_did(reader: &mut Reader<'_, Strict>) -> Result<Option<Did>, Error> {
    let mut subject = None;
    reader.map(|reader, key| match key {
        b"subject" => {
            subject = reader.text()?.and_then(|text| text.parse().ok());
            Ok(())
        }
        _ => reader.skip(),
    })?;
    Ok(subject)
}

fn profile<'a>(reader: &mut Reader<'a, Strict>) -> Result<Profile<'a>, Error> {
    let mut profile = Profile::default();
    reader.map(|reader, key| {
        match key {
            b"displayName" => {
                profile.display_name = profile.limited(reader.text()?, NAME_BYTES_MAX);
            }
            b"description" => {
                profile.description = profile.limited(reader.text()?, DESCRIPTION_BYTES_MAX);
            }
            b"avatar" => profile.avatar = blob(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(profile)
}

impl Profile<'_> {
    fn limited<'a>(&mut self, text: Option<&'a str>, bytes_max: usize) -> Option<&'a str> {
        let limited = text.map(|text| truncated(text, bytes_max));
        self.truncated += u32::from(limited != text);
        limited
    }
}

/// The `ref` of a blob (<https://atproto.com/specs/data-model#blob-type>).
fn blob(reader: &mut Reader<'_, Strict>) -> Result<Option<Cid>, Error> {
    let mut cid = None;
    reader.map(|reader, key| match key {
        b"ref" => {
            cid = reader.link()?;
            Ok(())
        }
        _ => reader.skip(),
    })?;
    Ok(cid)
}

#[cfg(test)]
mod tests;
