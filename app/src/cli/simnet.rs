//! Flags of `skytide simnet` and of the demo.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use skytide_core::config::{ByteSize, Config, Span, ValueError, between};
use skytide_core::time::Timestamp;
use skytide_simnet::bad;
use skytide_simnet::faults::Plan;
use skytide_simnet::server::{Cursors, Pace};

/// A simulated network of real bytes: the same seed gives the same frames.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Simnet {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with a network.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve it over one port of this machine: relay, repos, handles, DID documents, profiles.
    Serve(Box<Serve>),
    /// Write its frames into a recording, for `replay`.
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

    /// Accounts that are there when it starts; others come.
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    #[arg(value_parser = between(1..=5_000_000_u32))]
    pub accounts: u32,

    /// Frames per second of network time, as a mean over a day.
    #[arg(long, value_name = "RATE", default_value_t = 400.0)]
    #[arg(value_parser = between(0.01..=100_000.0_f64))]
    pub rate: f64,

    /// Network time of the first frame, as 2026-06-01T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub start: Option<Timestamp>,

    /// Frames after which the network ends; without it, it goes on.
    #[arg(long, value_name = "N", value_parser = between(1..=u64::MAX))]
    pub events_max: Option<u64>,

    /// Live records of an account at which it deletes its oldest ones, so that long runs stay in memory.
    #[arg(long, value_name = "N", value_parser = between(1..=100_000_000_u32))]
    pub records_max: Option<u32>,

    /// Leave the signatures out: all else is the same, and a frame costs a fraction.
    #[arg(long)]
    pub unsigned: bool,

    /// What is wrong with frames, per million of them: RATE for every kind, or KIND=RATE,KIND=RATE. The kinds stand in
    /// docs/simnet.md.
    #[arg(
        long,
        value_name = "RATES",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = |text: &str| bad::Rates::from_str(text))]
    pub bad: bad::Rates,
}

/// How to serve a network.
#[derive(Debug, Args)]
pub struct Serve {
    /// The network.
    #[command(flatten)]
    pub network: Network,

    /// How it is served.
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
    /// The port of 127.0.0.1; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 7790)]
    pub port: u16,

    /// Seconds of network time in a second: 1 is as in life, `max` (or 0) as fast as frames are made and read.
    #[arg(long, value_name = "SPEED", default_value = "1", value_parser = speed)]
    pub speed: Pace,

    /// Send so many events a second, evenly, whatever their network time; who cannot follow is cut off.
    #[arg(long, value_name = "N", conflicts_with = "speed")]
    #[arg(value_parser = between(0.01..=10_000_000.0_f64))]
    pub events_per_second: Option<f64>,

    /// Network time that has passed when it starts: its frames are there at once, and wait for a reader.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    #[arg(value_parser = between(Span(Duration::ZERO)..=DAYS_MAX))]
    pub backlog: Span,

    /// Keep seed, rate and start in this file, and go on with the network that it names: a server that is started again then
    /// goes on where the network would be by now.
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,

    /// Frames that are made before the first one is sent, so that making them takes no time later.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = |text: &str| text.parse::<usize>())]
    pub prepared: usize,

    /// Frames that clients can still have.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = between(2..=10_000_000_usize))]
    pub window_frames: usize,

    /// Bytes of frames that clients can still have.
    #[arg(long, value_name = "BYTES", default_value = "256MiB")]
    #[arg(value_parser = between(ByteSize(1 << 20)..=ByteSize(1 << 40)))]
    pub window_bytes: ByteSize,

    /// Frames that a client may be behind before it is cut off.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    #[arg(value_parser = between(1..=10_000_000_u64))]
    pub lag_frames_max: u64,

    /// What a cursor that is too old or too new is told: as the protocol says, or nothing, as bsky.network does.
    #[arg(long, value_name = "told|untold", default_value = "told", value_parser = cursors)]
    pub cursors: Cursors,

    /// What goes wrong with connections: KIND=RATE (per million frames; of refusals, per million connections),
    /// KIND@CONNECTION:FRAMES and KIND@*:FRAMES (of the stream), separated by commas. The kinds stand in
    /// docs/simnet-servers.md.
    #[arg(
        long,
        value_name = "PLAN",
        default_value = "",
        hide_default_value = true
    )]
    #[arg(value_parser = |text: &str| Plan::default().with(text))]
    pub faults: Plan,

    /// Seconds that a refusal asks to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub retry_after: u32,

    /// Profiles.
    #[command(flatten)]
    pub profiles: Profiles,
}

/// How profiles are served.
#[derive(Debug, Args)]
#[command(next_help_heading = "Profiles")]
pub struct Profiles {
    /// Requests for profiles in a period; further ones are answered with 429.
    #[arg(long = "profiles-budget", value_name = "N", default_value_t = 3_000)]
    pub budget: u64,

    /// The period.
    #[arg(long = "profiles-period", value_name = "TIME", default_value = "5m")]
    #[arg(value_parser = between(Span(Duration::from_secs(1))..=DAYS_MAX))]
    pub period: Span,

    /// Milliseconds that each answer takes at least.
    #[arg(long = "profiles-latency-ms", value_name = "MS", default_value_t = 0)]
    #[arg(value_parser = between(0..=600_000_u64))]
    pub latency_ms: u64,

    /// Of a million requests for profiles, so many fail.
    #[arg(long = "profiles-failures", value_name = "N", default_value_t = 0)]
    #[arg(value_parser = between(0..=1_000_000_u32))]
    pub failures: u32,
}

/// What to record of a network.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("until").required(true).args(["frames", "bytes", "events_max"]).multiple(true))]
pub struct Record {
    /// The file, zstd. It must not be there yet.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// End behind so many frames.
    #[arg(long, value_name = "N", conflicts_with = "bytes")]
    #[arg(value_parser = between(1..=u64::MAX))]
    pub frames: Option<u64>,

    /// End behind the frame that brings it to so many bytes, before compression.
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
    /// Read a simulated network inside this process instead of a relay: nothing leaves this machine. Its data are kept in
    /// `./data-demo` unless STORE_DIR says otherwise, and it goes on when it is started again.
    #[arg(long)]
    pub demo: bool,

    /// The demo's seed: another network.
    #[arg(long, value_name = "N", requires = "demo")]
    pub demo_seed: Option<u64>,

    /// Frames per second of the demo, as a mean over a day.
    #[arg(long, value_name = "RATE", requires = "demo")]
    #[arg(value_parser = between(0.1..=5_000.0_f64))]
    pub demo_rate: Option<f64>,

    /// Accounts that are there when the demo starts.
    #[arg(long, value_name = "N", requires = "demo", hide = true)]
    #[arg(value_parser = between(1..=5_000_000_u32))]
    pub demo_accounts: Option<u32>,

    /// Network time of the demo's first frame.
    #[arg(long, value_name = "TIME", requires = "demo", hide = true, value_parser = time)]
    pub demo_start: Option<Timestamp>,

    /// Frames after which the demo's network ends.
    #[arg(long, value_name = "N", requires = "demo", hide = true)]
    pub demo_events_max: Option<u64>,
}

const DAYS_MAX: Span = Span(Duration::from_secs(3_650 * 86_400));

fn time(text: &str) -> Result<Timestamp, ValueError> {
    let wrong = || ValueError(format!("{text:?} is no time such as 2026-06-01T12:00:00Z"));
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

fn cursors(text: &str) -> Result<Cursors, ValueError> {
    match text {
        "told" => Ok(Cursors::Told),
        "untold" => Ok(Cursors::Untold),
        _ => Err(ValueError("allowed is told or untold".to_owned())),
    }
}
