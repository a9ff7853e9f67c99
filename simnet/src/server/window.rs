//! The frames that clients can have: those of the stream's end, shared by all of them.
//!
//! ```text
//!  dropped        ┌──────────────── window ────────────────┐
//!  ─ ─ ─ ─ ─ ─ ─ ─│ frame frame frame frame frame ... frame│◀── pump
//!                 └────▲────────────▲────────────────▲─────┘
//!                    reader       floor's reader   reader        the pump may wait until readers follow
//! ```
//!
//! A place is a frame's position in the stream, and never falls; a number may, if the stream's numbers begin anew. A cursor is
//! found by marks: the highest number of the frames up to there. Limit: so many frames and bytes; what is older is
//! gone, and asking for it is
//! answered with `OutdatedCursor`.

mod frames;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use frames::Frames;
pub(super) use frames::Kept;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Frames, at most.
    pub frames_max: usize,
    /// Bytes of frames, at most.
    pub bytes_max: usize,
}

impl Default for Limits {
    /// About a minute and a half of the real network.
    fn default() -> Self {
        Self {
            frames_max: 100_000,
            bytes_max: 256 << 20,
        }
    }
}

/// Where a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// At this place.
    At(u64),
    /// At this place, the oldest: what was asked for is gone.
    Outdated(u64),
    /// Nowhere: the stream has not come so far.
    Future,
}

/// A client's place in the stream. Ends with it.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    window: &'a Window,
    id: u64,
}

/// What a client gets next.
#[derive(Debug)]
pub(super) enum Next {
    /// Frames; none: there is nothing new.
    Frames(Vec<Kept>),
    /// What it has not read yet is gone, or it is too far behind.
    TooSlow,
}

/// The window.
#[derive(Debug)]
pub(super) struct Window {
    frames: Mutex<Frames>,
    /// Places in use so far; changes with each frame.
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

    /// Frames up to this number were never here.
    pub(super) fn skipped(&self, seq: u64) {
        let mut frames = self.lock();
        frames.gone = frames.gone.max(seq);
    }

    /// Adds a frame; the oldest ones go.
    pub(super) fn push(&self, seq: u64, bytes: Bytes) {
        let length = {
            let mut frames = self.lock();
            frames.push(seq, bytes);
            frames.length()
        };
        self.length.send_replace(length);
    }

    /// Numbers begin anew with the next frame.
    pub(super) fn begin_anew(&self) {
        let mut frames = self.lock();
        frames.era = frames.length();
        frames.gone = 0;
    }

    /// The stream has come to its time, or goes on without regard to readers.
    pub(super) fn caught_up(&self) {
        self.lock().catching_up = false;
        self.length.send_modify(|_| {});
    }

    /// Whether no reader, nor the one who left last, is far behind: the window is not half full of what they lack.
    pub(super) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Frames and bytes in the window, the oldest number that can be had, the newest.
    pub(super) fn extent(&self) -> Extent {
        let frames = self.lock();
        Extent {
            frames: frames.kept.len() as u64,
            bytes: frames.end() - frames.before,
            newest_seq: frames.newest(),
        }
    }

    /// A reader at the end of the stream.
    pub(super) fn reader(&self) -> Reader<'_> {
        let mut frames = self.lock();
        frames.readers_ever += 1;
        let (id, place) = (frames.readers_ever, frames.length());
        frames.readers.insert(id, place);
        Reader { window: self, id }
    }

    /// Waits until there is a frame at this place, or the stream has caught up.
    pub(super) async fn changed(&self, length: &mut watch::Receiver<u64>) {
        // The sender lives as long as `self`.
        let _never = length.changed().await;
    }

    /// Tells of each frame.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.length.subscribe()
    }
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) newest_seq: u64,
}

impl Reader<'_> {
    /// Goes to where a cursor says; `None`: to the end. Waits while the stream is catching up and may still come to there.
    pub(super) async fn seek(&self, cursor: Option<u64>) -> Begin {
        let mut length = self.window.subscribe();
        loop {
            length.borrow_and_update();
            {
                let mut frames = self.window.lock();
                let begin = frames.find(cursor);
                let place = match begin {
                    Begin::At(place) | Begin::Outdated(place) => place,
                    Begin::Future => frames.length(),
                };
                frames.readers.insert(self.id, place);
                if begin != Begin::Future || !frames.catching_up {
                    return begin;
                }
            }
            self.window.changed(&mut length).await;
        }
    }

    /// Goes to the end of the stream.
    pub(super) fn seek_end(&self) {
        let mut frames = self.window.lock();
        let length = frames.length();
        frames.readers.insert(self.id, length);
    }

    /// Frames of the stream before it.
    pub(super) fn place(&self) -> u64 {
        self.window.lock().readers[&self.id]
    }

    /// What comes next: up to so many frames, and bytes unless one frame has more. Being more than
    /// `lag_max` frames behind is too much.
    pub(super) fn next(&self, frames_max: usize, bytes_max: usize, lag_max: u64) -> Next {
        let mut frames = self.window.lock();
        let place = frames.readers[&self.id];
        let Some(from) = place.checked_sub(frames.first) else {
            return Next::TooSlow;
        };
        if frames.length() - place > lag_max {
            return Next::TooSlow;
        }
        let mut bytes = 0;
        let next: Vec<Kept> = frames
            .kept
            .iter()
            .skip(from as usize)
            .take(frames_max)
            .take_while(|kept| {
                let fits = bytes == 0 || bytes + kept.bytes.len() <= bytes_max;
                bytes += kept.bytes.len();
                fits
            })
            .cloned()
            .collect();
        frames.readers.insert(self.id, place + next.len() as u64);
        Next::Frames(next)
    }

    /// The last one that was had, but for `count`, was an error frame; those were not sent.
    pub(super) fn end_with_error(&self, count: usize) {
        self.give_back(count);
        let mut frames = self.window.lock();
        let place = frames.readers[&self.id].checked_sub(frames.first + 1);
        if let Some(kept) = place.and_then(|place| frames.kept.get_mut(place as usize)) {
            kept.was_sent = true;
        }
    }

    /// Gives the last ones back: they were not sent.
    pub(super) fn give_back(&self, count: usize) {
        let mut frames = self.window.lock();
        if let Some(place) = frames.readers.get_mut(&self.id) {
            *place -= count as u64;
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut frames = self.window.lock();
        if let Some(place) = frames.readers.remove(&self.id)
            && frames.readers.is_empty()
        {
            frames.left_at = place;
        }
    }
}

#[cfg(test)]
mod tests;
