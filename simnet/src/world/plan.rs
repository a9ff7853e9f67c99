//! What is decided before it is done.

use skytide_core::event::Action;
use skytide_core::time::Timestamp;

use super::cast::{Rec, Status};
use crate::bad::Kind;

/// What the next frame will say.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Microseconds since 1970.
    pub(crate) now: u64,
    /// When the relay says it was.
    pub(crate) stamp: Timestamp,
    /// Its number; of a frame without one, that of the frame before.
    pub(crate) seq: u64,
    /// Numbers left out before it.
    pub(crate) missing: u64,
    pub(crate) bad: Option<Kind>,
    pub(crate) deed: Deed,
}

/// What somebody does.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Changes records.
    Commit { account: u32, steps: Vec<Step> },
    /// Makes a commit without operations; `moves`: with a new revision.
    Empty { account: u32, moves: bool },
    /// Tells a handle, or (not `named`) only that something may have changed; `change`: it is a new one.
    Identity {
        account: u32,
        change: bool,
        named: bool,
    },
    /// Tells a status.
    Status { account: u32, status: Status },
    /// Tells a revision; `moves`: a new one.
    Sync { account: u32, moves: bool },
    /// Nothing: the frame is noise in this account's name.
    Noise { account: u32 },
}

/// An operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) action: Action,
    /// The record as it will be; of a delete, as it was.
    pub(crate) rec: Rec,
}

impl Deed {
    /// Whose records it changes.
    pub(crate) fn changes(&self) -> Option<u32> {
        match self {
            Self::Commit { account, .. } => Some(*account),
            _ => None,
        }
    }
}
