//! Holds frames for later processing, and observes the time of frames that were already applied.
//!
//! ```text
//! start of a session     held until network time is known: time::WINDOW frames, or a tick
//! ahead of local clock   held until it is known which clock is wrong: the sender's or ours
//! before the position    not processed: only their time is observed
//! ```
//!
//! Network time of a live stream never passes the local clock, and a commit whose revision is too
//! far ahead of network time is dropped. A slow local clock would therefore drop every commit. So a
//! frame whose `time` is more than [`AHEAD_MS_MAX`] ahead of the local clock is held, with all
//! frames after it. If most accounts of the held frames are ahead, the local clock is wrong: the
//! frames stay held, and once there are [`HELD_FRAMES_MAX`] or [`HELD_BYTES_MAX`] of them, reading
//! stops until the clock is corrected. Otherwise the senders are wrong, and all held frames are
//! processed at the next tick. Accounts are counted instead of frames, so that one account cannot
//! stop the stream.

use bytes::Bytes;
use skytide_core::id::{Cursor, Did};
use skytide_core::time::Timestamp;

use super::meta::{FrameMeta, meta_of, seq_of};
use super::{Assembler, HELD_BYTES_MAX, LOOKBACK, time};

/// How far a stream's time may be ahead of the local clock, in ms.
pub(crate) const AHEAD_MS_MAX: u64 = 60_000;
/// Largest number of held frames; then reading stops.
pub(crate) const HELD_FRAMES_MAX: usize = 1_024;

/// Messages that are held for later processing.
#[derive(Debug, Default)]
pub(super) struct HeldMessages {
    messages: Vec<HeldMessage>,
    bytes: usize,
    /// Ticks since the first message was held.
    ticks: u32,
    /// Whether they are the first messages of a session.
    first_of_session: bool,
}

#[derive(Debug)]
struct HeldMessage {
    payload: Payload,
    seq: Option<Cursor>,
    /// The time that the frame claims.
    time: Option<Timestamp>,
    did: Option<Did>,
}

/// The content of a held message.
#[derive(Debug)]
enum Payload {
    Frame(Bytes),
    Unusable(Unusable),
}

/// A message that is not a frame.
#[derive(Debug)]
pub(super) enum Unusable {
    /// A text message.
    Text(Bytes),
    /// A message over the size limit, whose bytes were dropped while it was received.
    Oversized,
}

impl HeldMessages {
    /// No messages yet; the first ones of a session will be held.
    pub(super) fn first_of_session() -> Self {
        Self {
            first_of_session: true,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= HELD_FRAMES_MAX || self.bytes >= HELD_BYTES_MAX
    }

    /// The median time, in ms, by which the frames that are ahead of the local clock are ahead.
    /// Returns `None` unless more accounts have such frames than have others.
    fn ms_ahead(&self, clock: Timestamp) -> Option<u64> {
        let limit = clock.0.saturating_add(AHEAD_MS_MAX);
        let timed = |message: &HeldMessage| message.time.map(|time| (time, message.did.clone()));
        let (ahead, others): (Vec<_>, Vec<_>) = self
            .messages
            .iter()
            .filter_map(timed)
            .partition(|(time, _)| time.0 > limit);
        if distinct_accounts(&ahead) <= distinct_accounts(&others) {
            return None;
        }
        let mut times: Vec<u64> = ahead.iter().map(|(time, _)| time.0).collect();
        times.sort_unstable();
        Some(times[times.len() / 2] - clock.0)
    }
}

/// The number of distinct accounts; all frames without an account count as one.
fn distinct_accounts(timed: &[(Timestamp, Option<Did>)]) -> usize {
    let distinct: std::collections::BTreeSet<_> = timed.iter().map(|(_, did)| did).collect();
    distinct.len()
}

impl Assembler {
    /// Processes or holds the next binary message of the stream.
    pub fn frame(&mut self, bytes: Bytes) {
        if self.already_applied(&bytes) {
            return self.observe_past(&bytes);
        }
        let time_is_known = self.time.is_full() || self.resumes_recording();
        if self.held.is_none() {
            self.process(&bytes, true);
            return self.end_if_full();
        }
        let meta = meta_of(&bytes);
        let ahead = self.is_ahead(meta.as_ref().and_then(|meta| meta.time));
        let is_start = self.held.as_ref().is_some_and(|held| held.first_of_session);
        if is_start && time_is_known && !ahead && self.held_count() == 0 {
            self.held = None;
            self.process(&bytes, true);
            return self.end_if_full();
        }
        self.hold(bytes, meta);
        self.release_if_enough();
    }

    /// Whether reading resumes within a recording, whose first frames were held before the restart.
    fn resumes_recording(&self) -> bool {
        !self.setup.live && self.frames > 0
    }

    /// Whether the newest frame is one of the first of a recording. They advance network time only
    /// once, all together.
    pub(super) fn in_first_frames(&self) -> bool {
        !self.setup.live && self.frames <= time::WINDOW as u64
    }

    /// Observes the time of a frame before the position at which reading resumes.
    pub fn observe_past(&mut self, bytes: &[u8]) {
        if let Some(meta) = meta_of(bytes) {
            self.observe_early(meta.seq, meta.time);
        }
    }

    /// Whether a time is more than [`AHEAD_MS_MAX`] ahead of the local clock.
    pub(super) fn is_ahead(&self, time: Option<Timestamp>) -> bool {
        let limit = self
            .ceiling
            .map(|clock| clock.0.saturating_add(AHEAD_MS_MAX));
        limit.zip(time).is_some_and(|(limit, time)| time.0 > limit)
    }

