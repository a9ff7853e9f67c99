//! Parts of a record's address: collection, record key, and the whole AT URI.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::did::hash_plc;
use super::{Did, IdError, is_nsid, is_rkey};
use crate::base32;

/// A record collection: a valid NSID (<https://atproto.com/specs/nsid>).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Collection(Box<str>);

impl Collection {
    /// The collection of posts.
    pub const POST: &'static str = "app.bsky.feed.post";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Collection {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if !is_nsid(text) {
            return Err(IdError::new("a collection (NSID)", text));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A timestamp identifier, stored as a number. The text has 13 characters of sortable base32
/// (<https://atproto.com/specs/tid>).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tid(pub u64);

impl Tid {
    /// The timestamp in the identifier, in microseconds since 1970. A client chose it, so it may be
    /// wrong.
    pub fn micros(self) -> u64 {
        self.0 >> 10
    }

    /// The 13 characters.
    pub fn text(self) -> [u8; 13] {
        std::array::from_fn(|i| base32::digit(self.0 >> (60 - 5 * i)))
    }
}

impl FromStr for Tid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let bits = match text.as_bytes() {
            bytes @ [b'2'..=b'7' | b'a'..=b'j', ..] if bytes.len() == 13 => bytes
                .iter()
                .try_fold(0, |bits, &byte| Some(bits << 5 | base32::value(byte)?)),
            _ => None,
        };
        bits.map(Self).ok_or_else(|| IdError::new("a TID", text))
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("base32 is ASCII"))
    }
}

impl fmt::Debug for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record key (<https://atproto.com/specs/record-key>). It may be any valid text; a TID is stored
/// in 8 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rkey(RkeyRepr);

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum RkeyRepr {
    Tid(Tid),
    #[expect(
        clippy::box_collection,
        reason = "one pointer keeps the whole key at 16 bytes"
    )]
    Other(Box<String>),
}

impl Rkey {
    /// The TID, if the key is one.
    pub fn as_tid(&self) -> Option<Tid> {
        match self.0 {
            RkeyRepr::Tid(tid) => Some(tid),
            RkeyRepr::Other(_) => None,
        }
    }

    /// Heap memory in use, in bytes; 0 for a TID.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            RkeyRepr::Tid(_) => 0,
            RkeyRepr::Other(text) => size_of::<String>() + text.len(),
        }
    }

    /// Calls `read` with the text.
    pub fn with_str<T>(&self, read: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            RkeyRepr::Tid(tid) => read(std::str::from_utf8(&tid.text()).expect("base32 is ASCII")),
            RkeyRepr::Other(text) => read(text),
        }
    }
}

impl From<Tid> for Rkey {
    fn from(tid: Tid) -> Self {
        Self(RkeyRepr::Tid(tid))
    }
}

impl FromStr for Rkey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if let Ok(tid) = text.parse() {
            return Ok(Self(RkeyRepr::Tid(tid)));
        }
        if !is_rkey(text) {
            return Err(IdError::new("a record key", text));
        }
        Ok(Self(RkeyRepr::Other(Box::new(text.to_owned()))))
    }
}

impl Ord for Rkey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (RkeyRepr::Tid(a), RkeyRepr::Tid(b)) => a.cmp(b),
            _ => self.with_str(|a| other.with_str(|b| a.cmp(b))),
        }
    }
}

impl PartialOrd for Rkey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Rkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| f.write_str(text))
    }
}

impl fmt::Debug for Rkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address of a record: `at://did/collection/rkey` (<https://atproto.com/specs/at-uri-scheme>).
/// A handle in place of the DID is rejected, because it may belong to another account later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AtUri {
    /// The account that owns the record.
    pub did: Did,
    /// The collection of the record.
    pub collection: Collection,
    /// The record key.
    pub rkey: Rkey,
}

