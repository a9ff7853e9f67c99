//! Options of the relay.

use std::time::Duration;

/// How the stream is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayOptions {
    /// The answer to cursors that are too old or in the future.
    pub cursors: CursorPolicy,
    /// Maximum number of frames by which a client may lag after the backlog was sent. A client that
    /// lags more is disconnected.
    pub lag_frames_max: u64,
    /// How long a client may accept no bytes before it is disconnected.
    pub write_max: Duration,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            cursors: CursorPolicy::Strict,
            lag_frames_max: 50_000,
            write_max: Duration::from_secs(10),
        }
    }
}

/// The answer to cursors that are too old or in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorPolicy {
    /// `#info OutdatedCursor`, and an error frame `FutureCursor`, as the protocol specifies.
    Strict,
    /// No message: the stream starts with the oldest frame, or at its end, as at bsky.network.
    Lenient,
}
