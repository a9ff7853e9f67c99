//! Turns frames into messages of the log. It uses no socket, file or clock: the same frames always
//! give the same events.
//!
//! ```text
//! frame ─ decode ─ seq: new? ─ network time ─ filters ─ rev ─▶ events ┐
//!           │         └ old: skipped, or a reset                      ├─▶ Cut: one whole epoch
//!           └ unreadable: dropped, counted, sampled           counts ─┘   (events, then its tick)
//! ```
//!
//! - A frame is never split: an epoch ends between two frames. It ends when it has
//!   `tick_events_max` events or [`CUT_BYTES_MAX`] bytes, when the caller reports that its time has
//!   elapsed, and before a `seq` below the newest one: the numbering may have restarted, and `seq`
//!   must rise within an epoch.
//! - A tick is *idle* when the last `pause_ticks` ticks of a live stream brought no event. There is
//!   one such tick after each run of events. It triggers outputs that are written at most once per
//!   second of network time, because network time no longer advances.
//! - Every frame is counted once, and every drop once under its reason, in the tick of the epoch in
//!   which the frame was processed.
//! - Network time starts at the median of the times of the first frames, so that a forged time in
//!   the very first frame has no effect. These frames are held until there are `time::WINDOW` of
//!   them or [`HELD_BYTES_MAX`] bytes, or until the epoch ends. After a restart, network time
//!   starts at the time of the newest tick and observes the frames before the position again
//!   ([`LOOKBACK`]), so that events get the same time as without the restart.

mod apply;
pub mod counts;
mod coverage;
mod early;
pub mod filter;
mod interface;
mod meta;
mod seq;
mod time;

use bytes::Bytes;
use skytide_core::event::{DropReason, Event, GapCause, Message, Sources, Tick};
use skytide_core::id::{Cursor, Epoch};
use skytide_core::time::Timestamp;

use crate::frame::{Frame, Rejected, decode};
use counts::Counts;
use coverage::Resumed;
use early::{HeldMessages, Unusable};
use meta::FrameMeta;
use seq::{SeqWatch, SequencedFrame, Step};
use time::NetworkTime;

pub use interface::{Cut, Note, Position, Setup};
pub(crate) use meta::seq_of;

/// Size of an epoch's events in memory, in bytes, at which the epoch ends. It bounds the memory of
/// epochs that wait for the log, and of an epoch that a reader loads.
pub const CUT_BYTES_MAX: usize = 8 << 20;
/// Maximum size of held frames in bytes. The last held frame may exceed it.
pub const HELD_BYTES_MAX: usize = 16 << 20;
/// An epoch also ends after `tick_events_max` times this number of frames, so that a stream of
/// frames without events still produces ticks.
const FRAMES_PER_EVENT: u64 = 4;
/// Frames before the newest tick whose times are observed again after a restart: many more than
/// network time needs.
pub const LOOKBACK: u64 = 256;
/// Maximum number of dropped frames that are reported for inspection, per reason.
pub(crate) const SAMPLES_MAX: u8 = 10;

/// Turns frames into epochs of the log.
#[derive(Debug)]
pub struct Assembler {
    setup: Setup,
    seq: SeqWatch,
    time: NetworkTime,
    /// The machine's clock, which network time of a live stream never passes.
    ceiling: Option<Timestamp>,
    /// The position at which reading resumed; `None` once the first frame after it was received.
    resumed_at: Option<Cursor>,
    /// Whether the relay has repeated the frame at that position, so that what follows is new.
    is_caught_up: bool,
    /// The newest frame whose time was observed before the frame was processed.
    newest_observed: Option<Cursor>,
    /// Messages held for later processing, in order. While there are any, new ones are held, too.
    held: Option<HeldMessages>,
    /// Whether held messages are being processed.
    releasing: bool,
    /// Number of consecutive frames whose time is missing or not readable.
    consecutive_untimed: u32,
    /// Whether a frame with a readable time was received.
    timed: bool,
    /// Other sources and gaps, for the next tick.
    sources: Sources,
    epoch: Epoch,
    frames: u64,
    events: Vec<Message>,
    event_bytes: usize,
    counts: Counts,
    cuts: Vec<Cut>,
    notes: Vec<Note>,
    samples: [u8; DropReason::ALL.len()],
    consecutive_unusable: u32,
    /// Number of consecutive ticks without events.
    ticks_without_events: u32,
    /// Whether an idle tick must still follow the newest events.
    idle_tick_pending: bool,
}

