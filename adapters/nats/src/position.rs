//! A reader's place in the stream, and how to begin there: first we look whether the stream is the one we knew.

use std::sync::Arc;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::pull;
use skytide_core::id::Seq;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep};

use super::stream::{CATCH_UP_MAX, State};
use super::{Shared, damaged, failed};

/// Messages and bytes that may be under way from the server.
const PULL_MESSAGES: usize = 2_000;
const PULL_BYTES_MIN: usize = 16 << 20;
/// How often the server says that it is there, and how long one order for messages holds.
const HEARTBEAT: Duration = Duration::from_secs(5);
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The wait before opening again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Where a reader stands.
#[derive(Clone)]
pub struct StreamPosition {
    pub shared: Arc<Shared>,
    /// Position of the next message of the stream.
    pub next: u64,
    /// The newest message that was read, and when it was stored.
    pub newest: Option<(u64, DateTime)>,
    /// What the server filters; none: nothing.
    pub filter: Vec<String>,
}

impl StreamPosition {
    /// A consumer at this place.
    pub async fn open(self) -> Result<Box<pull::Stream>, LogError> {
        let stream = &self.shared.stream;
        let state = stream.state().await?;
        if self.next > state.next {
            return Err(LogError::Ahead {
                wanted: Seq(self.next),
                next: Seq(state.next),
            });
        }
        check_complete(&state, self.next)?;
        if let Some((position, stored)) = &self.newest
            && *position >= state.first
        {
            let stored_now = stream.message(*position).await?;
            if stored_now.is_none_or(|it| it.time != *stored) {
                return Err(damaged(
                    *position,
                    "it is another message than the one that was read",
                ));
            }
        }
        let consumer = stream.consumer(self.next, self.filter.clone()).await?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .max_bytes_per_batch(PULL_BYTES_MIN.max(2 * stream.client().max_payload()))
            .heartbeat(HEARTBEAT)
            .expires(PULL_EXPIRES)
            .messages()
            .await;
        messages.map(Box::new).map_err(failed("read"))
    }

    /// The same; a server that has just become the leader of a cluster gets a while to have the newest messages.
    pub async fn open_at_start(self) -> Result<Box<pull::Stream>, LogError> {
        let started = Instant::now();
        loop {
            match self.clone().open().await {
                Err(LogError::Ahead { .. })
                    if started.elapsed() < CATCH_UP_MAX
                        && self.shared.stream.state().await?.replicas > 1 =>
                {
                    sleep(RETRY_DELAY).await;
                }
                other => return other,
            }
        }
    }

    /// The same, however long it takes.
    pub async fn reopen(self) -> Result<Box<pull::Stream>, LogError> {
        let mut warned = false;
        let mut first_ahead = None;
        loop {
            match self.clone().open().await {
                Err(error @ LogError::Ahead { .. }) => {
                    let first = first_ahead.get_or_insert_with(Instant::now);
                    if first.elapsed() >= CATCH_UP_MAX {
                        return Err(error);
                    }
                }
                Err(error @ LogError::Failed { .. }) => {
                    if !std::mem::replace(&mut warned, true) {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(%error, source, "reading waits for the server");
                    }
                }
                other => return other,
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// The stream's state, however long it takes.
    pub async fn wait_for_state(self) -> Result<State, LogError> {
        loop {
            match self.shared.stream.state().await {
                Err(LogError::Failed { .. }) => sleep(RETRY_DELAY).await,
                other => return other,
            }
        }
    }
}

/// Refuses a stream in which something from `wanted` on is missing.
pub fn check_complete(state: &State, wanted: u64) -> Result<(), LogError> {
    if wanted < state.first {
        return Err(LogError::Trimmed {
            wanted: Seq(wanted),
            first: Seq(state.first),
        });
    }
    if state.missing > 0 {
        return Err(damaged(
            state.first,
            &format!("{} messages behind it are missing", state.missing),
        ));
    }
    Ok(())
}
