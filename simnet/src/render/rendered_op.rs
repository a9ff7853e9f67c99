//! An operation of a commit, rendered.

use skytide_core::event::Action;

use crate::content::Content;
use crate::envelope::CommitOp;
use crate::world::accounts::CompactRecord;

/// One operation with its record.
pub(super) struct RenderedOp {
    pub(super) action: Action,
    pub(super) rec: CompactRecord,
    /// The operation as the message encodes it.
    pub(super) encoded: CommitOp,
    /// The block of the record; `None` for a delete, or if the CAR omits the block.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) content: Content,
}
