//! Lost connections, failing logs, restarts: nothing is lost or written twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use skytide_core::event::{Message, Tick};
use skytide_core::id::Seq;
use skytide_core::memory::MemoryLog;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};
use skytide_ingest::frame::{Frame, Verify, decode};
use skytide_ingest::{IngestError, RecordingSource};
use skytide_tests::relay::{Act, RelayServer};
use tokio::sync::watch;

use super::frames;
use super::harness::{Running, Stored, options, relay_options};

/// A small generator of pseudo-random numbers (an LCG). Every failure names its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A log whose writers fail at every nth call. Messages that were appended before remain. A failed
/// append may have taken effect in part, and a failed flush has taken effect: only its response was
/// lost.
struct FailingLog {
    inner: MemoryLog,
    calls: Arc<AtomicU64>,
    every: u64,
    failed: Arc<AtomicU64>,
}

struct FailingWriter {
    inner: Box<dyn LogWriter>,
    calls: Arc<AtomicU64>,
    every: u64,
    failed: Arc<AtomicU64>,
}

impl FailingLog {
    fn new(every: u64) -> Self {
        Self {
            inner: MemoryLog::new(1),
            calls: Arc::default(),
            every,
            failed: Arc::default(),
        }
    }
}

#[async_trait]
impl Log for FailingLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        self.inner.bounds().await
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        self.inner.newest_tick().await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        Ok(Box::new(FailingWriter {
            inner: self.inner.writer().await?,
            calls: self.calls.clone(),
            every: self.every,
            failed: self.failed.clone(),
        }))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        self.inner.reader(from).await
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        self.inner.trim(below).await
    }
}

impl FailingWriter {
    /// `Some` if this call fails; the value says whether it takes effect nevertheless.
    fn fails(&self) -> Option<bool> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let fails = call.is_multiple_of(self.every);
        self.failed.fetch_add(u64::from(fails), Ordering::SeqCst);
        fails.then_some((call / self.every).is_multiple_of(2))
    }
}

fn failed(operation: &'static str) -> LogError {
    let source = "planned".into();
    LogError::Failed { operation, source }
}

#[async_trait]
impl LogWriter for FailingWriter {
    async fn append(&mut self, mut messages: Vec<Message>) -> Result<(), LogError> {
        match self.fails() {
            None => self.inner.append(messages).await,
            Some(in_effect) => {
                if in_effect {
                    messages.truncate(messages.len() / 2);
                    self.inner.append(messages).await?;
                }
                self.inner.flush().await?;
                Err(failed("append"))
            }
        }
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        match self.fails() {
            None => self.inner.flush().await,
            Some(_) => {
                self.inner.flush().await?;
                Err(failed("flush"))
            }
        }
    }
}

/// The result of reading the recorded frames of the relay without any fault.
async fn undisturbed() -> Stored {
    let relay = RelayServer::start(frames::relay());
    let running = Running::from_relay(&relay);
    let stored = running.until(whole).await;
    running.stop().await;
    stored
}

fn whole(stored: &Stored) -> bool {
    stored.seqs().last() == Some(&frames_last_seq())
}

fn frames_last_seq() -> u64 {
    let last = frames::relay().pop().unwrap();
    match decode(&last, Verify::Records) {
        Ok(Frame::Account { seq, .. }) => seq.0,
        other => panic!("the fixture has changed: {other:?}"),
    }
}

/// The events without the relay's name, and without their times, which depend on the epochs of
/// their frames.
fn essence(stored: &Stored) -> Vec<(u64, u32, String)> {
    let events = stored.events.iter();
    events
        .map(|event| {
            (
                event.seq.0,
                event.index,
                format!("{:?} {:?}", event.did, event.body),
            )
        })
        .collect()
}

#[tokio::test]
async fn wherever_connections_break_nothing_is_lost_or_repeated() {
    let expected = essence(&undisturbed().await);
    for seed in 0..20 {
        let mut random = Random(seed);
        let relay = RelayServer::start(frames::relay());
        let scripts = (0..8).map(|_| {
            let again = random.below(6) as usize;
            let end = match random.below(4) {
                0 => Act::Reset,
                1 => Act::Close(1006),
                2 => Act::Binary(frames::error("ConsumerTooSlow")),
                _ => Act::Close(1000),
            };
            vec![
                Act::Frames(random.below(40) as usize),
                Act::Again(again),
                end,
            ]
        });
        relay.script(scripts);
        let running = Running::from_relay(&relay);
        let stored = running.until(whole).await;
        assert_eq!(essence(&stored), expected, "seed {seed}");
        assert_eq!(
            stored.count("gaps"),
            undisturbed_gaps(&expected),
            "seed {seed}"
        );
        running.stop().await;
    }
}

/// The number of gaps between recorded numbers, counted here. All these frames produced events.
fn undisturbed_gaps(events: &[(u64, u32, String)]) -> u64 {
    let steps = events.windows(2).filter(|pair| pair[1].0 > pair[0].0 + 1);
    steps.count() as u64
}

