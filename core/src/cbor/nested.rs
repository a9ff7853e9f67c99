//! Maps and lists, to a limited depth.

use super::head::Major;
use super::{DEPTH_MAX, Error, Reader, Rules};

impl<'a, R: Rules> Reader<'a, R> {
    /// Reads a map: `entry` is called with each key and must read or skip its value. The key is
    /// checked to be UTF-8, and given as bytes because that is how it is compared. `None` (and no
    /// call) if the item is no map; it has been passed over.
    ///
    /// # Errors
    /// The item, or anything within it, breaks the rules.
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

    /// Reads a list: `item` is called once for each item and must read or skip it. `None` (and no
    /// call) if this is no list; it has been passed over.
    ///
    /// # Errors
    /// The list, or anything within it, breaks the rules.
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

    /// Reads a text without making a `str` of it: most are ASCII, which is told at a fraction of
    /// the price.
    #[inline]
    pub(super) fn checked_text(&mut self) -> Result<&'a [u8], Error> {
        let length = self.argument()?;
        let bytes = self.take(length)?;
        if !bytes.is_ascii() && std::str::from_utf8(bytes).is_err() {
            return Err(Error::Utf8);
        }
        Ok(bytes)
    }

    /// Checks that a map whose keys are not in order has no key twice: reads its entries again from
    /// `start`, once for each level of nesting at most, as the maps within have been checked by
    /// then.
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

/// Whether `key` stands behind `before`: longer, or of the same length and larger.
#[inline]
fn sorts_after(key: &[u8], previous: &[u8]) -> bool {
    match (previous, key) {
        _ if previous.len() != key.len() => previous.len() < key.len(),
        ([a, ..], [b, ..]) if a != b => a < b,
        _ => previous < key,
    }
}