impl Assembler {
    /// Resumes after the log's newest tick, at the position that the tick records for this stream.
    pub fn new(setup: Setup, newest: Option<&Tick>) -> Self {
        let Resumed {
            position,
            sources,
            closing_tick,
        } = Resumed::after(&setup, newest);
        let mut assembler = Self::at(setup, position, newest);
        assembler.sources = sources;
        if let Some(tick) = closing_tick {
            assembler.push_closing_tick(tick);
        }
        assembler
    }

    fn at(setup: Setup, position: Position, newest: Option<&Tick>) -> Self {
        Self {
            setup,
            seq: SeqWatch::at(position.cursor),
            time: NetworkTime::at(newest.map_or(Timestamp(0), |tick| tick.time)),
            ceiling: None,
            resumed_at: position.cursor,
            is_caught_up: false,
            newest_observed: None,
            held: Some(HeldMessages::first_of_session()),
            releasing: false,
            consecutive_untimed: 0,
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
            consecutive_unusable: 0,
            ticks_without_events: 0,
            idle_tick_pending: newest.is_some_and(|tick| !tick.idle && !tick.last),
        }
    }

    /// Sets the machine's clock, which network time of a live stream never passes.
    pub fn clock(&mut self, now: Timestamp) {
        self.ceiling = self.setup.live.then_some(now);
    }

    /// Processes a text message, which the protocol does not have.
    pub fn text(&mut self, bytes: &Bytes) {
        self.next_unusable(Unusable::Text(bytes.clone()));
    }

    /// Processes a message larger than the protocol allows. Its bytes were dropped while it was
    /// received.
    pub fn oversized(&mut self) {
        self.next_unusable(Unusable::Oversized);
    }

    fn next_unusable(&mut self, message: Unusable) {
        if self.is_repeating() {
            return;
        }
        if let Some(message) = self.hold_unusable(message) {
            self.drop_unusable(message, None);
            self.end_if_full();
        }
    }

    /// Drops a message that is not a frame. `time_before` is the newest time that a frame before it
    /// claims, if network time already includes frames after it.
    fn drop_unusable(&mut self, message: Unusable, time_before: Option<Timestamp>) {
        let (reason, bytes) = match message {
            Unusable::Text(bytes) => (DropReason::FrameText, bytes),
            Unusable::Oversized => (DropReason::FrameSize, Bytes::new()),
        };
        self.frames += 1;
        self.counts.frame("unreadable", bytes.len());
        self.drop_as_unusable(reason, &bytes);
        if reason == DropReason::FrameSize {
            let now = self.time.now();
            self.open_gap_from(
                time_before.map_or(now, |time| time.min(now)),
                GapCause::MessageSize,
            );
        }
    }

    /// Handles a lost connection. Returns the position at which to resume: all messages before it
    /// were processed or are held.
    pub fn disconnected(&mut self) -> Position {
        self.release(false);
        self.resumed_at = None;
        self.counts.disconnects += 1;
        self.consecutive_unusable = 0;
        let position = self.position();
        Position {
            cursor: position.cursor.max(self.newest_held()),
            ..position
        }
    }

    /// Whether the stream's frames have no readable time: either no frame of this session has one,
    /// or none of the last `time::WINDOW` frames.
    pub fn is_untimed(&self) -> bool {
        let untimed = self.consecutive_untimed as usize;
        untimed >= time::WINDOW || (untimed > 0 && !self.timed)
    }

