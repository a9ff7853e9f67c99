//! What ingest and the relay's client need to know, as plain values. The options themselves, with their names,
//! ranges and defaults, stand in [`skytide_core::config::Firehose`].

use std::path::PathBuf;
use std::time::Duration;

use skytide_core::config::{self, CollectionFilter, Firehose, RelayUrl, Start};
use skytide_core::id::Cursor;

use crate::frame::{FRAME_BYTES_MAX, Verify};

/// How frames become messages of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Collections to read.
    pub collections: Vec<CollectionFilter>,
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
    /// Whether the position in the source is abandoned, unless the log says that this was done.
    pub cursor_reset: bool,
}

/// How long a stop may take, unless the caller says otherwise.
const STOP_GRACE: Duration = Duration::from_secs(5);

impl From<&Firehose> for Options {
    /// What was configured; no samples are kept.
    fn from(config: &Firehose) -> Self {
        Self {
            collections: config.collections.clone(),
            dids_allow: config.dids_allow.clone(),
            dids_deny: config.dids_deny.clone(),
            verify: match config.verify {
                config::Verify::Records => Verify::Records,
                config::Verify::Blocks => Verify::Blocks,
            },
            tick_interval: Duration::from_millis(config.tick_interval_ms),
            tick_events_max: config.tick_events_max as usize,
            samples: None,
            stop_grace: STOP_GRACE,
            cursor_reset: config.cursor_reset.is_some(),
        }
    }
}

/// How a relay is read.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// Where it is: `wss://host` or `ws://host`, with or without a path.
    /// Without one, that of `com.atproto.sync.subscribeRepos` is used.
    pub url: RelayUrl,
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
    /// Largest message in bytes. A larger one is dropped while it is received.
    pub message_bytes_max: usize,
    /// Attempts in a row without a new frame after which another relay should be read; `None`: there is no other.
    pub attempts_max: Option<u32>,
    /// Seed of the jitter: two processes should not have the same one.
    pub seed: u64,
}

impl RelayOptions {
    /// What was configured for each relay, in order. The jitter of two processes should not have the same `seed`.
    pub fn all(config: &Firehose, seed: u64) -> Vec<Self> {
        let relays = config.url.iter().enumerate();
        let options = relays.map(|(place, url)| {
            let mut options = Self::new(config, url, seed.wrapping_add(place as u64));
            // A `seq` means something in one relay only.
            if place > 0 && matches!(config.start, Start::After(_)) {
                options.start = Start::Live;
            }
            options
        });
        options.collect()
    }

    fn new(config: &Firehose, url: &RelayUrl, seed: u64) -> Self {
        Self {
            url: url.clone(),
            start: config.start,
            read_timeout: config.read_timeout.0,
            ping_interval: config.ping_interval.0,
            connect_timeout: config.connect_timeout.0,
            backoff_min: Duration::from_secs(1).min(config.backoff_max.0),
            backoff_max: config.backoff_max.0,
            message_bytes_max: FRAME_BYTES_MAX,
            attempts_max: (config.url.len() > 1).then_some(config.failover_attempts),
            seed,
        }
    }

    /// The cursor to ask for in a stream that was never read: none is the present, 0 the oldest frame there is.
    pub(crate) fn first_cursor(&self) -> Option<Cursor> {
        match self.start {
            Start::Live => None,
            Start::Oldest => Some(Cursor(0)),
            Start::After(cursor) => Some(cursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seq_to_start_after_is_of_the_first_relay_only() {
        let list = "wss://a.example, WSS://b.example:8443";
        let relays = crate::testing::all_relay_options(&["--firehose-start=7"], list);
        let starts: Vec<_> = relays.iter().map(|relay| relay.start).collect();
        assert_eq!(starts, [Start::After(Cursor(7)), Start::Live]);
        assert_eq!(relays[1].url.name(), "b.example:8443");
        assert!(relays.iter().all(|relay| relay.attempts_max == Some(5)));
        let one = crate::testing::relay_options("wss://a.example");
        assert_eq!(one.attempts_max, None, "there is no other");
    }
}
