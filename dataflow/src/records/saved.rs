//! The format of a checkpoint section: the live records of one shard of accounts, as bytes.
//!
//! ```text
//! format │ minute of the cut │ collections │ accounts referred to │ repos │ open periods
//! of a repo: rev, status, activity rows, keys of deleted posts, records
//! ```
//!
//! A section does not depend on workers or on the numbers that they assign. Collections, and the
//! subjects of likes, reposts, follows and blocks, are indices into lists of the section. Numbers
//! are LEB128, a TID takes 8 bytes, a did:plc 15. A like takes about 24 bytes. The section contains
//! no checksum; the manifest has one for each section.
//!
//! The section does not store whether an account is hidden. That follows from the newest status and
//! the current policy.

mod bytes;
mod content;
mod load;
mod plain;
mod save;

pub(crate) use plain::read_accounts;

/// The number of the section format; it is the first byte of a section.
const FORMAT: u8 = 1;

/// Checks that this version can read a section.
///
/// # Errors
/// The section is empty or has another format.
pub(crate) fn check_format(section: &[u8]) -> Result<(), String> {
    match section.first() {
        Some(&FORMAT) => Ok(()),
        Some(found) => Err(format!(
            "is of format {found}, this version reads format {FORMAT}: written by a newer version"
        )),
        None => Err("is empty".to_owned()),
    }
}

/// The flags of a repo: which of its parts follow, one bit each.
mod flag {
    pub const REV: u8 = 1;
    pub const OUT_OF_SYNC: u8 = 1 << 1;
    pub const IDENTITY: u8 = 1 << 2;
    pub const HANDLE: u8 = 1 << 3;
    pub const STATUS: u8 = 1 << 4;
    pub const ACTIVE: u8 = 1 << 5;
    pub const STATUS_TEXT: u8 = 1 << 6;
}

/// Encodes a signed distance between two minutes as a number that is small for a small distance
/// (zigzag encoding).
fn zigzag(distance: i64) -> u64 {
    ((distance << 1) ^ (distance >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigzag_encoding_is_reversible() {
        for distance in [
            0,
            1,
            -1,
            63,
            -64,
            10_080,
            i64::from(u32::MAX),
            -i64::from(u32::MAX),
        ] {
            assert_eq!(unzigzag(zigzag(distance)), distance);
        }
        assert!(zigzag(5_000) < 1 << 14, "half a week takes two bytes");
    }
}