    /// Ends the epoch because its time has elapsed. `last` means that the stream ends here.
    ///
    /// No epoch ends while the stream's time is unknown. In a recording, none ends while it is
    /// undecided whether the numbering restarted: the tick's count of frames would cover frames
    /// whose events are still missing. The first frames of a recording stay held meanwhile. They
    /// are read again after a restart, so the time of events does not depend on where reading was
    /// interrupted.
    pub fn tick(&mut self, last: bool) {
        if !last && !self.setup.live && self.frames == 0 {
            return;
        }
        self.count_held_tick();
        self.release(last);
        if self.events.is_empty() {
            self.ticks_without_events = self.ticks_without_events.saturating_add(1);
        }
        self.end_if_decided(last);
    }

    /// Ends the epoch, unless the stream's time is unknown or it is undecided whether its numbering
    /// restarted.
    fn end_if_decided(&mut self, last: bool) {
        if !self.releasing {
            self.release(last);
        }
        if last {
            let repeated = self.seq.discard_suspects();
            self.counts.drop(DropReason::SeqRepeated, repeated);
        }
        let undecided = !self.setup.live && self.seq.suspects() > 0;
        let timeless = self.time.now() == Timestamp(0) && self.events.is_empty();
        if last || !undecided && !timeless {
            self.end_epoch(last);
        }
    }

    /// Returns the epochs that ended since the last call.
    pub fn take_cuts(&mut self) -> Vec<Cut> {
        std::mem::take(&mut self.cuts)
    }

    /// Returns the notes that were made since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The position up to which the stream was processed.
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

    /// The number of frames received since a position, including held ones.
    pub fn read_since(&self, begin: Position) -> u64 {
        self.frames - begin.frames + self.held_count() as u64
    }

    /// Whether the stream is live, as opposed to a recording.
    pub fn live(&self) -> bool {
        self.setup.live
    }

    /// The number of consecutive unusable messages.
    pub fn consecutive_unusable(&self) -> u32 {
        self.consecutive_unusable
    }

    /// Decodes a frame and applies it. `observe_time` is false if its time was already observed
    /// while it was held.
    fn process(&mut self, bytes: &Bytes, observe_time: bool) {
        let decoded = decode(bytes, self.setup.verify);
        let meta = decoded.as_ref().ok().and_then(meta::meta);
        if let Some(meta) = &meta {
            if !self.releasing && self.is_ahead(meta.time) {
                let did = decoded.as_ref().ok().and_then(meta::did).cloned();
                let meta = FrameMeta {
                    did,
                    ..meta.clone()
                };
                return self.hold(bytes.clone(), Some(meta));
            }
            if self.seq.starts_suspects(meta.seq) && !self.events.is_empty() {
                self.end_epoch(false);
            }
        }
        self.frames += 1;
        match decoded {
            Ok(frame) => {
                self.consecutive_unusable = 0;
                self.counts.frame(counter_name(&frame), bytes.len());
                self.sequence(&frame, meta, bytes, observe_time);
            }
            Err(rejected) => self.reject(&rejected, bytes),
        }
    }

