//! Reads the stream of a relay over a WebSocket, and reconnects whenever the connection is lost.
//!
//! ```text
//! idle ── wait (backoff, Retry-After) ── connect ──▶ open ── messages ── lost (closed, timeout)
//!   ▲                                     │ refused                        │
//!   └─────────────────────────────────────┴────────────────────────────────┘
//! ```
//!
//! The backoff starts again from its minimum when the position advances between two connections,
//! and when a connection lasted at least as long as the longest wait. A message over the size limit
//! is dropped while it is received ([`super::limit`]). A message too large to be skipped (over
//! 1 GiB) ends each connection at the same position. The source then returns [`Input::Stuck`], and
//! after `attempts_max` attempts it returns [`Input::Unavailable`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::event::Host;
use skytide_core::id::Cursor;
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::backoff::{Backoff, RETRY_AFTER_MAX};
use super::connect::{Address, Refusal};
use super::connection::{Connection, ConnectionLost};
use super::{Input, Source, SourceError};
use crate::assemble::Position;
use crate::options::RelayOptions;

/// The stream of a relay.
pub struct RelaySource {
    address: Address,
    options: RelayOptions,
    clock: Arc<dyn Clock>,
    position: Position,
    /// By how much the requested cursor is lower than the cursor of the position.
    lookback: u64,
    connection: Option<Connection>,
    backoff: Backoff,
    /// The wait that the relay requested.
    wait_min: Duration,
    /// Whether the last connection or attempt failed, so that the next attempt waits.
    failed: bool,
    /// Whether the relay was reported as unreachable.
    unreachable: bool,
    /// Consecutive failed attempts: refusals, and connections that were lost before the position
    /// advanced and before they had lasted `backoff_max`.
    attempts: u32,
    /// Whether the next call of `next` returns [`Input::Disconnected`].
    disconnect_pending: bool,
}

impl RelaySource {
    /// A relay without a connection. The first call of `next` opens one.
    ///
    /// # Errors
    /// The address is not usable, or TLS is not available on this machine.
    pub fn new(options: RelayOptions, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let address = Address::new(&options.url)?;
        let backoff = Backoff::new(options.backoff_min, options.backoff_max, options.seed);
        Ok(Self {
            address,
            options,
            clock,
            position: Position::default(),
            lookback: 0,
            connection: None,
            backoff,
            wait_min: Duration::ZERO,
            failed: false,
            unreachable: false,
            attempts: 0,
            disconnect_pending: false,
        })
    }

    /// Names the stream `host` instead of after its address. The name is written into every event
    /// and identifies the relay's data.
    #[must_use]
    pub fn named(mut self, host: &str) -> Self {
        self.address.rename(host);
        self
    }

    /// Opens a connection to the relay and closes it again, without reading a frame. Returns why
    /// that is not possible, without secrets, and the time in the head of the relay's response, in
    /// whole seconds, if it has one.
    pub async fn try_to_connect(&self) -> (Result<(), String>, Option<Timestamp>) {
        let message_bytes_max = self.options.message_bytes_max;
        let (tried, time) = self.address.try_to_connect(message_bytes_max).await;
        (tried.map_err(|refusal| refusal.reason), time)
    }

    /// The cursor to request. It is never 0 once there is a position, because 0 requests the whole
    /// backlog.
    fn cursor(&self) -> Option<Cursor> {
        let Some(newest) = self.position.cursor else {
            return self.options.first_cursor();
        };
        Some(Cursor(newest.0.saturating_sub(self.lookback).max(1)))
    }

    /// Opens a connection. Returns `None` after too many attempts.
    async fn connect(&mut self) -> Option<Connection> {
        loop {
            if self.is_exhausted() {
                self.end_attempts();
                return None;
            }
            if self.failed {
                let wait = self.next_wait();
                debug!(?wait, host = %self.address.host(), "waiting before connecting");
                sleep(wait).await;
            }
            let cursor = self.cursor();
            match self.address.connect(cursor, &self.options).await {
                Ok(socket) => {
                    info!(host = %self.address.host(), ?cursor, "connected to the relay");
                    self.unreachable = false;
                    self.wait_min = Duration::ZERO;
                    return Some(Connection::new(socket, &self.options));
                }
                Err(refusal) => self.record_refusal(refusal),
            }
        }
    }

    /// Whether the limit of attempts is reached, so that another relay should be read.
    fn is_exhausted(&self) -> bool {
        let attempts_max = self.options.attempts_max;
        attempts_max.is_some_and(|most| self.attempts >= most)
    }

    /// Logs that another relay should be read, and counts attempts from 0 again.
    fn end_attempts(&mut self) {
        warn!(
            host = %self.address.host(), attempts = self.attempts,
            "the relay sends no new frame, reading another relay"
        );
        self.attempts = 0;
        self.backoff.reset();
    }

    /// The wait before the next attempt.
    fn next_wait(&mut self) -> Duration {
        self.backoff.after_failure().max(self.wait_min)
    }

