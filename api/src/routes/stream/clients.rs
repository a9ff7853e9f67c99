//! The clients of the event streams: a bounded number of them, shared fairly.
//!
//! ```text
//! new client ─ a place is free ─▶ in
//!            └ none ─▶ a stream ends for it: one whose client does not read; else the oldest one of the client address
//!                      with the most streams, if it has more than the new one would have; else the oldest one of the
//!                      new client's own address; none of these ─▶ refused
//! ```
//!
//! A browser connects again by itself after its stream has ended, but not after a refusal
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#reestablish-the-connection>).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::server::{ClientAddress, Peer};

/// The open streams.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// By number, in the order of their arrival. A stream that was replaced is not among them.
    streams: BTreeMap<u64, Stream>,
}

#[derive(Debug)]
struct Stream {
    /// `None`: the request came through no socket.
    peer: Option<Peer>,
    replaced: CancellationToken,
}

/// An open stream; its place is given back when it is dropped.
pub(super) struct Client {
    number: u64,
    /// Cancelled when another client gets its place.
    pub(super) replaced: CancellationToken,
    clients: Arc<Clients>,
    open: Gauge,
}

/// A new stream.
pub(super) struct Entered {
    pub(super) client: Client,
    /// Whether another one ended for it.
    pub(super) replaces: bool,
}

impl Clients {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among at most `streams_max`; `None`: there is none for this client.
    pub(super) fn enter(
        self: &Arc<Self>,
        streams_max: usize,
        peer: Option<Peer>,
        gauge: Gauge,
    ) -> Option<Entered> {
        let mut open = self.open();
        let replaces = open.streams.len() >= streams_max;
        if replaces {
            open.replace(peer.as_ref()?.client)?;
        }
        if let Some(peer) = &peer {
            peer.link.streams();
        }
        let replaced = CancellationToken::new();
        let number = open.next;
        open.next += 1;
        open.streams.insert(
            number,
            Stream {
                peer,
                replaced: replaced.clone(),
            },
        );
        gauge.inc();
        let client = Client {
            number,
            replaced,
            clients: self.clone(),
            open: gauge,
        };
        Some(Entered { client, replaces })
    }
}

impl Open {
    /// Ends one stream for a new one of this client.
    fn replace(&mut self, newcomer: ClientAddress) -> Option<()> {
        let number = self.least_needed(newcomer)?;
        let stream = self.streams.remove(&number)?;
        stream.replaced.cancel();
        // The end of a stream cannot reach a client that does not read: the connection is closed.
        if let Some(peer) = stream.peer.filter(|peer| peer.link.is_blocked()) {
            peer.link.evicted.cancel();
        }
        Some(())
    }

    fn least_needed(&self, newcomer: ClientAddress) -> Option<u64> {
        let mut of_client: BTreeMap<ClientAddress, usize> = BTreeMap::new();
        let peers = || {
            let streams = self.streams.iter();
            streams.filter_map(|(number, stream)| Some((*number, stream.peer.as_ref()?)))
        };
        if let Some((number, _)) = peers().find(|(_, peer)| peer.link.is_blocked()) {
            return Some(number);
        }
        for (_, peer) in peers() {
            *of_client.entry(peer.client).or_default() += 1;
        }
        let count = |client| of_client.get(&client).copied().unwrap_or_default();
        let most = of_client.values().copied().max()?;
        let oldest_of = |wanted: &dyn Fn(ClientAddress) -> bool| {
            let found = peers().find(|(_, peer)| wanted(peer.client));
            found.map(|(number, _)| number)
        };
        match most > count(newcomer) + 1 {
            true => oldest_of(&|client| count(client) == most),
            false => oldest_of(&|client| client == newcomer),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.open().streams.remove(&self.number);
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Link;

    fn peer(last: u8) -> Peer {
        Peer {
            client: ClientAddress::of([192, 0, 2, last].into()),
            link: Arc::new(Link::new()),
        }
    }

    /// Opens streams from these addresses; answers what each new one did, and which streams are still open.
    fn opened(streams_max: usize, addresses: &[u8]) -> (Vec<bool>, Vec<usize>) {
        let clients = Arc::new(Clients::default());
        let entered: Vec<_> = addresses
            .iter()
            .map(|last| clients.enter(streams_max, Some(peer(*last)), Gauge::default()))
            .collect();
        let admitted = entered.iter().map(Option::is_some).collect();
        let open = |it: &Option<Entered>| {
            let client = &it.as_ref()?.client;
            (!client.replaced.is_cancelled()).then_some(())
        };
        let open = (0..entered.len()).filter(|it| open(&entered[*it]).is_some());
        (admitted, open.collect())
    }

    #[test]
    fn the_address_with_the_most_streams_gives_up_its_oldest() {
        let (_, open) = opened(4, &[1, 2, 2, 2, 3]);
        assert_eq!(open, [0, 2, 3, 4]);
        let (_, open) = opened(4, &[2, 2, 2, 2, 3, 3, 3]);
        assert_eq!(open, [2, 3, 5, 6], "half each, then its own");
    }

    #[test]
    fn an_address_alone_replaces_its_own_and_takes_none_of_those_that_have_no_more() {
        let (admitted, open) = opened(2, &[1, 1, 1, 1]);
        assert_eq!((admitted, open), (vec![true; 4], vec![2, 3]));
        let (admitted, open) = opened(2, &[1, 2, 3, 2]);
        assert_eq!(admitted, [true, true, false, true]);
        assert_eq!(open, [0, 3]);
    }

    #[test]
    fn a_client_that_does_not_read_goes_first_and_loses_its_connection() {
        let clients = Arc::new(Clients::default());
        let [reads, deaf, new] = [1, 2, 3].map(peer);
        deaf.link.blocks();
        let enter = |peer: &Peer| clients.enter(2, Some(peer.clone()), Gauge::default());
        let _open = [&reads, &deaf, &new].map(|peer| enter(peer).expect("a place"));
        assert!(deaf.link.evicted.is_cancelled() && !reads.link.evicted.is_cancelled());
    }
}
