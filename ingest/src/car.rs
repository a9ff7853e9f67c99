//! Reads CAR version 1 as an iterator over borrowed bytes
//! (<https://ipld.io/specs/transport/car/carv1/>).
//!
//! ```text
//! length │ header {roots, version}      length │ CID │ data      length │ CID │ data   …
//! ```
//!
//! A length is an unsigned LEB128 number of at most 63 bits in its shortest form. Blocks may be in
//! any order, occur twice, or not be referenced at all. Every length is checked against the bytes
//! that follow. Nothing is allocated or hashed. CIDs of other kinds than the protocol's are
//! accepted here; the caller checks them.

use skytide_core::cbor::{Loose, Reader};
use skytide_core::id::Cid;

/// Why bytes are not a CAR of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// A length is truncated, larger than the bytes that follow, zero, or not in its shortest form.
    #[error("length of a section is not valid")]
    Length,
    /// The header is not a map of roots and version.
    #[error("header is not valid")]
    Header,
    /// The version is not 1.
    #[error("version is not 1")]
    Version,
    /// A section does not start with a CID.
    #[error("section does not start with a CID")]
    Cid,
}

/// An opened CAR. Iterates over its blocks in order, up to the first error.
#[derive(Clone, Debug)]
pub struct Car<'a> {
    rest: &'a [u8],
    root: Option<Cid>,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The binary CID that the CAR gives for the block.
    pub cid: &'a [u8],
    /// The content. Whether it matches `cid` is not checked.
    pub data: &'a [u8],
}

impl<'a> Car<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// The bytes do not start with a header of version 1.
    pub fn open(bytes: &'a [u8]) -> Result<Self, CarError> {
        let (header, rest) = section(bytes)?;
        let (mut version, mut roots, mut root) = (None, 0u64, None);
        let mut reader = Reader::<Loose>::new(header);
        let map = reader.map(|reader, key| {
            match key {
                b"version" => version = reader.integer()?,
                b"roots" => {
                    reader.list(|reader| {
                        let link = reader.link()?;
                        root = if roots == 0 { link } else { root };
                        roots += 1;
                        Ok(())
                    })?;
                }
                _ => reader.skip()?,
            }
            Ok(())
        });
        let whole = map.is_ok_and(|map| map.is_some()) && reader.end().is_ok();
        match version {
            Some(1) if whole => Ok(Self { rest, root }),
            Some(_) if whole => Err(CarError::Version),
            _ => Err(CarError::Header),
        }
    }

    /// The first root, if there is one with a CID of the protocol's kind.
    pub fn root(&self) -> Option<Cid> {
        self.root
    }
}

impl<'a> Iterator for Car<'a> {
    type Item = Result<Block<'a>, CarError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let block = section(self.rest).and_then(|(section, rest)| {
            let (cid, data) = split_cid(section).ok_or(CarError::Cid)?;
            self.rest = rest;
            Ok(Block { cid, data })
        });
        if block.is_err() {
            self.rest = &[];
        }
        Some(block)
    }
}

/// Splits off a section, which follows its length.
#[inline]
fn section(bytes: &[u8]) -> Result<(&[u8], &[u8]), CarError> {
    let (length, rest) = number(bytes).ok_or(CarError::Length)?;
    let length = usize::try_from(length).map_err(|_| CarError::Length)?;
    if length == 0 {
        return Err(CarError::Length);
    }
    rest.split_at_checked(length).ok_or(CarError::Length)
}

/// Reads an unsigned LEB128 number (<https://github.com/multiformats/unsigned-varint>).
#[inline]
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match bytes {
        [first @ 0..0x80, rest @ ..] => Some((u64::from(*first), rest)),
        [low, high @ 1..0x80, rest @ ..] => {
            Some((u64::from(low & 0x7f) | u64::from(*high) << 7, rest))
        }
        _ => long_number(bytes),
    }
}

fn long_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)? + 1;
    let (digits, rest) = bytes.split_at(length);
    let value = digits
        .iter()
        .rev()
        .fold(0, |value, digit| value << 7 | u64::from(digit & 0x7f));
    (digits[length - 1] != 0).then_some((value, rest))
}

/// Splits off a binary CID of any kind (<https://github.com/multiformats/cid#how-does-it-work>).
#[inline]
fn split_cid(section: &[u8]) -> Option<(&[u8], &[u8])> {
    match section {
        [1, _, 0x12, 0x20, ..] => section.split_at_checked(Cid::LENGTH),
        [0x12, 0x20, ..] => section.split_at_checked(34),
        _ => split_foreign_cid(section),
    }
}

fn split_foreign_cid(section: &[u8]) -> Option<(&[u8], &[u8])> {
    let (version, rest) = number(section)?;
    let (_codec, rest) = number(rest)?;
    let (_hash, rest) = number(rest)?;
    let (digest_length, rest) = number(rest)?;
    let digest_length = usize::try_from(digest_length).ok()?;
    let data = rest.get(digest_length..)?;
    (version == 1).then(|| section.split_at(section.len() - data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_accepted_only_whole_and_in_its_shortest_form() {
        let cases: [(&[u8], Option<u64>); 9] = [
            (&[0], Some(0)),
            (&[0x7f], Some(127)),
            (&[0x80, 1], Some(128)),
            (&[0x80, 0x80, 1], Some(1 << 14)),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
                Some((1 << 63) - 1),
            ),
            (&[0x80, 0], None),
            (&[0x80, 0x80, 0], None),
            (&[0x80], None),
            (&[0xff; 10], None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                number(bytes).map(|(value, _)| value),
                expected,
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn only_a_header_of_version_1_is_accepted() {
        let header = |version: u8| {
            let map = [
                &[0xa2, 0x65][..],
                b"roots",
                &[0x80, 0x67],
                b"version",
                &[version],
            ]
            .concat();
            [vec![map.len() as u8], map].concat()
        };
        assert_eq!(Car::open(&header(1)).map(|car| car.root()), Ok(None));
        assert_eq!(Car::open(&header(2)).err(), Some(CarError::Version));
        assert_eq!(Car::open(&header(1)[..9]).err(), Some(CarError::Length));
        assert_eq!(Car::open(&[1, 0x80]).err(), Some(CarError::Header));
        assert_eq!(Car::open(&[]).err(), Some(CarError::Length));
    }

    #[test]
    fn an_error_ends_the_iteration() {
        let bytes = [&[5, 0xa1, 0x61, b'v', 1][..], &[0]].concat();
        assert_eq!(Car::open(&bytes).err(), Some(CarError::Header));
        let mut car = Car {
            rest: &[2, 0x12, 0x20],
            root: None,
        };
        assert_eq!(car.next(), Some(Err(CarError::Cid)));
        assert_eq!(car.next(), None);
    }
}
