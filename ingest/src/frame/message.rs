//! The decoded form of messages.

use skytide_core::event::{Action, DropReason};
use skytide_core::id::{Cid, Cursor, Did, Tid};
use smallvec::SmallVec;

/// A decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// `#commit`: an account changed its records.
    Commit(Commit<'a>),
    /// `#identity`: the handle or the keys of an account may have changed.
    Identity {
        /// Position in the relay's stream.
        seq: Cursor,
        /// The time in the message, as written; empty if there is none.
        time: &'a str,
        /// The account.
        did: Did,
        /// The handle, if the message contains one.
        handle: Option<&'a str>,
    },
    /// `#account`: the hosting status of an account.
    Account {
        /// Position in the relay's stream.
        seq: Cursor,
        /// The time in the message, as written; empty if there is none.
        time: &'a str,
        /// The account.
        did: Did,
        /// Whether the account's content may be shown.
        active: bool,
        /// The reason if it may not be shown, as written.
        status: Option<&'a str>,
    },
    /// `#sync`: a repo is at this revision, regardless of earlier messages.
    Sync {
        /// Position in the relay's stream.
        seq: Cursor,
        /// The time in the message, as written; empty if there is none.
        time: &'a str,
        /// The account.
        did: Did,
        /// The revision.
        rev: Tid,
    },
    /// `#info`: a note of the relay about the stream, such as `OutdatedCursor`.
    Info {
        /// The name of the note.
        name: &'a str,
        /// The text of the note.
        message: Option<&'a str>,
    },
    /// The relay reports an error, such as `FutureCursor`, and will close the connection.
    Error {
        /// The name of the error; empty if there is none.
        name: &'a str,
        /// The text of the error.
        message: Option<&'a str>,
    },
    /// A message of an unknown type.
    Unknown {
        /// The type.
        t: &'a str,
        /// Position in the relay's stream, if it has one.
        seq: Option<Cursor>,
    },
}

/// The changes that an account made in one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// Position in the relay's stream.
    pub seq: Cursor,
    /// The time in the message, as written; empty if there is none.
    pub time: &'a str,
    /// The account.
    pub did: Did,
    /// The repo's new revision.
    pub rev: Tid,
    /// The previous revision, if the commit names it.
    pub since: Option<Tid>,
    /// Whether the commit has operations without any blocks, or `tooBig` without operations. The
    /// repo is then out of sync and `ops` is empty. The caller counts it as
    /// [`DropReason::CommitTooBig`], which is not among `drops`.
    pub too_big: bool,
    /// The operations that can be applied, in order.
    pub ops: SmallVec<[Op<'a>; 1]>,
    /// One reason for each operation that was dropped (`OpPath`, `OpAction`), and for each that has
    /// no record (`OpCid`, `RecordMissing`).
    pub drops: SmallVec<[DropReason; 8]>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// Its index in the commit, which also counts dropped operations.
    pub index: u32,
    /// The action.
    pub action: Action,
    /// The collection: a valid NSID.
    pub collection: &'a str,
    /// The record key, which is valid.
    pub rkey: &'a str,
    /// The CID of the new record. `None` for a delete, or if the frame names no usable one.
    pub cid: Option<Cid>,
    /// The new record: bytes that match `cid`. `None` for a delete, or if the frame has no such
    /// block.
    pub record: Option<&'a [u8]>,
}

/// An unusable message, with the fields that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The reason.
    pub reason: DropReason,
    /// Position in the relay's stream.
    pub seq: Option<Cursor>,
    /// The type of the message, if it is a known one.
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
