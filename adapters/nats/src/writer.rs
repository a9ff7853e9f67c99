//! The one writer: bounded messages under way, in order whatever happens, and room.
//!
//! ```text
//! append ─▶ room? ─▶ window not full? a tick: empty? ─▶ send       each step takes the answers that are there
//!                                          │
//! answer: out of order, refused, missing, none in time ─▶ go back: ask where the stream ends, look at each message
//!            all of ours up to there                         ─▶ send the rest again
//!            one of them is another writer's                 ─▶ unusable: the log has another writer
//!            ends before what was acknowledged, and stays so ─▶ unusable: the server has lost messages
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
const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);
/// How often we look whether a full log was trimmed.
const TRIM_POLL: Duration = Duration::from_millis(50);

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
    retry_delay: Duration,
    /// Whether it was warned that the server does not store what we send.
    warned: bool,
    /// After an error, or after a caller that did not wait for the end.
    unusable: bool,
}

impl Writer {
    /// Gets the right to write.
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

    fn start_operation(&mut self) -> Result<(), LogError> {
        match std::mem::replace(&mut self.unusable, true) {
            true => Err(failed("write")("this writer met an error before")),
            false => Ok(()),
        }
    }

    async fn send(&mut self, message: Packed) -> Result<(), LogError> {
        self.bytes += message.stored_bytes();
        while let Some(answer) = self.window.try_answer() {
            self.process(answer).await?;
        }
        while self.window.is_full() || (message.tick && !self.window.is_empty()) {
            self.await_answer().await?;
        }
        self.window.send(message).await
    }

    /// Waits for an answer, and does what it demands.
    async fn await_answer(&mut self) -> Result<(), LogError> {
        match timeout(ANSWER_MAX, self.window.answer()).await {
            Ok(Some(answer)) => self.process(answer).await,
            Ok(None) => Err(failed("append")("the client has ended")),
            Err(_) => self.resynchronize("no answer").await,
        }
    }

    async fn process(&mut self, answer: Answer) -> Result<(), LogError> {
        match answer {
            Answer::Stored(position) if position > self.window.sent() => Err(self.fenced(position)),
            Answer::Stored(position) if position > self.window.acked() + 1 => {
                self.resynchronize("an answer is missing").await
            }
            Answer::Stored(position) => {
                self.mark_stored(position);
                Ok(())
            }
            Answer::OutOfOrder => self.resynchronize("a message before it is not there").await,
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

    /// Finds out what is stored, and sends the rest again.
    async fn resynchronize(&mut self, why: &str) -> Result<(), LogError> {
        sleep(self.retry_delay).await;
        self.retry_delay = (self.retry_delay * 2).clamp(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
        if self.retry_delay >= RETRY_DELAY_MAX && !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(why, "the server does not store messages: writing waits");
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
                "the server has lost what it had stored: its log ends at {last}, not at {acked}"
            );
            return Err(failed("append")(lost));
        }
        while self.window.acked() < last {
            let next = self.window.acked() + 1;
            if !self.is_ours(next).await? {
                return Err(self.fenced(next));
            }
            self.mark_stored(next);
        }
        self.window.resend_all().await
    }

    /// The stream's state, however long it takes.
    async fn wait_for_state(&mut self) -> Result<State, LogError> {
        loop {
            match self.shared.stream.state().await {
                Err(error @ LogError::Failed { .. }) => {
                    if !std::mem::replace(&mut self.warned, true) {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(%error, source, "the server does not answer: writing waits");
                    }
                    sleep(RETRY_DELAY_MAX).await;
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
                    let writer_tag =
                        message.and_then(|it| it.headers.get(WRITER).map(ToString::to_string));
                    return Ok(writer_tag.as_ref() == Some(&self.claim.writer_tag));
                }
                Err(LogError::Failed { .. }) => sleep(RETRY_DELAY_MAX).await,
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
                self.await_answer().await?;
            }
            let state = self.wait_for_state().await?;
            (self.bytes, self.bytes_max) = (state.bytes, state.bytes_max);
            if self.bytes < self.bytes_max {
                break;
            }
            if !std::mem::replace(&mut waited, true) {
                let bytes_max = self.bytes_max;
                tracing::warn!(bytes_max, "the log is at its size limit: appending waits");
            }
            self.shared.full.store(true, Ordering::Relaxed);
            sleep(TRIM_POLL).await;
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
