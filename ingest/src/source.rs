//! Sources of frames: a relay, or recordings.

mod backoff;
mod connect;
mod connection;
pub mod format;
mod limit;
mod reading;
mod recording;
mod relay;

pub(crate) use reading::WINDOW_LOG_MAX;
pub use recording::{RecordingError, RecordingProblem, RecordingSource};
pub use relay::RelaySource;

use async_trait::async_trait;
use bytes::Bytes;
use skytide_core::event::Host;

use crate::assemble::Position;

/// Largest number of messages in a batch.
pub const BATCH_MESSAGES_MAX: usize = 256;
/// Bytes of messages at which a batch ends. The last message may exceed it.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Opens one recording to detect its format.
pub(crate) fn recording_file(
    path: &std::path::Path,
) -> Result<reading::RecordingFile, RecordingError> {
    reading::RecordingFile::open(path, std::sync::Arc::default())
}

/// A stream of frames.
///
/// ```text
/// seek ─▶ next: Connected ─▶ Batch ─▶ Batch ─▶ Disconnected ─┐    relay; reconnects with backoff
///  ▲                                                         │
///  └─────── position up to which all was processed ──────────┘
/// seek ─▶ next: Batch ─▶ Batch ─▶ End                               recordings
/// ```
#[async_trait]
pub trait Source: Send {
    /// The stream's name, which is written into every event.
    fn host(&self) -> &Host;

    /// Names that earlier versions gave to the same stream.
    fn former_hosts(&self) -> &[Host] {
        &[]
    }

    /// Whether frames arrive as the network produces them, as from a relay. A recording is not
    /// live.
    fn live(&self) -> bool;

    /// Resumes after `position`; the default is the position of a stream that was never read.
    /// Closes an open connection.
    ///
    /// About `lookback` frames before the position are returned again, if possible, so that the
    /// assembler can restore network time ([`skytide_core::time`]). A relay gets a cursor that is
    /// lower by `lookback`; a recording returns these frames as [`Raw::Past`].
    fn seek(&mut self, position: Position, lookback: u64);

    /// Waits for the next input, without a time limit: an unreachable relay is not an error.
    ///
    /// # Errors
    /// The rest of the stream cannot be read, so no further input follows.
    async fn next(&mut self) -> Result<Input, SourceError>;

    /// Total bytes of the source, if known, and bytes read so far.
    fn extent(&self) -> (Option<u64>, u64) {
        (None, 0)
    }
}

/// An input that a source returns.
#[derive(Debug)]
pub enum Input {
    /// Messages, in order; at least one.
    Batch(Vec<Raw>),
    /// A connection was opened.
    Connected,
    /// The connection was lost. The next call opens another one.
    Disconnected,
    /// The source cannot read new frames, for this reason. The state lasts until the next batch or
    /// [`Input::Unavailable`].
    Stuck(String),
    /// Repeated attempts brought no new frame: another source should be read.
    Unavailable,
    /// The stream ended.
    End,
}

/// A message as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A binary message: a frame, valid or not.
    Binary(Bytes),
    /// A frame before the position of the last [`Source::seek`].
    Past(Bytes),
    /// A text message, which the protocol does not have.
    Text(Bytes),
    /// A message over the size limit; its bytes were dropped while it was received.
    Oversized,
}

impl Raw {
    /// The number of bytes of the message that were received.
    pub fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) | Self::Past(bytes) | Self::Text(bytes) => bytes.len(),
            Self::Oversized => 0,
        }
    }

    /// Whether no bytes of the message were received.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An error after which a source cannot be read further.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A recording is damaged or cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The relay's address is not usable.
    #[error("cannot use the relay's address: {0}")]
    Address(String),
    /// TLS is not available on this machine.
    #[error("cannot open secure connections: {0}")]
    Tls(String),
}
