//! Flags of `skytide simnet` and of the demo.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use skytide_core::config::{ByteSize, Config, Span, ValueError, between};
use skytide_core::time::Timestamp;
use skytide_simnet::faults::FaultPlan;
use skytide_simnet::malformed;
use skytide_simnet::server::{AnswerFault, CursorPolicy, Pace};

/// A simulated network of real bytes: the same seed gives the same frames.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Simnet {
    /// What to do with the network.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with a network.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve a network on one port of this machine: relay, repos, handles, DID documents, profiles.
    Serve(Box<Serve>),
    /// Write the frames of a network to a recording, for `replay`.
    Record(Box<Record>),
}

impl Simnet {
    /// The options.
    pub fn config(&self) -> &Config {
        match &self.action {
            Action::Serve(serve) => &serve.config,
            Action::Record(record) => &record.config,
        }
    }
}

/// Which network.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct Network {
    /// The same seed and flags give the same network.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Accounts at the start. The network creates more as it runs.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    #[arg(value_parser = between(1..=5_000_000_u32))]
    pub accounts: u32,

    /// Mean frames per second of network time over a day.
    #[arg(long, value_name = "RATE", default_value_t = 400.0)]
    #[arg(value_parser = between(0.01..=100_000.0_f64))]
    pub rate: f64,

    /// Network time of the first frame, such as 2026-06-01T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub start: Option<Timestamp>,

    /// Number of frames until the network ends. The default is an endless network.
    #[arg(long, value_name = "N", value_parser = between(1..=u64::MAX))]
    pub events_max: Option<u64>,

    /// Live records at which an account starts to delete its oldest ones. Bounds the memory of long
    /// runs.
    #[arg(long, value_name = "N", value_parser = between(1..=100_000_000_u32))]
    pub records_max: Option<u32>,

    /// Of 100 posts, likes and reposts, how many are about one story that never ends: a hot hashtag
    /// and a few hot posts.
    #[arg(long = "hot", value_name = "PERCENT", value_parser = between(1..=100_u8))]
    pub hot_percent: Option<u8>,

    /// Do not sign commits. Frames then take a fraction of the time; the rest of the network is
    /// alike.
    #[arg(long)]
    pub unsigned: bool,

    /// Malformed input, per million frames: RATE for every kind, or KIND=RATE,KIND=RATE.
    /// docs/simnet.md lists the kinds.
    #[arg(
        long,
        value_name = "RATES",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = |text: &str| malformed::Rates::from_str(text))]
    pub bad: malformed::Rates,
}

/// How to serve a network.
#[derive(Debug, Args)]
pub struct Serve {
    /// The network.
    #[command(flatten)]
    pub network: Network,

    /// How to serve it.
    #[command(flatten)]
    pub serving: Serving,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// How a network is served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Serving")]
pub struct Serving {
    /// The port on 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 7790)]
    pub port: u16,

    /// Seconds of network time per second: 1 is real time, `max` (or 0) is as fast as frames are
    /// made and read.
    #[arg(long, value_name = "SPEED", default_value = "1", value_parser = speed)]
    pub speed: Pace,

    /// Send this many events a second, evenly, whatever their network time. Slow clients are
    /// disconnected.
    #[arg(long, value_name = "N", conflicts_with = "speed")]
    #[arg(value_parser = between(0.01..=10_000_000.0_f64))]
    pub events_per_second: Option<f64>,

    /// Network time that has already passed at the start. Its frames are due at once and wait for a
    /// reader.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    #[arg(value_parser = between(Span(Duration::ZERO)..=DAYS_MAX))]
    pub backlog: Span,

    /// Store seed, rate and start in this file, or continue the network that the file describes. A
    /// restarted server then continues where the network would be by now.
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,

    /// Frames to make before the first one is sent, so that making them causes no delay later.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = |text: &str| text.parse::<usize>())]
    pub prepared: usize,

    /// Number of recent frames that clients can read.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = between(2..=10_000_000_usize))]
    pub window_frames: usize,

    /// Bytes of recent frames that clients can read.
    #[arg(long, value_name = "BYTES", default_value = "256MiB")]
    #[arg(value_parser = between(ByteSize(1 << 20)..=ByteSize(1 << 40)))]
    pub window_bytes: ByteSize,

    /// Maximum lag of a client in frames. A client with more is disconnected.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    #[arg(value_parser = between(1..=10_000_000_u64))]
    pub lag_frames_max: u64,

    /// How to answer a cursor that is too old or in the future: with a message, as the protocol
    /// says (strict), or without one, as bsky.network does (lenient).
    #[arg(long, value_name = "strict|lenient", default_value = "strict", value_parser = cursors)]
    pub cursors: CursorPolicy,

