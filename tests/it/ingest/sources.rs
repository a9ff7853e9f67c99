//! Relays take turns: each has a position of its own, and what was not read is recorded.

use std::sync::Arc;

use ciborium::cbor;
use skytide_core::event::{Gap, GapCause, Tick};
use skytide_core::id::Cursor;
use skytide_core::memory::MemoryLog;
use skytide_core::port::log::Log;
use skytide_core::time::Timestamp;
use skytide_ingest::assemble::{Assembler, Setup};
use skytide_ingest::{IngestError, Options, RelayOptions};
use skytide_tests::relay::{Act, RelayServer};

use super::frames::{self, NOON};
use super::harness::{Running, Stored, options, relay_options, setup};

fn host(relay: &RelayServer) -> String {
    relay.url().replace("ws://", "")
}

/// Frames of a relay with numbers from `first` on, at times from `time` on, a second apart.
fn stream(first: u64, count: u64, time: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| frames::identity(first + n, time + n * 1_000))
        .collect()
}

/// One run from a relay, until it has read up to this number.
async fn read(relay: &RelayServer, options: Options, log: &Arc<dyn Log>, cursor: u64) -> Stored {
    let running = Running::relay(relay_options(relay), options, log.clone());
    let host = host(relay);
    let reached = |stored: &Stored| {
        let newest = stored.ticks.last();
        newest.is_some_and(|tick| *tick.host == *host && tick.cursor == Cursor(cursor))
    };
    let stored = running.until(reached).await;
    running.stop().await;
    stored
}

fn gaps(stored: &Stored) -> Vec<Gap> {
    let gaps = stored.ticks.iter().flat_map(|tick| &tick.sources.gaps);
    gaps.copied().collect()
}

#[tokio::test]
async fn a_relay_that_was_read_before_resumes_where_it_was_left() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let first = RelayServer::start(stream(1_000, 10, NOON));
    let second = RelayServer::start(stream(1, 20, NOON + 60_000));
    read(&first, options(), &log, 1_009).await;
    read(&second, options(), &log, 20).await;
    first.publish(stream(1_010, 5, NOON + 120_000));
    let stored = read(&first, options(), &log, 1_014).await;

    // It looks again at the frames before its position for their time.
    assert_eq!(first.cursors(), [Some(0), Some(1_009 - 256)]);
    assert_eq!(second.cursors(), [Some(0)]);
    let expected: Vec<u64> = (1_000..1_010).chain(1..=20).chain(1_010..1_015).collect();
    assert_eq!(stored.seqs(), expected);
    let newest = stored.ticks.last().unwrap();
    let others: Vec<_> = newest.sources.others.iter().collect();
    assert_eq!((others.len(), &**others[0].0), (1, &*host(&second)));
    assert_eq!(others[0].1.cursor, Cursor(20));
    let epochs = stored.ticks.iter().map(|tick| tick.epoch.0);
    assert!(epochs.eq(1..=stored.ticks.len() as u64));

    // Only the relay that was new has missed something.
    let gap = gaps(&stored);
    assert_eq!(gap.len(), 1, "{gap:?}");
    assert_eq!(gap[0].cause, GapCause::NewSource);
    let mut last_of_first = stored.ticks.iter().filter(|tick| tick.cursor.0 == 1_009);
    assert_eq!(gap[0].from, last_of_first.next_back().unwrap().time);
    assert!(gap[0].to >= Timestamp(NOON + 60_000) && gap[0].to <= Timestamp(NOON + 80_000));
    assert_eq!(stored.count("coverage_gaps/new_source"), 1);
    assert_eq!(stored.count("coverage_gap_ms"), gap[0].to.0 - gap[0].from.0);
}

