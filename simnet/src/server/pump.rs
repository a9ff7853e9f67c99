//! Moves frames from the network to the window at the pace of a clock. It has its own thread,
//! because rendering a frame is CPU work.
//!
//! ```text
//! skip old frames ─▶ backlog: due at the start ─▶ live
//!                    waits for readers            does not wait, except with Pace::Max
//! ```
//!
//! With [`Pace::Clock`], which frames are due is a function of the clock alone. So a restarted
//! server with the same `began` continues where the network would be by now, with the same frames
//! under the same sequence numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::feed::OutgoingFrame;
use super::message::renumbered;
use super::shared::Shared;
use crate::faults::FaultSequence;

/// Frames that are rendered before requests may use the network again.
const CHUNK_FRAMES: usize = 16;
/// Frames that are skipped in one step.
const SKIP_FRAMES: u64 = 256;
/// The longest sleep. It is short because a manual clock may jump forward at any time.
const SLEEP_MAX: Duration = Duration::from_millis(5);

/// When frames are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// At their network time. `speed` is seconds of network time per second of the clock; 1 is real
    /// time.
    Clock {
        /// Above 0.
        speed: f64,
    },
    /// At a constant rate of events, whatever their network time. Clients that are too slow are
    /// disconnected (open loop).
    Rate {
        /// Above 0.
        events_per_second: f64,
    },
    /// As fast as they are rendered and the slowest client reads them (closed loop).
    Max,
}

/// Options of the pump.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) pace: Pace,
    /// The time of the clock at which the network has existed for `backlog`; `None` stands for the
    /// time of the start.
    pub(super) began: Option<Timestamp>,
    pub(super) backlog: Duration,
    /// Frames up to this sequence number are skipped.
    pub(super) from: u64,
    /// At the start, frames older than this by network time are skipped.
    pub(super) retention: Option<Duration>,
    /// Frames that are rendered before the first one is sent.
    pub(super) prepared: usize,
}

/// The running pump.
pub(super) struct Pump {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    options: Options,
    /// Network time of the very first frame.
    start: Timestamp,
    began: Timestamp,
    /// The faults of the whole stream.
    faults: FaultSequence,
    /// The newest sequence number of the network.
    newest: u64,
    /// How much lower the sent sequence numbers are than the network's.
    shift: u64,
    prepared: VecDeque<OutgoingFrame>,
    /// The time at which the backlog ended, and the number of events sent since then.
    live: Option<(Timestamp, u64)>,
    /// Whether the pump still waits for readers.
    waits_for_readers: bool,
    /// Network time of the end of the backlog.
    backlog_until: Timestamp,
}

impl Pump {
    pub(super) fn new(
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
        options: Options,
        stop: CancellationToken,
    ) -> Self {
        let start = shared.feed(|feed| feed.next_time()).unwrap_or_default();
        let now = clock.now();
        let faults = shared.faults.for_stream();
        let mut pump = Self {
            shared,
            clock,
            stop,
            start,
            began: options.began.unwrap_or(now),
            options,
            faults,
            newest: 0,
            shift: 0,
            prepared: VecDeque::new(),
            live: None,
            waits_for_readers: true,
            backlog_until: Timestamp::default(),
        };
        pump.backlog_until = match pump.options.pace {
            Pace::Clock { speed } => pump.network_time(now, speed),
            Pace::Rate { .. } | Pace::Max => after(start, pump.options.backlog),
        };
        pump
    }

    /// Runs until `stop`, also after the end of the network, because clients may still read.
    pub(super) fn run(mut self) {
        self.skip();
        self.prepare();
        while !self.stop.is_cancelled() {
            let Some(wait) = self.send_due() else {
                continue;
            };
            std::thread::sleep(wait.min(SLEEP_MAX));
        }
    }

    /// Skips frames that clients have, and frames that are too old.
    fn skip(&mut self) {
        let mut skipped = self.options.from;
        if skipped > 0 {
            self.shared.feed(|feed| feed.skip_to(skipped));
        }
        let oldest = self.options.retention.map(|retention| {
            let ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
            Timestamp(self.backlog_until.0.saturating_sub(ms))
        });
        // Skips in small steps, so that only a few frames too many are skipped, and requests can
        // use the feed between two steps.
        while let Some(oldest) = oldest
            && !self.stop.is_cancelled()
        {
            let reached = self.shared.feed(|feed| {
                let is_old = feed.next_time().is_some_and(|time| time < oldest);
                let next = feed.next_seq().filter(|_| is_old)?;
                feed.skip_to(next + SKIP_FRAMES);
                Some(next + SKIP_FRAMES)
            });
            let Some(seq) = reached else { break };
            skipped = seq;
        }
        if skipped > 0 {
            self.shared.window.skipped(skipped);
        }
        self.shared.counts.skipped.store(skipped, Ordering::Relaxed);
    }

    fn prepare(&mut self) {
        while self.prepared.len() < self.options.prepared && !self.stop.is_cancelled() {
            let Some(frame) = self.shared.feed(super::feed::Feed::next_frame) else {
                break;
            };
            self.prepared.push_back(frame);
        }
    }

