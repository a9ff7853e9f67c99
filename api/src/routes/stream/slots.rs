//! The slots of the event streams: a bounded number, shared fairly between clients.
//!
//! ```text
//! new client ─ a slot is free ─▶ admitted
//!            └ none is free ─▶ evict, in this order of preference:
//!                a stream whose client does not read
//!                the oldest stream of the client with the most streams, if that client has
//!                  more than the new client would have
//!                the oldest stream of the new client
//!                none of these exists ─▶ refused
//! ```
//!
//! A browser reconnects by itself after its stream has ended, but not after a refusal
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html#reestablish-the-connection>).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::connection_state::{ClientAddress, Peer};

/// The open streams.
#[derive(Debug, Default)]
pub(super) struct StreamSlots(Mutex<OpenStreams>);

#[derive(Debug, Default)]
struct OpenStreams {
    next_id: u64,
    /// The streams by id, oldest first, without those that were evicted.
    streams: BTreeMap<u64, OpenStream>,
}

#[derive(Debug)]
struct OpenStream {
    /// The client; `None` if the request did not come through a socket.
    peer: Option<Peer>,
    evicted: CancellationToken,
}

/// The slot of an open stream; dropping it releases the slot.
pub(super) struct StreamSlot {
    id: u64,
    /// Cancelled when another client gets the slot.
    pub(super) evicted: CancellationToken,
    slots: Arc<StreamSlots>,
    open: Gauge,
}

/// The slot of a new stream.
pub(super) struct Acquired {
    pub(super) slot: StreamSlot,
    /// Whether another stream was evicted for it.
    pub(super) evicted_another: bool,
}

impl StreamSlots {
    fn open(&self) -> MutexGuard<'_, OpenStreams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of open streams.
    pub(super) fn len(&self) -> usize {
        self.open().streams.len()
    }

    /// Acquires one of `streams_max` slots; `None` if there is none for this client.
    pub(super) fn acquire(
        self: &Arc<Self>,
        streams_max: usize,
        peer: Option<Peer>,
        gauge: Gauge,
    ) -> Option<Acquired> {
        let mut open = self.open();
        let is_full = open.streams.len() >= streams_max;
        if is_full {
            open.evict_for(peer.as_ref()?.client)?;
        }
        if let Some(peer) = &peer {
            peer.connection.stream_started();
        }
        let evicted = CancellationToken::new();
        let id = open.next_id;
        open.next_id += 1;
        open.streams.insert(
            id,
            OpenStream {
                peer,
                evicted: evicted.clone(),
            },
        );
        gauge.inc();
        let slot = StreamSlot {
            id,
            evicted,
            slots: self.clone(),
            open: gauge,
        };
        Some(Acquired {
            slot,
            evicted_another: is_full,
        })
    }
}

impl OpenStreams {
    /// Evicts one stream for a new one of this client; `None` if none may be evicted.
    fn evict_for(&mut self, newcomer: ClientAddress) -> Option<()> {
        let id = self.eviction_candidate(newcomer)?;
        let stream = self.streams.remove(&id)?;
        stream.evicted.cancel();
        // A client that does not read would never see the end of its stream, and its connection
        // would stay open. So the connection is closed.
        if let Some(peer) = stream
            .peer
            .filter(|peer| peer.connection.is_write_blocked())
        {
            peer.connection.evicted.cancel();
        }
        Some(())
    }

    fn eviction_candidate(&self, newcomer: ClientAddress) -> Option<u64> {
        let peers = || {
            let streams = self.streams.iter();
            streams.filter_map(|(id, stream)| Some((*id, stream.peer.as_ref()?)))
        };
        if let Some((id, _)) = peers().find(|(_, peer)| peer.connection.is_write_blocked()) {
            return Some(id);
        }
        let mut count_by_client: BTreeMap<ClientAddress, usize> = BTreeMap::new();
        for (_, peer) in peers() {
            *count_by_client.entry(peer.client).or_default() += 1;
        }
        let count = |client| count_by_client.get(&client).copied().unwrap_or_default();
        let count_max = count_by_client.values().copied().max()?;
        let oldest_of = |wanted: &dyn Fn(ClientAddress) -> bool| {
            let found = peers().find(|(_, peer)| wanted(peer.client));
            found.map(|(id, _)| id)
        };
        match count_max > count(newcomer) + 1 {
            true => oldest_of(&|client| count(client) == count_max),
            false => oldest_of(&|client| client == newcomer),
        }
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.slots.open().streams.remove(&self.id);
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_state::ConnectionState;

    fn peer(last_octet: u8) -> Peer {
        Peer {
            client: ClientAddress::of([192, 0, 2, last_octet].into()),
            connection: Arc::new(ConnectionState::new()),
        }
    }

    /// Opens streams from these addresses in turn. Returns for each whether it was admitted, and
    /// the indexes of those that are open at the end.
    fn open_streams(streams_max: usize, addresses: &[u8]) -> (Vec<bool>, Vec<usize>) {
        let slots = Arc::new(StreamSlots::default());
        let acquired: Vec<_> = addresses
            .iter()
            .map(|last| slots.acquire(streams_max, Some(peer(*last)), Gauge::default()))
            .collect();
        let admitted = acquired.iter().map(Option::is_some).collect();
        let is_open = |it: &Option<Acquired>| {
            it.as_ref()
                .is_some_and(|it| !it.slot.evicted.is_cancelled())
        };
        let open = (0..acquired.len()).filter(|it| is_open(&acquired[*it]));
        (admitted, open.collect())
    }

    #[test]
    fn the_oldest_stream_of_the_address_with_the_most_streams_is_evicted() {
        let (_, open) = open_streams(4, &[1, 2, 2, 2, 3]);
        assert_eq!(open, [0, 2, 3, 4]);
        let (_, open) = open_streams(4, &[2, 2, 2, 2, 3, 3, 3]);
        assert_eq!(open, [2, 3, 5, 6], "half each, then its own");
    }

    #[test]
    fn an_address_evicts_its_own_stream_if_no_other_address_has_more() {
        let (admitted, open) = open_streams(2, &[1, 1, 1, 1]);
        assert_eq!((admitted, open), (vec![true; 4], vec![2, 3]));
        let (admitted, open) = open_streams(2, &[1, 2, 3, 2]);
        assert_eq!(admitted, [true, true, false, true]);
        assert_eq!(open, [0, 3]);
    }

    #[test]
    fn a_client_that_does_not_read_is_evicted_first_and_loses_its_connection() {
        let slots = Arc::new(StreamSlots::default());
        let [reading, blocked, new] = [1, 2, 3].map(peer);
        blocked.connection.write_blocked();
        let acquire = |peer: &Peer| slots.acquire(2, Some(peer.clone()), Gauge::default());
        let _open = [&reading, &blocked, &new].map(|peer| acquire(peer).expect("a slot"));
        assert!(blocked.connection.evicted.is_cancelled());
        assert!(!reading.connection.evicted.is_cancelled());
    }
}