#[tokio::test]
async fn another_relay_whose_stream_overlaps_has_no_gap() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let first = RelayServer::start(stream(1_000, 60, NOON));
    let second = RelayServer::start(stream(1, 60, NOON - 600_000));
    read(&first, options(), &log, 1_059).await;
    let stored = read(&second, options(), &log, 60).await;
    assert_eq!(gaps(&stored), []);
    let times: Vec<_> = stored.ticks.iter().map(|tick| tick.time).collect();
    assert!(times.is_sorted());
}

#[tokio::test]
async fn a_relay_that_is_gone_is_left_for_the_next_one_and_a_restart_stays_there() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let [first, second] =
        [stream(1_000, 10, NOON), stream(1, 20, NOON + 60_000)].map(RelayServer::start);
    let both = || {
        let mut relays = vec![relay_options(&first), relay_options(&second)];
        relays
            .iter_mut()
            .for_each(|relay| relay.attempts_max = Some(3));
        relays
    };
    let refuse = || {
        vec![Act::Refuse {
            status: 503,
            headers: Vec::new(),
            body: "",
        }]
    };
    first.script([vec![Act::Frames(10), Act::Close(1001)]]);
    first.script((0..20).map(|_| refuse()));
    let running = Running::relays(both(), options(), log.clone());
    let stored = running.until(|stored| stored.cursor() == 20).await;
    let expected: Vec<u64> = (1_000..1_010).chain(1..=20).collect();
    assert_eq!(stored.seqs(), expected);
    assert_eq!(gaps(&stored).len(), 1);
    assert!(
        running
            .metrics()
            .contains("skytide_ingest_source_changes_total 1")
    );
    running.stop().await;
    let attempts = first.cursors().len();
    assert_eq!(attempts, 1 + 3, "one that worked, then the limit");

    second.publish(stream(21, 5, NOON + 90_000));
    let running = Running::relays(both(), options(), log);
    let stored = running.until(|stored| stored.cursor() == 25).await;
    assert_eq!(first.cursors().len(), attempts, "the restart stays");
    assert_eq!(stored.seqs().len(), 35);
    running.stop().await;
}

#[tokio::test]
async fn all_relays_are_tried_in_turn_until_one_answers() {
    let relays = [(); 3].map(|()| RelayServer::start(stream(1, 10, NOON)));
    let refused = vec![Act::Refuse {
        status: 500,
        headers: Vec::new(),
        body: "",
    }];
    for (relay, refusals) in relays.iter().zip([7, 9, 4]) {
        relay.script((0..refusals).map(|_| refused.clone()));
    }
    let options_of = |relay| RelayOptions {
        attempts_max: Some(2),
        ..relay_options(relay)
    };
    let list = relays.iter().map(options_of).collect();
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let running = Running::relays(list, options(), log);
    let stored = running.until(|stored| stored.cursor() == 10).await;
    assert_eq!(&*stored.ticks.last().unwrap().host, &*host(&relays[2]));
    running.stop().await;
    let attempts = relays.each_ref().map(|relay| relay.cursors().len());
    assert_eq!(attempts, [6, 6, 5]);
}

#[tokio::test]
async fn a_relay_given_twice_is_refused() {
    let relay = RelayServer::start(stream(1, 1, NOON));
    let list = vec![relay_options(&relay), relay_options(&relay)];
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let ended = Running::relays(list, options(), log).end().await;
    assert!(matches!(ended, Err(IngestError::Sources(_))), "{ended:?}");
}

