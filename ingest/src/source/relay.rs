//! A relay, read over a WebSocket that is opened again whenever it is lost.
//!
//! ```text
//! idle ── wait (backoff, Retry-After) ── connect ──▶ open ── messages ── lost: closed, silent, too large a message
//!   ▲                                     │ refused                        │
//!   └─────────────────────────────────────┴────────────────────────────────┘
//! ```
//!
//! The backoff starts again once frames were applied, or when a connection lasted longer than the longest wait. A message over
//! the limit is received and dropped. One that is too large even for that would end connection after connection: from
//! the second time at the same position on, its number is searched for and left out ([`Search`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::event::Host;
use skytide_core::id::Cursor;
use skytide_core::port::clock::Clock;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::backoff::{Backoff, RETRY_AFTER_MAX};
use super::connect::{Address, Refusal};
use super::connection::{Connection, Lost};
use super::search::Search;
use super::{Input, Raw, Source, SourceError};
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
    /// Connections in a row without a new frame.
    attempts: u32,
    /// Whether the newest connection at this position ended with a message that is too large to receive.
    oversized: bool,
    /// The search for the number of that message, from its second time on.
    search: Option<Search>,
    /// What a search has found: where to resume instead of at the position.
    skip_to: Option<Cursor>,
    report_loss: bool,
}

/// How long a search waits for the first message of a connection. If none comes, the message is not there.
const SEARCH_WAIT: Duration = Duration::from_secs(5);
/// The pause between two connections of a search, at most.
const SEARCH_PAUSE_MAX: Duration = Duration::from_millis(100);

impl RelaySource {
    /// A relay that nobody has called yet.
    ///
    /// # Errors
    /// The address is not one, or TLS is not possible here.
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
            oversized: false,
            search: None,
            skip_to: None,
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
        if let Some(search) = &self.search {
            return Some(Cursor(search.cursor()));
        }
        let Some(newest) = self.position.cursor else {
            return self.skip_to.or(self.options.first_cursor());
        };
        let from = self.skip_to.unwrap_or(newest).max(newest);
        Some(Cursor(from.0.saturating_sub(self.lookback).max(1)))
    }

    /// Opens a connection; `None`: there were too many attempts.
    async fn connect(&mut self) -> Option<Connection> {
        loop {
            if self.is_exhausted() {
                return None;
            }
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
                    self.wait_min = Duration::ZERO;
                    return Some(Connection::new(socket, &self.options));
                }
                Err(refusal) => self.refused(refusal),
            }
        }
    }

    /// Whether another relay should be read. The next attempts here start from the beginning.
    fn is_exhausted(&mut self) -> bool {
        let attempts_max = self.options.attempts_max;
        if attempts_max.is_none_or(|most| self.attempts < most) {
            return false;
        }
        warn!(
            host = %self.address.host(), attempts = self.attempts,
            "the relay brings no new frame, reading another one"
        );
        self.attempts = 0;
        self.backoff.reset();
        true
    }

    /// How long to wait before the next attempt.
    fn wait(&mut self) -> Duration {
        self.backoff.after_failure().max(self.wait_min)
    }

    fn refused(&mut self, refusal: Refusal) {
        self.failed = true;
        self.attempts = self.attempts.saturating_add(1);
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
        self.disconnect();
        if lost.oversized {
            let again = std::mem::replace(&mut self.oversized, true);
            // Before there is a position the relay is asked for the present: such a message does not come again.
            if let (true, Some(cursor)) = (again && self.lookback == 0, self.cursor()) {
                self.search = Some(Search::after(cursor.0));
            }
            self.lookback = 0;
        }
    }

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

    /// Searches for the number of a message that is too large to receive. Ends with a connection that leaves it out, and the
    /// first messages of that; `None`: the relay cannot be reached any more.
    async fn search(&mut self) -> Option<Vec<Raw>> {
        while self.search.is_some() {
            let Some(mut connection) = self.connect().await else {
                self.search = None;
                return None;
            };
            let first = timeout(SEARCH_WAIT, connection.first_of_search(&self.options)).await;
            let Some(search) = &mut self.search else {
                break;
            };
            let cursor = Cursor(search.cursor());
            match first {
                Ok(Err(lost)) if lost.oversized => search.came_again(),
                Ok(Err(lost)) => {
                    debug!(reason = lost.reason, "a connection of the search was lost");
                    self.connection = Some(connection);
                    self.disconnect();
                    continue;
                }
                first => {
                    if search.passed() {
                        warn!(%cursor, "a message that is too large was left out");
                        (self.search, self.skip_to) = (None, Some(cursor));
                        self.connection = Some(connection);
                        return Some(first.ok().and_then(Result::ok).unwrap_or_default());
                    }
                }
            }
            self.failed = false;
            sleep(self.options.backoff_min.min(SEARCH_PAUSE_MAX)).await;
        }
        Some(Vec::new())
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
        self.report_loss = false;
        if position.cursor != self.position.cursor {
            self.backoff.reset();
            self.attempts = 0;
            (self.search, self.skip_to) = (None, None);
            self.oversized = false;
        }
        self.position = position;
        self.lookback = lookback;
    }

    async fn next(&mut self) -> Result<Input, SourceError> {
        if std::mem::take(&mut self.report_loss) {
            return Ok(Input::Disconnected);
        }
        if self.search.is_some() {
            return Ok(match self.search().await {
                None => Input::Unavailable,
                Some(first) if first.is_empty() => Input::Connected,
                Some(first) => Input::Batch(first),
            });
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
                let known = self.oversized;
                self.lose(&lost);
                if self.search.is_some() {
                    self.report_loss = false;
                    let why =
                        "a message is larger than can be received, its number is searched for";
                    return Ok(Input::Stuck(why.to_owned()));
                }
                if lost.oversized && !known {
                    self.report_loss = true;
                    return Ok(Input::Batch(vec![Raw::Oversized]));
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
    fn only_a_message_that_is_too_large_twice_is_searched_for() {
        let mut relay = relay();
        relay.position.cursor = Some(Cursor(5));
        let cursors: Vec<_> = [true, false, true]
            .map(|oversized| {
                let reason = String::new();
                relay.lose(&Lost { reason, oversized });
                relay.seek(relay.position, 0);
                relay.cursor().map(|cursor| cursor.0)
            })
            .into();
        assert_eq!(cursors, [Some(5), Some(5), Some(6)]);
        relay.position.cursor = None;
        relay.seek(
            Position {
                cursor: Some(Cursor(9)),
                frames: 0,
            },
            0,
        );
        assert_eq!(relay.cursor(), Some(Cursor(9)));
    }

    #[test]
    fn attempts_without_a_new_frame_are_counted_and_end_at_the_limit() {
        let mut relay = relay();
        relay.options.attempts_max = Some(3);
        let fail = |relay: &mut RelaySource| {
            relay.refused(Refusal {
                reason: String::new(),
                retry_after: None,
            });
            relay.is_exhausted()
        };
        assert_eq!(
            [(); 4].map(|()| fail(&mut relay)),
            [false, false, true, false]
        );
        relay.options.attempts_max = None;
        assert!(!(0..100).any(|_| fail(&mut relay)));
    }
}