#[tokio::test(start_paused = true)]
async fn whatever_call_of_the_log_fails_every_event_is_in_it_once() {
    let path = frames::fixture("frames/pds.frames.zst");
    let expected = replayed(Arc::new(MemoryLog::new(1)), &path).await;
    for every in [2, 3, 5, 7] {
        let log = Arc::new(FailingLog::new(every));
        let stored = replayed(log.clone(), &path).await;
        assert!(
            log.failed.load(Ordering::SeqCst) > 3,
            "every {every}: it never failed"
        );
        for (found, expected) in stored.events.iter().zip(&expected.events) {
            assert_eq!(found, expected, "every {every}");
        }
        assert_eq!(stored.events.len(), expected.events.len(), "every {every}");
        for name in ["frames", "frame_bytes", "events"] {
            assert_eq!(
                stored.count(name),
                expected.count(name),
                "every {every}: {name}"
            );
        }
        let epochs: Vec<u64> = stored.ticks.iter().map(|tick| tick.epoch.0).collect();
        assert_eq!(epochs, (1..=epochs.len() as u64).collect::<Vec<_>>());
    }
}

async fn replayed(log: Arc<dyn Log>, path: &std::path::Path) -> Stored {
    let source = RecordingSource::open(vec![path.to_owned()]).unwrap();
    let mut options = options();
    options.tick_events_max = 500;
    let running = Running::start(Box::new(source), options, log.clone());
    assert!(running.end().await.unwrap().ended);
    Stored::of(log.as_ref()).await
}

/// A log that counts how often a writer was requested.
struct WantedLog {
    inner: MemoryLog,
    wanted: watch::Sender<u32>,
}

#[async_trait]
impl Log for WantedLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        self.inner.bounds().await
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        self.inner.newest_tick().await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        let writer = self.inner.writer().await;
        self.wanted.send_modify(|wanted| *wanted += 1);
        writer
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        self.inner.reader(from).await
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        self.inner.trim(below).await
    }
}

#[tokio::test]
async fn a_second_ingest_on_the_same_log_waits_and_takes_over() {
    let log = Arc::new(WantedLog {
        inner: MemoryLog::new(1),
        wanted: watch::Sender::new(0),
    });
    let mut wanted = log.wanted.subscribe();
    let relay = RelayServer::start(frames::identities(1, 5));
    let first = Running::relay(relay_options(&relay), options(), log.clone());
    first.until(|stored| stored.cursor() == 5).await;
    let mut second = Running::relay(relay_options(&relay), options(), log.clone());
    tokio::select! {
        asked = wanted.wait_for(|wanted| *wanted >= 3) => drop(asked.unwrap()),
        ended = second.ended() => panic!("it did not wait: {ended:?}"),
    }
    let newest = first.stop().await.tick.unwrap().epoch;
    let stored = second
        .until(|stored| stored.ticks.len() as u64 > newest.0)
        .await;
    assert_eq!(stored.seqs(), [1, 2, 3, 4, 5]);
    assert!(
        stored
            .ticks
            .windows(2)
            .all(|pair| pair[0].epoch.0 + 1 == pair[1].epoch.0)
    );
    second.stop().await;
}

#[tokio::test]
async fn a_standby_stops_on_request_and_a_replay_does_not_wait() {
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let _held = log.writer().await.unwrap();
    let relay = RelayServer::start(frames::identities(1, 5));
    let standby = Running::relay(relay_options(&relay), options(), log.clone());
    assert_eq!(standby.stop().await.tick, None);

    let path = frames::fixture("frames/pds.frames.zst");
    let source = RecordingSource::open(vec![path]).unwrap();
    let error = Running::start(Box::new(source), options(), log).end().await;
    assert!(
        matches!(error, Err(IngestError::Log(LogError::Held))),
        "{error:?}"
    );
}

#[tokio::test]
async fn ingest_resumes_at_the_newest_tick_after_each_restart() {
    let expected = essence(&undisturbed().await);
    let relay = RelayServer::start(frames::relay());
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let steps = [20, 21, 60, 100];
    // After a restart, ingest looks at the frames before its position again: here at all of them.
    relay.script(steps.map(|step| vec![Act::Frames(step as usize), Act::Quiet]));
    for step in steps {
        let running = Running::relay(relay_options(&relay), options(), log.clone());
        running.until(|stored| stored.count("frames") == step).await;
        running.stop().await;
    }
    let running = Running::relay(relay_options(&relay), options(), log);
    let stored = running.until(whole).await;
    assert_eq!(essence(&stored), expected);
    assert!(
        stored
            .ticks
            .windows(2)
            .all(|pair| pair[0].epoch.0 + 1 == pair[1].epoch.0)
    );
    assert!(
        stored
            .ticks
            .windows(2)
            .all(|pair| pair[0].time <= pair[1].time)
    );
    running.stop().await;
}
