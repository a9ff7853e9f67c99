//! Reads messages in order, up to where they are durable, and waits there.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::{LogError, LogReader, READ_BYTES_MAX};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::frame::{self, Frame};
use super::segment::{self, HEADER_BYTES, Segment};
use super::{POLL, Shared, damaged, failed};

/// Bytes read at once, if there are as many.
const CHUNK_BYTES: u64 = 1 << 20;

type Messages = Vec<(Seq, Message)>;

/// Where a reader stands.
pub struct Place {
    segment: Segment,
    /// Offset of the first byte behind `chunk`.
    offset: u64,
    /// Position of the next message.
    seq: u64,
    /// Bytes read; those from `used` on are still to be taken.
    chunk: Vec<u8>,
    used: usize,
}

impl Place {
    /// The place of the message at `seq`, or at the end.
    pub fn find(shared: &Shared, seq: u64) -> Result<Self, LogError> {
        loop {
            let firsts = segment::list(&shared.folder)?;
            let Some(&first) = firsts.iter().rfind(|first| **first <= seq) else {
                return Err(trimmed(&firsts, seq));
            };
            // A file that is gone by now was trimmed by another process: look again.
            if let Some(segment) = Segment::open(&shared.folder, first, false)? {
                let mut place = Self::at_start(segment);
                place.skip_to(seq)?;
                return Ok(place);
            }
        }
    }

    fn at_start(segment: Segment) -> Self {
        Self {
            offset: HEADER_BYTES,
            seq: segment.first,
            segment,
            chunk: Vec::new(),
            used: 0,
        }
    }

    fn skip_to(&mut self, wanted: u64) -> Result<(), LogError> {
        while self.seq < wanted {
            if self.message()?.is_none() && !self.fill()? {
                return Err(LogError::Ahead {
                    wanted: Seq(wanted),
                    next: Seq(self.seq),
                });
            }
        }
        Ok(())
    }

    /// Some messages, at most `messages_max`, and none after [`READ_BYTES_MAX`] bytes; none if all durable ones were read.
    fn read(&mut self, shared: &Shared, messages_max: usize) -> Result<Messages, LogError> {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < messages_max.max(1) && bytes < READ_BYTES_MAX {
            let (seq, at) = (self.seq, self.at());
            if let Some(cbor) = self.message()? {
                let message = Message::decode(cbor);
                let message =
                    message.map_err(|error| damaged(self.segment.first, at, &error.to_string()))?;
                bytes += message.bytes();
                messages.push((Seq(seq), message));
            } else if !messages.is_empty() || !(self.fill()? || self.step(shared)?) {
                break;
            }
        }
        Ok(messages)
    }

    /// Offset of the next message.
    fn at(&self) -> u64 {
        self.offset - (self.chunk.len() - self.used) as u64
    }

    /// Takes the next message from the chunk; `None` if it is not (wholly) there.
    fn message(&mut self) -> Result<Option<&[u8]>, LogError> {
        let at = self.at();
        match frame::read(&self.chunk[self.used..], self.seq) {
            Frame::Short(_) => Ok(None),
            Frame::Bad => Err(damaged(
                self.segment.first,
                at,
                "a durable message is not valid",
            )),
            Frame::Whole { message, .. } => {
                self.used += frame::HEAD_BYTES + message.len();
                self.seq += 1;
                Ok(Some(message))
            }
        }
    }

    /// Reads durable bytes behind the chunk; `false` if there are none.
    fn fill(&mut self) -> Result<bool, LogError> {
        let end = self.segment.synced()?.end;
        if self.offset >= end {
            if self.used < self.chunk.len() {
                let why = "a durable message is cut off";
                return Err(damaged(self.segment.first, self.at(), why));
            }
            return Ok(false);
        }
        self.chunk.drain(..self.used);
        self.used = 0;
        let kept = self.chunk.len();
        let wanted = match frame::read(&self.chunk, self.seq) {
            Frame::Short(bytes) => CHUNK_BYTES.max((bytes - kept) as u64),
            _ => CHUNK_BYTES,
        };
        let more = wanted.min(end - self.offset);
        // Room for a large message is given back with the chunk that follows it.
        self.chunk.shrink_to(CHUNK_BYTES as usize);
        self.chunk.resize(kept + more as usize, 0);
        let read = self
            .segment
            .file
            .read_exact_at(&mut self.chunk[kept..], self.offset);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                damaged(self.segment.first, self.offset, "durable bytes are missing")
            }
            _ => failed("read a segment")(error),
        })?;
        self.offset += more;
        Ok(true)
    }

    /// Goes on to the segment that follows, if there is one.
    fn step(&mut self, shared: &Shared) -> Result<bool, LogError> {
        if self.seq == self.segment.first {
            return Ok(false);
        }
        if let Some(next) = Segment::open(&shared.folder, self.seq, false)? {
            *self = Self::at_start(next);
            return Ok(true);
        }
        let firsts = segment::list(&shared.folder)?;
        if firsts.first().is_none_or(|first| *first > self.seq) {
            return Err(trimmed(&firsts, self.seq));
        }
        Ok(false)
    }
}

fn trimmed(firsts: &[u64], wanted: u64) -> LogError {
    match firsts.first() {
        Some(&first) => LogError::Trimmed {
            wanted: Seq(wanted),
            first: Seq(first),
        },
        None => LogError::Damaged("its segments are gone".to_owned()),
    }
}

/// A [`LogReader`] of an [`EmbeddedLog`](super::EmbeddedLog).
pub struct Reader {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    state: State,
}

enum State {
    Idle(Box<Place>),
    /// Kept until it is done, so that a caller that stops waiting loses nothing.
    Reading(JoinHandle<(Box<Place>, Result<Messages, LogError>)>),
    /// After an error that ended the reading thread.
    Lost,
}

impl Reader {
    /// Reads from `place` on.
    pub fn new(shared: Arc<Shared>, place: Place) -> Self {
        Self {
            changed: shared.changed.subscribe(),
            shared,
            state: State::Idle(Box::new(place)),
        }
    }

    /// One attempt, on a blocking thread.
    async fn read(&mut self, messages_max: usize) -> Result<Messages, LogError> {
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(mut place) => {
                let shared = self.shared.clone();
                State::Reading(tokio::task::spawn_blocking(move || {
                    let messages = place.read(&shared, messages_max);
                    (place, messages)
                }))
            }
            other => other,
        };
        let State::Reading(reading) = &mut self.state else {
            return Err(failed("read")("this reader met an error before"));
        };
        match reading.await {
            Ok((place, messages)) => {
                self.state = State::Idle(place);
                messages
            }
            Err(error) => {
                self.state = State::Lost;
                Err(failed("read")(error))
            }
        }
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, messages_max: usize) -> Result<Messages, LogError> {
        loop {
            self.changed.mark_unchanged();
            let messages = self.read(messages_max).await?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            // The writer may be another process: no word of it comes here.
            let _ = tokio::time::timeout(POLL, self.changed.changed()).await;
        }
    }
}
