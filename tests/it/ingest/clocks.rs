//! Whose clock is right: frames ahead of ours, and frames without a time.

use std::sync::Arc;

use ciborium::{Value, cbor};
use skytide_core::config::Start;
use skytide_core::event::{Body, Event, Message};
use skytide_core::id::Cursor;
use skytide_core::memory::MemoryLog;
use skytide_core::port::clock::ManualClock;
use skytide_core::time::Timestamp;
use skytide_ingest::assemble::{Assembler, Cut};
use skytide_ingest::{RelayOptions, RelaySource, Source};
use skytide_tests::relay::RelayServer;

use super::frames::{self, Commit, NOON, did, rev_at};
use super::harness::{Running, options, relay_options, setup};

const LIKE: [(&str, &str); 1] = [("create", "app.bsky.feed.like/a")];
/// How far the network is ahead of the machine.
const SLOW_MS: u64 = 600_000;

/// A commit of an account of its own, whose time and revision agree.
fn commit(seq: u64, time: u64) -> Vec<u8> {
    let mut commit = Commit::new(seq, &LIKE);
    commit.did = did(seq);
    commit.time = time;
    commit.rev = rev_at(time);
    commit.frame()
}

fn assembler(live: bool, clock: u64) -> Assembler {
    let mut assembler = Assembler::new(setup("relay.example", live), None);
    assembler.clock(Timestamp(clock));
    assembler
}

fn events(cuts: &[Cut]) -> Vec<&Event> {
    let messages = cuts.iter().flat_map(|cut| &cut.messages);
    let events = messages.filter_map(|message| match message {
        Message::Event(event) => Some(event),
        Message::Tick(_) => None,
    });
    events.collect()
}

fn count(cuts: &[Cut], name: &str) -> u64 {
    let counts = cuts.iter().filter_map(|cut| cut.tick.counts.get(name));
    counts.sum()
}

#[tokio::test]
async fn a_slow_clock_stops_reading_and_drops_nothing() {
    let clock = Arc::new(ManualClock::default());
    clock.set(Timestamp(NOON));
    let stream = (1..=3_000).map(|seq| commit(seq, NOON + SLOW_MS + seq));
    let relay = RelayServer::start(stream);
    let source = RelaySource::new(relay_options(&relay), clock.clone()).unwrap();
    let log = Arc::new(MemoryLog::new(1));
    let sources: Vec<Box<dyn Source>> = vec![Box::new(source)];
    let running = Running::start_all(sources, (options(), clock.clone()), log);
    let problem = loop {
        if let Some(problem) = running.status.problem() {
            break problem;
        }
        tokio::task::yield_now().await;
    };
    assert!(problem.contains("clock is 60"), "{problem}");
    let metrics = running.metrics();
    assert!(metrics.contains("skytide_ingest_clock_behind_seconds 60"));
    let bounds = running.log.bounds().await.unwrap();
    assert_eq!(bounds.first, bounds.next, "something was counted");

    clock.set(Timestamp(NOON + SLOW_MS));
    let stored = running.until(|stored| stored.cursor() == 3_000).await;
    assert_eq!(stored.seqs(), (1..=3_000).collect::<Vec<_>>());
    assert_eq!(stored.count("dropped/rev_future"), 0);
    assert_eq!(stored.count("frames"), 3_000);
    assert!(stored.ticks.iter().all(|tick| tick.time.0 >= NOON));
    assert_eq!(running.status.problem(), None);
    running.stop().await;
}

#[tokio::test]
async fn what_was_held_when_it_stopped_is_read_again() {
    let clock = Arc::new(ManualClock::default());
    clock.set(Timestamp(NOON));
    let mut stream: Vec<_> = (1..=40).map(|seq| commit(seq, NOON)).collect();
    stream.extend((41..=2_000).map(|seq| commit(seq, NOON + SLOW_MS + seq)));
    let relay = RelayServer::start(stream);
    let log = Arc::new(MemoryLog::new(1));
    for (now, cursor) in [(NOON, 40), (NOON + SLOW_MS, 2_000)] {
        clock.set(Timestamp(now));
        let source = RelaySource::new(relay_options(&relay), clock.clone()).unwrap();
        let sources: Vec<Box<dyn Source>> = vec![Box::new(source)];
        let running = Running::start_all(sources, (options(), clock.clone()), log.clone());
        let stored = running.until(|stored| stored.cursor() == cursor).await;
        assert_eq!(stored.seqs(), (1..=cursor).collect::<Vec<_>>());
        assert_eq!(stored.count("dropped/rev_future"), 0);
        let tick = running.stop().await.tick.unwrap();
        assert_eq!(
            tick.cursor,
            Cursor(cursor),
            "the cursor is ahead of the data"
        );
    }
}