    /// Sends the due frames. Returns the time until the next frame if none is due.
    fn send_due(&mut self) -> Option<Duration> {
        let Some(time) = self.next_time() else {
            self.release();
            self.shared.counts.ended.store(true, Ordering::Relaxed);
            return Some(SLEEP_MAX);
        };
        if let Some(wait) = self.time_until_due(time) {
            return Some(wait);
        }
        if self.waits_for_readers && !self.shared.window.has_room() {
            return Some(Duration::from_millis(1));
        }
        for frame in self.due_frames() {
            self.send(frame);
        }
        None
    }

    fn next_time(&self) -> Option<Timestamp> {
        if self.shared.counts.ending.load(Ordering::Relaxed) {
            return None;
        }
        match self.prepared.front() {
            Some(frame) => Some(frame.time),
            None => self.shared.feed(|feed| feed.next_time()),
        }
    }

    /// The time until a frame with this network time is due; `None` if it is due now.
    fn time_until_due(&mut self, time: Timestamp) -> Option<Duration> {
        let now = self.clock.now();
        let in_backlog = time <= self.backlog_until;
        let wait_seconds = match self.options.pace {
            Pace::Max => return None,
            _ if in_backlog => return None,
            Pace::Clock { speed } => {
                let reached = self.network_time(now, speed);
                (time.0 as f64 - reached.0 as f64) / 1_000.0 / speed
            }
            Pace::Rate { events_per_second } => {
                // The rate is measured from the first frame after the backlog.
                let (since, events) = *self.live.get_or_insert((now, 0));
                let passed = now.0.saturating_sub(since.0) as f64 / 1_000.0;
                events as f64 / events_per_second - passed
            }
        };
        let is_open_loop = matches!(self.options.pace, Pace::Rate { .. });
        if is_open_loop || wait_seconds > 0.0 {
            self.release();
        }
        (wait_seconds > 0.0).then(|| Duration::try_from_secs_f64(wait_seconds).unwrap_or(SLEEP_MAX))
    }

    /// Stops waiting for readers.
    fn release(&mut self) {
        if std::mem::take(&mut self.waits_for_readers) {
            self.shared.window.caught_up();
            self.shared.counts.caught_up.store(true, Ordering::Relaxed);
        }
    }

    /// The network time that corresponds to a time of the clock.
    fn network_time(&self, now: Timestamp, speed: f64) -> Timestamp {
        let base = after(self.start, self.options.backlog);
        let passed = (now.0 as f64 - self.began.0 as f64) * speed;
        Timestamp((base.0 as f64 + passed).max(0.0) as u64)
    }

    /// The due frames: at least one, at most [`CHUNK_FRAMES`].
    fn due_frames(&mut self) -> Vec<OutgoingFrame> {
        let mut frames = Vec::with_capacity(CHUNK_FRAMES);
        let more = |pump: &mut Self, frames: &[OutgoingFrame], time: Option<Timestamp>| {
            // An open loop sends evenly, one frame at a time.
            let one_by_one = matches!(pump.options.pace, Pace::Rate { .. });
            let has_room = frames.len() < if one_by_one { 1 } else { CHUNK_FRAMES };
            let is_due = |time| pump.time_until_due(time).is_none();
            frames.is_empty() || (has_room && time.is_some_and(is_due))
        };
        if !self.prepared.is_empty() {
            loop {
                let time = self.prepared.front().map(|frame| frame.time);
                if !more(self, &frames, time) {
                    return frames;
                }
                let Some(frame) = self.prepared.pop_front() else {
                    return frames;
                };
                frames.push(frame);
            }
        }
        let shared = self.shared.clone();
        shared.feed(|feed| {
            while more(self, &frames, feed.next_time()) {
                let Some(frame) = feed.next_frame() else {
                    break;
                };
                frames.push(frame);
            }
        });
        frames
    }

    fn send(&mut self, frame: OutgoingFrame) {
        let is_new = frame.seq > self.newest;
        self.newest = self.newest.max(frame.seq);
        while is_new && let Some(fault) = self.faults.next_due() {
            // This frame gets sequence number 1.
            self.shift = frame.seq.saturating_sub(1);
            self.shared.window.restart_numbering();
            self.shared.faults.count(fault);
        }
        let seq = frame.seq.saturating_sub(self.shift).max(1);
        let bytes = match self.shift {
            0 => frame.bytes.clone(),
            shift => renumbered(&frame.bytes, shift),
        };
        if frame.time > self.backlog_until
            && let Some((_, events)) = &mut self.live
        {
            *events += u64::from(frame.events.max(1));
        }
        self.shared.counts.sent(&frame);
        self.shared.window.push(seq, bytes);
        self.faults.on_frame_sent();
    }
}

fn after(time: Timestamp, more: Duration) -> Timestamp {
    Timestamp(
        time.0
            .saturating_add(u64::try_from(more.as_millis()).unwrap_or(u64::MAX)),
    )
}
