//! Blocks: sorted entries as bytes, and their form on disk.
//!
//! ```text
//! entry:   shared (varint) │ rest of the key (varint, bytes) │ 0 or 1 + length (varint) │ value
//! on disk: compressed? (u8) │ length of the entries (u32) │ bytes │ checksum (u64)
//! ```
//!
//! An entry stores only what its key does not share with the key before it. Numbers are little
//! endian, varints as in LEB128 (<https://en.wikipedia.org/wiki/LEB128>).

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A block ends when its entries have this many bytes.
pub(crate) const BLOCK_BYTES: usize = 4 << 10;
/// Largest length of the entries of a section. A longer one is damaged.
const SECTION_BYTES_MAX: usize = u32::MAX as usize;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;
const HEAD_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 8;

/// Entries that become a block. Keys must ascend.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    bytes: Vec<u8>,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let shared = shared_prefix(&self.last_key, key);
        let rest = &key[shared..];
        put_varint(&mut self.bytes, shared as u64);
        put_varint(&mut self.bytes, rest.len() as u64);
        self.bytes.extend_from_slice(rest);
        match value {
            Some(value) => {
                put_varint(&mut self.bytes, value.len() as u64 + 1);
                self.bytes.extend_from_slice(value);
            }
            None => self.bytes.push(0),
        }
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(rest);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= BLOCK_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The entries so far. The next entry begins a new block.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.last_key.clear();
        std::mem::replace(&mut self.bytes, Vec::with_capacity(BLOCK_BYTES * 5 / 4))
    }
}

/// A position in the entries of a block.
#[derive(Debug, Default)]
pub(crate) struct BlockPosition {
    at: usize,
    key: Vec<u8>,
    /// Where the value of the current entry is; `None` if the key is removed.
    value: Option<Range<usize>>,
}

impl BlockPosition {
    /// The key of the current entry.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the current entry.
    pub(crate) fn value<'a>(&self, entries: &'a [u8]) -> Option<&'a [u8]> {
        self.value.clone().map(|range| &entries[range])
    }

    /// Moves to the next entry. Returns false at the end.
    ///
    /// # Errors
    /// The entries are damaged.
    pub(crate) fn advance(&mut self, entries: &[u8]) -> Result<bool, &'static str> {
        if self.at == entries.len() {
            return Ok(false);
        }
        let mut rest = &entries[self.at..];
        let shared = take_length(&mut rest)?;
        if shared > self.key.len() {
            return Err("a key shares more than the previous one has");
        }
        let length = take_length(&mut rest)?;
        let suffix = take(&mut rest, length)?;
        let value_bytes = take_length(&mut rest)?.checked_sub(1);
        let value_at = entries.len() - rest.len();
        if let Some(bytes) = value_bytes {
            take(&mut rest, bytes)?;
        }
        self.value = value_bytes.map(|bytes| value_at..value_at + bytes);
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        self.at = entries.len() - rest.len();
        Ok(true)
    }
}

/// Length of the common prefix of two keys.
pub(crate) fn shared_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The form on disk of a section of a file. `place` identifies the file and the offset: bytes of
/// another place fail the check.
pub(crate) fn seal(bytes: &[u8], place: u64) -> Vec<u8> {
    let compressed = lz4_flex::block::compress(bytes);
    // Decompression takes time, so it must save something.
    let is_smaller = compressed.len() + bytes.len() / 8 < bytes.len();
    let (kind, stored) = match is_smaller {
        true => (LZ4, &compressed[..]),
        false => (PLAIN, bytes),
    };
    let mut sealed = Vec::with_capacity(HEAD_BYTES + stored.len() + CHECKSUM_BYTES);
    sealed.push(kind);
    let length = u32::try_from(bytes.len()).expect("a section has less than 4 GiB");
    sealed.extend_from_slice(&length.to_le_bytes());
    sealed.extend_from_slice(stored);
    let checksum = xxh3_64_with_seed(&sealed, place);
    sealed.extend_from_slice(&checksum.to_le_bytes());
    sealed
}

/// The bytes of a sealed section.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn unseal(sealed: &[u8], place: u64) -> Result<Vec<u8>, &'static str> {
    let (body, checksum) = sealed
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or("a section is too short")?;
    if xxh3_64_with_seed(body, place).to_le_bytes() != *checksum {
        return Err("the checksum does not match");
    }
    let (head, stored) = body
        .split_first_chunk::<HEAD_BYTES>()
        .ok_or("a section is too short")?;
    let [kind, length @ ..] = *head;
    let length = u32::from_le_bytes(length) as usize;
    match kind {
        PLAIN if stored.len() == length => Ok(stored.to_vec()),
        LZ4 if length <= SECTION_BYTES_MAX => lz4_flex::block::decompress(stored, length)
            .map_err(|_| "the compressed bytes cannot be decompressed"),
        _ => Err("the head of a section is invalid"),
    }
}

pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(crate) fn take_length(bytes: &mut &[u8]) -> Result<usize, &'static str> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return usize::try_from(number).map_err(|_| "a length is too large");
        }
    }
    Err("a length is too large")
}

pub(crate) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (taken, rest) = bytes
        .split_at_checked(length)
        .ok_or("an entry ends after its block")?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entry = (Vec<u8>, Option<Vec<u8>>);

    fn all(entries: &[u8]) -> Result<Vec<Entry>, &'static str> {
        let mut position = BlockPosition::default();
        let mut found = Vec::new();
        while position.advance(entries)? {
            let value = position.value(entries).map(<[u8]>::to_vec);
            found.push((position.key().to_vec(), value));
        }
        Ok(found)
    }

    #[test]
    fn entries_are_returned_as_they_were_added() {
        let long = vec![7; 300];
        let entries = [
            (&b""[..], Some(&b"empty key"[..])),
            (b"a", None),
            (b"ab", Some(b"")),
            (b"ac", Some(&long)),
            (&long, Some(b"x")),
        ];
        let mut builder = BlockBuilder::default();
        for (key, value) in entries {
            builder.push(key, value);
        }
        let expected = entries.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
        assert_eq!(all(&builder.take()).expect("intact"), expected);
        builder.push(b"ab", None);
        assert_eq!(
            all(&builder.take()).expect("intact"),
            [(b"ab".to_vec(), None)]
        );
    }

    /// Whatever the bytes are, decoding ends with entries or an error.
    #[test]
    fn damaged_entries_are_errors() {
        let mut builder = BlockBuilder::default();
        for key in 0..50_u16 {
            builder.push(&key.to_be_bytes(), Some(&[1, 2, 3]));
        }
        let intact = builder.take();
        let mut errors = 0;
        for at in 0..intact.len() {
            for bit in 0..8 {
                let mut damaged = intact.clone();
                damaged[at] ^= 1 << bit;
                errors += usize::from(all(&damaged).is_err());
            }
            errors += usize::from(all(&intact[..at]).is_err());
        }
        assert!(errors > 100, "{errors}");
    }

    #[test]
    fn every_flipped_bit_and_every_other_place_fails_the_check() {
        for bytes in [b"".to_vec(), b"abc".to_vec(), vec![3; 5_000]] {
            let sealed = seal(&bytes, 17);
            assert_eq!(unseal(&sealed, 17).as_deref(), Ok(&bytes[..]));
            assert!(unseal(&sealed, 18).is_err());
            for bit in 0..sealed.len() * 8 {
                let mut damaged = sealed.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(unseal(&damaged, 17).is_err(), "bit {bit}");
            }
            for length in 0..sealed.len() {
                assert!(unseal(&sealed[..length], 17).is_err(), "{length} bytes");
            }
        }
    }
}
