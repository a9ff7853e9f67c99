//! Reads messages in order from its own position, and waits at the end of the stream.
//!
//! ```text
//! open: check the stream's id and its range of positions ─▶ consumer ─▶ messages ─▶ ready ─▶ next
//!   ▲                                                            │
//!   └── heartbeat missing, consumer deleted, message missing ◀───┘
//! ```
//!
//! The consumer is ephemeral: the server loses it whenever it restarts, and the reader then creates
//! another one at its own position. Before that, the reader checks that the last message that it
//! read is still the same: a server that lost its newest messages in a power cut assigns their
//! positions to other messages.
//!
//! No message is skipped. Without a filter, the positions of received messages are consecutive, and
//! a gap is an error. With a filter, gaps are normal, so a gap does not show whether messages were
//! trimmed before they were read. Therefore, after each tick, which ends an epoch, the reader reads
//! the state of the stream. If unread messages were trimmed, it returns an error instead of the
//! tick and the messages received with it.
//!
//! A message of the stream and a [`Message`] of the log are not the same: a stream message holds
//! one or several log messages, or one part of a log message that is too large for it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_nats::jetstream::consumer::pull;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::{LogError, LogReader, READ_BYTES_MAX};

use super::position::{StreamPosition, check_complete};
use super::stream::State;
use super::window::PART;
use super::{Shared, damaged, failed, format};

type PendingWork = Pin<Box<dyn Future<Output = Result<WorkResult, LogError>> + Send>>;
enum WorkResult {
    Opened(Box<pull::Stream>),
    /// The state of the stream, read after all messages in `ready` were received.
    State(State),
}

/// A [`LogReader`] of a [`NatsLog`](super::NatsLog).
pub struct Reader {
    position: StreamPosition,
    opened: Option<Opened>,
    /// The running operation. It is stored here so that no messages are lost if the caller drops
    /// the future.
    work: Option<PendingWork>,
    ready: VecDeque<(Seq, Message)>,
    /// Bytes in memory of the messages in `ready`.
    ready_bytes: usize,
    parts: Option<Parts>,
    /// With a filter: no message before this position was trimmed before it was read.
    complete_until: u64,
    /// The position at which the expected message was missing when the consumer was created. If it
    /// is missing with the next consumer too, the stream is damaged.
    missing_at: Option<u64>,
    failed_before: bool,
}

struct Opened {
    messages: Box<pull::Stream>,
    /// The number of messages received from this consumer.
    count: u64,
}

/// The parts of a divided message that were received so far.
struct Parts {
    position: u64,
    count: usize,
    received: usize,
    bytes: Vec<u8>,
}

impl Parts {
    /// Whether this is the next part of the message: the parts of a message have consecutive
    /// positions. The part number alone is not enough, because a crash of the writer may leave an
    /// incomplete message, and the parts of another message have the same numbers.
    fn is_followed_by(&self, position: u64, number: usize, count: usize) -> bool {
        let is_next = self.position + self.received as u64 == position;
        is_next && self.received + 1 == number && self.count == count
    }
}

/// The outcome of receiving a message of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// It holds no tick: it holds events or the claim of a writer, or is a part of a divided
    /// message.
    Other,
    /// It holds a tick.
    Tick,
    /// It is not the next message of the stream: the consumer must be created again.
    OutOfSequence,
}

impl Reader {
    /// Creates a reader that starts at position `from` and reads the events of these partitions;
    /// `None` for all.
    pub async fn open(
        shared: Arc<Shared>,
        partitions: Option<&[u16]>,
        from: u64,
    ) -> Result<Self, LogError> {
        let subjects = shared.stream.subjects();
        let filter = partitions.map(|partitions| {
            let events = partitions.iter().map(|it| subjects.partition(*it));
            events.chain([subjects.tick()]).collect()
        });
        let position = StreamPosition {
            filter: filter.unwrap_or_default(),
            shared,
            next: from,
            newest: None,
        };
        let messages = position.clone().open().await?;
        Ok(Self {
            position,
            opened: Some(Opened { messages, count: 0 }),
            work: None,
            ready: VecDeque::new(),
            ready_bytes: 0,
            parts: None,
            complete_until: from,
            missing_at: None,
            failed_before: false,
        })
    }

