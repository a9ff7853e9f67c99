//! Messages in flight: sent, and not yet known to be stored.
//!
//! ```text
//! acked │ acked + 1 ............ acked + n │     the position of each message is fixed
//!       └──────────── window ──────────────┘     when it is first sent
//! ```
//!
//! Each message names the position before its own as the one that it must follow. So the server
//! stores it there or not at all, and a message that is sent twice is stored once. The message
//! before it need not be ours: only that message's own answer shows whether it is.

use std::collections::VecDeque;

use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, StatusCode, Subject, Subscriber};
use futures_util::{FutureExt, StreamExt};
use skytide_core::port::log::LogError;

use super::claim::headers;
use super::failed;
use super::packer::Packed;
use super::request::is_out_of_room;

/// The header with the number of a part and the number of parts, for example `2/3`.
pub const PART: &str = "Skytide-Part";

/// The maximum number of bytes in flight.
const BYTES_MAX: usize = 16 << 20;

/// The server's answer to a message.
#[derive(Debug)]
pub enum Answer {
    /// The message is stored at this position. This does not imply that the messages before it are
    /// stored.
    Stored(u64),
    /// The message does not follow the last message of the stream.
    OutOfOrder,
    /// The server has no room.
    Full(jetstream::Error),
    /// The message is not stored, for another reason.
    Refused(String),
}

/// The messages in flight.
pub struct Window {
    client: Client,
    writer_tag: String,
    answers: Subscriber,
    inbox: String,
    /// The number of times that the whole window was resent. It identifies the answers to the
    /// latest sending.
    round: u64,
    reply: Subject,
    messages: VecDeque<Packed>,
    messages_max: usize,
    bytes: usize,
    acked: u64,
}

impl Window {
    /// Creates an empty window after the message at position `acked`.
    pub async fn new(
        client: Client,
        writer_tag: String,
        acked: u64,
        messages_max: usize,
    ) -> Result<Self, LogError> {
        let inbox = client.new_inbox();
        let answers = client.subscribe(format!("{inbox}.*")).await;
        Ok(Self {
            answers: answers.map_err(failed("append"))?,
            reply: reply(&inbox, 0),
            client,
            writer_tag,
            inbox,
            round: 0,
            messages: VecDeque::new(),
            messages_max,
            bytes: 0,
            acked,
        })
    }

    /// Position of the newest message that is known to be stored.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Position of the newest message that was sent.
    pub fn sent(&self) -> u64 {
        self.acked + self.messages.len() as u64
    }

    /// Whether no message is in flight.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether the limit of messages or bytes in flight is reached.
    pub fn is_full(&self) -> bool {
        self.messages.len() >= self.messages_max || self.bytes >= BYTES_MAX
    }

    /// Sends a message after all others.
    pub async fn send(&mut self, message: Packed) -> Result<(), LogError> {
        self.bytes += message.payload.len();
        self.messages.push_back(message);
        self.publish(self.messages.len() - 1).await
    }

    /// Sends all messages of the window again.
    pub async fn resend_all(&mut self) -> Result<(), LogError> {
        self.round += 1;
        self.reply = reply(&self.inbox, self.round);
        for index in 0..self.messages.len() {
            self.publish(index).await?;
        }
        Ok(())
    }

    /// Publishes a message. Waits while the connection's queue is full.
    async fn publish(&self, index: usize) -> Result<(), LogError> {
        let message = &self.messages[index];
        let mut headers = headers(&self.writer_tag, self.acked + index as u64);
        if let Some((number, count)) = message.part {
            headers.insert(PART, format!("{number}/{count}"));
        }
        let sent = self.client.publish_with_reply_and_headers(
            message.subject.clone(),
            self.reply.clone(),
            headers,
            message.payload.clone(),
        );
        sent.await.map_err(failed("append"))
    }

    /// Removes all messages up to `position` from the window: they are stored.
    pub fn mark_stored(&mut self, position: u64) {
        while self.acked < position {
            let Some(message) = self.messages.pop_front() else {
                return;
            };
            self.bytes -= message.payload.len();
            self.acked += 1;
        }
    }

    /// Waits for the next answer; `None` if the client has been closed.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.next().await?;
            if let Some(answer) = self.read(&answer) {
                return Some(answer);
            }
        }
    }

    /// The next answer if it has already arrived.
    pub fn try_answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.next().now_or_never()??;
            if let Some(answer) = self.read(&answer) {
                return Some(answer);
            }
        }
    }

    /// Interprets an answer. `None` if it does not concern the latest sending.
    fn read(&self, answer: &async_nats::Message) -> Option<Answer> {
        // A stored message is stored whichever sending is answered; a failure counts only if it
        // answers the latest sending.
        let current = answer.subject == self.reply;
        let refused = |why: String| current.then_some(Answer::Refused(why));
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return refused("no server stores the stream at the moment".to_owned());
        }
        match serde_json::from_slice(&answer.payload) {
            Ok(Response::Ok(PublishAck { sequence, .. })) => Some(Answer::Stored(sequence)),
            Ok(Response::Err { error }) => match error.error_code() {
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE => current.then_some(Answer::OutOfOrder),
                code if code == ErrorCode::STREAM_STORE_FAILED || is_out_of_room(&error) => {
                    current.then_some(Answer::Full(error))
                }
                _ => refused(error.to_string()),
            },
            Err(error) => refused(error.to_string()),
        }
    }
}

fn reply(inbox: &str, round: u64) -> Subject {
    Subject::from(format!("{inbox}.{round}"))
}
