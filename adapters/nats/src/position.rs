//! The position of a reader in the stream, and how to start reading there. Before a start, the last
//! message that was read is compared with the stream, to detect that the server lost messages.

use std::sync::Arc;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::pull;
use skytide_core::id::Seq;
use skytide_core::port::log::LogError;
use tokio::time::{Instant, sleep};

use super::stream::{CATCH_UP_MAX, State};
use super::{Shared, damaged, failed};

/// The number of messages and bytes that the server may send ahead.
const PULL_MESSAGES: usize = 2_000;
const PULL_BYTES_MIN: usize = 16 << 20;
/// The interval of the server's heartbeats, and how long one pull request is valid.
const HEARTBEAT: Duration = Duration::from_secs(5);
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The delay between two attempts to open a consumer.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The position of a reader, and what it filters.
#[derive(Clone)]
pub struct StreamPosition {
    pub shared: Arc<Shared>,
    /// Position of the next message to read from the stream.
    pub next: u64,
    /// Position of the newest message that was read, and the time at which the server stored it.
    pub newest: Option<(u64, DateTime)>,
    /// Subjects that the server filters by; empty for all messages.
    pub filter: Vec<String>,
}

impl StreamPosition {
    /// Creates a consumer after checking that the stream still has the messages from this position
    /// on, and that the newest message that was read is unchanged.
    async fn try_open(self) -> Result<Box<pull::Stream>, LogError> {
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
                    "it is not the message that was read there before: the server lost messages",
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

    /// Creates a consumer that starts at this position. Waits for at most [`CATCH_UP_MAX`] for a
    /// server that has just become the leader of a cluster and does not have the newest messages
    /// yet.
    pub async fn open(self) -> Result<Box<pull::Stream>, LogError> {
        let started = Instant::now();
        loop {
            match self.clone().try_open().await {
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

    /// Like `open`, but retries failed requests without a limit.
    pub async fn reopen(self) -> Result<Box<pull::Stream>, LogError> {
        let mut warned = false;
        let mut first_ahead = None;
        loop {
            match self.clone().try_open().await {
                Err(error @ LogError::Ahead { .. }) => {
                    let first = first_ahead.get_or_insert_with(Instant::now);
                    if first.elapsed() >= CATCH_UP_MAX {
                        return Err(error);
                    }
                }
                Err(error @ LogError::Failed { .. }) => {
                    if !std::mem::replace(&mut warned, true) {
                        let source = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(
                            %error,
                            source,
                            "cannot read the log: waiting for the server"
                        );
                    }
                }
                other => return other,
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Reads the state of the stream, and retries without a limit.
    pub async fn wait_for_state(self) -> Result<State, LogError> {
        loop {
            match self.shared.stream.state().await {
                Err(LogError::Failed { .. }) => sleep(RETRY_DELAY).await,
                other => return other,
            }
        }
    }
}

/// Returns an error if messages from position `wanted` on are missing in the stream.
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
            &format!("{} messages after it are missing", state.missing),
        ));
    }
    Ok(())
}
