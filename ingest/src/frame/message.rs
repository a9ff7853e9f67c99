//! What messages say.

use skytide_core::event::{Action, DropReason};
use skytide_core::id::{Cid, Cursor, Did, Tid};
use smallvec::SmallVec;

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `#commit`: an account changed its records.
    Commit(Commit<'a>),
    /// `#identity`: handle or keys may have changed.
    Identity {
        /// Position in the relay's stream.
        seq: Cursor,
        /// When the relay says it happened, as written; empty if it does not say.
        time: &'a str,
        /// The account.
        did: Did,
        /// The handle, if it is named.
        handle: Option<&'a str>,
    },
    /// `#account`: the hosting status was announced.
    Account {
        /// Position in the relay's stream.
        seq: Cursor,
        /// When the relay says it happened, as written; empty if it does not say.
        time: &'a str,
        /// The account.
        did: Did,
        /// Whether its content may be shown.
        active: bool,
        /// Why not, as written.
        status: Option<&'a str>,
    },
    /// `#sync`: a repo stands at a revision, whatever was told before.
    Sync {
        /// Position in the relay's stream.
        seq: Cursor,
        /// When the relay says it happened, as written; empty if it does not say.
        time: &'a str,
        /// The account.
        did: Did,
        /// The revision.
        rev: Tid,
    },
    /// `#info`: a note of the relay about the stream, as `OutdatedCursor`.
    Info {
        /// Which note.
        name: &'a str,
        /// Its text.
        message: Option<&'a str>,
    },
    /// The relay reports an error, as `FutureCursor`, and will close.
    Error {
        /// Which error; empty if the relay did not say.
        name: &'a str,
        /// Its text.
        message: Option<&'a str>,
    },
    /// A message of a type we do not know.
    Unknown {
        /// The type.
        t: &'a str,
        /// Position in the relay's stream, if it has one.
        seq: Option<Cursor>,
    },
}

/// What an account changed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// Position in the relay's stream.
    pub seq: Cursor,
    /// When the relay says it happened, as written; empty if it does not say.
    pub time: &'a str,
    /// The account.
    pub did: Did,
    /// The repo's new revision.
    pub rev: Tid,
    /// The revision before, if the commit says so.
    pub since: Option<Tid>,
    /// Operations without any blocks, or `tooBig` without operations: the repo is out of sync, and `ops` is empty.
    /// ([`DropReason::CommitTooBig`], which is not among `drops`.)
    pub too_big: bool,
    /// The operations that can be applied, in order.
    pub ops: SmallVec<[Op<'a>; 1]>,
    /// One reason for each operation that was left out (`OpPath`, `OpAction`), and for each that stays
    /// without its record (`OpCid`, `RecordMissing`).
    pub drops: SmallVec<[DropReason; 8]>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// Its place in the commit, counting also those that were left out.
    pub index: u32,
    /// What is done.
    pub action: Action,
    /// In which collection: a valid NSID.
    pub collection: &'a str,
    /// Under which key: a valid record key.
    pub rkey: &'a str,
    /// The CID of the new record; `None` for a delete, and if the frame names no usable one.
    pub cid: Option<Cid>,
    /// The new record: bytes that match `cid`. `None` for a delete, or if the frame lacks the
    /// block.
    pub record: Option<&'a [u8]>,
}

/// A message that says nothing we can use, and what could be read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: DropReason,
    /// Its position in the relay's stream.
    pub seq: Option<Cursor>,
    /// Its type, if it is one that we know.
    pub kind: Option<&'static str>,
    /// The account that it names.
    pub did: Option<Did>,
}

impl From<DropReason> for Rejected {
    fn from(reason: DropReason) -> Self {
        Self {
            reason,
            seq: None,
            kind: None,
            did: None,
        }
    }
}
