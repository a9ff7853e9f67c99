//! One open connection to a relay: its messages, its pings and its loss.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::connect::Socket;
use super::limit::MessageTooLarge;
use super::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, Raw};
use crate::options::RelayOptions;

/// An open connection.
pub(super) struct Connection {
    socket: Socket,
    pub(super) opened: Instant,
    /// When the last bytes of a message were received, or else when the connection was opened.
    received: Instant,
    /// The number of bytes of messages that had been received when they were last counted.
    message_bytes: u64,
    next_ping: Instant,
    pings_unanswered: u32,
    lost: Option<ConnectionLost>,
}

/// Why a connection was lost.
pub(super) struct ConnectionLost {
    pub(super) reason: String,
    /// Whether the cause is a message that is too large even to be skipped.
    pub(super) message_too_large: bool,
}

impl ConnectionLost {
    fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message_too_large: false,
        }
    }
}

impl Connection {
    pub(super) fn new(socket: Socket, options: &RelayOptions) -> Self {
        let opened = Instant::now();
        Self {
            socket,
            opened,
            received: opened,
            message_bytes: 0,
            next_ping: opened + options.ping_interval,
            pings_unanswered: 0,
            lost: None,
        }
    }

    /// Waits for a message. Returns it with all messages that have been received already.
    pub(super) async fn read(
        &mut self,
        options: &RelayOptions,
    ) -> Result<Vec<Raw>, ConnectionLost> {
        if let Some(lost) = self.lost.take() {
            return Err(lost);
        }
        let first = loop {
            if let Some(raw) = self.next_message(options).await? {
                break raw;
            }
        };
        self.received = Instant::now();
        let mut bytes = first.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_MESSAGES_MAX && bytes < BATCH_BYTES_MAX {
            let Some(message) = self.socket.next().now_or_never() else {
                break;
            };
            match self.convert(message, options.message_bytes_max) {
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
        self.message_bytes = self.socket.get_ref().message_bytes();
        Ok(batch)
    }

    /// Waits for a message, for the read timeout, or for the time of the next ping.
    async fn next_message(
        &mut self,
        options: &RelayOptions,
    ) -> Result<Option<Raw>, ConnectionLost> {
        let read_timeout = options.read_timeout;
        tokio::select! {
            biased;
            message = self.socket.next() => self.convert(message, options.message_bytes_max),
            () = sleep_until(self.received + read_timeout), if !read_timeout.is_zero() => {
                if self.record_receiving() {
                    return Ok(None);
                }
                Err(ConnectionLost::because(format!("no frame for {read_timeout:?}")))
            }
            () = sleep_until(self.next_ping), if !options.ping_interval.is_zero() => {
                self.ping(options.ping_interval).await.map(|()| None)
            }
        }
    }

    /// Records and returns whether bytes of a message were received since the last call. A large
    /// message may take longer than the timeouts.
    fn record_receiving(&mut self) -> bool {
        let bytes = self.socket.get_ref().message_bytes();
        let is_receiving = bytes > std::mem::replace(&mut self.message_bytes, bytes);
        if is_receiving {
            self.received = Instant::now();
            self.pings_unanswered = 0;
        }
        is_receiving
    }

    async fn ping(&mut self, interval: Duration) -> Result<(), ConnectionLost> {
        if self.pings_unanswered >= 2 && !self.record_receiving() {
            return Err(ConnectionLost::because(format!(
                "no answer to pings for {:?}",
                interval * 2
            )));
        }
        self.pings_unanswered += 1;
        self.next_ping = Instant::now() + interval;
        let ping = self.socket.send(Message::Ping(Bytes::new()));
        match timeout(interval, ping).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ConnectionLost::because(error.to_string())),
            Err(_) => Err(ConnectionLost::because("it accepts no more bytes")),
        }
    }

    fn convert(
        &mut self,
        message: Option<Result<Message, Error>>,
        message_bytes_max: usize,
    ) -> Result<Option<Raw>, ConnectionLost> {
        self.pings_unanswered = 0;
        match message {
            Some(Ok(Message::Binary(bytes))) if bytes.len() > message_bytes_max => {
                Ok(Some(Raw::Oversized))
            }
            Some(Ok(Message::Text(text))) if text.len() > message_bytes_max => {
                Ok(Some(Raw::Oversized))
            }
            Some(Ok(Message::Binary(bytes))) => Ok(Some(Raw::Binary(bytes))),
            Some(Ok(Message::Text(text))) => Ok(Some(Raw::Text(text.into()))),
            Some(Ok(Message::Close(Some(frame)))) => {
                let reason: String = frame.reason.chars().take(200).collect();
                Err(ConnectionLost::because(format!(
                    "closed by the relay: {} {reason:?}",
                    frame.code
                )))
            }
            Some(Ok(Message::Close(None))) | None => {
                Err(ConnectionLost::because("closed by the relay"))
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
            Some(Err(error)) => Err(ConnectionLost {
                message_too_large: is_too_large(&error),
                reason: error.to_string(),
            }),
        }
    }
}

fn is_too_large(error: &Error) -> bool {
    let Error::Io(error) = error else {
        return false;
    };
    matches!(error.get_ref(), Some(inner) if inner.is::<MessageTooLarge>())
}
