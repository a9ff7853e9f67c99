//! From frames to the messages of the log. Pure: no socket, no file, no clock; the same frames give the same events.
//!
//! ```text
//! frame ─ decode ─ seq: new? ─ network time ─ filters ─ rev ─▶ events ┐
//!           │         └ old: skipped, or a reset                      ├─▶ Cut: one whole epoch
//!           └ unreadable: dropped, counted, sampled           counts ─┘   (events, then its tick)
//! ```
//!
//! - A frame is never split: an epoch ends between two frames, when it has `tick_events_max` events or
//!   [`CUT_BYTES_MAX`] bytes, when the caller says that its time is over, and before numbers go back: perhaps they
//!   begin anew, and within an epoch they must rise.
//! - A tick is *settled* when no event has come for `pause_ticks` ticks, once behind each stretch of events: then whoever
//!   writes at most once a second of network time, which now stands, is told to catch up.
//! - Every frame is counted once, every drop under its reason, in the tick of the epoch in which it was judged.
//! - Network time begins with the median of the first frames, which are held back until there are
//!   `time::WINDOW` of them or [`HELD_BYTES_MAX`] bytes, or the epoch is over: so even the first clock may be forged. After a
//!   restart it begins
//!   where it stood, with the frames before ([`LOOKBACK`]): an event has the same time as if nothing had happened.

mod apply;
pub mod counts;
mod coverage;
mod early;
pub mod filter;
mod numbers;
mod seq;
mod terms;
mod time;

use bytes::Bytes;
use skytide_core::event::{DropReason, Event, GapCause, Message, Sources, Tick};
use skytide_core::id::{Cursor, Epoch};
use skytide_core::time::Timestamp;

use crate::frame::{Frame, Rejected, decode};
use counts::Counts;
use coverage::Resumed;
use early::{Held, Unusable};
use numbers::{Numbers, numbers};
use seq::{Numbered, SeqWatch, Step};
use time::NetworkTime;

pub(crate) use numbers::seq_of;
pub use terms::{Cut, Note, Position, Setup};

/// Bytes of events in memory at which an epoch ends: bounds what waits for the log, and what is read back at once.
pub const CUT_BYTES_MAX: usize = 8 << 20;
/// Bytes of the first frames that are held back, at most, and one frame more.
pub const HELD_BYTES_MAX: usize = 16 << 20;
/// An epoch also ends after this many frames for each event that it may have, so that frames without events count on.
const FRAMES_PER_EVENT: u64 = 4;
/// Frames before the newest tick that are looked at again after a restart: many more than network time needs.
pub const LOOKBACK: u64 = 256;
/// Dropped frames of one reason that are handed out for inspection.
pub(crate) const SAMPLES_MAX: u8 = 10;

/// Turns frames into epochs of the log.
#[derive(Debug)]
pub struct Assembler {
    setup: Setup,
    seq: SeqWatch,
    time: NetworkTime,
    ceiling: Option<Timestamp>,
    /// Where reading goes on, until the first frame behind it.
    resumed: Option<Cursor>,
    /// The newest frame whose time was noted before it was judged.
    noted: Option<Cursor>,
    /// Frames that wait to be judged, in order; all that come wait, too.
    held: Option<Held>,
    /// Frames that were held are being judged.
    releasing: bool,
    /// Frames in a row whose time is missing or not readable, and whether there was one with a time.
    untimed_row: u32,
    timed: bool,
    /// Other sources and gaps, as the next tick says.
    sources: Sources,
    epoch: Epoch,
    frames: u64,
    events: Vec<Message>,
    event_bytes: usize,
    counts: Counts,
    cuts: Vec<Cut>,
    notes: Vec<Note>,
    samples: [u8; DropReason::ALL.len()],
    unusable_row: u32,
    /// Ticks without events in a row.
    quiet_ticks: u32,
    /// Events that no settled tick followed yet.
    unsettled: bool,
}

