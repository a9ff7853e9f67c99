//! Live records as bytes: what a checkpoint keeps of one shard of accounts.
//!
//! ```text
//! format │ minute of the cut │ collections │ accounts referred to │ repos: rev, status, records, gone posts │ open stretches
//! ```
//!
//! A section knows nothing of workers and of the numbers that they give: collections and the subjects of likes,
//! reposts, follows and blocks are places in the section's own lists. Numbers are LEB128, TIDs 8 bytes, a did:plc 15.
//! The bytes carry no checksum of their own: the manifest has one of each section. About 24 bytes a like.
//!
//! Hidden or shown is not saved: it follows from the newest status and the policy in force.

mod bytes;
mod content;
mod load;
mod save;

/// Number of the section's format; it stands first.
const FORMAT: u8 = 1;

/// Whether this version can read a section.
///
/// # Errors
/// Its format.
pub(crate) fn check_format(section: &[u8]) -> Result<(), String> {
    match section.first() {
        Some(&FORMAT) => Ok(()),
        Some(found) => Err(format!(
            "is of format {found}, this version reads format {FORMAT}: written by a newer version"
        )),
        None => Err("is empty".to_owned()),
    }
}

/// What a repo has, one bit each.
mod flag {
    pub const REV: u8 = 1;
    pub const OUT_OF_SYNC: u8 = 1 << 1;
    pub const IDENTITY: u8 = 1 << 2;
    pub const HANDLE: u8 = 1 << 3;
    pub const STATUS: u8 = 1 << 4;
    pub const ACTIVE: u8 = 1 << 5;
    pub const STATUS_TEXT: u8 = 1 << 6;
}

/// The distance between two minutes as a number that is small when they are near.
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
    fn distances_come_back() {
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