    /// Holds a frame, and thereby all frames after it.
    pub(super) fn hold(&mut self, bytes: Bytes, meta: Option<FrameMeta>) {
        if let Some(meta) = &meta {
            self.observe_early(meta.seq, self.time_of(meta));
        }
        let held = self.held.get_or_insert_default();
        held.bytes += bytes.len();
        held.messages.push(HeldMessage {
            payload: Payload::Frame(bytes),
            seq: meta.as_ref().map(|meta| meta.seq),
            time: meta.as_ref().and_then(|meta| meta.time),
            did: meta.and_then(|meta| meta.did),
        });
    }

    /// Holds a message that is not a frame if frames before it are held, so that drops and gaps are
    /// recorded in the order of the stream. Returns the message if no frame is held.
    ///
    /// At the start of a recording it is always held: the first frames decide network time, and it
    /// may come before them.
    pub(super) fn hold_unusable(&mut self, message: Unusable) -> Option<Unusable> {
        let starts_recording = !self.setup.live && self.frames == 0;
        let held = self
            .held
            .as_mut()
            .filter(|held| !held.messages.is_empty() || held.first_of_session && starts_recording);
        let Some(held) = held else {
            return Some(message);
        };
        if let Unusable::Text(bytes) = &message {
            held.bytes += bytes.len();
        }
        held.messages.push(HeldMessage {
            payload: Payload::Unusable(message),
            seq: None,
            time: None,
            did: None,
        });
        self.release_if_enough();
        None
    }

    /// Processes the held messages once there are enough of them.
    fn release_if_enough(&mut self) {
        let Some(held) = &self.held else {
            return;
        };
        let enough = if held.first_of_session {
            time::WINDOW
        } else {
            HELD_FRAMES_MAX
        };
        // Only frames have a time.
        let is_frame = |message: &&HeldMessage| matches!(message.payload, Payload::Frame(_));
        let frames = held.messages.iter().filter(is_frame).count();
        if frames >= enough || held.is_full() {
            self.release(false);
        }
    }

    /// The number of held messages.
    pub(super) fn held_count(&self) -> usize {
        self.held.as_ref().map_or(0, HeldMessages::len)
    }

    /// The largest `seq` of a held frame.
    pub(super) fn newest_held(&self) -> Option<Cursor> {
        let held = self.held.as_ref()?;
        held.messages.iter().filter_map(|message| message.seq).max()
    }

    /// Observes the time of a frame that is held or was already applied. A frame that repeats or
    /// precedes an observed one has no effect.
    fn observe_early(&mut self, seq: Cursor, time: Option<Timestamp>) {
        if self.newest_observed.is_none_or(|newest| seq > newest)
            && let Some(time) = time
        {
            self.newest_observed = Some(seq);
            self.time.observe(time);
        }
    }

    /// Whether a frame that a relay sends after a restart was applied before the restart.
    fn already_applied(&mut self, bytes: &[u8]) -> bool {
        let (Some(resumed_at), true) = (self.resumed_at, self.setup.live) else {
            return false;
        };
        let Some(seq) = seq_of(bytes) else {
            return false;
        };
        if seq <= resumed_at && resumed_at.0 - seq.0 < LOOKBACK {
            self.is_caught_up = seq == resumed_at;
            return true;
        }
        self.resumed_at = None;
        false
    }

    /// Whether a message that is not a frame came before a restart, too: frames that were applied
    /// then are being repeated, and the last of them has not arrived. Such a message has no `seq`.
    pub(super) fn is_repeating(&self) -> bool {
        self.setup.live && self.resumed_at.is_some() && !self.is_caught_up
    }

    /// How far the local clock is behind the stream, in ms, if frames are held for that reason. A
    /// single frame may be forged, so the result is `None` until frames were held for `pause_ticks`
    /// ticks or no more can be held.
    pub fn clock_behind_ms(&self) -> Option<u64> {
        let held = self.held.as_ref()?;
        let long_enough = held.is_full() || held.ticks >= self.setup.pause_ticks;
        let clock = self.ceiling.filter(|_| long_enough)?;
        held.ms_ahead(clock)
    }

    /// Whether reading should stop until the local clock is corrected.
    pub fn is_stalled(&self) -> bool {
        self.held.as_ref().is_some_and(HeldMessages::is_full) && self.clock_behind_ms().is_some()
    }

    /// Counts a tick during which frames were held.
    pub(super) fn count_held_tick(&mut self) {
        if let Some(held) = self.held.as_mut().filter(|held| held.len() > 0) {
            held.ticks = held.ticks.saturating_add(1);
        }
    }

    /// Processes the held messages, unless the local clock is wrong. If `last` is true, the stream
    /// ends, and they are always processed.
    pub(super) fn release(&mut self, last: bool) {
        let clock_is_wrong = |held: &HeldMessages| {
            self.ceiling
                .and_then(|clock| held.ms_ahead(clock))
                .is_some()
        };
        let Some(held) = self
            .held
            .take_if(|held| !held.messages.is_empty() && (last || !clock_is_wrong(held)))
        else {
            return;
        };
        self.time.advance(self.ceiling);
        self.releasing = true;
        // Network time is already that of all held frames. A gap starts with those before it.
        let mut newest_time = None;
        for message in held.messages {
            newest_time = newest_time.max(message.time);
            match message.payload {
                Payload::Frame(bytes) => self.process(&bytes, false),
                Payload::Unusable(message) => self.drop_unusable(message, newest_time),
            }
            self.end_if_full();
        }
        self.releasing = false;
    }
}
