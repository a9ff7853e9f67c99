//! Options of ingest: which relays are read, from which position, what is read, and how it is
//! divided into epochs.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{RelayUrl, Span, ValueError, between};
use crate::id::{Cursor, is_nsid};
use std::time::Duration;

const SECOND: Span = Span(Duration::from_secs(1));
const HOUR: Span = Span(Duration::from_secs(3_600));
const DAY: Span = Span(Duration::from_secs(86_400));

/// How ingest reads a relay and writes the log.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Firehose (ingest)")]
pub struct Firehose {
    /// Relays (or PDSs) whose `com.atproto.sync.subscribeRepos` is read, one at a time, separated
    /// by commas. A start reads the relay that was read last, or else the first one. After
    /// `FIREHOSE_FAILOVER_ATTEMPTS` failed attempts, ingest switches to the next relay. The log
    /// stores a separate position for each relay.
    #[arg(
        id = "FIREHOSE_URL",
        long = "firehose-url",
        env = "FIREHOSE_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", default_value = "wss://bsky.network")]
    #[arg(value_delimiter = ',')]
    pub url: Vec<RelayUrl>,

    /// Number of consecutive attempts without a new frame after which ingest switches to the next
    /// relay of `FIREHOSE_URL`. No effect with one relay.
    #[arg(
        id = "FIREHOSE_FAILOVER_ATTEMPTS",
        long = "firehose-failover-attempts",
        env = "FIREHOSE_FAILOVER_ATTEMPTS"
    )]
    #[arg(value_name = "ATTEMPTS", default_value_t = 5, value_parser = between(1..=1_000_u32))]
    pub failover_attempts: u32,

    /// Where to start in a relay for which the log has no position: `live`, `oldest` (the oldest
    /// frame that the relay still has), or after a `seq` of the first relay of `FIREHOSE_URL`
    /// (other relays then start `live`). A relay that was read before resumes at its stored
    /// position, regardless of this option.
    #[arg(id = "FIREHOSE_START", long = "firehose-start", env = "FIREHOSE_START")]
    #[arg(value_name = "live|oldest|SEQ", default_value = "live")]
    pub start: Start,

    /// `once` discards the stored position in the relay that this start reads, and starts there as
    /// `FIREHOSE_START` says. Use it for a relay that restarted its numbering. The log records the
    /// reset, so later starts with `once` change nothing; a start without this option makes `once`
    /// effective again. The frames that were not read are recorded as a gap.
    #[arg(
        id = "FIREHOSE_CURSOR_RESET",
        long = "firehose-cursor-reset",
        env = "FIREHOSE_CURSOR_RESET"
    )]
    #[arg(value_name = "once", value_enum)]
    pub cursor_reset: Option<CursorReset>,

    /// Collections to read, separated by commas. `app.bsky.*` stands for all collections below it,
    /// `*` for all collections.
    #[arg(
        id = "FIREHOSE_COLLECTIONS",
        long = "firehose-collections",
        env = "FIREHOSE_COLLECTIONS"
    )]
    #[arg(value_name = "LIST", default_value = "*", value_delimiter = ',')]
    pub collections: Vec<CollectionFilter>,

    /// Read only the accounts in this file: one DID per line, `#` starts a comment.
    #[arg(
        id = "FIREHOSE_DIDS_ALLOW",
        long = "firehose-dids-allow",
        env = "FIREHOSE_DIDS_ALLOW"
    )]
    #[arg(value_name = "FILE")]
    pub dids_allow: Option<PathBuf>,

    /// Do not read the accounts in this file, even if `FIREHOSE_DIDS_ALLOW` allows them: one DID
    /// per line, `#` starts a comment.
    #[arg(
        id = "FIREHOSE_DIDS_DENY",
        long = "firehose-dids-deny",
        env = "FIREHOSE_DIDS_DENY"
    )]
    #[arg(value_name = "FILE")]
    pub dids_deny: Option<PathBuf>,

    /// How much is verified: the CIDs of the records that are used, or the CIDs of all blocks and
    /// the commit as well.
    #[arg(
        id = "FIREHOSE_VERIFY",
        long = "firehose-verify",
        env = "FIREHOSE_VERIFY"
    )]
    #[arg(value_name = "LEVEL", value_enum, default_value_t = Verify::Records)]
    pub verify: Verify,

    /// Length of an epoch in milliseconds of arrival time. It determines how current the results
    /// can be.
    #[arg(
        id = "FIREHOSE_TICK_INTERVAL_MS",
        long = "firehose-tick-interval-ms",
        env = "FIREHOSE_TICK_INTERVAL_MS"
    )]
    #[arg(value_name = "MS", default_value_t = 50, value_parser = between(10..=60_000_u64))]
    pub tick_interval_ms: u64,

    /// Maximum number of events in one epoch; a frame is never split. It determines the epochs of a
    /// backlog or a recording.
    #[arg(
        id = "FIREHOSE_TICK_EVENTS_MAX",
        long = "firehose-tick-events-max",
        env = "FIREHOSE_TICK_EVENTS_MAX"
    )]
    #[arg(value_name = "EVENTS", default_value_t = 5_000)]
    #[arg(value_parser = between(1..=1_000_000_u32))]
    pub tick_events_max: u32,

    /// Time without a frame after which ingest closes the connection and opens a new one, even if
    /// the relay answers pings, because the relay may have lost the subscription. Increase it for a
    /// host with little traffic. Pings detect a lost connection earlier.
    #[arg(
        id = "FIREHOSE_READ_TIMEOUT",
        long = "firehose-read-timeout",
        env = "FIREHOSE_READ_TIMEOUT"
    )]
    #[arg(value_name = "TIME", default_value = "60s", value_parser = between(SECOND..=DAY))]
    pub read_timeout: Span,

    /// Time between two pings to the relay.
    #[arg(
        id = "FIREHOSE_PING_INTERVAL",
        long = "firehose-ping-interval",
        env = "FIREHOSE_PING_INTERVAL"
    )]
    #[arg(value_name = "TIME", default_value = "20s", value_parser = between(SECOND..=HOUR))]
    pub ping_interval: Span,

    /// Maximum time to establish a connection.
    #[arg(
        id = "FIREHOSE_CONNECT_TIMEOUT",
        long = "firehose-connect-timeout",
        env = "FIREHOSE_CONNECT_TIMEOUT"
    )]
    #[arg(value_name = "TIME", default_value = "20s", value_parser = between(SECOND..=HOUR))]
    pub connect_timeout: Span,

    /// Longest pause between two attempts to connect. The first pause is about one second, and each
    /// further one is twice the previous one.
    #[arg(
        id = "FIREHOSE_BACKOFF_MAX",
        long = "firehose-backoff-max",
        env = "FIREHOSE_BACKOFF_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "60s", value_parser = between(SECOND..=HOUR))]
    pub backoff_max: Span,
}

