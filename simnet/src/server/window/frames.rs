//! The frames in the window, and the search for the first frame after a cursor.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::super::message;
use super::{Limits, SeekResult};

/// A frame in the window.
#[derive(Clone, Debug)]
pub(in super::super) struct BufferedFrame {
    pub(in super::super) bytes: Bytes,
    /// Whether its sequence number is above all earlier ones.
    pub(in super::super) is_new: bool,
    /// Whether it is an error frame, which ends a connection.
    pub(in super::super) is_error: bool,
    /// Whether it is an error frame that was sent to a client.
    pub(super) was_sent: bool,
    /// The highest sequence number up to this frame.
    pub(super) seq_max: u64,
    /// Bytes of the stream up to the end of this frame.
    pub(super) bytes_end: u64,
}

/// The frames in the window, and the positions of the readers.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) buffered: VecDeque<BufferedFrame>,
    pub(super) limits: Limits,
    /// The position of the oldest frame.
    pub(super) first: u64,
    /// The highest sequence number that was evicted or skipped.
    pub(super) evicted_seq: u64,
    /// The position at which the sequence numbers last restarted.
    pub(super) numbering_start: u64,
    /// Bytes of the stream before the oldest frame.
    pub(super) bytes_before: u64,
    /// The position of each reader.
    pub(super) readers: BTreeMap<u64, u64>,
    /// Number of readers that ever existed. It serves as the id of the newest one.
    pub(super) readers_total: u64,
    /// The position of the last reader when it left.
    pub(super) last_reader_position: u64,
    /// Whether the stream is still catching up with its time.
    pub(super) catching_up: bool,
}

impl Frames {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            buffered: VecDeque::new(),
            limits,
            first: 0,
            evicted_seq: 0,
            numbering_start: 0,
            bytes_before: 0,
            readers: BTreeMap::new(),
            readers_total: 0,
            last_reader_position: 0,
            catching_up: true,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.first + self.buffered.len() as u64
    }

    /// Bytes of the whole stream.
    pub(super) fn bytes_end(&self) -> u64 {
        self.buffered
            .back()
            .map_or(self.bytes_before, |buffered| buffered.bytes_end)
    }

    /// The newest sequence number.
    pub(super) fn newest(&self) -> u64 {
        let last = self
            .buffered
            .back()
            .filter(|_| self.length() > self.numbering_start);
        last.map_or(self.evicted_seq, |buffered| buffered.seq_max)
    }

    pub(super) fn push(&mut self, seq: u64, bytes: Bytes) {
        let (newest, end) = (self.newest(), self.bytes_end() + bytes.len() as u64);
        self.buffered.push_back(BufferedFrame {
            is_new: seq > newest,
            is_error: message::is_error(&bytes),
            was_sent: false,
            bytes,
            seq_max: seq.max(newest),
            bytes_end: end,
        });
        let limits = self.limits;
        while self.buffered.len() > limits.frames_max
            || (self.buffered.len() > 1 && end - self.bytes_before > limits.bytes_max as u64)
        {
            let Some(evicted) = self.buffered.pop_front() else {
                return;
            };
            self.bytes_before = evicted.bytes_end;
            if self.first >= self.numbering_start {
                self.evicted_seq = evicted.seq_max;
            }
            self.first += 1;
        }
    }

    /// The position of the first frame after a cursor.
    pub(super) fn find(&self, cursor: Option<u64>) -> SeekResult {
        let oldest = self.first.max(self.numbering_start);
        match cursor {
            None => SeekResult::At(self.length()),
            Some(0) => SeekResult::At(oldest),
            Some(cursor) if cursor > self.newest() => SeekResult::Future,
            Some(cursor) if cursor < self.evicted_seq => SeekResult::Outdated(oldest),
            Some(cursor) => {
                let from = (oldest - self.first) as usize;
                let next = self.first_after(from, cursor);
                SeekResult::At(self.first + self.skip_delivered(from, next) as u64)
            }
        }
    }

    /// The index of the first frame that was not sent to a client whose cursor leads to the frame
    /// `next`. Frames without a new number were sent together with the frame before them. But if an
    /// error frame ended the connection, the frames after it were not sent.
    fn skip_delivered(&self, from: usize, next: usize) -> usize {
        let mut position = next;
        while position > from && !self.buffered[position - 1].is_new {
            position -= 1;
            if self.buffered[position].was_sent {
                return position + 1;
            }
        }
        next
    }

    /// The index of the first frame at or after `from` whose `seq_max` is above `cursor`. `seq_max`
    /// only increases since the last restart of the numbers.
    fn first_after(&self, from: usize, cursor: u64) -> usize {
        let (mut low, mut high) = (from, self.buffered.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.buffered[middle].seq_max <= cursor {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// See [`Window::has_room`](super::Window::has_room).
    pub(super) fn has_room(&self) -> bool {
        let slowest = self.readers.values().min().copied();
        let oldest_unread = slowest.unwrap_or(self.last_reader_position).max(self.first);
        let unread = self.length() - oldest_unread;
        let read = (oldest_unread - self.first) as usize;
        let bytes_read = match read.checked_sub(1) {
            None => self.bytes_before,
            Some(last) => self.buffered[last].bytes_end,
        };
        let bytes_unread = self.bytes_end() - bytes_read;
        unread < (self.limits.frames_max as u64 / 2).max(1)
            && (unread == 0 || bytes_unread < self.limits.bytes_max as u64 / 2)
    }
}
