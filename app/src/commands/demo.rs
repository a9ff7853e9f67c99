//! `skytide up --demo`: all services on a simulated network, in one process and without the
//! internet.
//!
//! ```text
//! demo.json (seed, start) ─▶ Network ─▶ relay, AppView, PLC on a free port ◀── ingest, profiles, API
//! newest tick of the log ──────▶ first frame to render again
//! ```
//!
//! The frames follow from `demo.json` and the clock, so a restarted demo continues the same
//! network. It catches up on a pause of up to [`RETENTION`]. After a longer pause the frames before
//! that are a gap, as with a real relay, and the answers report it.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::config::{Config, Endpoint, EndpointOrNever, RelayUrl, Start};
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use skytide_simnet::server::{Options, Server};
use skytide_simnet::{Network, malformed};
use tokio_util::sync::CancellationToken;

use super::services;
use super::simnet::{Origin, load_or_create, start_server};
use crate::cli::simnet::Demo;
use crate::clock::SystemClock;
use crate::data::{Data, Role};
use crate::failure::Failure;
use crate::relays::relays;

/// Where the demo stores its data by default.
const FOLDER: &str = "./data-demo";
/// The file in the data folder that describes the network.
const ORIGIN: &str = "demo.json";
/// The name of the stream in the log, whatever its port. No relay can have this address, so demo
/// and real data never mix.
const HOST: &str = "demo:simnet";
/// Network time that has already passed at the start of a demo: enough for lists, and counted
/// within two seconds.
const BACKLOG: Duration = Duration::from_secs(120);
/// The longest pause, in network time, that a restarted demo catches up on.
const RETENTION: Duration = Duration::from_secs(1_800);
/// Frames before the newest one in the log that are rendered again. Ingest needs them to compute
/// network time.
const LOOKBACK_FRAMES: u64 = 4_096;
/// Defaults of the demo: seed, frames a second, accounts, live records of an account.
const SEED: u64 = 1;
const RATE: f64 = 200.0;
const ACCOUNTS: u32 = 5_000;
const RECORDS_MAX: u32 = 400;

/// Runs all services on a simulated network.
///
/// # Errors
///
/// The data folder or a port is not available, or a service failed.
pub async fn run(
    args: &Demo,
    config: &Config,
    dir_is_chosen: bool,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut config = config.clone();
    if !dir_is_chosen {
        config.store.dir = FOLDER.into();
    }
    // The demo ignores the databases of the real network and stores its data in files.
    config.nats.url.clear();
    config.mongo.uri = None;
    let dir = config.store.dir.clone();
    let data = Data::open(&dir, Some(HOST), Role::All, &config, true).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let origin = load_or_create(&dir.join(ORIGIN), origin(args, clock.now()))?;
    let server = serve(&origin, &data, clock).await?;
    read_from_simnet(&mut config, &server)?;
    let source = relays(&config)?.remove(0).named(HOST);
    let what = format!(
        "It reads a simulated network ({}) and stores its data in {}. Nothing leaves this machine. \
         Ctrl-C stops it.",
        origin.description(),
        dir.display()
    );
    let ended = services::run_all(&config, data, vec![source], &what, stop).await;
    server.stop().await;
    ended
}

/// The network of a demo that starts now.
fn origin(args: &Demo, now: Timestamp) -> Origin {
    let start = args.demo_start.unwrap_or_else(|| start_before(now));
    Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: args.demo_seed.unwrap_or(SEED),
        accounts: args.demo_accounts.unwrap_or(ACCOUNTS),
        rate: args.demo_rate.unwrap_or(RATE),
        start_ms: start.0,
        backlog_ms: now.0.saturating_sub(start.0),
        began_ms: now.0,
        events_max: args.demo_events_max,
        records_max: Some(RECORDS_MAX),
        hot_percent: None,
        signed: true,
    }
}

/// The start of a minute, about [`BACKLOG`] ago. So the first frames have the same minute, however
/// few of them ingest has seen.
fn start_before(now: Timestamp) -> Timestamp {
    let backlog = BACKLOG.as_millis() as u64;
    Timestamp(now.0.saturating_sub(backlog)).minute().start()
}

/// Serves the network from the position of the log.
async fn serve(origin: &Origin, data: &Data, clock: Arc<dyn Clock>) -> Result<Server, Failure> {
    let newest = data.log().newest_tick().await;
    let newest =
        newest.map_err(|why| Failure::because("cannot read the newest tick of the log", why))?;
    let cursor = newest.map_or(0, |(_, tick)| tick.cursor.0);
    let backlog = Duration::from_millis(origin.backlog_ms);
    let options = Options {
        began: Some(Timestamp(origin.began_ms)),
        backlog,
        from: cursor.saturating_sub(LOOKBACK_FRAMES),
        // A new demo skips nothing, even if its backlog is longer than the longest pause.
        retention: (cursor > 0 && backlog < RETENTION).then_some(RETENTION),
        ..Options::default()
    };
    let network = Network::new(origin.network(malformed::Rates::none()));
    start_server(options, network, clock).await
}

/// Points the services at the simulated network: ingest at its relay, the job `profiles` at its
/// AppView, the API at its AppView and its PLC directory.
fn read_from_simnet(config: &mut Config, server: &Server) -> Result<(), Failure> {
    let endpoint = |url: &str, scheme: &str| {
        let parsed = Endpoint::parse(url, &[scheme]);
        parsed.map_err(|why| {
            Failure::because("cannot parse the address of the simulated network", why)
        })
    };
    let relay = server.relay_url().parse::<RelayUrl>();
    let relay =
        relay.map_err(|why| Failure::because("the simulated network has no address", why))?;
    config.firehose.url = vec![relay];
    config.firehose.start = Start::Oldest;
    let servers = endpoint(&server.url(), "http")?;
    config.scheduler.profiles_url = servers.clone();
    config.api.resolver_url = EndpointOrNever(Some(servers.clone()));
    config.api.plc_url = servers;
    tracing::info!(
        relay = %config.firehose.url[0],
        profiles = %config.scheduler.profiles_url,
        "reading the simulated network"
    );
    Ok(())
}
