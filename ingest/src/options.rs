//! The settings of ingest and of the relay client, as plain values. The options with their names,
//! ranges and defaults are declared in [`skytide_core::config::Firehose`].

use std::path::PathBuf;
use std::time::Duration;

use skytide_core::config::{self, CollectionFilter, Firehose, RelayUrl, Start};
use skytide_core::id::Cursor;

use crate::frame::{FRAME_BYTES_MAX, Verify};

/// Settings for turning frames into messages of the log.
#[derive(Clone, Debug)]
pub struct Options {
    /// Collections to read.
    pub collections: Vec<CollectionFilter>,
    /// File of the only accounts to read: one DID per line, `#` starts a comment.
    pub dids_allow: Option<PathBuf>,
    /// File of accounts not to read, in the same format. It has priority over `dids_allow`.
    pub dids_deny: Option<PathBuf>,
    /// The blocks of a frame that are checked by hash.
    pub verify: Verify,
    /// The length of an epoch of a live stream.
    pub tick_interval: Duration,
    /// An epoch ends after the frame that brings it to this many events.
    pub tick_events_max: usize,
    /// Folder in which a few dropped frames of each reason are saved for inspection; `None`: none
    /// are saved.
    pub samples: Option<PathBuf>,
    /// How long shutdown may take once `stop` is cancelled. Frames that are not durable by then are
    /// read again by the next start.
    pub stop_grace: Duration,
    /// Whether to discard the position in the source, unless the log records that it was discarded
    /// already.
    pub cursor_reset: bool,
}

/// The default of [`Options::stop_grace`].
const STOP_GRACE: Duration = Duration::from_secs(5);

impl From<&Firehose> for Options {
    /// The configured settings. No samples are saved.
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

/// Settings for reading a relay.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    /// The address: `wss://host` or `ws://host`, with or without a path. The default path is that
    /// of `com.atproto.sync.subscribeRepos`.
    pub url: RelayUrl,
    /// Where reading starts if the log holds no position in this relay's stream.
    pub start: Start,
    /// After this long without a frame the connection counts as lost; zero sets no limit. A quiet
    /// host needs a longer time.
    pub read_timeout: Duration,
    /// Interval of WebSocket pings. After two pings without an answer the connection counts as
    /// lost. Zero disables pings.
    pub ping_interval: Duration,
    /// Maximum time to connect, including TLS and the WebSocket upgrade.
    pub connect_timeout: Duration,
    /// The first wait before reconnecting. It doubles up to `backoff_max` until frames arrive.
    pub backoff_min: Duration,
    /// The maximum wait before reconnecting. A relay may request more by `Retry-After`, up to an
    /// hour.
    pub backoff_max: Duration,
    /// Largest message in bytes. A larger one is dropped while it is received.
    pub message_bytes_max: usize,
    /// Number of consecutive attempts without a new frame after which another relay should be read;
    /// `None` if there is no other.
    pub attempts_max: Option<u32>,
    /// Seed of the jitter. It should differ between processes.
    pub seed: u64,
}

impl RelayOptions {
    /// The configured settings of each relay, in order. `seed` of the jitter should differ between
    /// processes.
    pub fn all(config: &Firehose, seed: u64) -> Vec<Self> {
        let relays = config.url.iter().enumerate();
        let options = relays.map(|(index, url)| {
            let mut options = Self::new(config, url, seed.wrapping_add(index as u64));
            // A `seq` is meaningful only in one relay's stream.
            if index > 0 && matches!(config.start, Start::After(_)) {
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

    /// The cursor to request for a stream that was never read. `None` is the present, 0 the oldest
    /// frame that the relay stores.
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
    fn a_seq_to_start_after_applies_to_the_first_relay_only() {
        let list = "wss://a.example, WSS://b.example:8443";
        let relays = crate::testing::all_relay_options(&["--firehose-start=7"], list);
        let starts: Vec<_> = relays.iter().map(|relay| relay.start).collect();
        assert_eq!(starts, [Start::After(Cursor(7)), Start::Live]);
        assert_eq!(relays[1].url.name(), "b.example:8443");
        assert!(relays.iter().all(|relay| relay.attempts_max == Some(5)));
        let one = crate::testing::relay_options("wss://a.example");
        assert_eq!(one.attempts_max, None, "there is no other relay");
    }
}
