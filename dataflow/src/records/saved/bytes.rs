//! Writes and reads the parts of a section: numbers, texts, identifiers.

use skytide_core::id::{Did, Rkey, Tid};

/// A section of a checkpoint does not have the format that this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read a section of a checkpoint: it is not in the format of this version")]
pub(crate) struct Unreadable;

/// Appends parts to a buffer.
#[derive(Debug, Default)]
pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// A number in LEB128 (<https://en.wikipedia.org/wiki/LEB128>).
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    /// A TID in 8 bytes: a variable length would save nothing, because TIDs use nearly all bits.
    pub fn tid(&mut self, tid: u64) {
        self.0.extend_from_slice(&tid.to_le_bytes());
    }

    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn did(&mut self, did: &Did) {
        match did.as_plc() {
            Some(packed) => {
                self.byte(0);
                self.0.extend_from_slice(packed);
            }
            None => {
                self.byte(1);
                did.with_str(|text| self.text(text));
            }
        }
    }

    pub fn rkey(&mut self, rkey: &Rkey) {
        match rkey.as_tid() {
            Some(tid) => {
                self.byte(0);
                self.tid(tid.0);
            }
            None => {
                self.byte(1);
                rkey.with_str(|text| self.text(text));
            }
        }
    }
}

/// Reads parts from the front of a slice.
#[derive(Debug)]
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Unreadable> {
        let (&byte, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(byte)
    }

    pub fn number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    /// The number of parts that follow. Each part takes at least one byte, so a count that exceeds
    /// the number of remaining bytes is refused.
    pub fn count(&mut self) -> Result<usize, Unreadable> {
        let count = usize::try_from(self.number()?).map_err(|_| Unreadable)?;
        (count <= self.0.len()).then_some(count).ok_or(Unreadable)
    }

    pub fn tid(&mut self) -> Result<u64, Unreadable> {
        let bytes = self.bytes(8)?.try_into().map_err(|_| Unreadable)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn text(&mut self) -> Result<&'a str, Unreadable> {
        let count = self.count()?;
        std::str::from_utf8(self.bytes(count)?).map_err(|_| Unreadable)
    }

    pub fn did(&mut self) -> Result<Did, Unreadable> {
        match self.byte()? {
            0 => {
                let packed = self.bytes(15)?.try_into().map_err(|_| Unreadable)?;
                Ok(Did::from_plc(packed))
            }
            1 => self.text()?.parse().map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }

    pub fn rkey(&mut self) -> Result<Rkey, Unreadable> {
        match self.byte()? {
            0 => Ok(Tid(self.tid()?).into()),
            1 => self.text()?.parse().map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_back_and_a_truncated_section_is_refused() {
        let dids = ["did:plc:3ir4kq33qnjyzawsel2s2vak", "did:web:example.com"];
        let rkeys = ["3n2xril3jyo2a", "self"];
        let mut writer = Writer::default();
        for number in [0, 127, 128, u64::MAX] {
            writer.number(number);
        }
        dids.iter()
            .for_each(|did| writer.did(&did.parse().unwrap()));
        rkeys
            .iter()
            .for_each(|rkey| writer.rkey(&rkey.parse().unwrap()));
        let bytes = writer.0;

        let read = |bytes: &[u8]| -> Result<Vec<String>, Unreadable> {
            let mut reader = Reader(bytes);
            let mut found = Vec::new();
            for _ in 0..4 {
                found.push(reader.number()?.to_string());
            }
            for _ in dids {
                found.push(reader.did()?.to_string());
            }
            for _ in rkeys {
                found.push(reader.rkey()?.to_string());
            }
            Ok(found)
        };
        let numbers = ["0", "127", "128", "18446744073709551615"];
        let expected: Vec<_> = numbers.into_iter().chain(dids).chain(rkeys).collect();
        assert_eq!(read(&bytes).unwrap(), expected);
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Err(Unreadable), "truncated at {end}");
        }
    }

    #[test]
    fn a_count_above_the_remaining_bytes_is_refused() {
        let mut writer = Writer::default();
        writer.number(1 << 40);
        assert_eq!(Reader(&writer.0).count(), Err(Unreadable));
    }
}
