//! `skytide up --demo`: all services on a simulated network, in one process and without the internet.
//!
//! ```text
//! demo.json (seed, start) ─▶ Network ─▶ relay, AppView on a free port of loopback ◀── ingest, profiles
//! newest tick of the log ──────▶ from where on frames are made again
//! ```
//!
//! The frames follow from `demo.json` and the clock, so a demo that was killed goes on with the same network. What became due
//! while it was away is made up for, up to [`RETENTION`]; of a longer pause the rest is a gap, as with a real relay,
//! and the answers say so.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::config::{Config, Endpoint, RelayUrl, Start};
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use skytide_simnet::server::{Options, Server};
use skytide_simnet::{Network, bad};
use tokio_util::sync::CancellationToken;

use super::services;
use super::simnet::{Origin, begin, start_server};
use crate::cli::simnet::Demo;
use crate::clock::SystemClock;
use crate::data::{Data, Use};
use crate::failure::Failure;

/// Where the demo's data are unless another folder is chosen.
const FOLDER: &str = "./data-demo";
/// In the data folder: which network it is.
const ORIGIN: &str = "demo.json";
/// The stream's name in the log, whatever port it has. No address of a relay looks so, so the data of the two never mix.
const HOST: &str = "demo:simnet";
/// Network time that is there when a demo begins: enough for lists, little enough to be counted in two seconds.
const BACKLOG: Duration = Duration::from_secs(120);
/// Network time of a pause that is made up for.
const RETENTION: Duration = Duration::from_secs(1_800);
/// Frames before the log's newest one that are made again: ingest looks at them for the stream's time.
const LOOKBACK_FRAMES: u64 = 4_096;
/// The demo's seed, frames a second, accounts, and live records of an account.
const SEED: u64 = 1;
const RATE: f64 = 200.0;
const ACCOUNTS: u32 = 5_000;
const RECORDS_MAX: u32 = 400;

/// All services on a simulated network.
///
/// # Errors
/// The data folder or a port cannot be had, or a service failed.
pub async fn run(
    asked: &Demo,
    config: &Config,
    dir_is_chosen: bool,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut config = config.clone();
    if !dir_is_chosen {
        config.store.dir = FOLDER.into();
    }
    // Whatever is configured for the real network: the demo has its own files.
    config.nats.url.clear();
    config.mongo.uri = None;
    let dir = config.store.dir.clone();
    let data = Data::open(&dir, Some(HOST), Use::All, &config, true).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let origin = begin(&dir.join(ORIGIN), origin(asked, clock.now()))?;
    let server = serve(&origin, &data, clock).await?;
    read_from(&mut config, &server)?;
    let source = services::relays(&config)?.remove(0).named(HOST);
    let what = format!(
        "It reads a simulated network ({}) and keeps its data in {}. Nothing leaves this machine. Ctrl-C ends it.",
        origin.in_words(),
        dir.display()
    );
    let ended = services::all(&config, data, vec![source], &what, stop).await;
    server.stop().await;
    ended
}

/// The network of a demo that begins now.
fn origin(asked: &Demo, now: Timestamp) -> Origin {
    let start = asked.demo_start.unwrap_or_else(|| begun_before(now));
    Origin {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: asked.demo_seed.unwrap_or(SEED),
        accounts: asked.demo_accounts.unwrap_or(ACCOUNTS),
        rate: asked.demo_rate.unwrap_or(RATE),
        start_ms: start.0,
        backlog_ms: now.0.saturating_sub(start.0),
        began_ms: now.0,
        events_max: asked.demo_events_max,
        records_max: Some(RECORDS_MAX),
        signed: true,
    }
}

/// A whole minute, about [`BACKLOG`] before: the first frames then have the same minute however few of them ingest sees at once.
fn begun_before(now: Timestamp) -> Timestamp {
    let backlog = BACKLOG.as_millis() as u64;
    Timestamp(now.0.saturating_sub(backlog)).minute().start()
}

/// Serves the network from where the log stands.
async fn serve(origin: &Origin, data: &Data, clock: Arc<dyn Clock>) -> Result<Server, Failure> {
    let newest = data.log().newest_tick().await;
    let newest = newest.map_err(|why| Failure::because("the log could not be read", why))?;
    let cursor = newest.map_or(0, |(_, tick)| tick.cursor.0);
    let backlog = Duration::from_millis(origin.backlog_ms);
    let options = Options {
        began: Some(Timestamp(origin.began_ms)),
        backlog,
        from: cursor.saturating_sub(LOOKBACK_FRAMES),
        // Nothing is left out of a beginning, even if it is longer than the pauses that are made up for.
        retention: (cursor > 0 && backlog < RETENTION).then_some(RETENTION),
        ..Options::default()
    };
    let network = Network::new(origin.network(bad::Rates::none()));
    start_server(options, network, clock).await
}

/// Points the services at the simulated network: ingest at its relay, the `profiles` job at its AppView.
fn read_from(config: &mut Config, server: &Server) -> Result<(), Failure> {
    let endpoint = |url: &str, scheme: &str| {
        let parsed = Endpoint::parse(url, &[scheme]);
        parsed.map_err(|why| Failure::because("the simulated network has no address", why))
    };
    let relay = server.relay_url().parse::<RelayUrl>();
    let relay =
        relay.map_err(|why| Failure::because("the simulated network has no address", why))?;
    config.firehose.url = vec![relay];
    config.firehose.start = Start::Oldest;
    config.scheduler.profiles_url = endpoint(&server.url(), "http")?;
    tracing::info!(relay = %config.firehose.url[0], profiles = %config.scheduler.profiles_url, "simulated network");
    Ok(())
}
