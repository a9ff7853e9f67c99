//! The one writer: bounded messages under way, in order whatever happens, and room.
//!
//! ```text
//! append ─▶ room? ─▶ window not full? a tick: empty? ─▶ send       each step takes the answers that are there
//!                                          │
//! answer: out of order, refused, missing, none in time ─▶ go back: ask where the stream ends, look at each message
//!            all of ours up to there                         ─▶ send the rest again
//!            one of them is another writer's                 ─▶ spent: the log has another writer
//!            ends before what was acknowledged, and stays so ─▶ spent: the server has lost messages
//! ```
//!
//! That a message is stored says nothing of those before it: where another writer's claim took the place of one of them,
//! the next one fits behind the claim. So each message counts as stored by its own answer or its own look, one after the
//! other, and a tick is sent only when all before it count as stored.
//!
//! It goes back as long as it takes: while the server is away, `append` and `flush` wait, and what waits is the window and
//! no more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::event::Message;
use skytide_core::id::Seq;
use skytide_core::port::log::{LogError, LogWriter};
use tokio::time::{Instant, sleep, timeout};

use super::claim::{Claim, WRITER};
use super::packer::{Packed, pack};
use super::stream::{CATCH_UP_MAX, State};
use super::window::{Answer, Window};
use super::{Shared, failed, format};

/// How long the server may be silent about what is under way before we ask.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The first and the longest wait before going back again without any progress.
const AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often we look whether a full log was trimmed.
const LOOK: Duration = Duration::from_millis(50);

/// A [`LogWriter`] of a [`NatsLog`](super::NatsLog).
pub struct Writer {
    shared: Arc<Shared>,
    claim: Claim,
    window: Window,
    /// Bytes of the log with all that was sent: not less than they are.
    bytes: u64,
    bytes_max: u64,
    payload_bytes_max: usize,
    /// The wait before going back once more; zero after progress.
    wait: Duration,
    /// Whether it was told that the server does not store what we send.
    told: bool,
    /// After an error, or after a caller that did not wait for the end.
    spent: bool,
}

impl Writer {
    /// Gets the right to write.
    pub async fn start(shared: Arc<Shared>, mark: u64) -> Result<Self, LogError> {
        let stream = &shared.stream;
        let claim = Claim::get(stream, &shared.newest_claim, format::mark(mark)).await?;
        stream.adapt().await?;
        let client = stream.client().clone();
        let payload_bytes_max = stream.message_bytes_max().await?;
        let (mark, position) = (claim.mark.clone(), claim.position);
        let window = Window::new(client, mark, position, shared.in_flight_max).await?;
        let state = stream.state().await?;
        Ok(Self {
            claim,
            window,
            bytes: state.bytes,
            bytes_max: state.bytes_max,
            payload_bytes_max,
            wait: Duration::ZERO,
            told: false,
            spent: false,
            shared,
        })
    }

    fn begin(&mut self) -> Result<(), LogError> {
        match std::mem::replace(&mut self.spent, true) {
            true => Err(failed("write")("this writer met an error before")),
            false => Ok(()),
        }
    }

    async fn send(&mut self, message: Packed) -> Result<(), LogError> {
        self.bytes += message.stored_bytes();
        while let Some(answer) = self.window.answer_at_hand() {
            self.take(answer).await?;
        }
        while self.window.is_full() || (message.tick && !self.window.is_empty()) {
            self.progress().await?;
        }
        self.window.send(message).await
    }

    /// Waits for an answer, and does what it demands.
    async fn progress(&mut self) -> Result<(), LogError> {
        match timeout(ANSWER_MAX, self.window.answer()).await {
            Ok(Some(answer)) => self.take(answer).await,
            Ok(None) => Err(failed("append")("the client has ended")),
            Err(_) => self.go_back("no answer").await,
        }
    }

    async fn take(&mut self, answer: Answer) -> Result<(), LogError> {
        match answer {
            Answer::Stored(position) if position > self.window.sent() => Err(self.fenced(position)),
            Answer::Stored(position) if position > self.window.acked() + 1 => {
                self.go_back("an answer is missing").await
            }
            Answer::Stored(position) => {
                self.confirm(position);
                Ok(())
            }
            Answer::OutOfOrder => self.go_back("a message before it is not there").await,
            Answer::Full(error) => {
                self.shared.full.store(true, Ordering::Relaxed);
                self.go_back(&error.to_string()).await
            }
            Answer::Refused(why) => self.go_back(&why).await,
        }
    }

