//! From the network to the window, at the pace of a clock: a thread of its own, as making a frame is work.
//!
//! ```text
//! skip what is too old ─▶ history: what is due at the start ─▶ live
//!                         waits for its readers                 does not, except at Pace::Max
//! ```
//!
//! With [`Pace::Clock`] the frames that are due depend on the clock alone. So a server that is restarted with the same
//! `began` continues where the network would be by now, with the same frames under the same numbers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::feed::Outgoing;
use super::message::renumbered;
use super::net::Net;
use crate::faults::Lane;

/// Frames that are made before others may ask the network for something.
const CHUNK_FRAMES: usize = 16;
/// Frames that are skipped together.
const SKIP_FRAMES: u64 = 256;
/// The longest sleep: a clock that is set by hand may be ahead at any time.
const SLEEP_MAX: Duration = Duration::from_millis(5);

/// When frames leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As their network time says: so many seconds of it in a second. 1 is as in life.
    Clock {
        /// Above 0.
        speed: f64,
    },
    /// So many events a second, evenly, whatever their network time; clients that cannot follow are cut off (open loop).
    Rate {
        /// Above 0.
        events_per_second: f64,
    },
    /// As fast as they are made and the slowest client reads (closed loop).
    Max,
}

/// What the pump needs to know.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) pace: Pace,
    /// When the network, `backlog` after its beginning, stood at this moment of the clock; `None`: now.
    pub(super) began: Option<Timestamp>,
    pub(super) backlog: Duration,
    /// Frames up to this number are not made.
    pub(super) from: u64,
    /// At the start, frames older than this by network time are not made.
    pub(super) retention: Option<Duration>,
    /// Frames that are made before the first one leaves.
    pub(super) prepared: usize,
}

/// The pump at work.
pub(super) struct Pump {
    net: Arc<Net>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    plan: Plan,
    /// Network time of the first frame of all.
    start: Timestamp,
    began: Timestamp,
    /// What goes wrong with the stream as a whole.
    lane: Lane,
    /// The network's newest number.
    newest: u64,
    /// By how much numbers are lower than the network's.
    shift: u64,
    prepared: VecDeque<Outgoing>,
    /// When the history ended by the clock, and the events sent since; `None` until then.
    live: Option<(Timestamp, u64)>,
    holding: bool,
    history_until: Timestamp,
}

impl Pump {
    pub(super) fn new(
        net: Arc<Net>,
        clock: Arc<dyn Clock>,
        plan: Plan,
        stop: CancellationToken,
    ) -> Self {
        let start = net.feed(|feed| feed.next_time()).unwrap_or_default();
        let now = clock.now();
        let lane = net.faults.stream();
        let mut pump = Self {
            net,
            clock,
            stop,
            start,
            began: plan.began.unwrap_or(now),
            plan,
            lane,
            newest: 0,
            shift: 0,
            prepared: VecDeque::new(),
            live: None,
            holding: true,
            history_until: Timestamp::default(),
        };
        pump.history_until = match pump.plan.pace {
            Pace::Clock { speed } => pump.network_time(now, speed),
            Pace::Rate { .. } | Pace::Max => after(start, pump.plan.backlog),
        };
        pump
    }

    /// Runs until `stop`, or for ever: a network that has ended stays there for its clients.
    pub(super) fn run(mut self) {
        self.skip();
        self.prepare();
        while !self.stop.is_cancelled() {
            let Some(wait) = self.step() else { continue };
            std::thread::sleep(wait.min(SLEEP_MAX));
        }
    }

    /// Leaves out what was told before, and what is too old.
    fn skip(&mut self) {
        let mut skipped = self.plan.from;
        if skipped > 0 {
            self.net.feed(|feed| feed.skip_to(skipped));
        }
        let oldest = self.plan.retention.map(|retention| {
            let ms = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
            Timestamp(self.history_until.0.saturating_sub(ms))
        });
        // In small steps, so that it does not go much too far, and that others may ask.
        while let Some(oldest) = oldest
            && !self.stop.is_cancelled()
        {
            let reached = self.net.feed(|feed| {
                let is_old = feed.next_time().is_some_and(|time| time < oldest);
                let next = feed.next_seq().filter(|_| is_old)?;
                feed.skip_to(next + SKIP_FRAMES);
                Some(next + SKIP_FRAMES)
            });
            let Some(seq) = reached else { break };
            skipped = seq;
        }
        if skipped > 0 {
            self.net.window.skipped(skipped);
        }
        self.net.counts.skipped.store(skipped, Ordering::Relaxed);
    }

