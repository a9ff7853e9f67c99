//! The log: messages in one order, durable, replayable. Ingest writes it, the dataflow reads it.

use async_trait::async_trait;

use super::BoxError;
use crate::event::{Message, Tick};
use crate::id::Seq;

/// A log of [`Message`]s.
///
/// ```text
/// trimmed │ first ........ newest tick │ events without a tick │ next
/// ```
#[async_trait]
pub trait Log: Send + Sync {
    /// What there is.
    async fn bounds(&self) -> Result<Bounds, LogError>;

    /// The newest tick that is durable, with its position; `None` in a log without one.
    /// All messages before it are durable, too.
    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError>;

    /// The right to append, for one writer at a time: `Held` while another one lives.
    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError>;

    /// Reads from `from` on, inclusive.
    /// `Trimmed` if the log begins after it, `Ahead` if it ends before it (`next` itself is fine).
    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError>;

    /// Gives back room: messages below `below` may be forgotten. Never forgets one at or behind it, nor the newest
    /// durable tick.
    async fn trim(&self, below: Seq) -> Result<(), LogError>;
}

/// Appends to a log.
#[async_trait]
pub trait LogWriter: Send {
    /// Appends in the given order, behind everything appended before; when many come at once, events of different
    /// accounts may change places, though not past a tick. Waits while the log is at its size limit or too
    /// much is under way. Readers may see the messages from now on; they are durable only after the next `flush`.
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError>;

    /// Waits until everything appended is durable; answers the position behind it.
    ///
    /// # Errors
    /// After any error this writer is spent: go back to the newest tick, get a new writer, write again from there.
    async fn flush(&mut self) -> Result<Seq, LogError>;
}

/// Reads a log.
#[async_trait]
pub trait LogReader: Send {
    /// The next messages with their positions, in order, none left out; positions never fall (several messages may
    /// share one). Waits for at least one message; at most about `messages_max` at once, and none after the message with
    /// which they reach [`READ_BYTES_MAX`] bytes, or those that are stored together with it. Dropping the future loses
    /// nothing.
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError>;
}

/// Bytes in memory ([`Message::bytes`]) at which a reader answers with what it has: messages may have a megabyte each.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Which log this is: random, drawn when it was made. Another id means another history.
    pub id: u64,
    /// Position of the oldest message that is still there.
    pub first: Seq,
    /// Position that the next message will get; equals `first` in an empty log.
    pub next: Seq,
    /// Bytes in use.
    pub bytes: u64,
    /// Bytes at which appending waits.
    pub bytes_max: u64,
}

/// Why the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another writer holds the log: wait for its end, or stop.
    #[error("another process or task writes this log")]
    Held,
    /// The wanted messages are gone: stop, or start over from what there is.
    #[error("the log begins at {first}, {wanted} is trimmed")]
    Trimmed {
        /// What was asked for.
        wanted: Seq,
        /// What there is.
        first: Seq,
    },
    /// The wanted position was never written: this is not the log we knew. Stop.
    #[error("the log ends before {next}, {wanted} was never written")]
    Ahead {
        /// What was asked for.
        wanted: Seq,
        /// The position that the next message will get.
        next: Seq,
    },
    /// Durable bytes are not what was written: stop, a person must look.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// It holds messages of a format that this version does not know: stop, and start the version that wrote them.
    #[error("the log was written by a newer version: {0}")]
    Newer(String),
    /// The operation failed and may have been done or not; for a writer see [`LogWriter::flush`].
    #[error("the log could not {operation}")]
    Failed {
        /// What was tried, as `append`.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}
