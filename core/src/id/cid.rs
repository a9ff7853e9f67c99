//! Content identifiers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::IdError;

/// A content identifier of the kinds that the protocol allows: version 1, SHA-256, codec DAG-CBOR
/// or raw (<https://atproto.com/specs/data-model#link-and-cid-formats>). Takes 33 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cid {
    codec: u8,
    digest: [u8; 32],
}

/// The codec of records, commits and tree nodes.
const DAG_CBOR: u8 = 0x71;
/// The codec of blobs.
const RAW: u8 = 0x55;
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Cid {
    /// Length of the binary form in bytes: version, codec, hash function, hash length, hash.
    pub const LENGTH: usize = 36;

    /// The CID of a DAG-CBOR block with this SHA-256.
    pub fn dag_cbor(digest: [u8; 32]) -> Self {
        Self {
            codec: DAG_CBOR,
            digest,
        }
    }

    /// Parses the binary form. `None` if version, codec or hash function differ, or the length is
    /// not 36 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [1, codec @ (DAG_CBOR | RAW), 0x12, 0x20, digest @ ..] => Some(Self {
                codec: *codec,
                digest: digest.try_into().ok()?,
            }),
            _ => None,
        }
    }

    /// The binary form.
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&[1, self.codec, 0x12, 0x20]);
        bytes[4..].copy_from_slice(&self.digest);
        bytes
    }

    /// The SHA-256 of the content.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Whether the content is DAG-CBOR (a record, commit or tree node) and not raw bytes.
    pub fn is_dag_cbor(&self) -> bool {
        self.codec == DAG_CBOR
    }
}

impl FromStr for Cid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError::new("a CID", text);
        let digits = text.strip_prefix('b').ok_or_else(error)?;
        let (mut bytes, mut bits, mut count) = (Vec::with_capacity(Self::LENGTH), 0u32, 0);
        for character in digits.bytes() {
            let value = BASE32
                .iter()
                .position(|&b| b == character)
                .ok_or_else(error)?;
            bits = bits << 5 | value as u32;
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
                bits &= (1 << count) - 1;
            }
        }
        if count >= 5 || bits != 0 {
            return Err(error());
        }
        Self::from_bytes(&bytes).ok_or_else(error)
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::from("b");
        let (mut bits, mut count) = (0u32, 0);
        for byte in self.to_bytes() {
            bits = bits << 8 | u32::from(byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                text.push(char::from(BASE32[(bits >> count & 31) as usize]));
            }
        }
        if count > 0 {
            text.push(char::from(BASE32[(bits << (5 - count) & 31) as usize]));
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cid_round_trips_through_text() {
        let text = "bafyreic4oslzvw62chkef5yjfpq7zq2zvlc6o7cjkmcspi6vgjyxypiwyq";
        assert_eq!(text.parse::<Cid>().unwrap().to_string(), text);
        assert!("QmVersionZero".parse::<Cid>().is_err());
    }
}