impl Assembler {
    /// Resumes after the log's newest tick, at the position that it knows of this stream.
    pub fn new(setup: Setup, newest: Option<&Tick>) -> Self {
        let Resumed {
            position,
            sources,
            seam,
        } = Resumed::after(&setup, newest);
        let mut assembler = Self::at(setup, position, newest);
        assembler.sources = sources;
        if let Some(seam) = seam {
            assembler.write_seam(seam);
        }
        assembler
    }

    fn at(setup: Setup, position: Position, newest: Option<&Tick>) -> Self {
        Self {
            setup,
            seq: SeqWatch::at(position.cursor),
            time: NetworkTime::at(newest.map_or(Timestamp(0), |tick| tick.time)),
            ceiling: None,
            resumed: position.cursor,
            noted: None,
            held: Some(Held::first()),
            releasing: false,
            untimed_row: 0,
            timed: false,
            sources: Sources::default(),
            epoch: newest.map_or(Epoch(0), |tick| tick.epoch),
            frames: position.frames,
            events: Vec::new(),
            event_bytes: 0,
            counts: Counts::default(),
            cuts: Vec::new(),
            notes: Vec::new(),
            samples: [0; DropReason::ALL.len()],
            unusable_row: 0,
            quiet_ticks: 0,
            unsettled: newest.is_some_and(|tick| !tick.idle && !tick.last),
        }
    }

    /// Tells our own clock, which network time of a live stream may not pass.
    pub fn clock(&mut self, now: Timestamp) {
        self.ceiling = self.setup.live.then_some(now);
    }

    /// The next message of the stream is a text message, which the protocol does not have.
    pub fn text(&mut self, bytes: &Bytes) {
        self.next_unusable(Unusable::Text(bytes.clone()));
    }

    /// The next message of the stream was larger than the protocol allows. Its bytes were dropped while it was received.
    pub fn oversized(&mut self) {
        self.next_unusable(Unusable::Oversized);
    }

    fn next_unusable(&mut self, message: Unusable) {
        if let Some(message) = self.hold_unusable(message) {
            self.drop_unusable(message);
            self.end_if_full();
        }
    }

    /// Drops a message that is not a frame.
    fn drop_unusable(&mut self, message: Unusable) {
        let (reason, bytes) = match message {
            Unusable::Text(bytes) => (DropReason::FrameText, bytes),
            Unusable::Oversized => (DropReason::FrameSize, Bytes::new()),
        };
        self.frames += 1;
        self.counts.frame("unreadable", bytes.len());
        self.unusable(reason, &bytes);
        if reason == DropReason::FrameSize {
            self.open_gap(GapCause::MessageSize);
        }
    }

    /// The connection was lost. The answer is where to resume: everything before was judged or is held.
    pub fn disconnected(&mut self) -> Position {
        self.release(false);
        self.resumed = None;
        self.counts.disconnects += 1;
        self.unusable_row = 0;
        let position = self.position();
        Position {
            cursor: position.cursor.max(self.newest_held()),
            ..position
        }
    }

    /// Whether the stream's frames have no time that can be read: none of this session has one, or none of the last ones.
    pub fn is_untimed(&self) -> bool {
        let row = self.untimed_row as usize;
        row >= time::WINDOW || (row > 0 && !self.timed)
    }

    /// Ends the epoch, as its time is over. `last`: the stream ends here.
    ///
    /// Without effect while nothing is known of the stream's time, and, within a recording, while it is not decided
    /// whether its numbers begin anew: then a tick's count of frames would cover some whose events are still missing.
    /// The first frames of a recording stay held back meanwhile: they are read again after a restart, and so the time of
    /// events does not depend on where reading was interrupted.
    pub fn tick(&mut self, last: bool) {
        if !last && !self.setup.live && self.frames == 0 {
            return;
        }
        self.held_over_tick();
        self.release(last);
        if self.events.is_empty() {
            self.quiet_ticks = self.quiet_ticks.saturating_add(1);
        }
        self.end(last);
    }