#[tokio::test]
async fn a_cursor_is_abandoned_once_however_often_it_is_started_with_that() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let relay = RelayServer::start(stream(1_000, 10, NOON));
    let reset = || Options {
        cursor_reset: true,
        ..options()
    };
    read(&relay, options(), &log, 1_009).await;
    // The relay lost its numbers.
    drop(relay);
    let relay = RelayServer::start(stream(1, 20, NOON + 60_000));
    let named = |options: Options| {
        let relay = &relay;
        let log = log.clone();
        async move {
            let source =
                skytide_ingest::RelaySource::new(relay_options(relay), super::harness::clock());
            let source = source.unwrap().named("relay.example");
            Running::start(Box::new(source), options, log)
        }
    };
    // All under one name, as a relay keeps its name.
    let mut started = named(options()).await;
    started.until(|stored| stored.cursor() == 20).await;
    started.stop().await;
    for (restart, options, asked) in [
        (1, reset(), Some(0)),
        (2, reset(), Some(1)),
        (3, options(), Some(1)),
        (4, reset(), Some(0)),
    ] {
        let before = relay.cursors().len();
        started = named(options).await;
        relay.connections(before + 1).await;
        assert_eq!(relay.cursors()[before], asked, "restart {restart}");
        let epoch = Stored::of(log.as_ref()).await.ticks.last().unwrap().epoch;
        started
            .until(|stored| {
                let newest = stored.ticks.last().unwrap();
                newest.epoch.0 > epoch.0 + 1 && newest.cursor == Cursor(20)
            })
            .await;
        started.stop().await;
    }
    let stored = Stored::of(log.as_ref()).await;
    assert_eq!(stored.count("coverage_gaps/cursor_reset"), 2);
}

#[test]
fn another_way_to_write_an_address_is_no_other_source() {
    let setup = |host: &str, former: &[&str]| Setup {
        former_hosts: former.iter().map(|name| (*name).into()).collect(),
        ..setup(host, true)
    };
    let mut old = Assembler::new(setup("relay.example:443", &[]), None);
    old.clock(Timestamp(NOON + 100_000));
    stream(1, 40, NOON)
        .into_iter()
        .for_each(|frame| old.frame(frame.into()));
    old.tick(false);
    let newest: Tick = old.take_cuts().pop().unwrap().tick;
    let new = Assembler::new(
        setup("relay.example", &["relay.example:443"]),
        Some(&newest),
    );
    assert_eq!(new.position().cursor, Some(Cursor(40)));
    let address: skytide_core::config::RelayUrl = "WSS://Relay.example:443/".parse().unwrap();
    assert_eq!(address.name(), "relay.example");
    assert!(address.former_names().contains(&newest.host.to_string()));
}

/// A whole frame of at least this many bytes.
fn huge(seq: u64, bytes: usize) -> Vec<u8> {
    let body = cbor!({
        "seq" => seq, "did" => frames::did(1), "time" => Timestamp(NOON + seq).rfc3339(),
        "handle" => "h".repeat(bytes)
    });
    frames::frame("#identity", &body.unwrap())
}

#[tokio::test]
async fn a_message_over_the_limit_is_dropped_without_another_connection_whatever_the_gap() {
    for gap in [0, 1, 20, 1_000, 1 << 40] {
        for bytes in [1_001, 3_000, 300_000] {
            let at = 21 + gap;
            let mut frames = stream(1, 20, NOON);
            frames.push(huge(at, bytes));
            frames.extend(stream(at + 1, 10, NOON + 30_000));
            let relay = RelayServer::start(frames);
            let small = RelayOptions {
                message_bytes_max: 1_000,
                ..relay_options(&relay)
            };
            let running = Running::relay(small, options(), Arc::new(MemoryLog::new(1)));
            let stored = running.until(|stored| stored.cursor() == at + 10).await;
            let expected: Vec<u64> = (1..=20).chain(at + 1..=at + 10).collect();
            assert_eq!(stored.seqs(), expected, "gap {gap}, {bytes} bytes");
            assert_eq!(relay.cursors().len(), 1);
            assert_eq!(stored.count("dropped/frame_size"), 1);
            assert_eq!(stored.count("missing_seqs"), gap + 1);
            assert_eq!(stored.count("coverage_gaps/message_size"), 1);
            let gaps = gaps(&stored);
            assert_eq!(gaps.len(), 1, "{gaps:?}");
            assert_eq!(gaps[0].cause, GapCause::MessageSize);
            // Network time is not later than the newest frame before the message.
            assert!(gaps[0].from <= Timestamp(NOON + 19_000), "{gaps:?}");
            assert!(gaps[0].to >= Timestamp(NOON + 30_000), "{gaps:?}");
            running.stop().await;
        }
    }
}