    /// Receives messages until some are ready or another operation must run first.
    async fn receive_ready(&mut self, messages_max: usize) -> Result<(), LogError> {
        let Some(opened) = &mut self.opened else {
            let position = self.position.clone();
            self.work = Some(Box::pin(async {
                position.reopen().await.map(WorkResult::Opened)
            }));
            return Ok(());
        };
        let mut arrived = opened.messages.next().await;
        let mut tick = false;
        loop {
            let received = match arrived {
                Some(Ok(message)) => self.receive(&message)?,
                Some(Err(error)) => {
                    tracing::info!(%error, "reading from NATS was interrupted: trying again");
                    Received::OutOfSequence
                }
                None => Received::OutOfSequence,
            };
            if received == Received::OutOfSequence {
                self.opened = None;
                break;
            }
            tick |= received == Received::Tick;
            if self.ready.len() >= messages_max || self.ready_bytes >= READ_BYTES_MAX {
                break;
            }
            let Some(opened) = &mut self.opened else {
                break;
            };
            let Some(more) = opened.messages.next().now_or_never() else {
                break;
            };
            arrived = more;
        }
        if tick && !self.position.filter.is_empty() {
            let position = self.position.clone();
            self.work = Some(Box::pin(async {
                position.wait_for_state().await.map(WorkResult::State)
            }));
        }
        Ok(())
    }

    fn apply(&mut self, done: WorkResult) -> Result<(), LogError> {
        match done {
            WorkResult::Opened(messages) => self.opened = Some(Opened { messages, count: 0 }),
            WorkResult::State(state) => {
                check_complete(&state, self.complete_until)?;
                self.complete_until = self.position.next;
            }
        }
        Ok(())
    }

    fn receive(&mut self, message: &async_nats::jetstream::Message) -> Result<Received, LogError> {
        let info = message.info().map_err(failed("read"))?;
        let position = info.stream_sequence;
        let opened = self
            .opened
            .as_mut()
            .expect("the message was received from this consumer");
        opened.count += 1;
        if info.consumer_sequence != opened.count {
            return Ok(Received::OutOfSequence);
        }
        if self.position.filter.is_empty() && position != self.position.next {
            let wanted = self.position.next;
            if self.missing_at.replace(wanted) == Some(wanted) {
                return Err(damaged(wanted, "the message is missing"));
            }
            return Ok(Received::OutOfSequence);
        }
        if let Some(headers) = &message.headers {
            format::check(position, headers)?;
        }
        self.position.next = position + 1;
        self.position.newest = Some((position, info.published));
        let part = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(PART));
        let Some((position, bytes)) = self.join_parts(
            position,
            part.map(async_nats::HeaderValue::as_str),
            &message.payload,
        )?
        else {
            return Ok(Received::Other);
        };
        let messages = Message::decode_all(&bytes);
        let messages = messages.map_err(|error| damaged(position, &error.to_string()))?;
        let tick = messages.iter().any(|it| matches!(it, Message::Tick(_)));
        self.ready_bytes += messages.iter().map(Message::bytes).sum::<usize>();
        self.ready
            .extend(messages.into_iter().map(|it| (Seq(position), it)));
        Ok(if tick {
            Received::Tick
        } else {
            Received::Other
        })
    }

    /// Joins the parts of a divided message. Returns the bytes of a complete message with the
    /// position of its first part, or `None` until all parts have arrived. An incomplete message
    /// was never durable, and its event is written again.
    fn join_parts(
        &mut self,
        position: u64,
        part: Option<&str>,
        bytes: &Bytes,
    ) -> Result<Option<(u64, Bytes)>, LogError> {
        let previous = self.parts.take();
        let Some(part) = part else {
            return Ok(Some((position, bytes.clone())));
        };
        let numbers = part.split_once('/');
        let numbers = numbers.and_then(|(at, of)| Some((at.parse().ok()?, of.parse().ok()?)));
        let (number, count) =
            numbers.ok_or_else(|| damaged(position, "its part number is invalid"))?;
        let mut parts = match previous {
            _ if number == 1 => Parts {
                position,
                count,
                received: 0,
                bytes: Vec::new(),
            },
            Some(parts) if parts.is_followed_by(position, number, count) => parts,
            _ => return Ok(None),
        };
        parts.received = number;
        parts.bytes.extend_from_slice(bytes);
        if number == count {
            return Ok(Some((parts.position, parts.bytes.into())));
        }
        self.parts = Some(parts);
        Ok(None)
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        if self.failed_before {
            return Err(failed("read")(
                "this reader is unusable after an earlier error",
            ));
        }
        loop {
            let done = match &mut self.work {
                Some(work) => {
                    let done = work.await.and_then(|done| self.apply(done));
                    self.work = None;
                    done
                }
                None if self.ready.is_empty() => self.receive_ready(messages_max.max(1)).await,
                None => {
                    let count = self.ready.len().min(messages_max.max(1));
                    let given: Vec<_> = self.ready.drain(..count).collect();
                    self.ready_bytes -= given.iter().map(|(_, it)| it.bytes()).sum::<usize>();
                    return Ok(given);
                }
            };
            if let Err(error) = done {
                self.failed_before = true;
                return Err(error);
            }
        }
    }
}