    fn end(&mut self, last: bool) {
        if !self.releasing {
            self.release(last);
        }
        if last {
            let repeated = self.seq.acquit();
            self.counts.drop(DropReason::SeqRepeated, repeated);
        }
        let undecided = !self.setup.live && self.seq.suspects() > 0;
        let timeless = self.time.now() == Timestamp(0) && self.events.is_empty();
        if last || !undecided && !timeless {
            self.end_epoch(last);
        }
    }

    /// The epochs that ended since the last call.
    pub fn take_cuts(&mut self) -> Vec<Cut> {
        std::mem::take(&mut self.cuts)
    }

    /// What there is to do or tell since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// How far the stream was read.
    pub fn position(&self) -> Position {
        Position {
            cursor: self.seq.newest(),
            frames: self.frames,
        }
    }

    /// Network time.
    pub fn now(&self) -> Timestamp {
        self.time.now()
    }

    /// How many frames were read since a position, those included that are still held back.
    pub fn read_since(&self, begin: Position) -> u64 {
        self.frames - begin.frames + self.held_frames() as u64
    }

    /// Whether the stream goes on by itself.
    pub fn live(&self) -> bool {
        self.setup.live
    }

    /// How many messages in a row were of no use at all.
    pub fn unusable_row(&self) -> u32 {
        self.unusable_row
    }

    /// Reads a frame and does what it says. `note`: its time is news to the clock.
    fn judge(&mut self, bytes: &Bytes, note: bool) {
        let decoded = decode(bytes, self.setup.verify);
        let numbers = decoded.as_ref().ok().and_then(numbers);
        if let Some(numbers) = &numbers {
            if !self.releasing && self.is_ahead(numbers.time) {
                let did = decoded.as_ref().ok().and_then(numbers::did).cloned();
                let numbers = Numbers {
                    did,
                    ..numbers.clone()
                };
                return self.hold(bytes.clone(), Some(numbers));
            }
            if self.seq.begins_row(numbers.seq) && !self.events.is_empty() {
                self.end_epoch(false);
            }
        }
        self.frames += 1;
        match decoded {
            Ok(frame) => {
                self.unusable_row = 0;
                self.counts.frame(kind(&frame), bytes.len());
                self.order((&frame, numbers), bytes, note);
            }
            Err(rejected) => self.reject(&rejected, bytes),
        }
    }

