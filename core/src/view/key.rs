//! Keys of rows, encoded as bytes. The byte order is the order of the typed keys: texts, DIDs and
//! addresses sort by their text, and numbers by their value.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::RowError;
use crate::id::{Did, PostKey};

/// The key of a row, as bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(#[serde(with = "serde_bytes")] Box<[u8]>);

impl Key {
    /// Encodes a typed key.
    pub fn of<K: ViewKey>(key: &K) -> Self {
        let mut bytes = Vec::with_capacity(48);
        key.encode(&mut bytes);
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes in printable form, truncated to 200 characters.
    pub fn shown(&self) -> String {
        self.0.escape_ascii().take(200).map(char::from).collect()
    }

    /// Decodes the typed key.
    ///
    /// # Errors
    /// The bytes are not a key of this type.
    pub fn decode<K: ViewKey>(&self) -> Result<K, RowError> {
        let mut bytes = &self.0[..];
        let key = K::decode(&mut bytes)?;
        if bytes.is_empty() {
            Ok(key)
        } else {
            Err(RowError)
        }
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// A typed key. Its encodings sort like the keys themselves. An encoding is self-delimiting, so
/// that another key can follow it.
pub trait ViewKey: Sized {
    /// Appends the encoding to `bytes`.
    fn encode(&self, bytes: &mut Vec<u8>);

    /// Decodes a key at the start of `bytes` and advances `bytes` past it.
    ///
    /// # Errors
    /// The bytes do not start with a key of this type.
    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError>;
}

pub(super) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], RowError> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(RowError)?;
    *bytes = rest;
    Ok(taken)
}

/// The text, terminated by a 0 byte. Within the text, 0 is encoded as 1 1 and 1 as 1 2, which
/// preserves the order.
impl ViewKey for String {
    fn encode(&self, bytes: &mut Vec<u8>) {
        for &byte in self.as_bytes() {
            match byte {
                0 | 1 => bytes.extend_from_slice(&[1, byte + 1]),
                _ => bytes.push(byte),
            }
        }
        bytes.push(0);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        let mut text = Vec::new();
        loop {
            match take(bytes, 1)?[0] {
                0 => return Self::from_utf8(text).map_err(|_| RowError),
                1 => text.push(take(bytes, 1)?[0].checked_sub(1).ok_or(RowError)?),
                byte => text.push(byte),
            }
        }
    }
}

/// A tag byte, then the 15 packed bytes of a did:plc, or the text of any other DID. The tag is 2
/// for a did:plc, 1 for DIDs whose text sorts before `did:plc:`, and 3 for those that sort after
/// it.
impl ViewKey for Did {
    fn encode(&self, bytes: &mut Vec<u8>) {
        match self.as_plc() {
            Some(packed) => {
                bytes.push(2);
                bytes.extend_from_slice(packed);
            }
            None => {
                let text = self.to_string();
                bytes.push(if text.as_str() < "did:plc:" { 1 } else { 3 });
                text.encode(bytes);
            }
        }
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        match take(bytes, 1)?[0] {
            2 => Ok(Self::from_plc(
                take(bytes, 15)?.try_into().expect("15 bytes"),
            )),
            1 | 3 => String::decode(bytes)?.parse().map_err(|_| RowError),
            _ => Err(RowError),
        }
    }
}

/// The author, then the record key as text, terminated by a 0 byte.
impl ViewKey for PostKey {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.did().encode(bytes);
        self.rkey()
            .with_str(|text| bytes.extend_from_slice(text.as_bytes()));
        bytes.push(0);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        let did = Did::decode(bytes)?;
        let rkey = String::decode(bytes)?.parse().map_err(|_| RowError)?;
        Ok(Self::new(&did, &rkey))
    }
}

/// Big-endian.
impl ViewKey for u32 {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        Ok(Self::from_be_bytes(
            take(bytes, 4)?.try_into().expect("4 bytes"),
        ))
    }
}

/// One byte.
impl ViewKey for u8 {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(*self);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        Ok(take(bytes, 1)?[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_keys_decode_and_sort_like_their_texts() {
        let texts = [
            "",
            "\0",
            "\0a",
            "\u{1}",
            "\u{1}\u{2}",
            "\u{2}",
            "a",
            "a\0",
            "ab",
            "é",
        ];
        let keys: Vec<Key> = texts
            .iter()
            .map(|text| Key::of(&text.to_string()))
            .collect();
        assert!(keys.is_sorted());
        for (text, key) in texts.iter().zip(&keys) {
            assert_eq!(key.decode::<String>().unwrap(), *text);
        }

        let posts = [
            "at://did:key:z6Mk/app.bsky.feed.post/self",
            "at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post/3n2xril3jyo2a",
            "at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post/3n2xril3jyo2a~x",
            "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/self",
            "at://did:web:example.com/app.bsky.feed.post/self",
        ];
        let keys: Vec<Key> = posts
            .iter()
            .map(|text| Key::of(&text.parse::<PostKey>().unwrap()))
            .collect();
        assert!(keys.is_sorted());
        for (text, key) in posts.iter().zip(&keys) {
            assert_eq!(key.decode::<PostKey>().unwrap().to_string(), *text);
        }
    }
}
