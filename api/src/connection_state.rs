//! The state of one connection, shared by its task, the server's slots and the event streams.
//!
//! ```text
//! New ─▶ Head ─▶ Answering ─▶ Idle ─▶ Head ─▶ …
//!                 │           ▲
//!                 └▶ Streaming┘
//! ```
//!
//! In any phase, a connection may also be write-blocked: bytes wait for the client to read them.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::options::Options;

/// The address by which connections of one client are counted together. An IPv6 site has at least a
/// `/64`, so all addresses of a `/64` are one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientAddress(IpAddr);

impl ClientAddress {
    const SITE_MASK: u128 = !(u64::MAX as u128);

    /// The client that an address belongs to.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Ipv6Addr::from_bits(address.to_bits() & Self::SITE_MASK).into()
            }
            address => address,
        })
    }

    pub(crate) fn is_loopback(self) -> bool {
        self.0.is_loopback()
    }
}

/// The time limits of a connection: for the head of a request, for the next request, and for the
/// client to accept bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    head: Duration,
    idle: Duration,
    send: Duration,
}

impl Timeouts {
    pub(crate) fn of(options: &Options) -> Self {
        Self {
            head: Duration::from_millis(options.header_ms_max),
            idle: Duration::from_millis(options.idle_ms_max),
            send: Duration::from_millis(options.send_ms_max),
        }
    }
}

/// Why a connection ended. The metrics count each outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client closed it, or requested that.
    Closed,
    /// The client sent bytes that are not HTTP.
    Malformed,
    /// The head of a request did not arrive in time.
    HeaderTimeout,
    /// The next request did not arrive in time.
    IdleTimeout,
    /// The client read nothing of its answer for too long.
    SendTimeout,
    /// Its slot was needed for another connection.
    Evicted,
    /// All slots were used by connections with requests in progress.
    Refused,
    /// The server stopped.
    Stopped,
}

impl Outcome {
    /// The label in the metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::HeaderTimeout => "header_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::SendTimeout => "send_timeout",
            Self::Evicted => "evicted",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has arrived yet.
    New,
    /// A part of the head of a request has arrived.
    Head,
    /// A request is in progress.
    Answering,
    /// An event stream is in progress; it has no end of its own.
    Streaming,
    /// An answer is complete, and the client may send another request.
    Idle,
}

#[derive(Clone, Copy, Debug)]
struct Status {
    phase: Phase,
    /// When the phase started.
    since: Instant,
    /// Whether the last read found no bytes. Otherwise a request may have arrived.
    read_pending: bool,
    /// Since when bytes wait for the client; `None` if none do.
    blocked: Option<WriteBlock>,
}

/// A time in which bytes wait for the client.
#[derive(Clone, Copy, Debug)]
struct WriteBlock {
    since: Instant,
    /// When the client last accepted bytes.
    progress: Instant,
}

impl Status {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }
}

/// What a connection that may be evicted is doing, and since when. Of two connections of one
/// client, the one with the smaller value is evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum EvictionClass {
    /// It waits for a request.
    Waiting(Instant),
    /// It has an answer that the client does not read.
    Blocked(Instant),
    /// It has an event stream.
    Streaming(Instant),
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    status: Mutex<Status>,
    /// Cancelled when another connection gets its slot.
    pub(crate) evicted: CancellationToken,
}

impl ConnectionState {
    pub(crate) fn new() -> Self {
        let status = Status {
            phase: Phase::New,
            since: Instant::now(),
            read_pending: false,
            blocked: None,
        };
        Self {
            status: Mutex::new(status),
            evicted: CancellationToken::new(),
        }
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        self.status().enter(phase);
    }

    /// Records that bytes arrived.
    pub(crate) fn received(&self) {
        let mut status = self.status();
        status.read_pending = false;
        if matches!(status.phase, Phase::New | Phase::Idle) {
            status.enter(Phase::Head);
        }
    }

    /// Records that a read found no bytes.
    pub(crate) fn read_pending(&self) {
        self.status().read_pending = true;
    }

    /// Records that a complete request arrived.
    pub(crate) fn request_started(&self) {
        self.enter(Phase::Answering);
    }

    /// Records that the answer is an event stream.
    pub(crate) fn stream_started(&self) {
        self.enter(Phase::Streaming);
    }

    /// Records that the answer is complete or abandoned.
    pub(crate) fn request_finished(&self) {
        self.enter(Phase::Idle);
    }

    /// Records that the system accepted bytes for the client.
    pub(crate) fn write_progressed(&self) {
        if let Some(block) = &mut self.status().blocked {
            block.progress = Instant::now();
        }
    }

    /// Records that bytes wait for the client.
    pub(crate) fn write_blocked(&self) {
        let now = Instant::now();
        let block = WriteBlock {
            since: now,
            progress: now,
        };
        self.status().blocked.get_or_insert(block);
    }

    /// Records that no bytes wait for the client.
    pub(crate) fn flushed(&self) {
        let mut status = self.status();
        if status.blocked.take().is_some() && status.phase == Phase::Idle {
            status.since = Instant::now();
        }
    }

    /// Whether the client does not read its answer.
    pub(crate) fn is_write_blocked(&self) -> bool {
        self.status().blocked.is_some()
    }

    /// When the connection must be closed if nothing happens before, and why. While it is
    /// write-blocked, only the limit for the client to accept bytes applies. Otherwise, returns
    /// `None` while a request is in progress, which has a limit of its own.
    pub(crate) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Outcome)> {
        let status = *self.status();
        if let Some(block) = status.blocked {
            return Some((block.progress + timeouts.send, Outcome::SendTimeout));
        }
        match status.phase {
            Phase::New | Phase::Head => {
                Some((status.since + timeouts.head, Outcome::HeaderTimeout))
            }
            Phase::Idle => Some((status.since + timeouts.idle, Outcome::IdleTimeout)),
            Phase::Answering | Phase::Streaming => None,
        }
    }

    /// What the connection is doing. A write-blocked connection may always be evicted. Otherwise,
    /// returns `None` if it must not be evicted, because a request is in progress or may have
    /// arrived.
    pub(crate) fn eviction_class(&self) -> Option<EvictionClass> {
        let status = *self.status();
        if let Some(block) = status.blocked {
            return Some(EvictionClass::Blocked(block.since));
        }
        match status.phase {
            Phase::New | Phase::Head | Phase::Idle => status
                .read_pending
                .then_some(EvictionClass::Waiting(status.since)),
            Phase::Streaming => Some(EvictionClass::Streaming(status.since)),
            Phase::Answering => None,
        }
    }
}

/// The sender of a request. It is an extension of every request that came through a socket.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The client.
    pub(crate) client: ClientAddress,
    /// Its connection.
    pub(crate) connection: Arc<ConnectionState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_site_are_one_client() {
        let of = |text: &str| ClientAddress::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert!(of("::1").is_loopback() && of("::ffff:127.0.0.1").is_loopback());
        assert!(!of("::2").is_loopback());
    }
}
