//! The log: a durable, totally ordered, replayable sequence of messages. Ingest writes it; the
//! dataflow reads it.

use async_trait::async_trait;

use super::BoxError;
use crate::event::{Message, Tick};
use crate::id::Seq;

/// A log of [`Message`]s: events, and ticks. A [`Tick`] ends an epoch; the events after the newest
/// tick belong to an epoch that is still being written.
///
/// ```text
/// trimmed │ first ........ newest tick │ events without a tick │ next
/// ```
#[async_trait]
pub trait Log: Send + Sync {
    /// The range of positions that the log contains, its identity and its size.
    async fn bounds(&self) -> Result<Bounds, LogError>;

    /// The newest durable tick and its position; `None` if the log has no durable tick. All
    /// messages before it are durable as well.
    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError>;

    /// Acquires the exclusive right to append. Returns `Held` while another writer exists.
    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError>;

    /// Opens a reader that starts at the position `from`, inclusive. Returns `Trimmed` if the log
    /// starts after `from`, and `Ahead` if `from` is greater than [`Bounds::next`].
    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError>;

    /// Frees space: the log may delete messages before the position `below`. It never deletes a
    /// message at or after `below`, nor the newest durable tick.
    async fn trim(&self, below: Seq) -> Result<(), LogError>;
}

/// Appends messages to a log.
#[async_trait]
pub trait LogWriter: Send {
    /// Appends messages after all messages that were appended before. The log keeps the given order
    /// of the events of each account, and of every event relative to the ticks. Within one call it
    /// may reorder events of different accounts between two ticks.
    ///
    /// Blocks while the log is at its size limit or too many messages are in flight
    /// (back-pressure). Readers may see the messages from now on; they are durable only after the
    /// next `flush`.
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError>;

    /// Waits until all appended messages are durable. Returns the position after the last of them.
    ///
    /// # Errors
    /// After an error, from `append` too, the writer is unusable. To recover, acquire a new writer
    /// and append again everything after the newest durable tick ([`Log::newest_tick`]).
    async fn flush(&mut self) -> Result<Seq, LogError>;
}

/// Reads messages from a log.
#[async_trait]
pub trait LogReader: Send {
    /// Returns the next messages with their positions, in order and without omissions. Positions
    /// never decrease; several messages may share one.
    ///
    /// Waits for at least one message. Returns at most `messages_max` messages, or one if that is
    /// 0. A batch also ends with the message that brings it to [`READ_BYTES_MAX`] bytes, or with
    /// the last message that is stored together with that one. Cancel-safe: dropping the future
    /// loses no message.
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError>;
}

/// Size in memory ([`Message::bytes`]) at which a reader ends a batch. A limit on the number of
/// messages alone would not bound a batch, because a single message may take a megabyte.
pub const READ_BYTES_MAX: usize = 4 << 20;

/// The range, identity and size of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Identity of the log: a random number, drawn when the log was created. A different id means a
    /// different history.
    pub id: u64,
    /// Position of the oldest message that the log still contains.
    pub first: Seq,
    /// Position that the next message will get. It equals `first` in an empty log.
    pub next: Seq,
    /// Bytes in use.
    pub bytes: u64,
    /// Size limit in bytes: `append` blocks while the log is at or above it.
    pub bytes_max: u64,
}

/// Why an operation on the log failed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another writer holds the log. The caller should wait until that writer ends, or stop.
    #[error("another process or task writes this log: stop it, or wait until it exits")]
    Held,
    /// The requested messages were trimmed. The caller should stop, or start over from the first
    /// message that is left.
    #[error("the log begins at {first}: position {wanted} was trimmed")]
    Trimmed {
        /// The requested position.
        wanted: Seq,
        /// Position of the oldest message that the log still contains.
        first: Seq,
    },
    /// The requested position was never written, so this is not the log that the caller knew. The
    /// caller should stop.
    #[error("the log ends before {next}: position {wanted} was never written")]
    Ahead {
        /// The requested position.
        wanted: Seq,
        /// The position that the next message will get.
        next: Seq,
    },
    /// Durable bytes are not the ones that were written. The caller should stop; an operator must
    /// investigate.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// The log contains messages in a format that this version does not know. The caller should
    /// stop; the operator must run the version that wrote them, or a newer one.
    #[error("the log was written by a newer version: {0}")]
    Newer(String),
    /// The operation failed; it may or may not have taken effect. For the state of a writer after
    /// this error see [`LogWriter::flush`].
    #[error("the log could not {operation}")]
    Failed {
        /// The operation, for example `append`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}
