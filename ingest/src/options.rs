//! What can be chosen about ingest. Plain values: the command line, the environment and the defaults belong to `core`.

use std::path::PathBuf;
use std::time::Duration;

use skytide_core::id::Cursor;

use crate::frame::{FRAME_BYTES_MAX, Verify};

/// How frames become messages of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Collections to read: whole names, or `app.bsky.*` for all below a prefix. Empty: all.
    pub collections: Vec<String>,
    /// File of the only accounts to read: one DID a line, `#` begins a comment.
    pub dids_allow: Option<PathBuf>,
    /// File of accounts not to read, of the same form; it wins over `dids_allow`.
    pub dids_deny: Option<PathBuf>,
    /// How much of a frame is checked by hash.
    pub verify: Verify,
    /// A live stream is cut into epochs of this length.
    pub tick_interval: Duration,
    /// An epoch ends after the frame that brings it to this many events.
    pub tick_events_max: usize,
    /// Folder that keeps a few dropped frames of each reason for inspection; `None`: none are kept.
    pub samples: Option<PathBuf>,
    /// How long ending may take once `stop` is cancelled; what is not durable by then is read again.
    pub stop_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            collections: Vec::new(),
            dids_allow: None,
            dids_deny: None,
            verify: Verify::Records,
            tick_interval: Duration::from_millis(100),
            tick_events_max: 5_000,
            samples: None,
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// How a relay is read.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Where it is: `wss://host` (or `ws`, `https`, `http`), with or without a path.
    /// Without one, that of `com.atproto.sync.subscribeRepos` is used.
    pub url: String,
    /// Where reading starts if the log knows no position in this relay's stream.
    pub start: Start,
    /// No frame for so long: the connection is taken for dead. Zero: never. A quiet host needs more.
    pub read_timeout: Duration,
    /// How often the relay is asked for a sign of life; two of these without any is death, too. Zero: never.
    pub ping_interval: Duration,
    /// How long connecting may take, with TLS and upgrade.
    pub connect_timeout: Duration,
    /// The first wait before connecting again; it doubles up to `backoff_max` until frames arrive.
    pub backoff_min: Duration,
    /// The longest such wait (a relay's `Retry-After` may ask for more, up to an hour).
    pub backoff_max: Duration,
    /// Bytes of a message, at most.
    pub message_bytes_max: usize,
    /// Seed of the jitter: two processes should not have the same one.
    pub seed: u64,
}

impl RelayOptions {
    /// The defaults for this relay.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            start: Start::Live,
            read_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(15),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            message_bytes_max: FRAME_BYTES_MAX,
            seed: 0,
        }
    }
}

/// Where to start in a stream that was never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With what happens now: no cursor.
    #[default]
    Live,
    /// With the oldest frame that the relay still has: cursor 0.
    Oldest,
    /// With the frame behind this one.
    After(Cursor),
}

impl Start {
    /// The cursor to ask for.
    pub fn cursor(self) -> Option<Cursor> {
        match self {
            Self::Live => None,
            Self::Oldest => Some(Cursor(0)),
            Self::After(cursor) => Some(cursor),
        }
    }
}

impl std::str::FromStr for Start {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        match text {
            "live" => Ok(Self::Live),
            "oldest" => Ok(Self::Oldest),
            _ => text
                .parse()
                .map(|seq| Self::After(Cursor(seq)))
                .map_err(|_| StartError(text.to_owned())),
        }
    }
}

/// A text names no start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of \"live\", \"oldest\" or a sequence number")]
pub struct StartError(String);