    fn prepare(&mut self) {
        while self.prepared.len() < self.plan.prepared && !self.stop.is_cancelled() {
            let Some(frame) = self.net.feed(super::feed::Feed::next_frame) else {
                break;
            };
            self.prepared.push_back(frame);
        }
    }

    /// Sends what is due, or says how long nothing will be.
    fn step(&mut self) -> Option<Duration> {
        let Some(time) = self.next_time() else {
            self.release();
            self.net.counts.ended.store(true, Ordering::Relaxed);
            return Some(SLEEP_MAX);
        };
        if let Some(wait) = self.wait(time) {
            return Some(wait);
        }
        if self.holding && !self.net.window.has_room() {
            return Some(Duration::from_millis(1));
        }
        for frame in self.make() {
            self.send(frame);
        }
        None
    }

    fn next_time(&self) -> Option<Timestamp> {
        if self.net.counts.ending.load(Ordering::Relaxed) {
            return None;
        }
        match self.prepared.front() {
            Some(frame) => Some(frame.time),
            None => self.net.feed(|feed| feed.next_time()),
        }
    }

    /// How long a frame of this time is not due.
    fn wait(&mut self, time: Timestamp) -> Option<Duration> {
        let now = self.clock.now();
        let is_history = time <= self.history_until;
        let wait_seconds = match self.plan.pace {
            Pace::Max => return None,
            _ if is_history => return None,
            Pace::Clock { speed } => {
                let reached = self.network_time(now, speed);
                (time.0 as f64 - reached.0 as f64) / 1_000.0 / speed
            }
            Pace::Rate { events_per_second } => {
                // With the first frame behind the history the clock of the rate begins.
                let (since, events) = *self.live.get_or_insert((now, 0));
                let passed = now.0.saturating_sub(since.0) as f64 / 1_000.0;
                events as f64 / events_per_second - passed
            }
        };
        let is_open_loop = matches!(self.plan.pace, Pace::Rate { .. });
        if is_open_loop || wait_seconds > 0.0 {
            self.release();
        }
        (wait_seconds > 0.0).then(|| Duration::try_from_secs_f64(wait_seconds).unwrap_or(SLEEP_MAX))
    }

    /// Waits for nobody any more.
    fn release(&mut self) {
        if std::mem::take(&mut self.holding) {
            self.net.window.caught_up();
            self.net.counts.caught_up.store(true, Ordering::Relaxed);
        }
    }

    /// Network time at a moment of the clock.
    fn network_time(&self, now: Timestamp, speed: f64) -> Timestamp {
        let base = after(self.start, self.plan.backlog);
        let passed = (now.0 as f64 - self.began.0 as f64) * speed;
        Timestamp((base.0 as f64 + passed).max(0.0) as u64)
    }

    /// The frames that are due, at least one, at most a few.
    fn make(&mut self) -> Vec<Outgoing> {
        let mut frames = Vec::with_capacity(CHUNK_FRAMES);
        let more = |pump: &mut Self, frames: &[Outgoing], time: Option<Timestamp>| {
            // An open loop sends evenly: one frame after the other.
            let is_even = matches!(pump.plan.pace, Pace::Rate { .. });
            let has_place = frames.len() < if is_even { 1 } else { CHUNK_FRAMES };
            let is_due = |time| pump.wait(time).is_none();
            frames.is_empty() || (has_place && time.is_some_and(is_due))
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
        let net = self.net.clone();
        net.feed(|feed| {
            while more(self, &frames, feed.next_time()) {
                let Some(frame) = feed.next_frame() else {
                    break;
                };
                frames.push(frame);
            }
        });
        frames
    }

    fn send(&mut self, frame: Outgoing) {
        let is_new = frame.seq > self.newest;
        self.newest = self.newest.max(frame.seq);
        while is_new && let Some(fault) = self.lane.take() {
            // Numbers begin anew at 1 with this frame.
            self.shift = frame.seq.saturating_sub(1);
            self.net.window.begin_anew();
            self.net.faults.count(fault);
        }
        let seq = frame.seq.saturating_sub(self.shift).max(1);
        let bytes = match self.shift {
            0 => frame.bytes.clone(),
            shift => renumbered(&frame.bytes, shift),
        };
        if frame.time > self.history_until
            && let Some((_, events)) = &mut self.live
        {
            *events += u64::from(frame.events.max(1));
        }
        self.net.counts.sent(&frame);
        self.net.window.push(seq, bytes);
        self.lane.sent();
    }
}

fn after(time: Timestamp, more: Duration) -> Timestamp {
    Timestamp(
        time.0
            .saturating_add(u64::try_from(more.as_millis()).unwrap_or(u64::MAX)),
    )
}
