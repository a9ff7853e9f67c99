//! The identity of a commit.

use skytide_core::id::Epoch;
use skytide_core::port::store::Committed;

/// Identifies a commit, also among those of a log that lost its newest messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitRef {
    pub(crate) epoch: Epoch,
    log_id: u64,
    tick_hash: Option<u64>,
}

impl From<&Committed> for CommitRef {
    fn from(committed: &Committed) -> Self {
        Self {
            epoch: committed.epoch,
            log_id: committed.log_id,
            tick_hash: committed.tick_hash,
        }
    }
}
