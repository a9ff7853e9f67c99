//! Frames at the beginning, which tell the time before they are judged: those that are held back until it is known, and
//! those before the position at which reading goes on.

use bytes::Bytes;
use skytide_core::id::Cursor;
use skytide_core::time::Timestamp;

use super::{Assembler, HELD_BYTES_MAX, LOOKBACK, numbers_of, seq_of, time};

impl Assembler {
    /// The next binary message of the stream.
    pub fn frame(&mut self, bytes: Bytes) {
        if self.is_past(&bytes) {
            return self.past(&bytes);
        }
        let known = self.time.settled() || self.interrupted();
        let Some(held) = &mut self.held else {
            self.judge(&bytes, true);
            return self.end_if_full();
        };
        let first = held.is_empty();
        self.held_bytes += bytes.len();
        held.push(bytes);
        if first && known {
            return self.release_noting(true);
        }
        let full = held.len() == time::WINDOW || self.held_bytes >= HELD_BYTES_MAX;
        if let Some(numbers) = held.last().and_then(|bytes| numbers_of(bytes)) {
            self.note_early(numbers);
        }
        if full {
            self.release();
        }
    }

    /// Whether this goes on with a recording: its first frames were held back before the interruption.
    fn interrupted(&self) -> bool {
        !self.setup.live && self.frames > 0
    }

    /// Whether the newest frame is one of the first of a recording, which move the clock all at once.
    pub(super) fn opens(&self) -> bool {
        !self.setup.live && self.frames <= time::WINDOW as u64
    }

    /// A frame before the position at which reading goes on: it only tells the time.
    pub fn past(&mut self, bytes: &[u8]) {
        if let Some(numbers) = numbers_of(bytes) {
            self.note_early(numbers);
        }
    }

    /// Takes note of the time of a frame that is not yet, or no more, to be judged; repetitions tell nothing.
    fn note_early(&mut self, (seq, time): (Cursor, Option<Timestamp>)) {
        if self.noted.is_none_or(|noted| seq > noted)
            && let Some(time) = time
        {
            self.noted = Some(seq);
            self.time.note(time);
        }
    }

    /// Whether a frame that a relay sends after a restart was applied before it.
    fn is_past(&mut self, bytes: &[u8]) -> bool {
        let (Some(resumed), true) = (self.resumed, self.setup.live) else {
            return false;
        };
        let Some(seq) = seq_of(bytes) else {
            return false;
        };
        if seq <= resumed && resumed.0 - seq.0 < LOOKBACK {
            return true;
        }
        self.resumed = None;
        false
    }

    pub(super) fn release(&mut self) {
        self.release_noting(false);
    }

    /// Judges the frames that were held back. `note`: their times are news to the clock.
    fn release_noting(&mut self, note: bool) {
        let Some(held) = self.held.take() else { return };
        if held.is_empty() {
            self.held = Some(held);
            return;
        }
        if !note {
            self.time.advance(self.ceiling);
        }
        for bytes in held {
            self.judge(&bytes, note);
            self.end_if_full();
        }
    }
}
