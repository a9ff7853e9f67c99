//! A pull reader of DAG-CBOR that borrows: no tree of values, no allocation on the usual path.
//!
//! ```text
//! bytes ─▶ Reader ── map(|reader, key| …), list(|reader| …), text(), link(), …
//!             │        each reads one item, or passes it over and gives `None` if it is of another kind
//!             └───── skip() passes one item over, checked by the same rules
//! ```
//!
//! Every item that is read or passed over is checked, so a reader that has come to its end has checked the whole
//! input. Two sets of rules, chosen by type:
//!
//! - [`Strict`], for whatever is content-addressed: DAG-CBOR as the protocol narrows it
//!   (<https://atproto.com/specs/data-model>): shortest forms, definite lengths, text keys sorted by (length, bytes)
//!   and unique, valid UTF-8, links of the protocol's kind as the only tag, no floats, integers of 64 bits signed.
//!   Integers beyond 53 bits are taken: the data model allows them, and refusing them would drop a like for a field
//!   that nobody counts.
//! - [`Loose`], for the envelope (frame header and body, CAR header): well-formed CBOR of definite lengths, with
//!   unique text keys in any order.
//!
//! Limits: [`DEPTH_MAX`] containers within each other, so no input can exhaust the stack. A claimed length is never
//! allocated, and counts only as far as the input really goes.

mod head;

use std::marker::PhantomData;

use crate::id::Cid;
use head::Major;

/// Containers (and, in the envelope, tags) that may stand within each other. Real records nest about ten deep; some
/// published ones nest 3,000 deep to crash their readers.
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
    /// Whether the input has been read before, so that the keys of maps within it are known to be unique.
    again: bool,
    rules: PhantomData<R>,
}

impl<'a, R: Rules> Reader<'a, R> {
    /// A reader at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            depth: 0,
            again: false,
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

    /// Reads a map: `entry` is called with each key and must read or skip its value. The key is checked to be UTF-8,
    /// and given as bytes because that is how it is compared. `None` (and no call) if the item is no map; it has
    /// been passed over.
    ///
    /// # Errors
    /// The item, or anything within it, breaks the rules.
    #[inline]
    pub fn map(
        &mut self,
        entry: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Error>,
    ) -> Result<Option<()>, Error> {
        if self.major()? != Major::Map {
            return self.pass();
        }
        let length = self.argument()?;
        self.entries(length, entry)?;
        Ok(Some(()))
    }

    /// Reads a list: `item` is called once for each item and must read or skip it. `None` (and no call) if this is
    /// no list; it has been passed over.
    ///
    /// # Errors
    /// The list, or anything within it, breaks the rules.
    #[inline]
    pub fn list(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<Option<()>, Error> {
        if self.major()? != Major::List {
            return self.pass();
        }
        let length = self.argument()?;
        self.items(length, &mut item)?;
        Ok(Some(()))
    }

    /// Reads a text; `None` if the item is none.
    ///
    /// # Errors
    /// The item breaks the rules.
    #[inline]
    pub fn text(&mut self) -> Result<Option<&'a str>, Error> {
        if self.major()? != Major::Text {
            return self.pass();
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
            return self.pass();
        }
        let length = self.argument()?;
        self.take(length).map(Some)
    }

    /// Reads an integer; `None` if the item is none, or (in the envelope) one beyond 64 bits signed.
    ///
    /// # Errors
    /// The item breaks the rules.
    pub fn integer(&mut self) -> Result<Option<i64>, Error> {
        let sign = match self.major()? {
            Major::Unsigned => 0,
            Major::Negative => -1,
            _ => return self.pass(),
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
            _ => return self.pass(),
        };
        self.rest = &self.rest[1..];
        Ok(Some(value))
    }

    /// Reads a link; `None` if the item is none, or (in the envelope) one whose CID is not of the protocol's kind.
    ///
    /// # Errors
    /// The item breaks the rules.
    pub fn link(&mut self) -> Result<Option<Cid>, Error> {
        if self.major()? != Major::Tag {
            return self.pass();
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
            Major::Simple => self.simple(),
        }
    }

    #[cold]
    fn pass<T>(&mut self) -> Result<Option<T>, Error> {
        self.skip().map(|()| None)
    }

    #[inline]
    fn items(
        &mut self,
        length: u64,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.within(|reader| (0..length).try_for_each(|_| item(reader)))
    }

    #[inline]
    fn entries(
        &mut self,
        length: u64,
        mut entry: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.within(|reader| {
            let (start, mut sorted) = (reader.rest, true);
            let mut before: Option<&[u8]> = None;
            for _ in 0..length {
                let key = reader.key()?;
                sorted &= before.is_none_or(|before| is_behind(before, key));
                if R::STRICT && !sorted {
                    return Err(Error::Key);
                }
                before = Some(key);
                entry(reader, key)?;
            }
            if sorted || reader.again {
                return Ok(());
            }
            reader.check_unique(start, length)
        })
    }

    #[inline]
    fn key(&mut self) -> Result<&'a [u8], Error> {
        match self.major()? {
            Major::Text => self.checked_text(),
            _ => Err(Error::Key),
        }
    }

    /// Reads a text without making a `str` of it: most are ASCII, which is told at a fraction of the price.
    #[inline]
    fn checked_text(&mut self) -> Result<&'a [u8], Error> {
        let length = self.argument()?;
        let bytes = self.take(length)?;
        if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
            return Err(Error::Utf8);
        }
        Ok(bytes)
    }

    /// Checks that a map whose keys are not in order has no key twice: reads its entries again from `start`, once for
    /// each level of nesting at most, as the maps within have been checked by then.
    #[cold]
    fn check_unique(&self, start: &'a [u8], length: u64) -> Result<(), Error> {
        let mut again = Self {
            rest: start,
            again: true,
            ..*self
        };
        let mut keys = Vec::new();
        for _ in 0..length {
            keys.push(again.key()?);
            again.skip()?;
        }
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Key);
        }
        Ok(())
    }

    /// Calls `read` one container deeper.
    #[inline]
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.depth += 1;
        let result = read(self)?;
        self.depth -= 1;
        Ok(result)
    }

    fn strict_link(&mut self) -> Result<Cid, Error> {
        let rest = self.rest.strip_prefix(&LINK_HEAD).ok_or(Error::Link)?;
        let (cid, rest) = rest.split_at_checked(Cid::LENGTH).ok_or(Error::End)?;
        self.rest = rest;
        Cid::from_bytes(cid).ok_or(Error::Link)
    }
}

/// Whether `key` stands behind `before`: longer, or of the same length and larger.
#[inline]
fn is_behind(before: &[u8], key: &[u8]) -> bool {
    match (before, key) {
        _ if before.len() != key.len() => before.len() < key.len(),
        ([a, ..], [b, ..]) if a != b => a < b,
        _ => before < key,
    }
}

/// The tag of a link.
const LINK: u64 = 42;
/// Tag 42, a byte string of 37 bytes, the first of them 0: what every link of the protocol begins with.
const LINK_HEAD: [u8; 5] = [0xd8, 42, 0x58, 37, 0];

#[cfg(test)]
mod tests;