    /// Counts and logs a refused connection.
    fn record_refusal(&mut self, refusal: Refusal) {
        self.failed = true;
        self.attempts = self.attempts.saturating_add(1);
        let wait = refusal
            .retry_after
            .map(|after| after.wait(self.clock.now()));
        self.wait_min = wait.unwrap_or_default().min(RETRY_AFTER_MAX);
        let (host, reason) = (self.address.host(), refusal.reason);
        if std::mem::replace(&mut self.unreachable, true) {
            debug!(%host, reason, "the relay is still unreachable");
        } else {
            warn!(%host, reason, "the relay is unreachable, retrying until it is available");
        }
    }

    /// Logs why the connection was lost, and closes it.
    fn close_lost(&mut self, lost: &ConnectionLost) {
        let host = self.address.host();
        warn!(%host, reason = lost.reason, "connection to the relay lost, reconnecting");
        self.disconnect();
    }

    /// Closes the connection, if one is open, and counts it as a failed attempt unless it was long.
    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.failed = true;
            self.attempts = self.attempts.saturating_add(1);
            if connection.opened.elapsed() >= self.options.backoff_max {
                self.backoff.reset();
                self.attempts = 0;
            }
        }
    }
}

#[async_trait]
impl Source for RelaySource {
    fn host(&self) -> &Host {
        self.address.host()
    }

    fn former_hosts(&self) -> &[Host] {
        self.address.former()
    }

    fn live(&self) -> bool {
        true
    }

    fn seek(&mut self, position: Position, lookback: u64) {
        self.disconnect();
        self.disconnect_pending = false;
        if position.cursor != self.position.cursor {
            self.backoff.reset();
            self.attempts = 0;
        }
        self.position = position;
        self.lookback = lookback;
    }

    async fn next(&mut self) -> Result<Input, SourceError> {
        if std::mem::take(&mut self.disconnect_pending) {
            return Ok(Input::Disconnected);
        }
        let Some(connection) = &mut self.connection else {
            self.connection = self.connect().await;
            return Ok(match self.connection {
                Some(_) => Input::Connected,
                None => Input::Unavailable,
            });
        };
        match connection.read(&self.options).await {
            Ok(batch) => Ok(Input::Batch(batch)),
            Err(lost) => {
                self.close_lost(&lost);
                if lost.message_too_large {
                    self.disconnect_pending = true;
                    return Ok(Input::Stuck(lost.reason));
                }
                Ok(Input::Disconnected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::port::clock::ManualClock;
    use skytide_core::time::Timestamp;

    use super::super::connect::RetryAfter;
    use super::*;

    fn relay() -> RelaySource {
        let clock = ManualClock::default();
        clock.set(Timestamp(1_000_000));
        let options = crate::testing::relay_options("ws://relay.example");
        RelaySource::new(options, Arc::new(clock)).unwrap()
    }

    fn wait_after(retry_after: Option<RetryAfter>) -> Duration {
        let mut relay = relay();
        let reason = "429".to_owned();
        relay.record_refusal(Refusal {
            reason,
            retry_after,
        });
        relay.next_wait()
    }

    #[test]
    fn a_requested_wait_is_respected_up_to_an_hour() {
        let seconds = Duration::from_secs;
        assert!(wait_after(None) <= seconds(1));
        assert_eq!(wait_after(Some(RetryAfter::In(seconds(90)))), seconds(90));
        let at = RetryAfter::At(Timestamp(1_120_000));
        assert_eq!(wait_after(Some(at)), seconds(120));
        assert_eq!(
            wait_after(Some(RetryAfter::In(seconds(1 << 40)))),
            RETRY_AFTER_MAX
        );
    }

    #[test]
    fn the_backoff_grows_until_the_position_advances() {
        let mut relay = relay();
        let at = |cursor| Position {
            cursor: Some(Cursor(cursor)),
            frames: 0,
        };
        relay.seek(at(5), 0);
        let waits: Vec<_> = (0..8)
            .map(|_| {
                relay.seek(at(5), 0);
                relay.next_wait()
            })
            .collect();
        assert!(waits[7] >= Duration::from_secs(30), "{waits:?}");
        relay.seek(at(6), 0);
        assert!(relay.next_wait() <= Duration::from_secs(1));
    }

    #[test]
    fn attempts_without_a_new_frame_end_at_the_limit() {
        let mut relay = relay();
        relay.options.attempts_max = Some(3);
        let fail = |relay: &mut RelaySource| {
            relay.record_refusal(Refusal {
                reason: String::new(),
                retry_after: None,
            });
            let is_exhausted = relay.is_exhausted();
            if is_exhausted {
                relay.end_attempts();
            }
            is_exhausted
        };
        assert_eq!(
            [(); 4].map(|()| fail(&mut relay)),
            [false, false, true, false]
        );
        relay.options.attempts_max = None;
        assert!(!(0..100).any(|_| fail(&mut relay)));
    }
}
