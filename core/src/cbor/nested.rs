//! Maps and lists, up to a maximum depth.

use super::head::Major;
use super::{DEPTH_MAX, Error, Reader, Rules};

impl<'a, R: Rules> Reader<'a, R> {
    /// Reads a map. Calls `entry` with each key; `entry` must read or skip the value. The key is
    /// valid UTF-8, and passed as bytes because callers compare bytes. If the item has another
    /// type, skips it, calls nothing and returns `None`.
    ///
    /// # Errors
    /// The item, or anything within it, violates the rules.
    #[inline]
    pub fn map(
        &mut self,
        entry: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Error>,
    ) -> Result<Option<()>, Error> {
        if self.major()? != Major::Map {
            return self.skip_other_type();
        }
        let length = self.argument()?;
        self.entries(length, entry)?;
        Ok(Some(()))
    }

    /// Reads a list. Calls `item` once for each item; `item` must read or skip it. If this is not a
    /// list, skips it, calls nothing and returns `None`.
    ///
    /// # Errors
    /// The list, or anything within it, violates the rules.
    #[inline]
    pub fn list(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<Option<()>, Error> {
        if self.major()? != Major::List {
            return self.skip_other_type();
        }
        let length = self.argument()?;
        self.items(length, &mut item)?;
        Ok(Some(()))
    }

    #[inline]
    pub(super) fn items(
        &mut self,
        length: u64,
        mut item: impl FnMut(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.within(|reader| (0..length).try_for_each(|_| item(reader)))
    }

    #[inline]
    pub(super) fn entries(
        &mut self,
        length: u64,
        mut entry: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.within(|reader| {
            let (start, mut sorted) = (reader.rest, true);
            let mut previous: Option<&[u8]> = None;
            for _ in 0..length {
                let key = reader.key()?;
                sorted &= previous.is_none_or(|previous| sorts_after(key, previous));
                if R::STRICT && !sorted {
                    return Err(Error::Key);
                }
                previous = Some(key);
                entry(reader, key)?;
            }
            if sorted || reader.is_reread {
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

    /// Reads a text and checks it, without creating a `str`. Most texts are ASCII, and checking for
    /// ASCII is much cheaper than checking UTF-8.
    #[inline]
    pub(super) fn checked_text(&mut self) -> Result<&'a [u8], Error> {
        let length = self.argument()?;
        let bytes = self.take(length)?;
        if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
            return Err(Error::Utf8);
        }
        Ok(bytes)
    }

    /// Checks that a map whose keys are not sorted has no duplicate key, by reading its entries
    /// again from `start`. The maps within it have already been checked, so each level of nesting
    /// is read again at most once.
    #[cold]
    fn check_unique(&self, start: &'a [u8], length: u64) -> Result<(), Error> {
        let mut reread = Self {
            rest: start,
            is_reread: true,
            ..*self
        };
        let mut keys = Vec::new();
        for _ in 0..length {
            keys.push(reread.key()?);
            reread.skip()?;
        }
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Key);
        }
        Ok(())
    }

    /// Calls `read` one container deeper.
    #[inline]
    pub(super) fn within<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.depth == DEPTH_MAX {
            return Err(Error::Depth);
        }
        self.depth += 1;
        let result = read(self)?;
        self.depth -= 1;
        Ok(result)
    }
}

/// Whether `key` sorts after `previous`: it is longer, or has the same length and greater bytes.
#[inline]
fn sorts_after(key: &[u8], previous: &[u8]) -> bool {
    match (previous, key) {
        _ if previous.len() != key.len() => previous.len() < key.len(),
        ([a, ..], [b, ..]) if a != b => a < b,
        _ => previous < key,
    }
}
