//! Options of ingest: which relay, from where on, what of it, how it is cut into epochs.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{RelayUrl, Span, ValueError, between};
use crate::id::{Cursor, is_nsid};
use std::time::Duration;

const SECOND: Span = Span(Duration::from_secs(1));
const HOUR: Span = Span(Duration::from_secs(3_600));
const DAY: Span = Span(Duration::from_secs(86_400));

/// How ingest reads the relay and writes the log.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Firehose (ingest)")]
pub struct Firehose {
    /// The relays (or PDSs) whose `com.atproto.sync.subscribeRepos` is read, one at a time, separated by commas. Reading starts
    /// with the one that was read last, else with the first. After `FIREHOSE_FAILOVER_ATTEMPTS` it changes to the next.
    /// Each relay keeps its own position in the log.
    #[arg(
        id = "FIREHOSE_URL",
        long = "firehose-url",
        env = "FIREHOSE_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", default_value = "wss://bsky.network")]
    #[arg(value_delimiter = ',')]
    pub url: Vec<RelayUrl>,

    /// Attempts in a row that bring no new frame, after which the next relay of `FIREHOSE_URL` is read. No effect
    /// with one relay.
    #[arg(
        id = "FIREHOSE_FAILOVER_ATTEMPTS",
        long = "firehose-failover-attempts",
        env = "FIREHOSE_FAILOVER_ATTEMPTS"
    )]
    #[arg(value_name = "ATTEMPTS", default_value_t = 5, value_parser = between(1..=1_000_u32))]
    pub failover_attempts: u32,

    /// Where to start in a relay that the log has no position of: `live`, `oldest` (all that the relay still has), or after
    /// a `seq` of the first relay of `FIREHOSE_URL` (others then start `live`). A relay that was read before resumes where
    /// it was left, whatever this says.
    #[arg(id = "FIREHOSE_START", long = "firehose-start", env = "FIREHOSE_START")]
    #[arg(value_name = "live|oldest|SEQ", default_value = "live")]
    pub start: Start,

    /// `once` abandons the position in the relay that this start reads, and starts there as `FIREHOSE_START` says: for a
    /// relay whose numbers started again. The log remembers it: later starts with `once` change nothing. A start without it
    /// makes it usable again. What was not read in between is recorded as a gap.
    #[arg(
        id = "FIREHOSE_CURSOR_RESET",
        long = "firehose-cursor-reset",
        env = "FIREHOSE_CURSOR_RESET"
    )]
    #[arg(value_name = "once", value_enum)]
    pub cursor_reset: Option<CursorReset>,

    /// Collections to read, separated by commas; `app.bsky.*` stands for all below it, `*` for all.
    #[arg(
        id = "FIREHOSE_COLLECTIONS",
        long = "firehose-collections",
        env = "FIREHOSE_COLLECTIONS"
    )]
    #[arg(value_name = "LIST", default_value = "*", value_delimiter = ',')]
    pub collections: Vec<CollectionFilter>,

    /// Read only the accounts in this file: a DID a line, `#` begins a comment.
    #[arg(
        id = "FIREHOSE_DIDS_ALLOW",
        long = "firehose-dids-allow",
        env = "FIREHOSE_DIDS_ALLOW"
    )]
    #[arg(value_name = "FILE")]
    pub dids_allow: Option<PathBuf>,

    /// Do not read the accounts in this file, even if they are allowed: a DID a line, `#` begins a
    /// comment.
    #[arg(
        id = "FIREHOSE_DIDS_DENY",
        long = "firehose-dids-deny",
        env = "FIREHOSE_DIDS_DENY"
    )]
    #[arg(value_name = "FILE")]
    pub dids_deny: Option<PathBuf>,

    /// How much is checked: the CIDs of the records that are used, or those of all blocks and the
    /// commit, too.
    #[arg(
        id = "FIREHOSE_VERIFY",
        long = "firehose-verify",
        env = "FIREHOSE_VERIFY"
    )]
    #[arg(value_name = "LEVEL", value_enum, default_value_t = Verify::Records)]
    pub verify: Verify,

    /// Milliseconds of arrival in one epoch: how fresh the numbers can be.
    #[arg(
        id = "FIREHOSE_TICK_INTERVAL_MS",
        long = "firehose-tick-interval-ms",
        env = "FIREHOSE_TICK_INTERVAL_MS"
    )]
    #[arg(value_name = "MS", default_value_t = 50, value_parser = between(10..=60_000_u64))]
    pub tick_interval_ms: u64,

    /// Events in one epoch, at most (a frame is never split): how a backlog or a recording is cut.
    #[arg(
        id = "FIREHOSE_TICK_EVENTS_MAX",
        long = "firehose-tick-events-max",
        env = "FIREHOSE_TICK_EVENTS_MAX"
    )]
    #[arg(value_name = "EVENTS", default_value_t = 5_000)]
    #[arg(value_parser = between(1..=1_000_000_u32))]
    pub tick_events_max: u32,

    /// A connection that brings no frame for so long is given up and made anew, even if pings are answered: the relay may
    /// have lost track of us. Give a quiet host more. One that is gone is found out sooner, by its pings.
    #[arg(
        id = "FIREHOSE_READ_TIMEOUT",
        long = "firehose-read-timeout",
        env = "FIREHOSE_READ_TIMEOUT"
    )]
    #[arg(value_name = "TIME", default_value = "60s", value_parser = between(SECOND..=DAY))]
    pub read_timeout: Span,

    /// How often the relay is pinged.
    #[arg(
        id = "FIREHOSE_PING_INTERVAL",
        long = "firehose-ping-interval",
        env = "FIREHOSE_PING_INTERVAL"
    )]
    #[arg(value_name = "TIME", default_value = "20s", value_parser = between(SECOND..=HOUR))]
    pub ping_interval: Span,

    /// How long making a connection may take.
    #[arg(
        id = "FIREHOSE_CONNECT_TIMEOUT",
        long = "firehose-connect-timeout",
        env = "FIREHOSE_CONNECT_TIMEOUT"
    )]
    #[arg(value_name = "TIME", default_value = "20s", value_parser = between(SECOND..=HOUR))]
    pub connect_timeout: Span,

    /// The longest pause between two attempts to connect; the first is about a second, each one
    /// twice the last.
    #[arg(
        id = "FIREHOSE_BACKOFF_MAX",
        long = "firehose-backoff-max",
        env = "FIREHOSE_BACKOFF_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "60s", value_parser = between(SECOND..=HOUR))]
    pub backoff_max: Span,
}