    /// Connection faults: KIND=RATE (per million frames; for refusals, per million connections),
    /// KIND@CONNECTION:FRAMES and KIND@*:FRAMES (of the stream), separated by commas.
    /// docs/simnet-servers.md lists the kinds.
    #[arg(
        long,
        value_name = "PLAN",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = |text: &str| FaultPlan::default().with(text))]
    pub faults: FaultPlan,

    /// The value of `Retry-After` in refusals, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub retry_after: u32,

    /// The profiles.
    #[command(flatten)]
    pub profiles: Profiles,
}

/// How to serve profiles.
#[derive(Debug, Args)]
#[command(next_help_heading = "Profiles")]
pub struct Profiles {
    /// Maximum number of requests for profiles in a period. Further ones are answered with 429.
    #[arg(long = "profiles-budget", value_name = "N", default_value_t = 3_000)]
    pub budget: u64,

    /// Length of the period.
    #[arg(long = "profiles-period", value_name = "TIME", default_value = "5m")]
    #[arg(value_parser = between(Span(Duration::from_secs(1))..=DAYS_MAX))]
    pub period: Span,

    /// Minimum duration of each answer, in milliseconds.
    #[arg(long = "profiles-latency-ms", value_name = "MS", default_value_t = 0)]
    #[arg(value_parser = between(0..=600_000_u64))]
    pub latency_ms: u64,

    /// Requests for profiles that fail, per million.
    #[arg(long = "profiles-failures", value_name = "N", default_value_t = 0)]
    #[arg(value_parser = between(0..=1_000_000_u32))]
    pub failures: u32,

    /// Spoil all answers with profiles, handles or DID documents. docs/simnet-servers.md lists the
    /// kinds.
    #[arg(long, value_name = "KIND", value_parser = |text: &str| AnswerFault::from_str(text))]
    pub answers: Option<AnswerFault>,

    /// Let some identities contradict the stream: a stranger's claim, two accounts that claim each
    /// other's handles, a handle that moved, an account without a document.
    #[arg(long)]
    pub identity_cases: bool,
}

/// What to record of a network.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("until")
    .required(true)
    .args(["frames", "bytes", "events_max"])
    .multiple(true))]
pub struct Record {
    /// The recording to create (zstd). The file must not exist.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Stop after this many frames.
    #[arg(long, value_name = "N", conflicts_with = "bytes")]
    #[arg(value_parser = between(1..=u64::MAX))]
    pub frames: Option<u64>,

    /// Stop after the frame that brings the recording to this many bytes before compression.
    #[arg(long, value_name = "BYTES")]
    pub bytes: Option<ByteSize>,

    /// The network.
    #[command(flatten)]
    pub network: Network,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// The demo's network.
#[derive(Debug, Args)]
#[command(next_help_heading = "Demo")]
pub struct Demo {
    /// Read a simulated network inside this process instead of a relay: nothing leaves this
    /// machine. The data are in `./data-demo` unless STORE_DIR is set. A restarted demo continues
    /// the same network.
    #[arg(long)]
    pub demo: bool,

    /// Seed of the demo's network.
    #[arg(long, value_name = "N", requires = "demo")]
    pub demo_seed: Option<u64>,

    /// Mean frames per second of the demo over a day.
    #[arg(long, value_name = "RATE", requires = "demo")]
    #[arg(value_parser = between(0.1..=5_000.0_f64))]
    pub demo_rate: Option<f64>,

    /// Accounts at the start of the demo.
    #[arg(long, value_name = "N", requires = "demo", hide = true)]
    #[arg(value_parser = between(1..=5_000_000_u32))]
    pub demo_accounts: Option<u32>,

    /// Network time of the demo's first frame.
    #[arg(long, value_name = "TIME", requires = "demo", hide = true, value_parser = time)]
    pub demo_start: Option<Timestamp>,

    /// Number of frames until the demo's network ends.
    #[arg(long, value_name = "N", requires = "demo", hide = true)]
    pub demo_events_max: Option<u64>,
}

const DAYS_MAX: Span = Span(Duration::from_secs(3_650 * 86_400));

fn time(text: &str) -> Result<Timestamp, ValueError> {
    let wrong = || {
        ValueError(format!(
            "{text:?} is not a time such as 2026-06-01T12:00:00Z"
        ))
    };
    Timestamp::parse(text).ok_or_else(wrong)
}

fn speed(text: &str) -> Result<Pace, ValueError> {
    let wrong = || ValueError("allowed is a number from 0.001 to 100000, or max".to_owned());
    if text == "max" {
        return Ok(Pace::Max);
    }
    match text.parse::<f64>().map_err(|_| wrong())? {
        0.0 => Ok(Pace::Max),
        speed if (0.001..=100_000.0).contains(&speed) => Ok(Pace::Clock { speed }),
        _ => Err(wrong()),
    }
}

fn cursors(text: &str) -> Result<CursorPolicy, ValueError> {
    match text {
        "strict" => Ok(CursorPolicy::Strict),
        "lenient" => Ok(CursorPolicy::Lenient),
        _ => Err(ValueError("allowed is strict or lenient".to_owned())),
    }
}
