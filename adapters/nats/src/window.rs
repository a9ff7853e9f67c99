//! Messages in flight: sent, and not yet known to be stored.
//!
//! ```text
//! acked │ acked + 1 ............ acked + n │     the position of each message is fixed
//!       └──────────── window ──────────────┘     when it is first sent
//! ```
//!
//! A position is a sequence number of the stream. Each message names the position before its own as
//! the one that it must follow (the header `Nats-Expected-Last-Sequence`). So the server stores it
//! there or not at all, and a message that is sent twice is stored once. That it is stored does not
//! show that the message before it is ours: another writer may have stored one at that position.
//! Only the answer to our own message at that position shows whether it is.

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
    /// Identifies this writer in the headers of its messages.
    writer_tag: String,
    /// The subscription to all subjects under `inbox`.
    answers: Subscriber,
    inbox: String,
    /// The number of times that the whole window was resent. Each resend has its own reply subject,
    /// which identifies the answers to it.
    resends: u64,
    /// The reply subject of the latest send or resend.
    reply_subject: Subject,
    /// The messages in flight, oldest first.
    messages: VecDeque<Packed>,
    messages_max: usize,
    bytes: usize,
    /// Position of the newest message that is known to be stored, as are all before it.
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
            reply_subject: reply_subject(&inbox, 0),
            client,
            writer_tag,
            inbox,
            resends: 0,
            messages: VecDeque::new(),
            messages_max,
            bytes: 0,
            acked,
        })
    }

    /// Position of the newest message that is known to be stored, as are all before it.
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
        self.resends += 1;
        self.reply_subject = reply_subject(&self.inbox, self.resends);
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
            self.reply_subject.clone(),
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
    pub async fn next_answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.next().await?;
            if let Some(answer) = self.interpret(&answer) {
                return Some(answer);
            }
        }
    }

    /// The next answer if it has already arrived.
    pub fn try_next_answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.next().now_or_never()??;
            if let Some(answer) = self.interpret(&answer) {
                return Some(answer);
            }
        }
    }

    /// Interprets an answer. Returns `None` for an outdated one: a failure of an earlier send.
    fn interpret(&self, answer: &async_nats::Message) -> Option<Answer> {
        // A success counts even if it answers an earlier send, because the message is stored. A
        // failure counts only if it answers the latest send.
        let current = answer.subject == self.reply_subject;
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

fn reply_subject(inbox: &str, resends: u64) -> Subject {
    Subject::from(format!("{inbox}.{resends}"))
}