    /// Classifies a frame by its `seq`, and applies it if it is new.
    fn sequence(
        &mut self,
        frame: &Frame<'_>,
        meta: Option<FrameMeta>,
        bytes: &Bytes,
        observe_time: bool,
    ) {
        let Some(meta) = meta else {
            return self.apply_unnumbered(frame, bytes);
        };
        let sequenced = SequencedFrame {
            seq: meta.seq,
            time: meta.claimed(),
            bytes,
        };
        match self.seq.step(&sequenced, self.time.newest_agreed()) {
            Step::New { missing, repeated } => {
                self.counts.drop(DropReason::SeqRepeated, repeated);
                self.counts.gaps += u64::from(missing > 0);
                self.counts.missing_seqs += missing;
                if self.update_clock(&meta, bytes, observe_time) {
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
                self.restart_numbering(&frames, before);
            }
        }
    }

    /// Updates network time by a frame. Returns false if no time for its events is known.
    fn update_clock(&mut self, meta: &FrameMeta, bytes: &Bytes, observe_time: bool) -> bool {
        let untimed = meta.is_timed && meta.time.is_none();
        if untimed {
            self.drop(DropReason::FrameTime, bytes);
            self.consecutive_untimed = self.consecutive_untimed.saturating_add(1);
        } else if meta.is_timed {
            (self.consecutive_untimed, self.timed) = (0, true);
        }
        if let Some(time) = self.time_of(meta) {
            if observe_time {
                self.time.observe(time);
                if !self.in_first_frames() {
                    self.time.advance(self.ceiling);
                }
            }
            self.close_gap(time);
        }
        !untimed || self.time.now() > Timestamp(0)
    }

    /// The time of a frame. Without a readable time it is the machine's clock on a live stream, and
    /// the time of the frame's revision in a recording.
    fn time_of(&self, meta: &FrameMeta) -> Option<Timestamp> {
        let fallback = if self.setup.live {
            self.ceiling
        } else {
            meta.rev
        };
        meta.time.or(fallback).filter(|_| meta.is_timed)
    }

    /// Applies the first frames after the numbering restarted. `before` is the newest `seq` before
    /// the restart.
    fn restart_numbering(&mut self, frames: &[Bytes], before: Cursor) {
        self.counts.resets += 1;
        for bytes in frames {
            if let Ok(frame) = decode(bytes, self.setup.verify) {
                let meta = meta::meta(&frame);
                self.sequence(&frame, meta, bytes, true);
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
            let missing = self.seq.skip(seq, whole);
            self.counts.gaps += u64::from(missing > 0);
            self.counts.missing_seqs += missing;
        }
        if rejected.kind.is_some() {
            self.consecutive_unusable = 0;
            return self.drop(rejected.reason, bytes);
        }
        self.drop_as_unusable(rejected.reason, bytes);
    }

    fn drop_as_unusable(&mut self, reason: DropReason, bytes: &Bytes) {
        self.consecutive_unusable = self.consecutive_unusable.saturating_add(1);
        self.drop(reason, bytes);
    }

    fn drop(&mut self, reason: DropReason, bytes: &Bytes) {
        self.counts.drop(reason, 1);
        self.sample(reason, bytes);
    }

    /// Reports a dropped frame, at most [`SAMPLES_MAX`] times per reason.
    fn sample(&mut self, reason: DropReason, bytes: &Bytes) {
        let reported = &mut self.samples[reason as usize];
        if *reported < SAMPLES_MAX {
            *reported += 1;
            let frame = bytes.clone();
            self.notes.push(Note::Dropped { reason, frame });
        }
    }

    fn push(&mut self, event: Event) {
        self.counts.event(&event.body);
        self.event_bytes += event.bytes();
        self.ticks_without_events = 0;
        self.idle_tick_pending = true;
        self.events.push(Message::Event(event));
    }

    fn end_if_full(&mut self) {
        let events_max = self.setup.tick_events_max.max(1);
        if self.events.len() >= events_max
            || self.event_bytes >= CUT_BYTES_MAX
            || self.counts.frames >= FRAMES_PER_EVENT.saturating_mul(events_max as u64)
        {
            self.end_if_decided(false);
        }
    }

    fn end_epoch(&mut self, last: bool) {
        self.epoch.0 += 1;
        let counts = std::mem::take(&mut self.counts);
        let paused = self.setup.live && self.ticks_without_events >= self.setup.pause_ticks;
        let idle = paused && self.idle_tick_pending;
        self.idle_tick_pending &= !idle && !last;
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

/// The name of the counter of a frame.
fn counter_name(frame: &Frame<'_>) -> &'static str {
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
