//! Messages that are under way: sent, and not yet known to be stored.
//!
//! ```text
//! acked │ acked + 1 ............ acked + n │        position of each message, fixed when it is first sent
//!       └──────────── window ──────────────┘
//! ```
//!
//! Each message names the position before its own as the last one. So the server stores it there or not at all, and a
//! message that is sent twice is stored once. What stands before it need not be ours: that each message's own answer tells.

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

/// The header that says which part of a message it is, as `2/3`.
pub const PART: &str = "Skytide-Part";

/// Bytes that may be under way.
const BYTES_MAX: usize = 16 << 20;

/// What the server says to a message.
#[derive(Debug)]
pub enum Answer {
    /// It is stored at this position, which says nothing of those before it.
    Stored(u64),
    /// It does not follow the last message.
    OutOfOrder,
    /// There is no room.
    Full(jetstream::Error),
    /// It is not stored, for another reason.
    Refused(String),
}

/// Messages that are under way.
pub struct Window {
    client: Client,
    writer_tag: String,
    answers: Subscriber,
    inbox: String,
    /// Counts how often all of it was sent: answers to what was sent before are told apart.
    round: u64,
    reply: Subject,
    messages: VecDeque<Packed>,
    messages_max: usize,
    bytes: usize,
    acked: u64,
}

impl Window {
    /// An empty one, behind the message at `acked`.
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

    /// Position of the newest message that is stored.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Position of the newest message that was sent.
    pub fn sent(&self) -> u64 {
        self.acked + self.messages.len() as u64
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether no more may be under way.
    pub fn is_full(&self) -> bool {
        self.messages.len() >= self.messages_max || self.bytes >= BYTES_MAX
    }

    /// Sends a message behind all others.
    pub async fn send(&mut self, message: Packed) -> Result<(), LogError> {
        self.bytes += message.payload.len();
        self.messages.push_back(message);
        self.publish(self.messages.len() - 1).await
    }

    /// Sends everything again.
    pub async fn resend_all(&mut self) -> Result<(), LogError> {
        self.round += 1;
        self.reply = reply(&self.inbox, self.round);
        for index in 0..self.messages.len() {
            self.publish(index).await?;
        }
        Ok(())
    }

    /// Waits while the connection takes no more.
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

    /// Takes note that everything up to `position` is stored.
    pub fn mark_stored(&mut self, position: u64) {
        while self.acked < position {
            let Some(message) = self.messages.pop_front() else {
                return;
            };
            self.bytes -= message.payload.len();
            self.acked += 1;
        }
    }

    /// The next answer; `None` if the client has ended.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.next().await?;
            if let Some(answer) = self.read(&answer) {
                return Some(answer);
            }
        }
    }

    /// The next answer if it is there.
    pub fn try_answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.next().now_or_never()??;
            if let Some(answer) = self.read(&answer) {
                return Some(answer);
            }
        }
    }

    /// `None`: it says nothing about what is under way now.
    fn read(&self, answer: &async_nats::Message) -> Option<Answer> {
        // What was stored is stored, whenever it was sent; that something was not is only news about this round.
        let current = answer.subject == self.reply;
        let refused = |why: String| current.then_some(Answer::Refused(why));
        if answer.status == Some(StatusCode::NO_RESPONDERS) {
            return refused("nobody stores the stream at the moment".to_owned());
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