/// When the stored position in a relay is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CursorReset {
    /// At the next start, and not again before a start without this value.
    Once,
}

/// Where reading starts in a relay without a stored position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the next frame.
    Live,
    /// At the oldest frame that the relay still has.
    Oldest,
    /// At the first frame after this one.
    After(Cursor),
}

impl FromStr for Start {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "live" => Ok(Self::Live),
            "oldest" => Ok(Self::Oldest),
            seq => seq
                .parse()
                .map(|seq| Self::After(Cursor(seq)))
                .map_err(|_| {
                    ValueError("allowed values are live, oldest or a seq of the relay".to_owned())
                }),
        }
    }
}

/// How much of a frame is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// The CIDs of the records that are used.
    Records,
    /// The CIDs of all blocks, and that the root is a commit of version 3 with the DID and revision
    /// of the frame.
    Blocks,
}

/// One collection, all collections below a name, or all collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectionFilter {
    /// `*`
    All,
    /// `app.bsky.*`, stored as the prefix `app.bsky.`.
    Below(Box<str>),
    /// `app.bsky.feed.post`
    One(Box<str>),
}

impl CollectionFilter {
    /// Whether the filter selects a collection.
    pub fn matches(&self, collection: &str) -> bool {
        match self {
            Self::All => true,
            Self::Below(prefix) => collection.starts_with(&**prefix),
            Self::One(name) => collection == &**name,
        }
    }
}

impl fmt::Display for CollectionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::One(name) => f.write_str(name),
        }
    }
}

impl FromStr for CollectionFilter {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || {
            ValueError(
                "allowed values are names such as app.bsky.feed.post, app.bsky.* or *".to_owned(),
            )
        };
        match text.strip_suffix(".*") {
            _ if text == "*" => Ok(Self::All),
            // An NSID has at least three parts. With two parts appended, any prefix of an NSID can
            // be validated as an NSID.
            Some(prefix) if is_nsid(&format!("{prefix}.x.x")) => {
                Ok(Self::Below(format!("{prefix}.").into()))
            }
            None if is_nsid(text) => Ok(Self::One(text.into())),
            _ => Err(error()),
        }
    }
}
