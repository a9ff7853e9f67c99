//! Ingest from the network's relay with every possible fault: whatever was sent is written and
//! counted exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::memory::MemoryLog;
use skytide_ingest::frame::Verify;
use skytide_ingest::{Options as IngestOptions, RelayOptions, RelaySource};
use skytide_simnet::faults::{Fault, FaultPlan, Faults};
use skytide_simnet::malformed::{Kind, Rates};
use skytide_simnet::server::{Options as ServerOptions, Pace, Server};
use skytide_simnet::{Network, Options};

use super::trouble::{self, planned};
use super::{frames, options};
use crate::ingest::harness::{self, Running, Stored};

/// Number of frames of a network.
const FRAMES: u64 = 4_000;

/// Reads a network over its relay; answers what is in the log behind the last frame, and the faults that happened.
async fn read(network: &Options, plan: &FaultPlan) -> (Stored, BTreeMap<Fault, u64>) {
    let served = ServerOptions {
        pace: Pace::Max,
        faults: Faults::new(plan.clone()),
        ..ServerOptions::default()
    };
    let server = Server::start(served, Network::new(network.clone()), harness::clock());
    let server = server.await.expect("started");
    let relay = RelayOptions {
        // Only time distinguishes a stall or a quiet host from a working connection.
        read_timeout: Duration::from_millis(500),
        ..harness::relay_options_at(server.relay_url())
    };
    let source = RelaySource::new(relay, harness::clock()).expect("an address");
    let source = source.named(&network.host);
    let ingest = IngestOptions {
        verify: Verify::Blocks,
        // The time of the first frames is their common median.
        tick_interval: Duration::from_secs(1),
        tick_events_max: 500,
        ..harness::options()
    };
    let running = Running::start(Box::new(source), ingest, Arc::new(MemoryLog::new(1)));
    server.until(|state| state.ended).await;
    let last = server.state().newest_seq;
    let renumberings = planned(plan).remove(&Fault::SeqReset).unwrap_or_default();
    let whole = |stored: &Stored| stored.count("resets") == renumberings && stored.cursor() >= last;
    let stored = running.until(whole).await;
    let fired = server.faults().fired();
    running.stop().await;
    (stored, fired)
}

/// Compares every event and every counter except `disconnects`, because connections may also be
/// lost by chance.
#[track_caller]
fn compare(network: &Options, plan: &FaultPlan, stored: &Stored) {
    let seed = network.seed;
    let frames: Vec<_> = frames(network.clone()).collect();
    let expected = trouble::events(&frames, plan);
    for (ours, theirs) in stored.events.iter().zip(&expected) {
        assert_eq!(ours, theirs, "seed {seed}");
    }
    assert_eq!(stored.events.len(), expected.len(), "seed {seed}");

    let mut expected = trouble::counters(&frames, plan);
    expected.retain(|name, _| !super::decoded::is_later(name));
    let mut counts = BTreeMap::<String, u64>::new();
    for (name, count) in stored.ticks.iter().flat_map(|tick| &tick.counts) {
        *counts.entry(name.to_string()).or_default() += count;
    }
    expected.remove("disconnects");
    for not_known in ["disconnects", "frame_bytes"] {
        counts.remove(not_known);
    }
    counts.retain(|name, _| !super::decoded::is_coverage(name));
    assert_eq!(counts, expected, "seed {seed}");
}

#[tokio::test]
async fn each_fault_occurs_and_is_counted_and_affects_nothing_else() {
    let network = Options {
        // Connections that end by themselves would shift the plan.
        malformed: Rates::all(1_000).with(Kind::ErrorFrame, 0),
        ..options(21, FRAMES)
    };
    let plan = FaultPlan::default()
        .on_connection(1, 200, Fault::Text)
        .on_connection(1, 300, Fault::Garbage)
        .on_connection(1, 400, Fault::Drop)
        .on_connection(2, 0, Fault::Http429)
        .on_connection(3, 0, Fault::Http500)
        .on_connection(4, 0, Fault::Http503)
        .on_connection(5, 0, Fault::Html)
        .on_connection(6, 100, Fault::Close)
        .on_connection(7, 100, Fault::FutureCursor)
        .on_connection(8, 100, Fault::ConsumerTooSlow)
        .on_connection(9, 100, Fault::TypedError)
        .on_connection(10, 100, Fault::Oversized)
        .on_connection(10, 200, Fault::Stall)
        .on_connection(11, 100, Fault::Quiet);
    let (stored, fired) = read(&network, &plan).await;
    assert_eq!(fired, planned(&plan));
    compare(&network, &plan, &stored);
}

#[tokio::test]
async fn error_frames_end_a_connection_and_nothing_after_them_is_lost() {
    let network = Options {
        malformed: Rates::none()
            .with(Kind::ErrorFrame, 10_000)
            .with(Kind::InfoOutdated, 100_000)
            .with(Kind::HeaderGarbage, 100_000),
        ..options(22, FRAMES)
    };
    let plan = FaultPlan::default();
    let (stored, _) = read(&network, &plan).await;
    compare(&network, &plan, &stored);
}

#[tokio::test]
async fn random_resets_lose_no_event() {
    let network = options(23, FRAMES);
    let plan = FaultPlan {
        seed: 23,
        ..FaultPlan::default()
    };
    let plan = plan.rate(Fault::Reset, 5_000);
    let (stored, fired) = read(&network, &plan).await;
    assert!(fired[&Fault::Reset] > 5, "{fired:?}");
    compare(&network, &plan, &stored);
}

/// At this pace, times within a second vary in both directions by up to a second, so detecting
/// newer numbers takes long.
#[tokio::test]
async fn restarted_numbers_lose_nothing_at_the_pace_of_the_real_network() {
    let network = Options {
        rate: 400.0,
        ..options(24, FRAMES)
    };
    let plan = FaultPlan::default().on_any_connection(FRAMES / 2, Fault::SeqReset);
    let (stored, fired) = read(&network, &plan).await;
    assert_eq!(fired, planned(&plan));
    compare(&network, &plan, &stored);
}
