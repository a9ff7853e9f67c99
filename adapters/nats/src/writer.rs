//! The writer: a bounded number of messages in flight, always in order, and back-pressure at the
//! size limit.
//!
//! ```text
//! append ─▶ room? ─▶ window not full? for a tick: empty? ─▶ send     (each step processes the
//!                                        │                            answers that have arrived)
//!                                        ▼
//! an answer: out of order, refused, missing, or none in time ─▶ resynchronize:
//!    ask for the end of the stream and read each message up to there
//!      all are ours                                         ─▶ resend the rest
//!      one belongs to another writer                        ─▶ error: the log has another writer
//!      the stream stays shorter than what was acknowledged  ─▶ error: the server lost messages
//! ```
//!
//! A stored message does not imply that the messages before it are stored: if another writer's
//! claim took the position of one of them, the server stores the next one after the claim. So each
//! message counts as stored only by its own answer or by reading it from the stream, one after the
//! other, and a tick is sent only when all messages before it count as stored.
//!
//! Resynchronizing retries without a limit: while the server is not reachable, `append` and `flush`
//! block, and only the messages of the window are held in memory.

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

/// How long to wait for an answer before asking what is stored.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The shortest and the longest delay before resynchronizing again without progress.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);
/// How often to check whether a full log was trimmed.
const TRIM_POLL: Duration = Duration::from_millis(50);

/// A [`LogWriter`] of a [`NatsLog`](super::NatsLog).
pub struct Writer {
    shared: Arc<Shared>,
    claim: Claim,
    window: Window,
    /// An upper bound of the bytes of the log, including everything that was sent.
    bytes: u64,
    bytes_max: u64,
    payload_bytes_max: usize,
    /// The delay before the next resynchronization; zero after progress.
    retry_delay: Duration,
    /// Whether the warning that the server does not store messages was logged.
    warned: bool,
    /// Set after an error, and when a caller dropped the future of an operation.
    unusable: bool,
}

impl Writer {
    /// Acquires the right to write, and adapts the stream to the options.
    pub async fn start(shared: Arc<Shared>, run: u64) -> Result<Self, LogError> {
        let stream = &shared.stream;
        let claim = Claim::acquire(stream, &shared.latest_claim, format::writer_tag(run)).await?;
        stream.adapt().await?;
        let client = stream.client().clone();
        let payload_bytes_max = stream.message_bytes_max().await?;
        let (writer_tag, position) = (claim.writer_tag.clone(), claim.position);
        let window = Window::new(client, writer_tag, position, shared.in_flight_max).await?;
        let state = stream.state().await?;
        Ok(Self {
            claim,
            window,
            bytes: state.bytes,
            bytes_max: state.bytes_max,
            payload_bytes_max,
            retry_delay: Duration::ZERO,
            warned: false,
            unusable: false,
            shared,
        })
    }

    /// Marks the writer as unusable until the operation has succeeded and clears the mark. Returns
    /// an error if an earlier operation did not.
    fn start_operation(&mut self) -> Result<(), LogError> {
        match std::mem::replace(&mut self.unusable, true) {
            true => Err(failed("write")(
                "this writer is unusable after an earlier error",
            )),
            false => Ok(()),
        }
    }

    async fn send(&mut self, message: Packed) -> Result<(), LogError> {
        self.bytes += message.stored_bytes();
        while let Some(answer) = self.window.try_next_answer() {
            self.process(answer).await?;
        }
        while self.window.is_full() || (message.tick && !self.window.is_empty()) {
            self.await_answer().await?;
        }
        self.window.send(message).await
    }

    /// Waits for an answer and processes it.
    async fn await_answer(&mut self) -> Result<(), LogError> {
        match timeout(ANSWER_MAX, self.window.next_answer()).await {
            Ok(Some(answer)) => self.process(answer).await,
            Ok(None) => Err(failed("append")("the client has been closed")),
            Err(_) => self.resynchronize("no answer").await,
        }
    }

    async fn process(&mut self, answer: Answer) -> Result<(), LogError> {
        match answer {
            Answer::Stored(position) if position > self.window.sent() => {
                Err(self.fenced_error(position))
            }
            Answer::Stored(position) if position > self.window.acked() + 1 => {
                self.resynchronize("an answer is missing").await
            }
            Answer::Stored(position) => {
                self.mark_stored(position);
                Ok(())
            }
            Answer::OutOfOrder => {
                self.resynchronize("a message does not follow the end of the stream")
                    .await
            }
            Answer::Full(error) => {
                self.shared.full.store(true, Ordering::Relaxed);
                self.resynchronize(&error.to_string()).await
            }
            Answer::Refused(why) => self.resynchronize(&why).await,
        }
    }