    fn order(
        &mut self,
        (frame, numbers): (&Frame<'_>, Option<Numbers>),
        bytes: &Bytes,
        note: bool,
    ) {
        let Some(numbers) = numbers else {
            return self.unnumbered(frame, bytes);
        };
        let numbered = Numbered {
            seq: numbers.seq,
            time: numbers.claimed(),
            bytes,
        };
        match self.seq.step(&numbered, self.time.newest_agreed()) {
            Step::New { missing, repeated } => {
                self.counts.drop(DropReason::SeqRepeated, repeated);
                self.counts.gaps += u64::from(missing > 0);
                self.counts.missing_seqs += missing;
                if self.tell_time(&numbers, bytes, note) {
                    self.apply(frame, bytes);
                }
            }
            Step::Old { repeated } => self.counts.drop(DropReason::SeqRepeated, repeated),
            Step::Reset {
                frames,
                lost,
                before,
            } => {
                self.counts.drop(DropReason::SeqRepeated, lost);
                self.begin_anew(&frames, before);
            }
        }
    }

    /// Sets the clock by a frame; false if there is no time that its events could have.
    fn tell_time(&mut self, numbers: &Numbers, bytes: &Bytes, note: bool) -> bool {
        let untimed = numbers.is_timed && numbers.time.is_none();
        if untimed {
            self.drop(DropReason::FrameTime, bytes);
            self.untimed_row = self.untimed_row.saturating_add(1);
        } else if numbers.is_timed {
            (self.untimed_row, self.timed) = (0, true);
        }
        if let Some(time) = self.time_of(numbers) {
            if note {
                self.time.note(time);
                if !self.opens() {
                    self.time.advance(self.ceiling);
                }
            }
            self.close_gap(time);
        }
        !untimed || self.time.now() > Timestamp(0)
    }

    /// The time that a frame counts for. Of one without a readable time: our clock on a live stream, that of its revision in
    /// a recording.
    fn time_of(&self, numbers: &Numbers) -> Option<Timestamp> {
        let instead = if self.setup.live {
            self.ceiling
        } else {
            numbers.rev
        };
        numbers.time.or(instead).filter(|_| numbers.is_timed)
    }

    fn begin_anew(&mut self, frames: &[Bytes], before: Cursor) {
        self.counts.resets += 1;
        for bytes in frames {
            if let Ok(frame) = decode(bytes, self.setup.verify) {
                let numbers = numbers(&frame);
                self.order((&frame, numbers), bytes, true);
            }
        }
        self.notes.push(Note::Reset {
            before: Some(before),
            after: self.seq.newest(),
        });
    }

    fn reject(&mut self, rejected: &Rejected, bytes: &Bytes) {
        self.counts
            .frame(rejected.kind.unwrap_or("unreadable"), bytes.len());
        if let Some(seq) = rejected.seq {
            let whole = rejected.reason != DropReason::FrameCbor;
            let missing = self.seq.pass(seq, whole);
            self.counts.gaps += u64::from(missing > 0);
            self.counts.missing_seqs += missing;
        }
        if rejected.kind.is_some() {
            self.unusable_row = 0;
            return self.drop(rejected.reason, bytes);
        }
        self.unusable(rejected.reason, bytes);
    }

    fn unusable(&mut self, reason: DropReason, bytes: &Bytes) {
        self.unusable_row = self.unusable_row.saturating_add(1);
        self.drop(reason, bytes);
    }

    fn drop(&mut self, reason: DropReason, bytes: &Bytes) {
        self.counts.drop(reason, 1);
        self.sample(reason, bytes);
    }

    fn sample(&mut self, reason: DropReason, bytes: &Bytes) {
        let told = &mut self.samples[reason as usize];
        if *told < SAMPLES_MAX {
            *told += 1;
            let frame = bytes.clone();
            self.notes.push(Note::Dropped { reason, frame });
        }
    }

    fn push(&mut self, event: Event) {
        self.counts.event(&event.body);
        self.event_bytes += event.bytes();
        self.quiet_ticks = 0;
        self.unsettled = true;
        self.events.push(Message::Event(event));
    }

    fn end_if_full(&mut self) {
        let events_max = self.setup.tick_events_max.max(1);
        if self.events.len() >= events_max
            || self.event_bytes >= CUT_BYTES_MAX
            || self.counts.frames >= FRAMES_PER_EVENT.saturating_mul(events_max as u64)
        {
            self.end(false);
        }
    }

    fn end_epoch(&mut self, last: bool) {
        self.epoch.0 += 1;
        let counts = std::mem::take(&mut self.counts);
        let paused = self.setup.live && self.quiet_ticks >= self.setup.pause_ticks;
        let idle = paused && self.unsettled;
        self.unsettled &= !idle && !last;
        let tick = Tick {
            epoch: self.epoch,
            time: self.time.now(),
            host: self.setup.host.clone(),
            cursor: self.seq.newest().unwrap_or_default(),
            frames: self.frames,
            last,
            idle,
            sources: self.sources.clone(),
            counts: counts.by_name(),
        };
        self.sources.gaps.clear();
        let mut messages = std::mem::take(&mut self.events);
        messages.push(Message::Tick(tick.clone()));
        self.event_bytes = 0;
        self.cuts.push(Cut {
            messages,
            tick,
            counts,
        });
    }
}

/// The counter of a frame.
fn kind(frame: &Frame<'_>) -> &'static str {
    match frame {
        Frame::Commit(_) => "#commit",
        Frame::Identity { .. } => "#identity",
        Frame::Account { .. } => "#account",
        Frame::Sync { .. } => "#sync",
        Frame::Info { .. } => "#info",
        Frame::Error { .. } => "error",
        Frame::Unknown { .. } => "other",
    }
}
