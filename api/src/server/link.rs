//! What the server knows of one connection, shared between its task, the list of connections and the handlers.
//!
//! ```text
//! New ─▶ Head ─▶ Answering ─▶ Idle ─▶ Head ─▶ …        beside it: blocked, while bytes are waiting for the client
//! ```

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Options;

/// Connections of one client count together. An IPv6 site has at least a `/64`, so its addresses are one client.
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

/// How long a connection may stay in each phase.
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

/// Why a connection ended; each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client closed it, or asked for that.
    Closed,
    /// What the client sent is not HTTP.
    Malformed,
    /// The head of a request did not arrive in time.
    HeaderTimeout,
    /// No further request arrived in time.
    IdleTimeout,
    /// The client did not read its answer.
    SendTimeout,
    /// Another client needed its place.
    Evicted,
    /// All places were in use, by requests under way.
    Refused,
    /// The server stopped.
    Stopped,
}

impl Outcome {
    /// The label of the counter.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has arrived yet.
    New,
    /// A part of a head has arrived.
    Head,
    /// A request is under way.
    Answering,
    /// An event stream is under way: it has no end.
    Streaming,
    /// An answer is complete, and the client may ask again.
    Idle,
}

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// Whether the server found no bytes when it looked last.
    waits: bool,
    /// When bytes began to wait for the client, and when it last accepted some.
    blocked: Option<(Instant, Instant)>,
}

impl State {
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = Instant::now();
    }
}

/// How readily a connection is closed for another one; the least is the first to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// It waits for a request.
    Waiting(Instant),
    /// It has an answer, which the client does not read.
    Blocked(Instant),
    /// It shows commits as they come.
    Streaming(Instant),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    /// Cancelled when another connection gets its place.
    pub(crate) evicted: CancellationToken,
}

impl Link {
    pub(crate) fn new() -> Self {
        let state = State {
            phase: Phase::New,
            since: Instant::now(),
            waits: false,
            blocked: None,
        };
        Self {
            state: Mutex::new(state),
            evicted: CancellationToken::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        self.state().enter(phase);
    }

    /// Bytes arrived.
    pub(super) fn received(&self) {
        let mut state = self.state();
        state.waits = false;
        if matches!(state.phase, Phase::New | Phase::Idle) {
            state.enter(Phase::Head);
        }
    }

    /// The server looked for bytes, and there are none.
    pub(super) fn waits(&self) {
        self.state().waits = true;
    }

    /// A request is complete.
    pub(super) fn asked(&self) {
        self.enter(Phase::Answering);
    }

    /// Its answer is an event stream.
    pub(crate) fn streams(&self) {
        self.enter(Phase::Streaming);
    }

    /// Its answer is complete, or given up.
    pub(super) fn answered(&self) {
        self.enter(Phase::Idle);
    }

    /// The system accepted bytes for the client.
    pub(super) fn sent(&self) {
        if let Some((_, progress)) = &mut self.state().blocked {
            *progress = Instant::now();
        }
    }

    /// Bytes are waiting for the client.
    pub(crate) fn blocks(&self) {
        let now = Instant::now();
        self.state().blocked.get_or_insert((now, now));
    }

    /// No bytes are waiting for the client.
    pub(super) fn flushed(&self) {
        let mut state = self.state();
        if state.blocked.take().is_some() && state.phase == Phase::Idle {
            state.since = Instant::now();
        }
    }

    /// Whether the client does not read what is sent to it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.state().blocked.is_some()
    }

    /// When it is to be closed if nothing happens, and why; `None`: the request has a limit of its own.
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Option<(Instant, Outcome)> {
        let state = *self.state();
        if let Some((_, progress)) = state.blocked {
            return Some((progress + timeouts.send, Outcome::SendTimeout));
        }
        match state.phase {
            Phase::New | Phase::Head => Some((state.since + timeouts.head, Outcome::HeaderTimeout)),
            Phase::Idle => Some((state.since + timeouts.idle, Outcome::IdleTimeout)),
            Phase::Answering | Phase::Streaming => None,
        }
    }

    /// What it is used for; `None`: a request is under way, or may have arrived.
    pub(super) fn use_now(&self) -> Option<Use> {
        let state = *self.state();
        if let Some((since, _)) = state.blocked {
            return Some(Use::Blocked(since));
        }
        match state.phase {
            Phase::New | Phase::Head | Phase::Idle => {
                state.waits.then_some(Use::Waiting(state.since))
            }
            Phase::Streaming => Some(Use::Streaming(state.since)),
            Phase::Answering => None,
        }
    }
}

/// Who sent a request; stands among its extensions when it came through a socket.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// The client.
    pub(crate) client: ClientAddress,
    /// Its connection.
    pub(crate) link: std::sync::Arc<Link>,
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
