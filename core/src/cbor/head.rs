//! The head of an item: its major type and its argument
//! (<https://www.rfc-editor.org/rfc/rfc8949#section-3>).

use super::{Error, Reader, Rules};

/// The major type of an item.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Major {
    Unsigned,
    Negative,
    Bytes,
    Text,
    List,
    Map,
    Tag,
    Simple,
}

impl<'a, R: Rules> Reader<'a, R> {
    /// The major type of the next item, without reading it.
    #[inline(always)]
    pub(super) fn major(&self) -> Result<Major, Error> {
        let first = *self.rest.first().ok_or(Error::End)?;
        Ok(match first >> 5 {
            0 => Major::Unsigned,
            1 => Major::Negative,
            2 => Major::Bytes,
            3 => Major::Text,
            4 => Major::List,
            5 => Major::Map,
            6 => Major::Tag,
            _ => Major::Simple,
        })
    }

    /// Reads the argument of an item that is not a simple value: a number, a length or a tag.
    #[inline(always)]
    pub(super) fn argument(&mut self) -> Result<u64, Error> {
        let (&first, rest) = self.rest.split_first().ok_or(Error::End)?;
        match first & 31 {
            small @ 0..24 => {
                self.rest = rest;
                Ok(u64::from(small))
            }
            24 => {
                let (&value, rest) = rest.split_first().ok_or(Error::End)?;
                if R::STRICT && value < 24 {
                    return Err(Error::Form);
                }
                self.rest = rest;
                Ok(u64::from(value))
            }
            width => self.wide_argument(width),
        }
    }

    fn wide_argument(&mut self, width: u8) -> Result<u64, Error> {
        self.rest = &self.rest[1..];
        let (value, shortest) = match width {
            25 => (self.number::<2>()?, 0x100),
            26 => (self.number::<4>()?, 0x1_0000),
            27 => (self.number::<8>()?, 0x1_0000_0000),
            _ => return Err(Error::Form),
        };
        if R::STRICT && value < shortest {
            return Err(Error::Form);
        }
        Ok(value)
    }

    fn number<const N: usize>(&mut self) -> Result<u64, Error> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Error::End)?;
        self.rest = rest;
        Ok(bytes
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    /// Reads `length` bytes.
    #[inline(always)]
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let length = usize::try_from(length).map_err(|_| Error::End)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Error::End)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Skips a simple value or a float. In blocks, only `false`, `true` and `null` are allowed.
    pub(super) fn skip_simple(&mut self) -> Result<(), Error> {
        let (&first, rest) = self.rest.split_first().ok_or(Error::End)?;
        let width = match first & 31 {
            20..=22 => 0,
            _ if R::STRICT => return Err(Error::Simple),
            0..24 => 0,
            24 if rest.first().is_some_and(|&value| value < 32) => return Err(Error::Form),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(Error::Form),
        };
        self.rest = rest.get(width..).ok_or(Error::End)?;
        Ok(())
    }
}
