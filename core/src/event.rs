//! The only two shapes that cross the log: an event and a tick.
//!
//! ```text
//! event event event TICK event TICK        an epoch: everything between two ticks
//! └──── epoch 1 ────┘ └─ epoch 2 ┘          ordered by (host, seq, index), repeats removed
//! ```
//!
//! A tick is a barrier: all events of its epoch are durable before it, and it never splits a frame. So an epoch is a
//! function of the log. What was written behind the newest tick before a crash is written again, perhaps cut elsewhere: an
//! event whose `seq` is above the cursor of the tick behind it was left by the crash, and counts where it comes again.
//! The encoding is CBOR, one map a message, documented in `docs/log.md`.

mod reason;
mod sources;
mod wire;

pub use reason::DropReason;
pub use sources::{
    Gap, GapCause, OTHER_SOURCES_MAX, OpenGap, SourcePosition, Sources, TICK_GAPS_MAX,
};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::{Cid, Collection, Cursor, Did, Epoch, Rkey, Tid};
use crate::time::Timestamp;

/// Which stream an event came from: the relay's host name, or `recording:` and the recording's identity.
pub type Host = Arc<str>;

/// A message of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Something that happened in one account.
    Event(Event),
    /// The end of an epoch.
    Tick(Tick),
}

/// Something that happened in one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The stream it came from.
    pub host: Host,
    /// Its frame's `seq` in that stream.
    pub seq: Cursor,
    /// Its place within the frame.
    pub index: u32,
    /// Network time, set once by ingest; never falls from one event of the log to the next.
    pub time: Timestamp,
    /// The account.
    pub did: Did,
    /// What happened.
    pub body: Body,
}

/// What happened in an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A record was written or deleted.
    Op(Op),
    /// The handle or the keys may have changed (`#identity`).
    Identity {
        /// The new handle, if the event names one: in lower case, or [`Handle::INVALID`](crate::id::Handle::INVALID). A log
        /// of an older version holds it as the relay wrote it.
        handle: Option<Box<str>>,
    },
    /// The hosting status was announced (`#account`).
    Account {
        /// Whether its content may be shown.
        active: bool,
        /// Why not: `deleted`, `deactivated`, `takendown`, `suspended`, ... as written.
        status: Option<Box<str>>,
    },
    /// The repo stands at a revision, and its operations up to there were not (all) told.
    Moved {
        /// The revision.
        rev: Tid,
        /// How we know.
        why: Moved,
    },
}

/// How a repo came to stand at a revision without operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moved {
    /// `#sync` told so.
    Sync,
    /// A commit without operations, as the first one of each repo.
    Empty,
    /// A commit whose operations or blocks were left out: the repo is out of sync.
    TooBig,
}

/// One operation of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The commit's revision.
    pub rev: Tid,
    /// The revision before it, if the commit says so and ingest publishes every commit of the repo.
    pub since: Option<Tid>,
    /// What was done.
    pub action: Action,
    /// In which collection.
    pub collection: Collection,
    /// Under which key.
    pub rkey: Rkey,
    /// The CID of the new record; `None` for a delete, and if the frame names no usable one.
    pub cid: Option<Cid>,
    /// The new record's DAG-CBOR, untouched; `None` for a delete, if the frame lacked the block, or without a CID.
    pub record: Option<Box<[u8]>>,
}

/// What an operation does to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A new record.
    Create,
    /// A new version of a record.
    Update,
    /// The record's end.
    Delete,
}

impl Action {
    /// The protocol's word.
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
    /// The epoch that ends here; the first is 1, no gaps.
    pub epoch: Epoch,
    /// Network time at its end: not before any of its events, never falling.
    pub time: Timestamp,
    /// The stream that was read.
    pub host: Host,
    /// The newest `seq` of that stream whose events are all in the log.
    pub cursor: Cursor,
    /// Frames read from that stream so far, counted from the first ever (where a recording goes on).
    pub frames: u64,
    /// Whether the stream ended here (a recording's last tick): lists are brought up to date at once.
    pub last: bool,
    /// Whether the stream has paused behind events that no such tick followed yet: lists are brought up to date.
    pub idle: bool,
    /// What is known of other sources, and of what was not read.
    pub sources: Sources,
    /// What ingest counted since the tick before, by counter name (`docs/log.md`): exact, as it is part of the log.
    pub counts: BTreeMap<Box<str>, u64>,
}

impl Event {
    /// Bytes that it takes in memory, about: whatever waits for something is bounded by their sum.
    pub fn bytes(&self) -> usize {
        let texts = match &self.body {
            Body::Op(op) => {
                let record = op.record.as_deref().map_or(0, <[u8]>::len);
                record + op.collection.as_str().len() + op.rkey.heap_bytes()
            }
            Body::Identity { handle } => handle.as_deref().map_or(0, str::len),
            Body::Account { status, .. } => status.as_deref().map_or(0, str::len),
            Body::Moved { .. } => 0,
        };
        size_of::<Self>() + self.did.heap_bytes() + texts
    }
}

impl Message {
    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.bytes(),
            Self::Tick(tick) => {
                let counts = tick.counts.keys();
                size_of::<Self>() + counts.map(|name| name.len() + 32).sum::<usize>()
            }
        }
    }

    /// The CBOR of this message, appended to `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        wire::encode(self, buffer);
    }

    /// Reads a message back.
    ///
    /// # Errors
    /// The bytes are not what [`Message::encode`] writes: our own log is damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes)
    }

    /// Reads messages that stand one behind the other: a CBOR sequence (<https://www.rfc-editor.org/rfc/rfc8742>).
    /// None in no bytes.
    ///
    /// # Errors
    /// As [`Message::decode`].
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, DecodeError> {
        wire::decode_all(bytes)
    }
}

/// A message of the log could not be read: the log is damaged or of another version.
#[derive(Debug, thiserror::Error)]
#[error("log message is not readable: {0}")]
pub struct DecodeError(String);
