//! The parts that a section is made of, written and read.

use skytide_core::id::{Did, Rkey, Tid};

/// A section, or one of the sums, is not what this version writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a section of a checkpoint is not readable by this version")]
pub(crate) struct Unreadable;

/// Appends parts.
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

    /// Eight bytes: TIDs use nearly all of them.
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

/// Takes parts from the front.
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

    /// A number of parts that follow, each of at least one byte: never more than there are bytes.
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
    fn parts_come_back_and_a_cut_is_told() {
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
            assert_eq!(read(&bytes[..end]), Err(Unreadable), "cut at {end}");
        }
    }

    #[test]
    fn a_count_that_no_bytes_follow_allocates_nothing() {
        let mut writer = Writer::default();
        writer.number(1 << 40);
        assert_eq!(Reader(&writer.0).count(), Err(Unreadable));
    }
}