#[test]
fn a_clock_that_goes_back_loses_no_commit_at_any_size_of_the_step() {
    for step in [60_001, 299_000, 301_000, 86_400_000] {
        let mut assembler = assembler(true, NOON + 50);
        let frame = |seq: u64| commit(seq, NOON + seq);
        (1..=50).for_each(|seq| assembler.frame(frame(seq).into()));
        assembler.tick(false);
        assembler.clock(Timestamp(NOON + 50 - step));
        (51..=80).for_each(|seq| assembler.frame(frame(seq).into()));
        (0..4).for_each(|_| assembler.tick(false));
        assert!(assembler.clock_behind_ms() >= Some(60_000), "step {step}");
        assert_eq!(assembler.position().cursor, Some(Cursor(50)));
        assembler.clock(Timestamp(NOON + 100));
        assembler.tick(false);
        assert_eq!(assembler.clock_behind_ms(), None);
        let cuts = assembler.take_cuts();
        let counted = (events(&cuts).len(), count(&cuts, "dropped/rev_future"));
        assert_eq!(counted, (80, 0), "step {step}");
    }
}

#[test]
fn a_connection_that_is_lost_meanwhile_resumes_after_what_is_held() {
    let mut assembler = assembler(true, NOON - SLOW_MS);
    (1..=20).for_each(|seq| assembler.frame(commit(seq, NOON + seq).into()));
    assert_eq!(assembler.disconnected().cursor, Some(Cursor(20)));
    (21..=40).for_each(|seq| assembler.frame(commit(seq, NOON + seq).into()));
    assembler.tick(false);
    assert!(events(&assembler.take_cuts()).is_empty());
    assembler.clock(Timestamp(NOON + 40));
    assembler.tick(false);
    assert_eq!(events(&assembler.take_cuts()).len(), 40);
}

#[test]
fn one_account_with_frames_of_the_future_stops_nobody() {
    let mut assembler = assembler(true, NOON + 1_000);
    (1..=40).for_each(|seq| assembler.frame(commit(seq, NOON + seq).into()));
    assembler.tick(false);
    let forged = |seq: u64| {
        let mut commit = Commit::new(seq, &LIKE);
        commit.time = NOON + 3_600_000 + seq;
        commit.rev = rev_at(commit.time);
        commit.frame()
    };
    (41..=900).for_each(|seq| assembler.frame(forged(seq).into()));
    assembler.frame(commit(901, NOON + 901).into());
    assert!(!assembler.is_stalled());
    assembler.tick(false);
    let cuts = assembler.take_cuts();
    assert_eq!(events(&cuts).len(), 41);
    assert_eq!(count(&cuts, "dropped/rev_future"), 860);
    assert!(assembler.now() <= Timestamp(NOON + 1_000));
}

#[test]
fn a_recording_keeps_its_own_time() {
    let mut assembler = assembler(false, NOON - SLOW_MS);
    (1..=50).for_each(|seq| assembler.frame(commit(seq, NOON + seq).into()));
    assembler.tick(true);
    assert_eq!(assembler.clock_behind_ms(), None);
    let cuts = assembler.take_cuts();
    assert_eq!((events(&cuts).len(), assembler.now().0), (50, NOON + 35));
}

/// A commit of an account of its own with this `time`; `None`: without the field.
fn commit_at(seq: u64, time: Option<Value>) -> Vec<u8> {
    let bytes = commit(seq, NOON + seq);
    let header = frames::encode(&cbor!({"op" => 1, "t" => "#commit"}).unwrap(), &Value::Null);
    let header = &header[..header.len() - 1];
    let mut body: Value = ciborium::from_reader(&bytes[header.len()..]).unwrap();
    let fields = body.as_map_mut().unwrap();
    fields.retain(|(key, _)| key.as_text() != Some("time"));
    fields.extend(time.map(|time| ("time".into(), time)));
    frames::frame("#commit", &body)
}

fn unreadable() -> Vec<Option<Value>> {
    let mut times: Vec<Option<Value>> = [
        "2026-11-30 05:20:00",
        "2026-11-30t05:20:00z",
        "2026-11-30T05:20:00",
        "2026-02-30T05:20:00Z",
        "1970-01-01T00:00:12.000Z",
        "soon",
        "",
    ]
    .map(|text| Some(text.into()))
    .into();
    times.extend([None, Some(Value::Null), Some(7.into())]);
    times
}

