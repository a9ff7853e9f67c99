//! Ingest on the network's relay, with everything wrong that can be: what is written and counted is what was sent, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::memory::MemoryLog;
use skytide_ingest::frame::Verify;
use skytide_ingest::{Options as IngestOptions, RelayOptions, RelaySource};
use skytide_simnet::bad::{Kind, Rates};
use skytide_simnet::faults::{Fault, Faults, Plan};
use skytide_simnet::server::{Options as ServerOptions, Pace, Server};
use skytide_simnet::{Network, Options, Totals};

use super::{frames, options};
use crate::ingest::harness::{self, Running, Stored};

/// Frames of a network.
const FRAMES: u64 = 4_000;

/// Reads a network over its relay; answers what is in the log behind the last frame, and the faults that happened.
async fn read(network: &Options, plan: Plan) -> (Stored, BTreeMap<Fault, u64>) {
    let served = ServerOptions {
        pace: Pace::Max,
        faults: Faults::new(plan),
        ..ServerOptions::default()
    };
    let server = Server::start(served, Network::new(network.clone()), harness::clock());
    let server = server.await.expect("started");
    let relay = RelayOptions {
        url: server.relay_url(),
        start: skytide_core::config::Start::Oldest,
        // A stall or a quiet host is told from nothing else but time.
        read_timeout: Duration::from_millis(500),
        ping_interval: Duration::ZERO,
        connect_timeout: Duration::from_secs(60),
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        message_bytes_max: 5_000_000,
        seed: 1,
    };
    let source = RelaySource::new(relay, harness::clock()).expect("an address");
    let source = source.named(&network.host);
    let ingest = IngestOptions {
        verify: Verify::Blocks,
        // The first frames' time is that of all of them together.
        tick_interval: Duration::from_secs(1),
        tick_events_max: 500,
        ..harness::options()
    };
    let running = Running::start(Box::new(source), ingest, Arc::new(MemoryLog::new(1)));
    server.until(|state| state.ended).await;
    let last = server.state().newest_seq;
    let stored = running.until(|stored| stored.cursor() >= last).await;
    let fired = server.faults().fired();
    running.stop().await;
    (stored, fired)
}

/// Compares every event, and every counter but those of connections; `extra`: what faults add to what the network says.
#[track_caller]
fn compare(network: &Options, stored: &Stored, extra: &[(&str, u64)]) {
    let seed = network.seed;
    let frames: Vec<_> = frames(network.clone()).collect();
    let expected = frames.iter().flat_map(|frame| &frame.events);
    for (ours, theirs) in stored.events.iter().zip(expected.clone()) {
        assert_eq!(ours, theirs, "seed {seed}");
    }
    assert_eq!(stored.events.len(), expected.count(), "seed {seed}");

    let mut totals = Totals::default();
    frames.iter().for_each(|frame| totals.add(frame));
    let mut expected = totals.by_name().clone();
    for (name, more) in extra {
        *expected.entry((*name).to_owned()).or_default() += more;
    }
    expected.retain(|name, _| !super::decoded::is_later(name));
    let mut counts = BTreeMap::<String, u64>::new();
    for (name, count) in stored.ticks.iter().flat_map(|tick| &tick.counts) {
        *counts.entry(name.to_string()).or_default() += count;
    }
    for of_connections in ["disconnects", "frame_bytes"] {
        counts.remove(of_connections);
        expected.remove(of_connections);
    }
    assert_eq!(counts, expected, "seed {seed}");
}

#[tokio::test]
async fn each_fault_happens_is_counted_and_disturbs_nothing_else() {
    let network = Options {
        // Connections that end by themselves would shift the plan.
        bad: Rates::all(1_000).with(Kind::ErrorFrame, 0),
        ..options(21, FRAMES)
    };
    let plan = Plan::default()
        .then(1, 200, Fault::Text)
        .then(1, 300, Fault::Garbage)
        .then(1, 400, Fault::Drop)
        .then(2, 0, Fault::Http429)
        .then(3, 0, Fault::Http500)
        .then(4, 0, Fault::Http503)
        .then(5, 0, Fault::Html)
        .then(6, 100, Fault::Close)
        .then(7, 100, Fault::FutureCursor)
        .then(8, 100, Fault::ConsumerTooSlow)
        .then(9, 100, Fault::TypedError)
        .then(10, 100, Fault::Oversized)
        .then(11, 100, Fault::Stall)
        .then(12, 100, Fault::Quiet);
    let planned: BTreeMap<_, _> = plan.steps.iter().map(|step| (step.fault, 1)).collect();
    let (stored, fired) = read(&network, plan).await;
    assert_eq!(fired, planned);
    let extra = [
        ("frames", 6),
        ("frames/unreadable", 3),
        ("frames/error", 3),
        ("dropped/frame_text", 1),
        ("dropped/frame_cbor", 1),
        ("dropped/frame_size", 1),
        ("dropped/frame_error", 3),
        ("error/FutureCursor", 1),
        ("error/ConsumerTooSlow", 1),
        ("error/other", 1),
    ];
    compare(&network, &stored, &extra);
}

#[tokio::test]
async fn error_frames_of_the_network_end_a_connection_and_nothing_behind_them_is_lost() {
    let network = Options {
        bad: Rates::none()
            .with(Kind::ErrorFrame, 10_000)
            .with(Kind::InfoOutdated, 100_000)
            .with(Kind::HeaderGarbage, 100_000),
        ..options(22, FRAMES)
    };
    let (stored, _) = read(&network, Plan::default()).await;
    compare(&network, &stored, &[]);
}

#[tokio::test]
async fn resets_by_chance_lose_no_event() {
    let network = options(23, FRAMES);
    let plan = Plan {
        seed: 23,
        ..Plan::default()
    };
    let (stored, fired) = read(&network, plan.rate(Fault::Reset, 5_000)).await;
    assert!(fired[&Fault::Reset] > 5, "{fired:?}");
    compare(&network, &stored, &[]);
}
