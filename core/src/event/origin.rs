//! Where an `#identity` or `#account` came from.

use xxhash_rust::xxh3::xxh3_64;

use crate::time::Timestamp;

/// The relay that sent an `#identity` or `#account`, and when the account's host sent it. These
/// events have no revision, and without these fields, one that is read again looks like a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A hash of the relay's name (XXH3, 64 bits).
    pub relay: u64,
    /// The time that the event claims; `None` if it is not known.
    pub sent: Option<Timestamp>,
}

impl Origin {
    /// The origin of an event from the stream of this host.
    pub fn new(host: &str, sent: Option<Timestamp>) -> Self {
        Self {
            relay: xxh3_64(host.as_bytes()),
            sent,
        }
    }
}
