//! The format of a shard of accounts in a checkpoint: runs of sorted entries, and a section for each
//! worker.
//!
//! ```text
//! run       account │ its records │ account │ ...       only what changed since older runs
//! section   format │ collections │ accounts │ open periods
//! ```
//!
//! The format does not depend on workers or on the numbers that they assign. Runs contain DIDs and
//! the names of collections; open periods refer to lists of the section. Numbers are LEB128, a TID
//! takes 8 bytes, a did:plc 16. A like takes about 45 bytes before compression. A section contains
//! no checksum, because the manifest has one for each section; each block of a run has one.
//!
//! A section of format 1, which older versions wrote, contains the accounts themselves (`former`).
//!
//! Whether an account is hidden is not stored. That follows from the newest status and the current
//! policy.

mod bytes;
mod cold;
mod content;
mod entries;
mod former;
mod load;
mod plain;
mod save;
#[cfg(test)]
pub(crate) mod testing;

pub(super) use cold::{ColdError, cold_record, cold_records};
pub(crate) use entries::build_run;
pub(crate) use plain::read_accounts;

/// The number of the section format; it is the first byte of a section.
const FORMAT: u8 = 2;
/// The format of sections that contain accounts.
const FORMER_FORMAT: u8 = 1;

/// Checks that this version can read a section.
///
/// # Errors
/// The section is empty or has another format.
pub(crate) fn check_format(section: &[u8]) -> Result<(), String> {
    match section.first() {
        Some(&(FORMAT | FORMER_FORMAT)) => Ok(()),
        Some(found) => Err(format!(
            "is of format {found}, this version reads formats up to {FORMAT}: written by a newer \
             version"
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
    /// The origins of identity and status follow them.
    pub const ORIGINS: u8 = 1 << 7;
}

/// Decodes a signed distance between two minutes, which is a small number for a small distance
/// (zigzag encoding).
fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigzag_encoding_alternates_between_signs() {
        let decoded = [0, 1, 2, 3, 126, 127].map(unzigzag);
        assert_eq!(decoded, [0, -1, 1, -2, 63, -64]);
        assert_eq!(unzigzag(u64::MAX), i64::MIN);
    }
}