fn assembler(live: bool, newest: Option<&Tick>) -> Assembler {
    let mut assembler = Assembler::new(setup("relay.example", live), newest);
    assembler.clock(Timestamp(NOON + 200_000));
    assembler
}

/// Processes frames; `None` stands for a message over the limit. Returns the last tick, and its
/// count of such messages.
fn process(
    assembler: &mut Assembler,
    messages: impl IntoIterator<Item = Option<Vec<u8>>>,
    last: bool,
) -> (Tick, u64) {
    for message in messages {
        match message {
            Some(frame) => assembler.frame(frame.into()),
            None => assembler.oversized(),
        }
    }
    assembler.tick(last);
    let tick = assembler.take_cuts().pop().expect("an epoch").tick;
    let dropped = tick.counts.get("dropped/frame_size").copied();
    (tick, dropped.unwrap_or_default())
}

#[test]
fn a_message_over_the_limit_that_a_relay_repeats_after_a_restart_counts_once() {
    let part = |from, count| {
        stream(from, count, NOON + from * 1_000)
            .into_iter()
            .map(Some)
    };
    let before = || part(1, 20).chain([None]).chain(part(21, 20));
    let (newest, dropped) = process(&mut assembler(true, None), before(), false);
    assert_eq!((dropped, newest.sources.gaps.len()), (1, 1));

    let mut restarted = assembler(true, Some(&newest));
    let (tick, dropped) = process(&mut restarted, before().chain(part(41, 5)), false);
    assert_eq!(
        (dropped, tick.sources.gaps.len()),
        (0, 0),
        "{:?}",
        tick.sources
    );
    assert_eq!(tick.cursor, Cursor(45));

    // The message after the last repeated frame is a new one.
    let mut restarted = assembler(true, Some(&newest));
    let messages = before().chain([None]).chain(part(41, 5));
    let (tick, dropped) = process(&mut restarted, messages, false);
    assert_eq!((dropped, tick.sources.gaps.len()), (1, 1));
}

#[test]
fn the_gap_at_a_message_over_the_limit_starts_with_the_frames_before_it() {
    let messages = (stream(1, 5, NOON).into_iter().map(Some))
        .chain([None])
        .chain(stream(7, 25, NOON + 60_000).into_iter().map(Some));
    let (tick, _) = process(&mut assembler(true, None), messages, false);
    let gap = tick.sources.gaps[0];
    assert!(gap.from <= Timestamp(NOON + 4_000), "{gap:?}");
    assert!(gap.to >= Timestamp(NOON + 60_000), "{gap:?}");
}

#[test]
fn a_recording_that_starts_with_a_message_over_the_limit_has_the_times_of_its_frames() {
    let frames = stream(1, 5, NOON).into_iter().map(Some);
    let messages = std::iter::once(None).chain(frames);
    let (tick, dropped) = process(&mut assembler(false, None), messages, true);
    assert_eq!((dropped, tick.frames), (1, 6));
    assert!(tick.time >= Timestamp(NOON), "{tick:?}");
}

#[tokio::test]
async fn readiness_says_that_the_stream_is_stuck_at_a_message_too_large_to_skip() {
    let relay = RelayServer::start(stream(1, 20, NOON));
    relay.script([vec![Act::Frames(20), Act::Announce(1 << 40)]]);
    relay.script((0..1_000).map(|_| vec![Act::Announce(1 << 40)]));
    let running = Running::relay(
        relay_options(&relay),
        options(),
        Arc::new(MemoryLog::new(1)),
    );
    while !(running.status.problem()).is_some_and(|problem| problem.contains("1099511627776")) {
        tokio::task::yield_now().await;
    }
    running.stop().await;
}
