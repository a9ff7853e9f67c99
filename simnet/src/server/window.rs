//! The recent frames of the stream, which all clients share.
//!
//! ```text
//!  evicted        ┌──────────────── window ────────────────┐
//!  ─ ─ ─ ─ ─ ─ ─ ─│ frame frame frame frame frame ... frame│◀── pump
//!                 └────▲────────────▲────────────────▲─────┘
//!                    reader       reader          reader   the pump may wait for the slowest
//! ```
//!
//! A position is the index of a frame in the stream and never decreases. A sequence number may
//! decrease, because the stream can restart its numbers. `BufferedFrame::seq_max` is the highest
//! number of all frames up to this one; a cursor is found by it. Limit: the window has a maximum of
//! frames and bytes. The server reports a cursor before it as `OutdatedCursor`.

mod frames;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

pub(super) use frames::BufferedFrame;
use frames::Frames;

/// The limits of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of frames.
    pub frames_max: usize,
    /// Maximum number of bytes in frames.
    pub bytes_max: usize,
}

impl Default for Limits {
    /// About 90 seconds of the real network.
    fn default() -> Self {
        Self {
            frames_max: 100_000,
            bytes_max: 256 << 20,
        }
    }
}

/// Where a client starts to read the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeekResult {
    /// At this position.
    At(u64),
    /// At this position, the oldest: the requested frames are evicted.
    Outdated(u64),
    /// Nowhere: the stream has not reached the cursor.
    Future,
}

/// A client's position in the stream, registered until it is dropped.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    window: &'a Window,
    id: u64,
}

/// What a reader gets next.
#[derive(Debug)]
pub(super) enum ReadResult {
    /// Frames; empty if there are no new ones.
    Frames(Vec<BufferedFrame>),
    /// The next frame is evicted, or the reader lags too far.
    TooSlow,
}

/// The window.
#[derive(Debug)]
pub(super) struct Window {
    frames: Mutex<Frames>,
    /// Length of the stream. Changes with each frame.
    length: watch::Sender<u64>,
}

impl Window {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            frames: Mutex::new(Frames::new(limits)),
            length: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that frames up to this sequence number were skipped.
    pub(super) fn skipped(&self, seq: u64) {
        let mut frames = self.lock();
        frames.evicted_seq = frames.evicted_seq.max(seq);
    }

    /// Appends a frame and evicts the oldest ones above the limits.
    pub(super) fn push(&self, seq: u64, bytes: Bytes) {
        let length = {
            let mut frames = self.lock();
            frames.push(seq, bytes);
            frames.length()
        };
        self.length.send_replace(length);
    }

    /// The sequence numbers restart with the next frame.
    pub(super) fn restart_numbering(&self) {
        let mut frames = self.lock();
        frames.numbering_start = frames.length();
        frames.evicted_seq = 0;
    }

    /// The stream has caught up with its time, or no longer waits for readers.
    pub(super) fn caught_up(&self) {
        self.lock().catching_up = false;
        self.length.send_modify(|_| {});
    }

    /// Whether the unread frames of the slowest reader take less than half of the window, so that
    /// the pump may append frames. Without readers, the last one that left counts.
    pub(super) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Frames and bytes in the window, and the newest sequence number.
    pub(super) fn size(&self) -> WindowSize {
        let frames = self.lock();
        WindowSize {
            frames: frames.buffered.len() as u64,
            bytes: frames.bytes_end() - frames.bytes_before,
            newest_seq: frames.newest(),
        }
    }

    /// A new reader at the end of the stream.
    pub(super) fn reader(&self) -> Reader<'_> {
        let mut frames = self.lock();
        frames.readers_total += 1;
        let (id, position) = (frames.readers_total, frames.length());
        frames.readers.insert(id, position);
        Reader { window: self, id }
    }

    /// Waits until a frame is appended or the stream has caught up.
    pub(super) async fn changed(&self, length: &mut watch::Receiver<u64>) {
        // The sender lives as long as `self`.
        let _never = length.changed().await;
    }

    /// A channel that changes with each frame.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }
}

/// The size of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindowSize {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) newest_seq: u64,
}

impl Reader<'_> {
    /// Moves to the first frame after a cursor; `None` moves to the end. While the stream is
    /// catching up, waits for a cursor that it has not reached.
    pub(super) async fn seek(&self, cursor: Option<u64>) -> SeekResult {
        let mut length = self.window.subscribe();
        loop {
            length.borrow_and_update();
            {
                let mut frames = self.window.lock();
                let found = frames.find(cursor);
                let position = match found {
                    SeekResult::At(position) | SeekResult::Outdated(position) => position,
                    SeekResult::Future => frames.length(),
                };
                frames.readers.insert(self.id, position);
                if found != SeekResult::Future || !frames.catching_up {
                    return found;
                }
            }
            self.window.changed(&mut length).await;
        }
    }

    /// Moves to the end of the stream.
    pub(super) fn seek_end(&self) {
        let mut frames = self.window.lock();
        let length = frames.length();
        frames.readers.insert(self.id, length);
    }

    /// Number of frames of the stream before the reader.
    pub(super) fn position(&self) -> u64 {
        self.window.lock().readers[&self.id]
    }

    /// The next frames, at most `frames_max`, and at most `bytes_max` bytes unless one frame alone
    /// has more. A reader that lags by more than `lag_max` frames is too slow.
    pub(super) fn next(&self, frames_max: usize, bytes_max: usize, lag_max: u64) -> ReadResult {
        let mut frames = self.window.lock();
        let position = frames.readers[&self.id];
        let Some(from) = position.checked_sub(frames.first) else {
            return ReadResult::TooSlow;
        };
        if frames.length() - position > lag_max {
            return ReadResult::TooSlow;
        }
        let mut bytes = 0;
        let next: Vec<BufferedFrame> = frames
            .buffered
            .iter()
            .skip(from as usize)
            .take(frames_max)
            .take_while(|buffered| {
                let fits = bytes == 0 || bytes + buffered.bytes.len() <= bytes_max;
                bytes += buffered.bytes.len();
                fits
            })
            .cloned()
            .collect();
        frames.readers.insert(self.id, position + next.len() as u64);
        ReadResult::Frames(next)
    }

    /// Gives back the last `count` frames, and marks the frame before them as an error frame that
    /// was sent.
    pub(super) fn end_with_error(&self, count: usize) {
        self.unread(count);
        let mut frames = self.window.lock();
        let position = frames.readers[&self.id].checked_sub(frames.first + 1);
        if let Some(buffered) =
            position.and_then(|position| frames.buffered.get_mut(position as usize))
        {
            buffered.was_sent = true;
        }
    }

    /// Marks the last `count` frames as not read, because they were not sent.
    pub(super) fn unread(&self, count: usize) {
        let mut frames = self.window.lock();
        if let Some(position) = frames.readers.get_mut(&self.id) {
            *position -= count as u64;
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut frames = self.window.lock();
        if let Some(position) = frames.readers.remove(&self.id)
            && frames.readers.is_empty()
        {
            frames.last_reader_position = position;
        }
    }
}

#[cfg(test)]
mod tests;
