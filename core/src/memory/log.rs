//! A log in memory. Its positions have no gaps: the stored message with index `i` has the position
//! `first + i`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::event::{Message, Tick};
use crate::id::Seq;
use crate::port::log::{Bounds, Log, LogError, LogReader, LogWriter, READ_BYTES_MAX};

/// A [`Log`] in memory. Clones share one log.
#[derive(Clone, Debug)]
pub struct MemoryLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: u64,
    bytes_max: u64,
    state: Mutex<State>,
    /// Notified after every change of `state`. Wakes readers that wait for messages, and writers
    /// that wait for space.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    first: u64,
    messages: VecDeque<StoredMessage>,
    bytes: u64,
    newest_tick: Option<(Seq, Tick)>,
    has_writer: bool,
}

#[derive(Debug)]
struct StoredMessage {
    message: Message,
    bytes: u64,
}

impl State {
    fn next(&self) -> u64 {
        self.first + self.messages.len() as u64
    }
}

impl MemoryLog {
    /// An empty log with this identity and no size limit.
    pub fn new(id: u64) -> Self {
        Self::with_bytes_max(id, u64::MAX)
    }

    /// An empty log with this identity. `append` blocks while the encoded messages have `bytes_max`
    /// bytes or more.
    pub fn with_bytes_max(id: u64, bytes_max: u64) -> Self {
        let state = State {
            first: 1,
            messages: VecDeque::new(),
            bytes: 0,
            newest_tick: None,
            has_writer: false,
        };
        Self(Arc::new(Shared {
            id,
            bytes_max,
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        let state = self.state();
        Ok(Bounds {
            id: self.0.id,
            first: Seq(state.first),
            next: Seq(state.next()),
            bytes: state.bytes,
            bytes_max: self.0.bytes_max,
        })
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        Ok(self.state().newest_tick.clone())
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        let mut state = self.state();
        if std::mem::replace(&mut state.has_writer, true) {
            return Err(LogError::Held);
        }
        Ok(Box::new(Writer {
            log: self.clone(),
            tick: None,
        }))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        let state = self.state();
        let (first, next) = (Seq(state.first), Seq(state.next()));
        if from < first {
            return Err(LogError::Trimmed {
                wanted: from,
                first,
            });
        }
        if from > next {
            return Err(LogError::Ahead { wanted: from, next });
        }
        Ok(Box::new(Reader {
            log: self.clone(),
            changed: self.0.changed.subscribe(),
            next: from,
        }))
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        let mut state = self.state();
        let newest_tick = state.newest_tick.as_ref().map_or(0, |(seq, _)| seq.0);
        while state.first < below.0.min(newest_tick) {
            let removed = state
                .messages
                .pop_front()
                .expect("trim stops at the newest tick");
            state.first += 1;
            state.bytes -= removed.bytes;
        }
        self.0.changed.send_replace(());
        Ok(())
    }
}

struct Writer {
    log: MemoryLog,
    /// The newest appended tick that has not been flushed.
    tick: Option<(Seq, Tick)>,
}

impl Writer {
    fn push(&mut self, messages: Vec<Message>) {
        let mut state = self.log.state();
        let mut buffer = Vec::new();
        for message in messages {
            if let Message::Tick(tick) = &message {
                self.tick = Some((Seq(state.next()), tick.clone()));
            }
            buffer.clear();
            message.encode(&mut buffer);
            let bytes = buffer.len() as u64;
            state.bytes += bytes;
            state.messages.push_back(StoredMessage { message, bytes });
        }
        self.log.0.changed.send_replace(());
    }
}

#[async_trait]
impl LogWriter for Writer {
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError> {
        let mut changed = self.log.0.changed.subscribe();
        while self.log.state().bytes >= self.log.0.bytes_max {
            changed.changed().await.expect("the log owns the sender");
        }
        self.push(messages);
        Ok(())
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        let mut state = self.log.state();
        if let Some(tick) = self.tick.take() {
            state.newest_tick = Some(tick);
        }
        Ok(Seq(state.next()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.log.state().has_writer = false;
    }
}

struct Reader {
    log: MemoryLog,
    changed: watch::Receiver<()>,
    next: Seq,
}

impl Reader {
    /// Returns up to `messages_max` messages from `next` on without waiting, and none after
    /// [`READ_BYTES_MAX`] bytes are reached.
    fn take(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        let state = self.log.state();
        let Some(skip) = self.next.0.checked_sub(state.first) else {
            return Err(LogError::Trimmed {
                wanted: self.next,
                first: Seq(state.first),
            });
        };
        let mut bytes = 0;
        let messages: Vec<_> = (self.next.0..)
            .zip(state.messages.iter().skip(skip as usize))
            .take(messages_max.max(1))
            .take_while(|(_, stored)| {
                let has_room = bytes < READ_BYTES_MAX;
                bytes += stored.message.bytes();
                has_room
            })
            .map(|(seq, stored)| (Seq(seq), stored.message.clone()))
            .collect();
        self.next.0 += messages.len() as u64;
        Ok(messages)
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        loop {
            self.changed.mark_unchanged();
            let messages = self.take(messages_max)?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.changed
                .changed()
                .await
                .expect("the log owns the sender");
        }
    }
}
