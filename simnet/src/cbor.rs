//! DAG-CBOR writer that appends to one buffer (<https://ipld.io/specs/codecs/dag-cbor/spec/>).
//!
//! The caller passes the length of a map or list before its items, and map keys in DAG-CBOR order:
//! shorter keys first, then bytewise. This module does not check that; the readers used by the
//! tests do.

use sha2::{Digest as _, Sha256};
use skytide_core::id::Cid;

/// A SHA-256 digest.
pub type Digest = [u8; 32];

/// The SHA-256 digest of a block.
pub fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// CBOR under construction.
#[derive(Clone, Debug, Default)]
pub struct Cbor(pub Vec<u8>);

impl Cbor {
    /// An empty buffer with this capacity.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends the head of an item: its major type and its argument, in the shortest form.
    pub fn head(&mut self, major: u8, number: u64) -> &mut Self {
        let major = major << 5;
        match number {
            0..24 => self.0.push(major | number as u8),
            24..0x100 => self.0.extend([major | 24, number as u8]),
            0x100..0x1_0000 => {
                self.0.push(major | 25);
                self.0.extend((number as u16).to_be_bytes());
            }
            0x1_0000..0x1_0000_0000 => {
                self.0.push(major | 26);
                self.0.extend((number as u32).to_be_bytes());
            }
            _ => {
                self.0.push(major | 27);
                self.0.extend(number.to_be_bytes());
            }
        }
        self
    }

    /// Appends a non-negative integer.
    pub fn uint(&mut self, number: u64) -> &mut Self {
        self.head(0, number)
    }

    /// Appends a byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.head(2, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a text string.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.head(3, text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// Appends the head of a list of this many items.
    pub fn list(&mut self, items: usize) -> &mut Self {
        self.head(4, items as u64)
    }

    /// Appends the head of a map of this many entries.
    pub fn map(&mut self, entries: usize) -> &mut Self {
        self.head(5, entries as u64)
    }

    /// Appends `true` or `false`.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.0.push(if value { 0xf5 } else { 0xf4 });
        self
    }

    /// Appends `null`.
    pub fn null(&mut self) -> &mut Self {
        self.0.push(0xf6);
        self
    }

    /// Appends a link to a DAG-CBOR block.
    pub fn link(&mut self, digest: &Digest) -> &mut Self {
        self.cid(&Cid::dag_cbor(*digest))
    }

    /// Appends a link.
    pub fn cid(&mut self, cid: &Cid) -> &mut Self {
        self.0.extend([0xd8, 42, 0x58, 37, 0]);
        self.0.extend_from_slice(&cid.to_bytes());
        self
    }

    /// Appends a link to a DAG-CBOR block, or `null`.
    pub fn link_or_null(&mut self, digest: Option<&Digest>) -> &mut Self {
        match digest {
            Some(digest) => self.link(digest),
            None => self.null(),
        }
    }
}
