//! Ticks of an idle stream, pauses, back-pressure, stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skytide_core::event::{Host, Message, Tick};
use skytide_core::id::Seq;
use skytide_core::memory::MemoryLog;
use skytide_core::port::log::Log;
use skytide_ingest::Source;
use skytide_ingest::assemble::{Assembler, Position, Setup};
use skytide_ingest::source::{Input, Raw, SourceError};
use tokio::time::Instant;

use super::frames;
use super::harness::{Running, Stored, options, setup};

/// A live stream that produces this many frames, one per batch, and then nothing.
struct Scripted {
    host: Host,
    frames: u64,
    given: Arc<AtomicU64>,
}

impl Scripted {
    fn counted(frames: u64) -> (Box<dyn Source>, Arc<AtomicU64>) {
        let given = Arc::new(AtomicU64::new(0));
        let source = Self {
            host: "relay.example".into(),
            frames,
            given: given.clone(),
        };
        (Box::new(source), given)
    }
}

#[async_trait]
impl Source for Scripted {
    fn host(&self) -> &Host {
        &self.host
    }

    fn live(&self) -> bool {
        true
    }

    fn seek(&mut self, position: Position, _lookback: u64) {
        let cursor = position.cursor.unwrap_or_default();
        self.given.store(cursor.0, Ordering::SeqCst);
    }

    async fn next(&mut self) -> Result<Input, SourceError> {
        if self.given.load(Ordering::SeqCst) >= self.frames {
            std::future::pending::<()>().await;
        }
        let seq = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        let frame = frames::identity(seq, frames::NOON + seq);
        Ok(Input::Batch(vec![Raw::Binary(Bytes::from(frame))]))
    }
}

#[tokio::test(start_paused = true)]
async fn ticks_continue_when_the_stream_is_idle() {
    let mut options = options();
    options.tick_interval = Duration::from_millis(100);
    let (source, _) = Scripted::counted(3);
    let started = Instant::now();
    let running = Running::start(source, options, Arc::new(MemoryLog::new(1)));
    let stored = running.until(|stored| stored.ticks.len() == 50).await;
    assert_eq!(started.elapsed(), Duration::from_millis(5_000));
    assert_eq!(stored.seqs(), [1, 2, 3]);
    assert_eq!(stored.ticks[0].cursor.0, 3);
    assert!(stored.ticks[1..].iter().all(|tick| tick.counts.is_empty()));
    running.stop().await;
}

