//! The parser of records: from DAG-CBOR bytes to the typed facts that the views count.
//!
//! ```text
//! collection, bytes ─▶ parse ─▶ Like, Repost   subject: UriRef
//!                               Follow, Block  subject: Did
//!                               Post           reply, quote, langs, tags, links, domains, mentions
//!                               Profile        name, description, avatar
//!                               Other          validated only
//! ```
//!
//! Parsing is a pure function and takes one pass. Every byte of the record is checked by the strict
//! rules of [`cbor`](crate::cbor). A record that violates them is rejected as a whole, so two
//! readers never extract different facts from it. The facts borrow from the record's bytes.
//!
//! A field is treated as absent if it is missing, has a type other than its lexicon requires, or is
//! not a valid identifier. The other fields of the record still count.
//!
//! Records are untrusted input, so the facts from one record are bounded
//! ([`limits`](crate::limits)): only the first entries of each list count, and long texts are
//! truncated. Everything that is skipped or truncated is counted.
//!
//! Memory: a record without lists allocates nothing, except for a DID that is not a did:plc. A
//! record with lists allocates at most what the limits allow. Time: linear in the bytes, because
//! each list entry is compared with a bounded number of stored entries.

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

/// The facts in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// `app.bsky.feed.like`
    Like {
        /// The liked record.
        subject: Option<UriRef<'a>>,
    },
    /// `app.bsky.feed.repost`
    Repost {
        /// The reposted record.
        subject: Option<UriRef<'a>>,
    },
    /// `app.bsky.graph.follow`
    Follow {
        /// The followed account.
        subject: Option<Did>,
    },
    /// `app.bsky.graph.block`
    Block {
        /// The blocked account.
        subject: Option<Did>,
    },
    /// `app.bsky.feed.post`
    Post(Post<'a>),
    /// `app.bsky.actor.profile`
    Profile(Profile<'a>),
    /// A record of any other collection. It is valid; its content is not read.
    Other,
}

/// The content of an account's profile record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile<'a> {
    /// Display name.
    pub display_name: Option<&'a str>,
    /// Description.
    pub description: Option<&'a str>,
    /// CID of the picture's blob.
    pub avatar: Option<Cid>,
    /// Number of texts that were truncated ([`DropReason::TextLimit`]).
    pub truncated: u32,
}

/// Parses a record of `collection`.
///
/// # Errors
/// [`DropReason::RecordCbor`] if the record is not strict DAG-CBOR as the protocol requires;
/// [`DropReason::RecordShape`] if it is not a map.
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
    // A reader skips a value of an unexpected type. So the type of the record is checked only if
    // its bytes are valid.
    match record.and_then(|record| reader.end().map(|()| record)) {
        Ok(record) if is_map(bytes) => Ok(record),
        Ok(_) => Err(DropReason::RecordShape),
        Err(_) => Err(DropReason::RecordCbor),
    }
}

/// Whether the first byte has the CBOR major type of a map.
fn is_map(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first >> 5 == 5)
}

/// Reads `subject.uri` of a like or a repost.
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

/// Reads the `uri` of a strong reference: `{cid, uri}`.
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

/// Reads `subject` of a follow or a block.
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
    /// Truncates a text, and counts it if it was too long.
    fn limited<'a>(&mut self, text: Option<&'a str>, bytes_max: usize) -> Option<&'a str> {
        let limited = text.map(|text| truncated(text, bytes_max));
        self.truncated += u32::from(limited != text);
        limited
    }
}

/// Reads the `ref` of a blob (<https://atproto.com/specs/data-model#blob-type>).
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
