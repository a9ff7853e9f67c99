//! `skytide simnet`: a simulated network, served or recorded.

mod origin;

pub use origin::{Origin, begin};

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use skytide_simnet::faults::{Faults, Plan};
use skytide_simnet::server::{
    Limits, Options, Pace, ProfileOptions, RelayOptions, Server, StartError, State,
};
use skytide_simnet::{End, Network, write_recording};
use tokio_util::sync::CancellationToken;

use crate::cli::simnet::{self as cli, Action, Serving};
use crate::clock::SystemClock;
use crate::failure::Failure;
use crate::terminal::{note, say};

/// How often a line is written about what is served.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How far back a network begins that does not run as in life: its time must not come to the machine's soon, as a consumer takes
/// no time for true that has not come yet.
const HEAD_START: Duration = Duration::from_secs(30 * 86_400);

/// Serves or records.
///
/// # Errors
/// The port cannot be had, or a file cannot be written or read.
pub async fn run(asked: &cli::Simnet, stop: CancellationToken) -> Result<ExitCode, Failure> {
    match &asked.action {
        Action::Serve(asked) => serve(asked, stop).await?,
        Action::Record(asked) => record(asked, stop).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(asked: &cli::Serve, stop: CancellationToken) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let pace = match asked.serving.events_per_second {
        Some(events_per_second) => Pace::Rate { events_per_second },
        None => asked.serving.speed,
    };
    let now = clock.now();
    let ago = match pace {
        Pace::Clock { speed: 1.0 } => asked.serving.backlog.0,
        _ => HEAD_START,
    };
    let start = asked.network.start.unwrap_or(before(now, ago));
    let made = Origin {
        backlog_ms: millis(asked.serving.backlog.0),
        ..Origin::new(&asked.network, start, now)
    };
    let origin = match &asked.serving.keep {
        None => made,
        Some(file) => begin(file, made)?,
    };
    let mut options = options(&asked.serving, pace, asked.network.seed);
    options.began = Some(Timestamp(origin.began_ms));
    options.backlog = Duration::from_millis(origin.backlog_ms);
    let network = Network::new(origin.network(asked.network.bad.clone()));
    let server = start_server(options, network, clock).await?;
    tell(&server, &origin);
    while stop
        .run_until_cancelled(tokio::time::sleep(LINE_EVERY))
        .await
        .is_some()
    {
        note(&line(&server.state()));
    }
    note(&line(&server.state()));
    server.stop().await;
    Ok(())
}

/// Starts a server, or says what to do if it cannot listen.
///
/// # Errors
/// It cannot.
pub async fn start_server(
    options: Options,
    network: Network,
    clock: Arc<dyn Clock>,
) -> Result<Server, Failure> {
    let started = Server::start(options, network, clock).await;
    started.map_err(|why| {
        let what = match &why {
            StartError::Bind { address, .. } => format!(
                "{address} cannot be had for the simulated network: choose another port with --port \
                 (0 takes any free one)"
            ),
            StartError::Thread(_) => "the simulated network cannot run".to_owned(),
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
        faults: Faults::new(Plan {
            seed,
            retry_after_seconds: serving.retry_after,
            ..serving.faults.clone()
        }),
        ..Options::default()
    }
}

fn tell(server: &Server, origin: &Origin) {
    say(&format!(
        "A simulated network is up: {}/_simnet/state",
        server.url()
    ));
    say(&format!(
        "It is {}. Ctrl-C ends it. To read it:",
        origin.in_words()
    ));
    say(&format!("  FIREHOSE_URL={}", server.relay_url()));
    say(&format!("  SCHEDULER_PROFILES_URL={}", server.url()));
}

fn line(state: &State) -> String {
    let bad: u64 = state.bad.values().sum();
    let faults: u64 = state.faults.values().sum();
    format!(
        "{} frames ({}), {} of them bad, up to seq {}; {} clients, {} faults{}",
        HumanCount(state.frames),
        HumanBytes(state.bytes),
        HumanCount(bad),
        state.newest_seq,
        state.connections_open,
        HumanCount(faults),
        if state.ended { "; it has ended" } else { "" },
    )
}

async fn record(asked: &cli::Record, stop: CancellationToken) -> Result<(), Failure> {
    let file = asked.file.clone();
    let shown = file.display().to_string();
    if file == Path::new("-") {
        return Err(Failure::new(
            "- is no file: a recording goes to a file (./- for one of that name)",
        ));
    }
    if file.exists() {
        return Err(Failure::new(format!(
            "{shown} is there already: remove it, or choose another name"
        )));
    }
    let end = match (asked.frames, asked.bytes) {
        (Some(frames), _) => End::Frames(frames),
        (None, Some(bytes)) => End::Bytes(bytes.0),
        (None, None) => End::Network,
    };
    let mut options = network_options(&asked.network);
    if let Some(start) = asked.network.start {
        options.start = start;
    }
    let writing = tokio::task::spawn_blocking(move || {
        write_recording(&mut Network::new(options), &file, end)
    });
    let Some(written) = stop.run_until_cancelled(writing).await else {
        return Err(Failure::new(format!(
            "stopped: {shown} is not whole, remove it"
        )));
    };
    let failed = |why| Failure::because(format!("{shown} could not be written"), why);
    let written = written.map_err(|why| Failure::because("recording failed", why))?;
    let written = written.map_err(failed)?;
    say(&format!(
        "{shown}: {} frames, {} ({} before compression)",
        HumanCount(written.frames),
        HumanBytes(written.file_bytes),
        HumanBytes(written.frame_bytes),
    ));
    Ok(())
}

/// The network that flags describe; its start is the usual one.
fn network_options(asked: &cli::Network) -> skytide_simnet::Options {
    skytide_simnet::Options {
        seed: asked.seed,
        accounts: asked.accounts,
        rate: asked.rate,
        events_max: asked.events_max,
        signed: !asked.unsigned,
        records_max: asked.records_max,
        bad: asked.bad.clone(),
        ..skytide_simnet::Options::default()
    }
}

fn before(now: Timestamp, ago: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(millis(ago)))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
