//! A pull parser of DAG-CBOR that borrows from its input. It builds no tree of values, and usually
//! allocates nothing.
//!
//! ```text
//! bytes ─▶ Reader ── map(|reader, key| …), list(|reader| …), text(), link(), …
//!             │        each reads one item; if the item has another type, skips it and returns `None`
//!             └───── skip() skips one item and checks it by the same rules
//! ```
//!
//! Every item is checked, whether it is read or skipped. A reader that reaches the end has
//! therefore checked the whole input. There are two sets of rules, chosen by a type parameter:
//!
//! - [`Strict`], for content-addressed data: DAG-CBOR as the protocol restricts it
//!   (<https://atproto.com/specs/data-model>). Shortest encodings, definite lengths, unique text
//!   keys sorted by (length, bytes), valid UTF-8, links of the protocol's kind as the only tag, no
//!   floats, signed 64-bit integers. Integers beyond 53 bits are accepted: the data model allows
//!   them, and rejecting them would drop a like because of a field that no view reads.
//! - [`Loose`], for the envelope (frame header and body, CAR header): well-formed CBOR of definite
//!   lengths, with unique text keys in any order.
//!
//! Limits: containers may be nested up to [`DEPTH_MAX`] deep, so no input can overflow the stack.
//! No memory is allocated for a length in the input; a length beyond the end of the input is an
//! error.

mod head;
mod nested;

use std::marker::PhantomData;

use crate::id::Cid;
use head::Major;

/// Maximum nesting of containers (and, in the envelope, tags). Real records nest about ten deep.
/// Some published records nest 3,000 deep, in order to crash readers.
pub const DEPTH_MAX: u32 = 32;

/// Why bytes violate the chosen rules of CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends within an item.
    #[error("input ends within an item")]
    End,
    /// Bytes follow the last item.
    #[error("bytes follow the last item")]
    Trailing,
    /// A length or number is reserved, is not in its shortest form, or has indefinite length.
    #[error("length or number is not in its shortest form")]
    Form,
    /// Containers are nested deeper than [`DEPTH_MAX`].
    #[error("containers are nested too deeply")]
    Depth,
    /// A text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// A map key is not a text, or does not sort after the previous key.
    #[error("map keys are not sorted, unique texts")]
    Key,
    /// A tag is not a link, or a link is not a CID of the protocol.
    #[error("link is not valid")]
    Link,
    /// An integer does not fit into 64 bits, signed.
    #[error("integer is out of range")]
    Integer,
    /// A value is a float, or a simple value other than true, false and null.
    #[error("value is not allowed by the data model")]
    Simple,
}

/// The rules of a [`Reader`].
pub trait Rules {
    /// Whether each value has exactly one valid encoding.
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

/// Reads CBOR items in sequence.
#[derive(Debug)]
pub struct Reader<'a, R> {
    rest: &'a [u8],
    depth: u32,
    /// Whether the input is read for the second time. The keys of maps within it are then known to
    /// be unique.
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

    /// The part of the input that has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that the input has been read completely.
    ///
    /// # Errors
    /// [`Error::Trailing`] if bytes are left.
    pub fn end(&self) -> Result<(), Error> {
        match self.rest {
            [] => Ok(()),
            _ => Err(Error::Trailing),
        }
    }

    /// Reads a text; `None` if the item has another type.
    ///
    /// # Errors
    /// The item violates the rules.
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

    /// Reads a byte string; `None` if the item has another type.
    ///
    /// # Errors
    /// The item violates the rules.
    #[inline]
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, Error> {
        if self.major()? != Major::Bytes {
            return self.skip_other_type();
        }
        let length = self.argument()?;
        self.take(length).map(Some)
    }

    /// Reads an integer. `None` if the item has another type, or (in the envelope) does not fit
    /// into 64 bits, signed.
    ///
    /// # Errors
    /// The item violates the rules.
    pub fn integer(&mut self) -> Result<Option<i64>, Error> {
        // CBOR encodes a negative integer as `-1 - n`, which is `n ^ -1`.
        let sign = match self.major()? {
            Major::Unsigned => 0,
            Major::Negative => -1,
            _ => return self.skip_other_type(),
        };
        match i64::try_from(self.argument()?) {
            Ok(n) => Ok(Some(n ^ sign)),
            Err(_) if R::STRICT => Err(Error::Integer),
            Err(_) => Ok(None),
        }
    }

    /// Reads `true` or `false`; `None` if the item has another type.
    ///
    /// # Errors
    /// The item violates the rules.
    pub fn boolean(&mut self) -> Result<Option<bool>, Error> {
        let value = match self.rest {
            [0xf4, ..] => false,
            [0xf5, ..] => true,
            _ => return self.skip_other_type(),
        };
        self.rest = &self.rest[1..];
        Ok(Some(value))
    }

    /// Reads a link. `None` if the item has another type, or (in the envelope) if its CID is not of
    /// the protocol's kind.
    ///
    /// # Errors
    /// The item violates the rules.
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

    /// Skips one item.
    ///
    /// # Errors
    /// The item, or anything within it, violates the rules.
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
/// The first bytes of every link of the protocol: tag 42, a byte string of 37 bytes, and its first
/// byte 0.
const LINK_HEAD: [u8; 5] = [0xd8, 42, 0x58, 37, 0];

#[cfg(test)]
mod tests;
