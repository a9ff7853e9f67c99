//! A relay, read over a WebSocket that is opened again whenever it is lost.
//!
//! ```text
//! idle ── wait (backoff, Retry-After) ── connect ──▶ open ── messages ── lost: closed, silent, too large a message
//!   ▲                                     │ refused                        │
//!   └─────────────────────────────────────┴────────────────────────────────┘
//! ```
//!
//! The backoff begins anew once frames were applied, or when a connection lasted longer than the longest wait. A relay
//! that sends a message over the limit would send it again for ever: from the second time at the same position on,
//! the next number is asked for, then the one behind it, and so on, which leaves out that message and no other.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use skytide_core::event::Host;
use skytide_core::id::Cursor;
use skytide_core::port::clock::Clock;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::{debug, info, warn};

use super::backoff::{Backoff, RETRY_AFTER_MAX};
use super::connect::{Address, Refusal, Socket};
use super::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Input, Raw, Source, SourceError};
use crate::assemble::Position;
use crate::options::RelayOptions;

/// The stream of a relay.
pub struct RelaySource {
    address: Address,
    options: RelayOptions,
    clock: Arc<dyn Clock>,
    position: Position,
    lookback: u64,
    connection: Option<Connection>,
    backoff: Backoff,
    /// What the relay asked us to wait, at least.
    wait_min: Duration,
    failed: bool,
    unreachable: bool,
    /// Connections in a row, at one position, that ended with a message over the limit.
    oversized_row: u64,
    lost_oversized: bool,
    report_loss: bool,
}

struct Connection {
    socket: Socket,
    opened: Instant,
    /// When the last frame came, or the connection was opened.
    heard: Instant,
    next_ping: Instant,
    pings_unanswered: u32,
    lost: Option<Lost>,
}

/// How a connection ended.
struct Lost {
    reason: String,
    oversized: bool,
}

impl Lost {
    fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            oversized: false,
        }
    }
}

impl RelaySource {
    /// A relay that nobody has called yet.
    ///
    /// # Errors
    /// The address is not one, or TLS is not possible here.
    pub fn new(options: RelayOptions, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let address = Address::parse(&options.url)?;
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
            oversized_row: 0,
            lost_oversized: false,
            report_loss: false,
        })
    }

    /// The same relay under another name than its address: what it is called in every event, and by which data are known
    /// to be its own.
    #[must_use]
    pub fn named(mut self, host: &str) -> Self {
        self.address.rename(host);
        self
    }

    /// The cursor to ask for. Never 0 once there is a position: that would be the whole backlog.
    fn cursor(&self) -> Option<Cursor> {
        let Some(Cursor(newest)) = self.position.cursor else {
            return self.options.first_cursor();
        };
        let cursor = newest + self.oversized_row.saturating_sub(1);
        Some(Cursor(cursor.saturating_sub(self.lookback).max(1)))
    }

    async fn connect(&mut self) -> Connection {
        loop {
            if self.failed {
                let wait = self.wait();
                debug!(?wait, host = %self.address.host(), "waiting before connecting");
                sleep(wait).await;
            }
            let cursor = self.cursor();
            match self.address.connect(cursor, &self.options).await {
                Ok(socket) => {
                    info!(host = %self.address.host(), ?cursor, "connected to the relay");
                    self.unreachable = false;
                    self.lost_oversized = false;
                    self.wait_min = Duration::ZERO;
                    return Connection::new(socket, &self.options);
                }
                Err(refusal) => self.refused(refusal),
            }
        }
    }

    /// How long to wait before the next attempt.
    fn wait(&mut self) -> Duration {
        self.backoff.after_failure().max(self.wait_min)
    }

    fn refused(&mut self, refusal: Refusal) {
        self.failed = true;
        let asked = refusal
            .retry_after
            .map(|after| after.wait(self.clock.now()));
        self.wait_min = asked.unwrap_or_default().min(RETRY_AFTER_MAX);
        let (host, reason) = (self.address.host(), refusal.reason);
        if std::mem::replace(&mut self.unreachable, true) {
            debug!(%host, reason, "the relay is still out of reach");
        } else {
            warn!(%host, reason, "the relay is out of reach, trying again until it is back");
        }
    }

    fn lose(&mut self, lost: &Lost) {
        let host = self.address.host();
        warn!(%host, reason = lost.reason, "connection to the relay lost, connecting again");
        self.lost_oversized = lost.oversized;
        self.oversized_row += u64::from(lost.oversized);
        self.disconnect();
    }

    fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.failed = true;
            if connection.opened.elapsed() >= self.options.backoff_max {
                self.backoff.reset();
            }
        }
    }
}

#[async_trait]
impl Source for RelaySource {
    fn host(&self) -> &Host {
        self.address.host()
    }

    fn live(&self) -> bool {
        true
    }

    fn seek(&mut self, position: Position, lookback: u64) {
        self.disconnect();
        self.report_loss = false;
        if position.cursor != self.position.cursor {
            self.backoff.reset();
            self.oversized_row = u64::from(self.lost_oversized);
        }
        self.position = position;
        self.lookback = lookback;
    }

