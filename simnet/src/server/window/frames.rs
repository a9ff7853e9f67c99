//! The frames of the window: which there are, and where those behind a cursor begin.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::super::message;
use super::{Begin, Limits};

/// A frame that clients can have.
#[derive(Clone, Debug)]
pub(in super::super) struct Kept {
    pub(in super::super) bytes: Bytes,
    /// Whether it has a number above all before it.
    pub(in super::super) is_new: bool,
    /// Whether it is an error frame: a connection ends with it.
    pub(in super::super) is_error: bool,
    /// Whether an error frame was sent to anyone.
    pub(super) was_sent: bool,
    /// The highest number so far.
    pub(super) mark: u64,
    /// Bytes of the stream up to its end.
    pub(super) end: u64,
}

/// The frames of the window, and who reads where.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) kept: VecDeque<Kept>,
    pub(super) limits: Limits,
    /// The place of the oldest one.
    pub(super) first: u64,
    /// The highest number that is gone.
    pub(super) gone: u64,
    /// The place at which numbers began anew.
    pub(super) era: u64,
    /// Bytes of the stream before the oldest one.
    pub(super) before: u64,
    /// Each reader's place.
    pub(super) readers: BTreeMap<u64, u64>,
    pub(super) readers_ever: u64,
    /// The slowest reader's place when the last one left.
    pub(super) left_at: u64,
    /// Whether the stream is still catching up with its time.
    pub(super) catching_up: bool,
}

impl Frames {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            kept: VecDeque::new(),
            limits,
            first: 0,
            gone: 0,
            era: 0,
            before: 0,
            readers: BTreeMap::new(),
            readers_ever: 0,
            left_at: 0,
            catching_up: true,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.first + self.kept.len() as u64
    }

    /// Bytes of the whole stream.
    pub(super) fn end(&self) -> u64 {
        self.kept.back().map_or(self.before, |kept| kept.end)
    }

    /// The newest number.
    pub(super) fn newest(&self) -> u64 {
        let last = self.kept.back().filter(|_| self.length() > self.era);
        last.map_or(self.gone, |kept| kept.mark)
    }

    pub(super) fn push(&mut self, seq: u64, bytes: Bytes) {
        let (newest, end) = (self.newest(), self.end() + bytes.len() as u64);
        self.kept.push_back(Kept {
            is_new: seq > newest,
            is_error: message::is_error(&bytes),
            was_sent: false,
            bytes,
            mark: seq.max(newest),
            end,
        });
        let limits = self.limits;
        while self.kept.len() > limits.frames_max
            || (self.kept.len() > 1 && end - self.before > limits.bytes_max as u64)
        {
            let Some(gone) = self.kept.pop_front() else {
                return;
            };
            self.before = gone.end;
            if self.first >= self.era {
                self.gone = gone.mark;
            }
            self.first += 1;
        }
    }

    /// Where the frames behind a cursor begin.
    pub(super) fn find(&self, cursor: Option<u64>) -> Begin {
        let oldest = self.first.max(self.era);
        match cursor {
            None => Begin::At(self.length()),
            Some(0) => Begin::At(oldest),
            Some(cursor) if cursor > self.newest() => Begin::Future,
            Some(cursor) if cursor < self.gone => Begin::Outdated(oldest),
            Some(cursor) => {
                let from = (oldest - self.first) as usize;
                let next = self.behind(from, cursor);
                Begin::At(self.first + self.left_over(from, next) as u64)
            }
        }
    }

    /// Where the frames begin that a client lacks which has that before `next`. Frames without a new number were sent with the
    /// one before them, unless an error frame ended the connection: then those behind it are left.
    fn left_over(&self, from: usize, next: usize) -> usize {
        let mut place = next;
        while place > from && !self.kept[place - 1].is_new {
            place -= 1;
            if self.kept[place].was_sent {
                return place + 1;
            }
        }
        next
    }

    /// The first one from there on whose mark is above `cursor`; marks rise within an era only.
    fn behind(&self, from: usize, cursor: u64) -> usize {
        let (mut low, mut high) = (from, self.kept.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.kept[middle].mark <= cursor {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    pub(super) fn has_room(&self) -> bool {
        let slowest = self.readers.values().min().copied();
        let floor = slowest.unwrap_or(self.left_at).max(self.first);
        let waiting = self.length() - floor;
        let read = (floor - self.first) as usize;
        let begin = match read.checked_sub(1) {
            None => self.before,
            Some(last) => self.kept[last].end,
        };
        let bytes = self.end() - begin;
        waiting < (self.limits.frames_max as u64 / 2).max(1)
            && (waiting == 0 || bytes < self.limits.bytes_max as u64 / 2)
    }
}