#[test]
fn frames_without_a_readable_time_count_by_our_clock_or_by_their_revision() {
    for time in unreadable() {
        for live in [true, false] {
            let now = NOON + 5_000;
            let mut assembler = assembler(live, now);
            (1..=100).for_each(|seq| assembler.frame(commit_at(seq, time.clone()).into()));
            assert!(assembler.is_untimed(), "{time:?}");
            assembler.tick(!live);
            let cuts = assembler.take_cuts();
            let what = format!("{time:?}, live {live}");
            assert_eq!(events(&cuts).len(), 100, "{what}");
            assert_eq!(count(&cuts, "dropped/frame_time"), 100, "{what}");
            let (least, most) = if live { (now, now) } else { (NOON, NOON + 100) };
            let within = |event: &&Event| (least..=most).contains(&event.time.0);
            assert!(events(&cuts).iter().all(within), "{what}");
            assert!(cuts.iter().all(|cut| cut.tick.time.0 >= least), "{what}");
        }
    }
}

#[test]
fn a_mixture_of_frames_with_and_without_a_time_has_no_event_of_1970() {
    for live in [true, false] {
        for first_timed in [0, 1, 40, 99] {
            let mut assembler = assembler(live, NOON + 5_000);
            for seq in 1..=100 {
                if seq % 10 == 0 && seq > first_timed {
                    assembler.frame(frames::identity(seq, NOON + seq).into());
                } else {
                    let time = Some("2026-11-30 05:20:00".into());
                    assembler.frame(commit_at(seq, time).into());
                }
                if live && seq % 7 == 0 {
                    assembler.tick(false);
                }
            }
            assembler.tick(!live);
            let cuts = assembler.take_cuts();
            assert_eq!(events(&cuts).len(), 100, "live {live}");
            assert!(events(&cuts).iter().all(|event| event.time.0 >= NOON));
            assert!(cuts.iter().all(|cut| cut.tick.time.0 >= NOON));
            assert!(count(&cuts, "dropped/frame_time") >= 90);
        }
    }
}

#[test]
fn a_recording_without_any_time_drops_what_cannot_be_placed() {
    let identity = |seq: u64| {
        let body =
            cbor!({"seq" => seq, "did" => did(seq), "time" => "now", "handle" => "a.example"});
        frames::frame("#identity", &body.unwrap())
    };
    let mut assembler = assembler(false, NOON);
    (1..=100).for_each(|seq| assembler.frame(identity(seq).into()));
    assembler.tick(true);
    let cuts = assembler.take_cuts();
    assert!(events(&cuts).is_empty());
    assert_eq!(count(&cuts, "dropped/frame_time"), 100);
}

#[test]
fn a_time_of_sending_far_after_the_machines_clock_is_unknown() {
    const DAY: u64 = 86_400_000;
    for (live, forged) in [(true, None), (false, Some(Timestamp(NOON + DAY)))] {
        let mut assembler = assembler(live, NOON);
        for seq in 1..=100 {
            let time = if seq == 50 { NOON + DAY } else { NOON - seq };
            assembler.frame(frames::identity(seq, time).into());
        }
        assembler.tick(!live);
        let cuts = assembler.take_cuts();
        let sent = events(&cuts).into_iter().map(|event| match event.body {
            Body::Identity { sent, .. } => sent,
            _ => panic!("{event:?}"),
        });
        let expected = (1..=100).map(|seq| match seq {
            50 => forged,
            _ => Some(Timestamp(NOON - seq)),
        });
        assert!(sent.eq(expected), "live: {live}");
    }
}

#[tokio::test]
async fn a_stream_without_times_is_reported_and_counted() {
    let stream = (1..=50).map(|seq| commit_at(seq, Some("2026-11-30 05:20:00".into())));
    let relay = RelayServer::start(stream);
    let relay_options = RelayOptions {
        start: Start::Oldest,
        ..relay_options(&relay)
    };
    let running = Running::relay(relay_options, options(), Arc::new(MemoryLog::new(1)));
    let stored = running.until(|stored| stored.cursor() == 50).await;
    assert_eq!(stored.seqs().len(), 50);
    let remark = running.status.remark().unwrap_or_default();
    assert!(remark.contains("no readable time"), "{remark}");
    assert!(running.metrics().contains("skytide_ingest_untimed 1"));
    running.stop().await;
}
