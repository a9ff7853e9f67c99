//! Where frames come from: a relay, or recordings.

mod backoff;
mod connect;
mod connection;
pub mod format;
mod limit;
mod reading;
mod recording;
mod relay;

pub use recording::{RecordingError, RecordingProblem, RecordingSource};
pub use relay::RelaySource;

/// Opens one recording, to learn its form.
pub(crate) fn recording_file(
    path: &std::path::Path,
) -> Result<reading::RecordingFile, RecordingError> {
    reading::RecordingFile::open(path, std::sync::Arc::default())
}

use async_trait::async_trait;
use bytes::Bytes;
use skytide_core::event::Host;

use crate::assemble::Position;

/// Messages that are handed on together, at most.
pub const BATCH_MESSAGES_MAX: usize = 256;
/// Bytes of messages that are handed on together: a batch ends with the message that reaches this.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// A stream of frames.
///
/// ```text
/// seek ─▶ next: Connected ─▶ Batch ─▶ Batch ─▶ Disconnected ─┐      relay; connects again by itself, with backoff
///  ▲                                                         │
///  └─────────────── from where everything was judged ────────┘
/// seek ─▶ next: Batch ─▶ Batch ─▶ End                               recordings
/// ```
#[async_trait]
pub trait Source: Send {
    /// The stream's name, as it stands in every event.
    fn host(&self) -> &Host;

    /// Names that earlier versions gave to the same stream.
    fn former_hosts(&self) -> &[Host] {
        &[]
    }

    /// Whether the stream goes on by itself, at the pace of the network.
    fn live(&self) -> bool;

    /// Goes on behind `position`; the default position is that of a stream that was never read. Ends a connection.
    ///
    /// First tells again about `lookback` frames before it, as far as that is possible: from them alone the assembler
    /// learns what it knew of the stream's time. A relay is asked for numbers that are lower by so much; a recording
    /// tells them as [`Raw::Past`].
    fn seek(&mut self, position: Position, lookback: u64);

    /// What comes next. Waits as long as it takes: a relay out of reach is no error.
    ///
    /// # Errors
    /// Nothing further will come: the rest of the stream cannot be read.
    async fn next(&mut self) -> Result<Input, SourceError>;

    /// Bytes that there are in all, where that is known, and bytes read so far.
    fn extent(&self) -> (Option<u64>, u64) {
        (None, 0)
    }
}

/// Something that a source reports.
#[derive(Debug)]
pub enum Input {
    /// Messages, in order; at least one.
    Batch(Vec<Raw>),
    /// A connection stands.
    Connected,
    /// The connection is lost; the next call makes another one.
    Disconnected,
    /// The source brings no new frame, for this reason, until further notice: messages or [`Input::Unavailable`] end it.
    Stuck(String),
    /// Attempt after attempt brought no new frame: another source should be read.
    Unavailable,
    /// The stream ended.
    End,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A binary message: a frame, or what was meant to be one.
    Binary(Bytes),
    /// A frame before the position that was sought.
    Past(Bytes),
    /// A text message, which the protocol does not know.
    Text(Bytes),
    /// A message over the size limit; its bytes were dropped while it was received.
    Oversized,
}

impl Raw {
    /// Bytes that it holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Binary(bytes) | Self::Past(bytes) | Self::Text(bytes) => bytes.len(),
            Self::Oversized => 0,
        }
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a source can go on no further.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A recording is damaged or cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The relay's address is not one.
    #[error("the relay's address is not usable: {0}")]
    Address(String),
    /// No secure connection can be made from this machine.
    #[error("no secure connection can be made: {0}")]
    Tls(String),
}
