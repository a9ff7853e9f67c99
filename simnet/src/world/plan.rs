//! A planned frame: what is decided before it is applied and rendered.

use skytide_core::event::Action;
use skytide_core::time::Timestamp;

use super::accounts::{CompactRecord, Status};
use crate::malformed::Kind;

/// The content of the next frame.
#[derive(Clone, Debug)]
pub(crate) struct FramePlan {
    /// Microseconds since 1970.
    pub(crate) now: u64,
    /// The time that the relay writes into it.
    pub(crate) stamp: Timestamp,
    /// Its sequence number. A frame without one of its own has the number of the previous frame.
    pub(crate) seq: u64,
    /// Sequence numbers skipped before it.
    pub(crate) missing: u64,
    pub(crate) malformed: Option<Kind>,
    pub(crate) action: AccountAction,
}

/// An action of an account, which becomes one frame.
#[derive(Clone, Debug)]
pub(crate) enum AccountAction {
    /// Changes records.
    Commit { account: u32, ops: Vec<RecordOp> },
    /// Makes a commit without operations; with a new revision if `new_rev`.
    EmptyCommit { account: u32, new_rev: bool },
    /// Sends an identity event. It contains the handle if `includes_handle`. If `handle_changed`,
    /// the account first gets a new handle.
    Identity {
        account: u32,
        handle_changed: bool,
        includes_handle: bool,
    },
    /// Sends a status.
    Status { account: u32, status: Status },
    /// Sends a revision; a new one if `new_rev`.
    Sync { account: u32, new_rev: bool },
    /// Changes nothing: the frame is malformed and names this account.
    Noise { account: u32 },
}

/// An operation on a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordOp {
    pub(crate) action: Action,
    /// The record after the operation; for a delete, before it.
    pub(crate) rec: CompactRecord,
}

impl AccountAction {
    /// The account whose records the action changes.
    pub(crate) fn changed_account(&self) -> Option<u32> {
        match self {
            Self::Commit { account, .. } => Some(*account),
            _ => None,
        }
    }
}
