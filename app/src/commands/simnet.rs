//! `skytide simnet`: serves or records a simulated network.

mod origin;

pub use origin::{Origin, load_or_create};

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use skytide_simnet::faults::{FaultPlan, Faults};
use skytide_simnet::server::{
    Limits, Options, Pace, ProfileOptions, RelayOptions, Server, StartError, State,
};
use skytide_simnet::{Network, RecordingEnd, write_recording};
use tokio_util::sync::CancellationToken;

use crate::cli::simnet::{self as cli, Action, Serving};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::terminal::{note, say};

/// Interval of the status lines while serving.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// The age of the first frame of a network that runs faster or slower than real time. A large age
/// delays the moment at which network time overtakes the machine's clock: a consumer rejects times
/// in the future.
const HEAD_START: Duration = Duration::from_secs(30 * 86_400);

/// Serves or records a network.
///
/// # Errors
///
/// The server cannot listen on its port, or a file cannot be read or written.
pub async fn run(args: &cli::Simnet, stop: CancellationToken) -> Result<ExitCode, Failure> {
    match &args.action {
        Action::Serve(args) => serve(args, stop).await?,
        Action::Record(args) => record(args, stop).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &cli::Serve, stop: CancellationToken) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let pace = match args.serving.events_per_second {
        Some(events_per_second) => Pace::Rate { events_per_second },
        None => args.serving.speed,
    };
    let now = clock.now();
    let ago = match pace {
        Pace::Clock { speed: 1.0 } => args.serving.backlog.0,
        _ => HEAD_START,
    };
    let start = args.network.start.unwrap_or(before(now, ago));
    let new = Origin {
        backlog_ms: millis(args.serving.backlog.0),
        ..Origin::new(&args.network, start, now)
    };
    let origin = match &args.serving.keep {
        None => new,
        Some(file) => load_or_create(file, new)?,
    };
    let mut options = options(&args.serving, pace, args.network.seed);
    options.began = Some(Timestamp(origin.began_ms));
    options.backlog = Duration::from_millis(origin.backlog_ms);
    let network = Network::new(origin.network(args.network.bad.clone()));
    let server = start_server(options, network, clock).await?;
    print_addresses(&server, &origin);
    while stop
        .run_until_cancelled(tokio::time::sleep(STATUS_INTERVAL))
        .await
        .is_some()
    {
        note(&status_line(&server.state()));
    }
    note(&status_line(&server.state()));
    server.stop().await;
    Ok(())
}

/// Starts a server.
///
/// # Errors
///
/// The server cannot listen on its address. The message names the remedy.
pub async fn start_server(
    options: Options,
    network: Network,
    clock: Arc<dyn Clock>,
) -> Result<Server, Failure> {
    let started = Server::start(options, network, clock).await;
    started.map_err(|why| {
        let what = match &why {
            StartError::Bind { address, .. } => format!(
                "cannot listen on {address} for the simulated network: choose another port with --port \
                 (0 takes any free one)"
            ),
            StartError::Thread(_) => "cannot start the simulated network".to_owned(),
        };
        Failure::because(what, why)
    })
}

fn options(serving: &Serving, pace: Pace, seed: u64) -> Options {
    let profiles = &serving.profiles;
    Options {
        address: (Ipv4Addr::LOCALHOST, serving.port).into(),
        pace,
        prepared: serving.prepared,
        window: Limits {
            frames_max: serving.window_frames,
            bytes_max: usize::try_from(serving.window_bytes.0).unwrap_or(usize::MAX),
        },
        relay: RelayOptions {
            cursors: serving.cursors,
            lag_frames_max: serving.lag_frames_max,
            ..RelayOptions::default()
        },
        profiles: ProfileOptions {
            requests_max: profiles.budget,
            period: profiles.period.0,
            latency: Duration::from_millis(profiles.latency_ms),
            failures_per_million: profiles.failures,
            seed,
        },
        identity_cases: profiles.identity_cases,
        answers: profiles.answers,
        faults: Faults::new(FaultPlan {
            seed,
            retry_after_seconds: serving.retry_after,
            ..serving.faults.clone()
        }),
        ..Options::default()
    }
}

fn print_addresses(server: &Server, origin: &Origin) {
    say(&format!(
        "Serving a simulated network. Its state: {}/_simnet/state",
        server.url()
    ));
    say(&format!(
        "It is {}. Ctrl-C stops it. To read it:",
        origin.description()
    ));
    say(&format!("  FIREHOSE_URL={}", server.relay_url()));
    for option in ["SCHEDULER_PROFILES_URL", "API_RESOLVER_URL", "API_PLC_URL"] {
        say(&format!("  {option}={}", server.url()));
    }
}

fn status_line(state: &State) -> String {
    let malformed: u64 = state.bad.values().sum();
    let faults: u64 = state.faults.values().sum();
    format!(
        "{} frames ({}), {} of them malformed, up to seq {}; {} clients, {} faults{}",
        HumanCount(state.frames),
        HumanBytes(state.bytes),
        HumanCount(malformed),
        state.newest_seq,
        state.connections_open,
        HumanCount(faults),
        if state.ended {
            "; the network has ended"
        } else {
            ""
        },
    )
}

async fn record(args: &cli::Record, stop: CancellationToken) -> Result<(), Failure> {
    let file = args.file.clone();
    let shown = file.display().to_string();
    if file == Path::new("-") {
        return Err(Failure::new(
            "- is not a file name: a network is recorded to a file (./- for a file with that name)",
        ));
    }
    if file.exists() {
        return Err(Failure::new(format!(
            "cannot create {shown}: the file exists; remove it or choose another name"
        )));
    }
    let end = match (args.frames, args.bytes) {
        (Some(frames), _) => RecordingEnd::Frames(frames),
        (None, Some(bytes)) => RecordingEnd::Bytes(bytes.0),
        (None, None) => RecordingEnd::Network,
    };
    let mut options = network_options(&args.network);
    if let Some(start) = args.network.start {
        options.start = start;
    }
    let writing = tokio::task::spawn_blocking(move || {
        write_recording(&mut Network::new(options), &file, end)
    });
    let Some(written) = stop.run_until_cancelled(writing).await else {
        return Err(Failure::new(format!(
            "stopped: {shown} is incomplete; remove it"
        )));
    };
    let failed = |why| Failure::because(format!("cannot write {shown}"), why);
    let written = written.map_err(|why| Failure::because("the recording task failed", why))?;
    let written = written.map_err(failed)?;
    say(&format!(
        "{shown}: {} frames, {} ({} before compression)",
        HumanCount(written.frames),
        HumanBytes(written.file_bytes),
        HumanBytes(written.frame_bytes),
    ));
    Ok(())
}

/// The options of the network that the flags describe, with the default start.
fn network_options(args: &cli::Network) -> skytide_simnet::Options {
    skytide_simnet::Options {
        seed: args.seed,
        accounts: args.accounts,
        rate: args.rate,
        events_max: args.events_max,
        signed: !args.unsigned,
        records_max: args.records_max,
        hot_percent: args.hot_percent,
        malformed: args.bad.clone(),
        ..skytide_simnet::Options::default()
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(millis(ago)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