/// The indices, from 0, of the ticks that are marked as idle.
fn settled<'a>(ticks: impl IntoIterator<Item = &'a Tick>) -> Vec<usize> {
    let ticks = ticks.into_iter().enumerate();
    ticks
        .filter_map(|(n, tick)| tick.idle.then_some(n))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_idle_second_is_marked_once_and_again_after_a_restart() {
    let mut options = options();
    options.tick_interval = Duration::from_millis(100);
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let run = async |frames, ticks: usize| {
        let before = Stored::of(log.as_ref()).await.ticks.len();
        let running = Running::start(Scripted::counted(frames).0, options.clone(), log.clone());
        let all = before + ticks;
        running.until(|stored| stored.ticks.len() == all).await;
        running.stop().await;
        let stored = Stored::of(log.as_ref()).await;
        settled(&stored.ticks[before..])
    };
    assert_eq!(run(3, 50).await, [10], "after ten ticks without events");
    // Nothing was read since. But a writer that starts cannot know what preceded the newest tick.
    assert_eq!(run(3, 50).await, [9]);
    // Events came and no idle second followed them: the next run marks it.
    assert_eq!(run(5, 4).await, [0; 0]);
    assert_eq!(run(5, 50).await, [9]);
    assert_eq!(Stored::of(log.as_ref()).await.seqs(), [1, 2, 3, 4, 5]);
}

fn assembler(live: bool, newest: Option<&Tick>) -> Assembler {
    let setup = Setup {
        tick_events_max: 2,
        ..setup("relay.example", live)
    };
    Assembler::new(setup, newest)
}

/// The indices of the ticks of a script that are marked as idle, and the newest tick. In the
/// script, `f` is a frame with an event, `x` a message without one, and `.` the end of a tick
/// interval.
fn script(mut assembler: Assembler, script: &str) -> (Vec<usize>, Option<Tick>) {
    for (n, step) in (1..).zip(script.chars()) {
        match step {
            'f' => assembler.frame(frames::identity(n, frames::NOON + n).into()),
            'x' => assembler.text(&Bytes::from_static(b"text")),
            _ => assembler.tick(false),
        }
    }
    let cuts = assembler.take_cuts();
    let ticks = cuts.iter().map(|cut| &cut.tick);
    (settled(ticks), cuts.last().map(|cut| cut.tick.clone()))
}

#[test]
fn a_pause_begins_after_the_last_event_and_is_marked_once() {
    for (steps, wanted) in [
        ("f......", vec![3]),
        ("f.f..f.......", vec![6]),
        ("f....f....", vec![3, 7]),
        ("f.x.x.x.x", vec![3]),
        // Epochs that are full end before the interval does: they do not count as a pause, even
        // without an event.
        ("ffff...", vec![4]),
        ("f.xxxxxxxxxxxxxxxxxxxxxxxx...", vec![6]),
        ("......", vec![]),
    ] {
        assert_eq!(script(assembler(true, None), steps).0, wanted, "{steps}");
        assert_eq!(script(assembler(false, None), steps).0, [0; 0], "{steps}");
    }
}

#[test]
fn a_new_writer_marks_a_pause_unless_the_newest_tick_does() {
    for (before, wanted) in [("f..", vec![2]), ("f....", vec![]), ("f.....", vec![2])] {
        let (_, newest) = script(assembler(true, None), before);
        let next = assembler(true, newest.as_ref());
        assert_eq!(script(next, "......").0, wanted, "{before}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_log_slows_the_source_and_loses_nothing() {
    let mut options = options();
    options.tick_events_max = 100;
    options.tick_interval = Duration::from_secs(3_600);
    let log = Arc::new(MemoryLog::with_bytes_max(1, 60_000));
    let (source, given) = Scripted::counted(1_000_000);
    let running = Running::start(source, options, log.clone());
    // The paused clock advances only when no task can run: after this sleep, all tasks wait for the
    // log.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stuck = given.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        given.load(Ordering::SeqCst),
        stuck,
        "ingest continues to read while the log is full"
    );
    assert!(stuck < 3_000, "{stuck} frames are buffered");
    let mut reader = log.reader(Seq(1)).await.unwrap();
    let mut seqs = Vec::new();
    while seqs.len() < 3_000 {
        for (at, message) in reader.next(50).await.unwrap() {
            match message {
                Message::Event(event) => seqs.push(event.seq.0),
                Message::Tick(_) => log.trim(at).await.unwrap(),
            }
        }
    }
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    running.stop.cancel();
    running.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_makes_everything_read_durable() {
    let mut options = options();
    options.tick_interval = Duration::from_secs(3_600);
    let (source, given) = Scripted::counted(40);
    let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
    let running = Running::start(source, options, log.clone());
    while given.load(Ordering::SeqCst) < 40 {
        tokio::task::yield_now().await;
    }
    let summary = running.stop().await;
    assert!(!summary.ended);
    assert_eq!(summary.tick.unwrap().cursor.0, 40);
    assert_eq!(Stored::of(log.as_ref()).await.events.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever_for_a_blocked_log() {
    let mut options = options();
    options.tick_events_max = 10;
    let (source, _) = Scripted::counted(1_000_000);
    let running = Running::start(source, options, Arc::new(MemoryLog::with_bytes_max(1, 1)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    running.stop().await;
    assert_eq!(
        started.elapsed(),
        Duration::from_secs(5),
        "the grace period of a stop"
    );
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_after_data_is_durable() {
    let (source, _) = Scripted::counted(40);
    let running = Running::start(source, options(), Arc::new(MemoryLog::new(1)));
    running.until(|stored| stored.ticks.len() > 20).await;
    let progress = running.progress.lock().unwrap().clone();
    assert!(
        progress
            .windows(2)
            .all(|pair| pair[0].epoch < pair[1].epoch)
    );
    let last = progress.last().unwrap();
    assert_eq!(
        (last.frames, last.events, last.position.frames),
        (40, 40, 40)
    );
    running.stop().await;
}
