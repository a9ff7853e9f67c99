//! Reads messages in order up to the synced position, and waits there for new ones.

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

/// The number of bytes to read at once, if that many are available.
const CHUNK_BYTES: u64 = 1 << 20;

type Messages = Vec<(Seq, Message)>;

/// The position of a reader: the next message, its segment, and the bytes that are already read.
pub struct LogPosition {
    segment: Segment,
    /// Offset of the first byte after `chunk`.
    offset: u64,
    /// Position of the next message in the log.
    seq: u64,
    /// Bytes that were read. Those from `used` on are not yet decoded.
    chunk: Vec<u8>,
    used: usize,
}

impl LogPosition {
    /// Finds the message at position `seq`, or the end of the log if `seq` is the next position.
    pub fn find(shared: &Shared, seq: u64) -> Result<Self, LogError> {
        loop {
            let firsts = segment::list(&shared.folder)?;
            let Some(&first) = firsts.iter().rfind(|first| **first <= seq) else {
                return Err(trimmed(&firsts, seq));
            };
            // A missing file was trimmed by another process in the meantime: list the segments
            // again.
            if let Some(segment) = Segment::open(&shared.folder, first, false)? {
                let mut position = Self::at_start(segment);
                position.skip_to(seq)?;
                return Ok(position);
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
            if self.next_message()?.is_none() && !self.read_chunk()? {
                return Err(LogError::Ahead {
                    wanted: Seq(wanted),
                    next: Seq(self.seq),
                });
            }
        }
        Ok(())
    }

    /// Reads up to `messages_max` messages, and no further message after [`READ_BYTES_MAX`] bytes.
    /// Returns an empty list if all durable messages were read.
    fn read(&mut self, shared: &Shared, messages_max: usize) -> Result<Messages, LogError> {
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while messages.len() < messages_max.max(1) && bytes < READ_BYTES_MAX {
            let (seq, at) = (self.seq, self.message_offset());
            if let Some(cbor) = self.next_message()? {
                let message = Message::decode(cbor);
                let message =
                    message.map_err(|error| damaged(self.segment.first, at, &error.to_string()))?;
                bytes += message.bytes();
                messages.push((Seq(seq), message));
            } else if !messages.is_empty() || !(self.read_chunk()? || self.next_segment(shared)?) {
                break;
            }
        }
        Ok(messages)
    }

    /// Offset of the next message in its segment.
    fn message_offset(&self) -> u64 {
        self.offset - (self.chunk.len() - self.used) as u64
    }

    /// Takes the next message from the chunk. Returns `None` if the chunk holds no complete
    /// message.
    fn next_message(&mut self) -> Result<Option<&[u8]>, LogError> {
        let at = self.message_offset();
        match frame::read(&self.chunk[self.used..], self.seq) {
            Frame::Incomplete { .. } => Ok(None),
            Frame::Invalid => Err(damaged(
                self.segment.first,
                at,
                "a durable message is invalid",
            )),
            Frame::Complete { message, .. } => {
                self.used += frame::HEAD_BYTES + message.len();
                self.seq += 1;
                Ok(Some(message))
            }
        }
    }

    /// Reads more durable bytes into the chunk. Returns `false` if there are none.
    fn read_chunk(&mut self) -> Result<bool, LogError> {
        let end = self.segment.synced()?.end;
        if self.offset >= end {
            if self.used < self.chunk.len() {
                let why = "a durable message is truncated";
                return Err(damaged(self.segment.first, self.message_offset(), why));
            }
            return Ok(false);
        }
        self.chunk.drain(..self.used);
        self.used = 0;
        let unread = self.chunk.len();
        let wanted = match frame::read(&self.chunk, self.seq) {
            Frame::Incomplete { needed } => CHUNK_BYTES.max((needed - unread) as u64),
            _ => CHUNK_BYTES,
        };
        let read_bytes = wanted.min(end - self.offset);
        // Shrinks the buffer again after a large message.
        self.chunk.shrink_to(CHUNK_BYTES as usize);
        self.chunk.resize(unread + read_bytes as usize, 0);
        let read = self
            .segment
            .file
            .read_exact_at(&mut self.chunk[unread..], self.offset);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                damaged(self.segment.first, self.offset, "durable bytes are missing")
            }
            _ => failed("read a segment")(error),
        })?;
        self.offset += read_bytes;
        Ok(true)
    }

    /// Moves on to the next segment. Returns `false` if there is none.
    fn next_segment(&mut self, shared: &Shared) -> Result<bool, LogError> {
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
        None => LogError::Damaged("all its segments have been removed".to_owned()),
    }
}

/// A [`LogReader`] of an [`EmbeddedLog`](super::EmbeddedLog).
pub struct Reader {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    state: State,
}

enum State {
    Idle(Box<LogPosition>),
    /// The running read. It is stored here so that no messages are lost if the caller drops the
    /// future.
    Reading(JoinHandle<(Box<LogPosition>, Result<Messages, LogError>)>),
    /// An error ended the reading thread.
    Failed,
}

impl Reader {
    /// Creates a reader that starts at `position`.
    pub fn new(shared: Arc<Shared>, position: LogPosition) -> Self {
        Self {
            changed: shared.changed.subscribe(),
            shared,
            state: State::Idle(Box::new(position)),
        }
    }

    /// Reads once, on a blocking thread.
    async fn read(&mut self, messages_max: usize) -> Result<Messages, LogError> {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::Idle(mut position) => {
                let shared = self.shared.clone();
                State::Reading(tokio::task::spawn_blocking(move || {
                    let messages = position.read(&shared, messages_max);
                    (position, messages)
                }))
            }
            other => other,
        };
        let State::Reading(reading) = &mut self.state else {
            return Err(failed("read")(
                "this reader is unusable after an earlier error",
            ));
        };
        match reading.await {
            Ok((position, messages)) => {
                self.state = State::Idle(position);
                messages
            }
            Err(error) => {
                self.state = State::Failed;
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
            // The writer may be in another process, which cannot notify this one. Therefore the
            // wait has a time limit.
            let _ = tokio::time::timeout(POLL, self.changed.changed()).await;
        }
    }
}
