//! Account identifiers.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdError, is_did};
use crate::base32;

/// The identifier of an account: a valid DID (<https://atproto.com/specs/did>). Takes 16 bytes; a
/// did:plc needs no heap memory.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Did(Repr);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Repr {
    /// `did:plc:` and 24 characters of base32, packed by [`base32::pack24`].
    Plc([u8; 15]),
    #[expect(
        clippy::box_collection,
        reason = "one pointer keeps the whole DID at 16 bytes"
    )]
    Other(Box<String>),
}

const PLC: &str = "did:plc:";

impl Did {
    /// The did:plc with these 15 packed bytes.
    pub fn from_plc(packed: [u8; 15]) -> Self {
        Self(Repr::Plc(packed))
    }

    /// The 15 packed bytes, if the DID is a did:plc of the regular length.
    pub fn as_plc(&self) -> Option<&[u8; 15]> {
        match &self.0 {
            Repr::Plc(packed) => Some(packed),
            Repr::Other(_) => None,
        }
    }

    /// Heap memory in use, in bytes; 0 for a did:plc.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Plc(_) => 0,
            Repr::Other(text) => size_of::<String>() + text.len(),
        }
    }

    /// Calls `read` with the text.
    pub fn with_str<T>(&self, read: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            Repr::Plc(packed) => {
                let mut text = [0; 32];
                text[..8].copy_from_slice(PLC.as_bytes());
                text[8..].copy_from_slice(&base32::unpack24(packed));
                read(std::str::from_utf8(&text).expect("base32 is ASCII"))
            }
            Repr::Other(text) => read(text),
        }
    }

    /// The log's partition for the events of this account: FNV-1a of the text, modulo `partitions`.
    /// The function is part of the stored format and must not change.
    pub fn partition(&self, partitions: u16) -> u16 {
        let hash = self.with_str(|text| {
            text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        });
        (hash % u64::from(partitions)) as u16
    }
}

/// Hashes a did:plc as two words. Hashing it as an array is slower: the length is hashed as well,
/// and bytes that do not fill a word cost extra.
impl Hash for Repr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Plc(packed) => hash_plc(packed, state),
            Self::Other(text) => text.hash(state),
        }
    }
}

/// Hashes the 15 bytes as two 8-byte words that overlap by one byte.
pub(super) fn hash_plc<H: Hasher>(packed: &[u8; 15], state: &mut H) {
    let [first @ .., _, _, _, _, _, _, _] = *packed;
    let [_, _, _, _, _, _, _, last @ ..] = *packed;
    state.write_u64(u64::from_ne_bytes(first));
    state.write_u64(u64::from_ne_bytes(last));
}

impl FromStr for Did {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let plc = text
            .strip_prefix(PLC)
            .and_then(|id| id.as_bytes().try_into().ok());
        if let Some(packed) = plc.and_then(base32::pack24) {
            return Ok(Self(Repr::Plc(packed)));
        }
        if !is_did(text) {
            return Err(IdError::new("a DID", text));
        }
        Ok(Self(Repr::Other(Box::new(text.to_owned()))))
    }
}

impl Ord for Did {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Plc(a), Repr::Plc(b)) => a.cmp(b),
            _ => self.with_str(|a| other.with_str(|b| a.cmp(b))),
        }
    }
}

impl PartialOrd for Did {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_str(|text| f.write_str(text))
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_did_takes_16_bytes_and_preserves_text_and_order() {
        assert_eq!(size_of::<Did>(), 16);
        let texts = [
            "did:key:z6Mk",
            "did:plc:3ir4kq33qnjyzawsel2s2vak",
            "did:plc:3ir4kq33qnjyzawsel2s2val",
            "did:plc:short",
            "did:web:example.com%3A3000",
        ];
        let dids: Vec<Did> = texts.iter().map(|text| text.parse().unwrap()).collect();
        assert!(dids.is_sorted());
        assert_eq!(
            dids.iter().map(ToString::to_string).collect::<Vec<_>>(),
            texts
        );
        assert_eq!(dids[1].partition(16), dids[1].clone().partition(16));
    }
}