    fn mark_stored(&mut self, position: u64) {
        if position <= self.window.acked() {
            return;
        }
        self.window.mark_stored(position);
        self.retry_delay = Duration::ZERO;
        self.shared.full.store(false, Ordering::Relaxed);
        if std::mem::take(&mut self.warned) {
            tracing::info!("the server stores messages again");
        }
    }

    /// Finds out which messages are stored, and resends the rest.
    async fn resynchronize(&mut self, why: &str) -> Result<(), LogError> {
        sleep(self.retry_delay).await;
        self.retry_delay = (self.retry_delay * 2).clamp(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        if self.retry_delay >= RETRY_DELAY_MAX && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                why,
                "the server does not store messages: writing waits and retries"
            );
        }
        let mut last = self.wait_for_state().await?.next - 1;
        let started = Instant::now();
        while last < self.window.acked() && started.elapsed() < CATCH_UP_MAX {
            sleep(RETRY_DELAY_MAX).await;
            last = self.wait_for_state().await?.next - 1;
        }
        if last < self.window.acked() {
            let acked = self.window.acked();
            let lost = format!(
                "the server has lost messages that it had stored: \
                 the log ends at {last}, not at {acked}"
            );
            return Err(failed("append")(lost));
        }
        while self.window.acked() < last {
            let next = self.window.acked() + 1;
            if !self.is_ours(next).await? {
                return Err(self.fenced_error(next));
            }
            self.mark_stored(next);
        }
        self.window.resend_all().await
    }

    /// Reads the state of the stream, and retries without a limit.
    async fn wait_for_state(&mut self) -> Result<State, LogError> {
        loop {
            match self.shared.stream.state().await {
                Err(error @ LogError::Failed { .. }) => {
                    if !std::mem::replace(&mut self.warned, true) {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(
                            %error,
                            source,
                            "the server does not answer: writing waits and retries"
                        );
                    }
                    sleep(RETRY_DELAY_MAX).await;
                }
                other => return other,
            }
        }
    }

    /// Whether this writer wrote the message at this position.
    async fn is_ours(&mut self, position: u64) -> Result<bool, LogError> {
        if position > self.window.sent() {
            return Ok(false);
        }
        loop {
            match self.shared.stream.message(position).await {
                Ok(message) => {
                    let writer_tag =
                        message.and_then(|it| it.headers.get(WRITER).map(ToString::to_string));
                    return Ok(writer_tag.as_ref() == Some(&self.claim.writer_tag));
                }
                Err(LogError::Failed { .. }) => sleep(RETRY_DELAY_MAX).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// The error after another writer has taken over.
    fn fenced_error(&self, position: u64) -> LogError {
        failed("append")(format!(
            "another writer has taken over: its message is at position {position}"
        ))
    }

    /// Blocks while the log is at its size limit. One batch may exceed the limit.
    async fn wait_for_room(&mut self) -> Result<(), LogError> {
        let mut waited = false;
        loop {
            while !self.window.is_empty() {
                self.await_answer().await?;
            }
            let state = self.wait_for_state().await?;
            (self.bytes, self.bytes_max) = (state.bytes, state.bytes_max);
            if self.bytes < self.bytes_max {
                break;
            }
            if !std::mem::replace(&mut waited, true) {
                let bytes_max = self.bytes_max;
                tracing::warn!(
                    bytes_max,
                    "the log is at its size limit: appending waits until it is trimmed"
                );
            }
            self.shared.full.store(true, Ordering::Relaxed);
            sleep(TRIM_POLL).await;
        }
        self.shared.full.store(false, Ordering::Relaxed);
        if waited {
            tracing::warn!("the log was trimmed: appending continues");
        }
        Ok(())
    }
}

#[async_trait]
impl LogWriter for Writer {
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError> {
        self.start_operation()?;
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
        self.unusable = false;
        Ok(())
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        self.start_operation()?;
        while !self.window.is_empty() {
            self.await_answer().await?;
        }
        self.unusable = false;
        Ok(Seq(self.window.acked() + 1))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.window.is_empty() && !self.unusable {
            self.shared.latest_claim.end_cleanly(self.window.acked());
        }
        self.shared.latest_claim.end();
        self.shared.full.store(false, Ordering::Relaxed);
    }
}