impl FromStr for AtUri {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let parts = text.strip_prefix("at://").and_then(|rest| {
            let (did, rest) = rest.split_once('/')?;
            let (collection, rkey) = rest.split_once('/')?;
            Some(Self {
                did: did.parse().ok()?,
                collection: collection.parse().ok()?,
                rkey: rkey.parse().ok()?,
            })
        });
        parts.ok_or_else(|| IdError::new("an AT URI with a DID", text))
    }
}

impl fmt::Display for AtUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at://{}/{}/{}", self.did, self.collection, self.rkey)
    }
}

/// The address of a post in 24 bytes: an [`AtUri`] whose collection is `app.bsky.feed.post`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PostKey(PostRepr);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum PostRepr {
    /// A did:plc and a TID, both big-endian, so the byte order equals the order of the texts.
    Usual {
        did: [u8; 15],
        tid: [u8; 8],
    },
    Other(Box<(Did, Rkey)>),
}

/// Hashes by words, like [`Did`].
impl Hash for PostRepr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Usual { did, tid } => {
                hash_plc(did, state);
                state.write_u64(u64::from_ne_bytes(*tid));
            }
            Self::Other(other) => other.hash(state),
        }
    }
}

impl PostKey {
    /// The post of the account `did` with the record key `rkey`.
    pub fn new(did: &Did, rkey: &Rkey) -> Self {
        Self(match (did.as_plc(), rkey.as_tid()) {
            (Some(&did), Some(tid)) => PostRepr::Usual {
                did,
                tid: tid.0.to_be_bytes(),
            },
            _ => PostRepr::Other(Box::new((did.clone(), rkey.clone()))),
        })
    }

    /// The author of the post.
    pub fn did(&self) -> Did {
        match &self.0 {
            PostRepr::Usual { did, .. } => Did::from_plc(*did),
            PostRepr::Other(other) => other.0.clone(),
        }
    }

    /// Heap memory in use, in bytes; 0 for a post of a did:plc whose key is a TID.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            PostRepr::Usual { .. } => 0,
            PostRepr::Other(other) => {
                size_of_val(&**other) + other.0.heap_bytes() + other.1.heap_bytes()
            }
        }
    }

    /// The record key of the post.
    pub fn rkey(&self) -> Rkey {
        match &self.0 {
            PostRepr::Usual { tid, .. } => Tid(u64::from_be_bytes(*tid)).into(),
            PostRepr::Other(other) => other.1.clone(),
        }
    }
}

impl Ord for PostKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (PostRepr::Usual { did: a, tid: s }, PostRepr::Usual { did: b, tid: t }) => {
                (a, s).cmp(&(b, t))
            }
            _ => self.to_string().cmp(&other.to_string()),
        }
    }
}

impl PartialOrd for PostKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for PostKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let uri: AtUri = text.parse()?;
        if uri.collection.as_str() != Collection::POST {
            return Err(IdError::new("the address of a post", text));
        }
        Ok(Self::new(&uri.did, &uri.rkey))
    }
}

impl fmt::Display for PostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at://{}/{}/{}",
            self.did(),
            Collection::POST,
            self.rkey()
        )
    }
}

impl fmt::Debug for PostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compact_and_round_trip_through_text() {
        assert_eq!((size_of::<Rkey>(), size_of::<PostKey>()), (16, 24));
        for text in [
            "at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post/3n2xril3jyo2a",
            "at://did:web:example.com/app.bsky.feed.post/3lvvly4n4mc2w~byeee",
        ] {
            assert_eq!(text.parse::<AtUri>().unwrap().to_string(), text);
            assert_eq!(text.parse::<PostKey>().unwrap().to_string(), text);
        }
        for text in [
            "at://handle.example/app.bsky.feed.post/x",
            "at://did:plc:a/app.bsky.feed.post",
        ] {
            assert!(text.parse::<AtUri>().is_err(), "{text}");
        }
        assert!(
            "at://did:plc:a/app.bsky.feed.like/self"
                .parse::<PostKey>()
                .is_err()
        );
    }
}