    fn confirm(&mut self, position: u64) {
        if position <= self.window.acked() {
            return;
        }
        self.window.confirm(position);
        self.wait = Duration::ZERO;
        self.shared.full.store(false, Ordering::Relaxed);
        if std::mem::take(&mut self.told) {
            tracing::info!("the server stores messages again");
        }
    }

    /// Finds out what is stored, and sends the rest again.
    async fn go_back(&mut self, why: &str) -> Result<(), LogError> {
        sleep(self.wait).await;
        self.wait = (self.wait * 2).clamp(AGAIN.0, AGAIN.1);
        if self.wait >= AGAIN.1 && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(why, "the server does not store messages: writing waits");
        }
        let mut last = self.state().await?.next - 1;
        let begun = Instant::now();
        while last < self.window.acked() && begun.elapsed() < CATCH_UP_MAX {
            sleep(AGAIN.1).await;
            last = self.state().await?.next - 1;
        }
        if last < self.window.acked() {
            let acked = self.window.acked();
            let lost = format!(
                "the server has lost what it had stored: its log ends at {last}, not at {acked}"
            );
            return Err(failed("append")(lost));
        }
        while self.window.acked() < last {
            let next = self.window.acked() + 1;
            if !self.is_ours(next).await? {
                return Err(self.fenced(next));
            }
            self.confirm(next);
        }
        self.window.send_again().await
    }

    /// The stream's state, however long it takes.
    async fn state(&mut self) -> Result<State, LogError> {
        loop {
            match self.shared.stream.state().await {
                Err(error @ LogError::Failed { .. }) => {
                    if !std::mem::replace(&mut self.told, true) {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(%error, source, "the server does not answer: writing waits");
                    }
                    sleep(AGAIN.1).await;
                }
                other => return other,
            }
        }
    }

    async fn is_ours(&mut self, position: u64) -> Result<bool, LogError> {
        if position > self.window.sent() {
            return Ok(false);
        }
        loop {
            match self.shared.stream.message(position).await {
                Ok(message) => {
                    let mark =
                        message.and_then(|it| it.headers.get(WRITER).map(ToString::to_string));
                    return Ok(mark.as_ref() == Some(&self.claim.mark));
                }
                Err(LogError::Failed { .. }) => sleep(AGAIN.1).await,
                Err(error) => return Err(error),
            }
        }
    }

    fn fenced(&self, position: u64) -> LogError {
        failed("append")(format!(
            "another writer has taken over: its message is at {position}"
        ))
    }

    /// Waits while the log is at its size limit, which what is appended at once may pass.
    async fn wait_for_room(&mut self) -> Result<(), LogError> {
        let mut waited = false;
        loop {
            while !self.window.is_empty() {
                self.progress().await?;
            }
            let state = self.state().await?;
            (self.bytes, self.bytes_max) = (state.bytes, state.bytes_max);
            if self.bytes < self.bytes_max {
                break;
            }
            if !std::mem::replace(&mut waited, true) {
                let bytes_max = self.bytes_max;
                tracing::warn!(bytes_max, "the log is at its size limit: appending waits");
            }
            self.shared.full.store(true, Ordering::Relaxed);
            sleep(LOOK).await;
        }
        self.shared.full.store(false, Ordering::Relaxed);
        if waited {
            tracing::warn!("the log was trimmed: appending goes on");
        }
        Ok(())
    }
}

#[async_trait]
impl LogWriter for Writer {
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError> {
        self.begin()?;
        let shared = self.shared.clone();
        let subjects = shared.stream.subjects();
        let packed = pack(
            &messages,
            subjects,
            shared.batch_events_max,
            self.payload_bytes_max,
        );
        drop(messages);
        if self.bytes >= self.bytes_max {
            self.wait_for_room().await?;
        }
        for message in packed {
            self.send(message).await?;
        }
        self.spent = false;
        Ok(())
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        self.begin()?;
        while !self.window.is_empty() {
            self.progress().await?;
        }
        self.spent = false;
        Ok(Seq(self.window.acked() + 1))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.window.is_empty() && !self.spent {
            self.shared.newest_claim.settle(self.window.acked());
        }
        self.shared.newest_claim.end();
        self.shared.full.store(false, Ordering::Relaxed);
    }
}
