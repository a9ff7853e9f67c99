//! The two kinds of messages in the log: events and ticks.
//!
//! ```text
//! event event event TICK event TICK        an epoch: the events up to a tick
//! └──── epoch 1 ────┘ └─ epoch 2 ┘          sorted by (host, seq, index), without duplicates
//! ```
//!
//! A tick is a barrier: all events of its epoch are durable before it, and it never splits a frame.
//! Therefore the content of an epoch is a function of the log.
//!
//! After a crash, ingest writes the events after the newest tick again, possibly with other epoch
//! boundaries. An event whose `seq` is greater than the cursor of the next tick is a remnant of the
//! crash: it is ignored there, and counts where it occurs again.
//!
//! The encoding is one CBOR map per message. `docs/log.md` documents it.

mod origin;
mod reason;
mod sources;
mod wire;

pub use origin::Origin;
pub use reason::DropReason;
pub use sources::{
    Gap, GapCause, OTHER_SOURCES_MAX, OpenGap, SourcePosition, Sources, TICK_GAPS_MAX,
};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{Cid, Collection, Cursor, Did, Epoch, Rkey, Tid};
use crate::time::Timestamp;

/// Name of the stream from which an event came: the relay's host name, or `recording:` and the
/// identity of the recording.
pub type Host = Arc<str>;

/// A message of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// An event of one account.
    Event(Event),
    /// The end of an epoch.
    Tick(Tick),
}

/// An event of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The stream from which the event came.
    pub host: Host,
    /// The `seq` of the event's frame in that stream.
    pub seq: Cursor,
    /// Index of the event within its frame.
    pub index: u32,
    /// Network time ([`time`](crate::time)), assigned once by ingest. It never decreases from one
    /// event in the log to the next.
    pub time: Timestamp,
    /// The account.
    pub did: Did,
    /// The content of the event.
    pub body: Body,
}

/// The content of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A record was created, updated or deleted.
    Op(Op),
    /// The handle or the keys of the account may have changed (`#identity`).
    Identity {
        /// The new handle, if the event contains one: in lower case, or
        /// [`Handle::INVALID`](crate::id::Handle::INVALID). In logs of older versions it is
        /// unchanged from the relay.
        handle: Option<Box<str>>,
        /// When the account's host sent the event, as the frame claims. `None` if the frame has no
        /// readable time or, on a live stream, one more than five minutes after the machine's
        /// clock; also in logs of older versions.
        sent: Option<Timestamp>,
    },
    /// The hosting status of the account was announced (`#account`).
    Account {
        /// Whether the content of the account may be shown.
        active: bool,
        /// The reason if not active, as received: `deleted`, `deactivated`, `takendown`,
        /// `suspended`, ...
        status: Option<Box<str>>,
        /// As for an identity.
        sent: Option<Timestamp>,
    },
    /// The repo is at a new revision, but the log does not contain all operations that led to it.
    Moved {
        /// The new revision.
        rev: Tid,
        /// Which input reported the revision.
        why: Moved,
    },
}

/// How the new revision of a repo was reported without its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moved {
    /// By `#sync`.
    Sync,
    /// By a commit without operations, for example the first commit of each repo.
    Empty,
    /// By a commit from which operations or blocks were omitted. The repo is out of sync.
    TooBig,
}

/// One operation of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The revision of the commit.
    pub rev: Tid,
    /// The previous revision, if the commit contains it and ingest publishes all commits of the
    /// repo.
    pub since: Option<Tid>,
    /// What happened to the record.
    pub action: Action,
    /// The collection of the record.
    pub collection: Collection,
    /// The record key.
    pub rkey: Rkey,
    /// The CID of the new record. `None` for a delete, and if the frame contains no usable CID.
    pub cid: Option<Cid>,
    /// The DAG-CBOR of the new record, unchanged. `None` for a delete, without a CID, and if the
    /// frame did not contain the block.
    pub record: Option<Box<[u8]>>,
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Creates a record.
    Create,
    /// Replaces a record by a new version.
    Update,
    /// Deletes a record.
    Delete,
}

impl Action {
    /// The action's name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// The end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The epoch that ends here. Epochs start at 1 and have no gaps.
    pub epoch: Epoch,
    /// Network time at the end of the epoch. It is not before any event of the epoch and never
    /// decreases.
    pub time: Timestamp,
    /// The stream that was read.
    pub host: Host,
    /// The greatest `seq` of that stream up to which all events are in the log.
    pub cursor: Cursor,
    /// Number of frames read from that stream, over all starts. A recording resumes at this frame.
    pub frames: u64,
    /// Whether this is the last tick of the stream (the end of a recording). The dataflow then
    /// brings all lists up to date at once.
    pub last: bool,
    /// Whether the stream has paused. Ingest sets this once per pause, on a tick after the last
    /// events. The dataflow then brings all lists up to date. The name in the encoding is
    /// `settled`.
    pub idle: bool,
    /// Positions of other sources, and gaps in what was read.
    pub sources: Sources,
    /// Counts by counter name since the previous tick (`docs/log.md`). They are exact, because they
    /// are part of the log.
    pub counts: BTreeMap<Box<str>, u64>,
}

impl Event {
    /// Approximate size in memory, in bytes. Queues and batches are bounded by the sum of these
    /// sizes.
    pub fn bytes(&self) -> usize {
        let texts = match &self.body {
            Body::Op(op) => {
                let record = op.record.as_deref().map_or(0, <[u8]>::len);
                record + op.collection.as_str().len() + op.rkey.heap_bytes()
            }
            Body::Identity { handle, .. } => handle.as_deref().map_or(0, str::len),
            Body::Account { status, .. } => status.as_deref().map_or(0, str::len),
            Body::Moved { .. } => 0,
        };
        size_of::<Self>() + self.did.heap_bytes() + texts
    }
}

impl Message {
    /// Approximate size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.bytes(),
            Self::Tick(tick) => {
                let counts = tick.counts.keys();
                size_of::<Self>() + counts.map(|name| name.len() + 32).sum::<usize>()
            }
        }
    }

    /// Appends the CBOR encoding of this message to `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        wire::encode(self, buffer);
    }

    /// Decodes a message.
    ///
    /// # Errors
    /// The bytes are not an encoding by [`Message::encode`]: the log is damaged or of another
    /// version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes)
    }

    /// Decodes concatenated messages, a CBOR sequence (<https://www.rfc-editor.org/rfc/rfc8742>).
    /// The sequence may be empty.
    ///
    /// # Errors
    /// As for [`Message::decode`].
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, DecodeError> {
        wire::decode_all(bytes)
    }
}

/// A message of the log cannot be decoded: the log is damaged or of another version.
#[derive(Debug, thiserror::Error)]
#[error("cannot decode a message of the log: {0}")]
pub struct DecodeError(String);
