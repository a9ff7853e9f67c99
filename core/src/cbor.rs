//! A pull reader of DAG-CBOR that borrows: no tree of values, no allocation on the usual path.
//!
//! ```text
//! bytes ─▶ Reader ── map(|reader, key| …), list(|reader| …), text(), link(), …
//!             │        each reads one item, or passes it over and gives `None` if it is of another kind
//!             └───── skip() passes one item over, checked by the same rules
//! ```
//!
//! Every item that is read or passed over is checked, so a reader that has come to its end has
//! checked the whole input. Two sets of rules, chosen by type:
//!
//! - [`Strict`], for whatever is content-addressed: DAG-CBOR as the protocol narrows it
//!   (<https://atproto.com/specs/data-model>): shortest forms, definite lengths, text keys sorted
//!   by (length, bytes) and unique, valid UTF-8, links of the protocol's kind as the only tag, no
//!   floats, integers of 64 bits signed. Integers beyond 53 bits are taken: the data model allows
//!   them, and refusing them would drop a like for a field that nobody counts.
//! - [`Loose`], for the envelope (frame header and body, CAR header): well-formed CBOR of definite
//!   lengths, with unique text keys in any order.
//!
//! Limits: [`DEPTH_MAX`] containers within each other, so no input can exhaust the stack. A claimed
//! length is never allocated, and counts only as far as the input really goes.

mod head;
mod nested;

use std::marker::PhantomData;

use crate::id::Cid;
use head::Major;

/// Containers (and, in the envelope, tags) that may stand within each other. Real records nest
/// about ten deep; some published ones nest 3,000 deep to crash their readers.
pub const DEPTH_MAX: u32 = 32;

/// Why bytes are not CBOR by the chosen rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends within an item.
    #[error("input ends within an item")]
    End,
    /// More follows the last item.
    #[error("more follows the last item")]
    Trailing,
    /// A length or number is not in its shortest form, of indefinite length, or reserved.
    #[error("length or number is not in its only form")]
    Form,
    /// More than [`DEPTH_MAX`] containers within each other.
    #[error("nested too deep")]
    Depth,
    /// A text is not UTF-8.
    #[error("text is not utf-8")]
    Utf8,
    /// A map key is no text, or not behind the key before it.
    #[error("map keys are not texts in order")]
    Key,
    /// A tag that is no link, or a link that is no CID of the protocol.
    #[error("link is not valid")]
    Link,
    /// An integer beyond 64 bits signed.
    #[error("integer is out of range")]
    Integer,
    /// A float, or a simple value other than true, false and null.
    #[error("value is not of the data model")]
    Simple,
}

/// The rules of a [`Reader`].
pub trait Rules {
    /// Whether every encoding has to be the only one that its value has.
    const STRICT: bool;
}

/// The rules inside blocks.
#[derive(Clone, Copy, Debug)]
pub enum Strict {}

/// The rules of the envelope.
#[derive(Clone, Copy, Debug)]
pub enum Loose {}

impl Rules for Strict {
    const STRICT: bool = true;
}

impl Rules for Loose {
    const STRICT: bool = false;
}

/// Reads CBOR items one after the other.
#[derive(Debug)]
pub struct Reader<'a, R> {
    rest: &'a [u8],
    depth: u32,
    /// Whether the input has been read before, so that the keys of maps within it are known to be
    /// unique.
    is_reread: bool,
    rules: PhantomData<R>,
}

impl<'a, R: Rules> Reader<'a, R> {
    /// A reader at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            depth: 0,
            is_reread: false,
            rules: PhantomData,
        }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// Something does.
    pub fn end(&self) -> Result<(), Error> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Error::Trailing),
        }
    }

    /// Reads a text; `None` if the item is none.
    ///
    /// # Errors
    /// The item breaks the rules.
    #[inline]
    pub fn text(&mut self) -> Result<Option<&'a str>, Error> {
        if self.major()? != Major::Text {
            return self.skip_other_type();
        }
        let length = self.argument()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Error::Utf8)
    }

    /// Reads a byte string; `None` if the item is none.
    ///
    /// # Errors
    /// The item breaks the rules.
    #[inline]
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, Error> {
        if self.major()? != Major::Bytes {
            return self.skip_other_type();
        }
        let length = self.argument()?;
        self.take(length).map(Some)
    }

    /// Reads an integer; `None` if the item is none, or (in the envelope) one beyond 64 bits
    /// signed.
    ///
    /// # Errors
    /// The item breaks the rules.
    pub fn integer(&mut self) -> Result<Option<i64>, Error> {
        let sign = match self.major()? {
            Major::Unsigned => 0,
            Major::Negative => -1,
            _ => return self.skip_other_type(),
        };
        match i64::try_from(self.argument()?) {
            Ok(size) => Ok(Some(size ^ sign)),
            Err(_) if R::STRICT => Err(Error::Integer),
            Err(_) => Ok(None),
        }
    }

    /// Reads `true` or `false`; `None` if the item is neither.
    ///
    /// # Errors
    /// The item breaks the rules.
    pub fn boolean(&mut self) -> Result<Option<bool>, Error> {
        let value = match self.rest {
            [0xf4, ..] => false,
            [0xf5, ..] => true,
            _ => return self.skip_other_type(),
        };
        self.rest = &self.rest[1..];
        Ok(Some(value))
    }

    /// Reads a link; `None` if the item is none, or (in the envelope) one whose CID is not of the
    /// protocol's kind.
    ///
    /// # Errors
    /// The item breaks the rules.
    pub fn link(&mut self) -> Result<Option<Cid>, Error> {
        if self.major()? != Major::Tag {
            return self.skip_other_type();
        }
        if R::STRICT {
            return self.strict_link().map(Some);
        }
        let tag = self.argument()?;
        self.within(|reader| {
            let bytes = reader.bytes()?.filter(|_| tag == LINK);
            Ok(bytes.and_then(|bytes| Cid::from_bytes(bytes.strip_prefix(&[0])?)))
        })
    }

    /// Passes one item over.
    ///
    /// # Errors
    /// The item, or anything within it, breaks the rules.
    pub fn skip(&mut self) -> Result<(), Error> {
        match self.major()? {
            Major::Unsigned | Major::Negative => self.integer().map(|_| ()),
            Major::Bytes => self.bytes().map(|_| ()),
            Major::Text => self.checked_text().map(|_| ()),
            Major::List => {
                let length = self.argument()?;
                self.items(length, Self::skip)
            }
            Major::Map => {
                let length = self.argument()?;
                self.entries(length, |reader, _| reader.skip())
            }
            Major::Tag if R::STRICT => self.strict_link().map(|_| ()),
            Major::Tag => {
                self.argument()?;
                self.within(Self::skip)
            }
            Major::Simple => self.skip_simple(),
        }
    }

    #[cold]
    fn skip_other_type<T>(&mut self) -> Result<Option<T>, Error> {
        self.skip().map(|()| None)
    }

    fn strict_link(&mut self) -> Result<Cid, Error> {
        let rest = self.rest.strip_prefix(&LINK_HEAD).ok_or(Error::Link)?;
        let (cid, rest) = rest.split_at_checked(Cid::LENGTH).ok_or(Error::End)?;
        self.rest = rest;
        Cid::from_bytes(cid).ok_or(Error::Link)
    }
}

/// The tag of a link.
const LINK: u64 = 42;
/// Tag 42, a byte string of 37 bytes, the first of them 0: what every link of the protocol begins
/// with.
const LINK_HEAD: [u8; 5] = [0xd8, 42, 0x58, 37, 0];

#[cfg(test)]
mod tests;