/// When the position in a relay is abandoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CursorReset {
    /// At the next start, and not again until a start without this value.
    Once,
}

/// Where reading starts in a relay without a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next frame.
    Live,
    /// With the oldest frame that the relay still has.
    Oldest,
    /// With the first frame behind this one.
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
                    ValueError("allowed is live, oldest or a seq of the relay".to_owned())
                }),
        }
    }
}

/// How much of a frame is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verify {
    /// The CIDs of the records that are used.
    Records,
    /// The CIDs of all blocks; that the root is a commit of version 3 whose DID and revision are
    /// the frame's.
    Blocks,
}

/// One collection, all below a name, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectionFilter {
    /// `*`
    All,
    /// `app.bsky.*`, kept as `app.bsky.`.
    Below(Box<str>),
    /// `app.bsky.feed.post`
    One(Box<str>),
}

impl CollectionFilter {
    /// Whether it lets a collection through.
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
        let refused = || {
            ValueError("allowed are names such as app.bsky.feed.post, app.bsky.* or *".to_owned())
        };
        match text.strip_suffix(".*") {
            _ if text == "*" => Ok(Self::All),
            // A name is at least three parts long: with two more behind it, any beginning of one is
            // checked, too.
            Some(prefix) if is_nsid(&format!("{prefix}.x.x")) => {
                Ok(Self::Below(format!("{prefix}.").into()))
            }
            None if is_nsid(text) => Ok(Self::One(text.into())),
            _ => Err(refused()),
        }
    }
}