    async fn next(&mut self) -> Result<Input, SourceError> {
        if std::mem::take(&mut self.report_loss) {
            return Ok(Input::Disconnected);
        }
        let Some(connection) = &mut self.connection else {
            self.connection = Some(self.connect().await);
            return Ok(Input::Connected);
        };
        match connection.read(&self.options).await {
            Ok(batch) => Ok(Input::Batch(batch)),
            Err(lost) => {
                self.lose(&lost);
                if lost.oversized {
                    self.report_loss = true;
                    return Ok(Input::Batch(vec![Raw::Oversized]));
                }
                Ok(Input::Disconnected)
            }
        }
    }
}

impl Connection {
    fn new(socket: Socket, options: &RelayOptions) -> Self {
        let opened = Instant::now();
        Self {
            socket,
            opened,
            heard: opened,
            next_ping: opened + options.ping_interval,
            pings_unanswered: 0,
            lost: None,
        }
    }

    /// The messages that are there, at least one.
    async fn read(&mut self, options: &RelayOptions) -> Result<Vec<Raw>, Lost> {
        if let Some(lost) = self.lost.take() {
            return Err(lost);
        }
        let first = loop {
            if let Some(raw) = self.first(options).await? {
                break raw;
            }
        };
        self.heard = Instant::now();
        let mut bytes = first.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            let Some(message) = self.socket.next().now_or_never() else {
                break;
            };
            match self.take(message) {
                Ok(Some(raw)) => {
                    bytes += raw.len();
                    batch.push(raw);
                }
                Ok(None) => {}
                Err(lost) => {
                    self.lost = Some(lost);
                    break;
                }
            }
        }
        Ok(batch)
    }

    /// Waits for a message, a silence that is too long, or the time of the next ping.
    async fn first(&mut self, options: &RelayOptions) -> Result<Option<Raw>, Lost> {
        let silence = options.read_timeout;
        tokio::select! {
            biased;
            message = self.socket.next() => self.take(message),
            () = sleep_until(self.heard + silence), if !silence.is_zero() => {
                Err(Lost::because(format!("no frame for {silence:?}")))
            }
            () = sleep_until(self.next_ping), if !options.ping_interval.is_zero() => {
                self.ping(options.ping_interval).await.map(|()| None)
            }
        }
    }

    async fn ping(&mut self, interval: Duration) -> Result<(), Lost> {
        if self.pings_unanswered >= 2 {
            return Err(Lost::because(format!(
                "no sign of life for {:?}",
                interval * 2
            )));
        }
        self.pings_unanswered += 1;
        self.next_ping = Instant::now() + interval;
        let ping = self.socket.send(Message::Ping(Bytes::new()));
        match timeout(interval, ping).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Lost::because(error.to_string())),
            Err(_) => Err(Lost::because("it takes no more bytes")),
        }
    }

    fn take(&mut self, message: Option<Result<Message, Error>>) -> Result<Option<Raw>, Lost> {
        self.pings_unanswered = 0;
        match message {
            Some(Ok(Message::Binary(bytes))) => Ok(Some(Raw::Binary(bytes))),
            Some(Ok(Message::Text(text))) => Ok(Some(Raw::Text(text.into()))),
            Some(Ok(Message::Close(Some(frame)))) => {
                let reason: String = frame.reason.chars().take(200).collect();
                Err(Lost::because(format!(
                    "closed by the relay: {} {reason:?}",
                    frame.code
                )))
            }
            Some(Ok(Message::Close(None))) | None => Err(Lost::because("closed by the relay")),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
            Some(Err(error)) => Err(Lost {
                oversized: matches!(error, Error::Capacity(_)),
                reason: error.to_string(),
            }),
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

    fn wait_if_asked(retry_after: Option<RetryAfter>) -> Duration {
        let mut relay = relay();
        let reason = "429".to_owned();
        relay.refused(Refusal {
            reason,
            retry_after,
        });
        relay.wait()
    }

    #[test]
    fn what_the_relay_asks_for_is_waited_up_to_an_hour() {
        let seconds = Duration::from_secs;
        assert!(wait_if_asked(None) <= seconds(1));
        assert_eq!(
            wait_if_asked(Some(RetryAfter::In(seconds(90)))),
            seconds(90)
        );
        let at = RetryAfter::At(Timestamp(1_120_000));
        assert_eq!(wait_if_asked(Some(at)), seconds(120));
        assert_eq!(
            wait_if_asked(Some(RetryAfter::In(seconds(1 << 40)))),
            RETRY_AFTER_MAX
        );
    }

    #[test]
    fn the_backoff_grows_until_the_position_moves() {
        let mut relay = relay();
        let at = |cursor| Position {
            cursor: Some(Cursor(cursor)),
            frames: 0,
        };
        relay.seek(at(5), 0);
        let waits: Vec<_> = (0..8)
            .map(|_| {
                relay.seek(at(5), 0);
                relay.wait()
            })
            .collect();
        assert!(waits[7] >= Duration::from_secs(30), "{waits:?}");
        relay.seek(at(6), 0);
        assert!(relay.wait() <= Duration::from_secs(1));
    }

    #[test]
    fn only_a_message_that_is_too_large_twice_moves_the_cursor() {
        let mut relay = relay();
        relay.position.cursor = Some(Cursor(5));
        let cursors: Vec<_> = [true, false, true, true]
            .map(|oversized| {
                let reason = String::new();
                relay.lose(&Lost { reason, oversized });
                relay.seek(relay.position, 0);
                relay.cursor().map(|cursor| cursor.0)
            })
            .into();
        assert_eq!(cursors, [Some(5), Some(5), Some(6), Some(7)]);
    }
}
