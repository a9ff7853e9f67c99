//! The slots for connections, and which connection is evicted for a new client.
//!
//! ```text
//! new client ─┬─ a slot is free ───────────────────────────────────▶ the client gets the slot
//!             ├─ a connection waits for a request,
//!             │  or its client does not read the answer ───────────▶ that connection is evicted
//!             ├─ a connection has an event stream ─────────────────▶ that connection is evicted
//!             └─ all have requests in progress ─┬─ on loopback ────▶ the client gets a spare slot
//!                                               └─ elsewhere ──────▶ the client is refused
//! ```
//!
//! If several connections may be evicted, the choice is a connection of the client that has the
//! most connections. Of these, connections that wait for a request come before those whose client
//! does not read, and the longest wait comes first. A client that has reached its own limit loses a
//! connection of its own.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection_state::{ClientAddress, ConnectionState, EvictionClass};

/// Slots beyond the limit for health checks from the same machine, while every other slot has a
/// request in progress.
const SPARE_FOR_LOOPBACK: usize = 8;

/// The open connections.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    connections_max: usize,
    /// Maximum number of connections of one client.
    per_client_max: usize,
    open: Mutex<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next_id: u64,
    /// The connections by id, oldest first, without those that were evicted.
    connections: BTreeMap<u64, (ClientAddress, Arc<ConnectionState>)>,
    count_by_client: BTreeMap<ClientAddress, usize>,
}

/// The slot of a connection; dropping it releases the slot.
#[derive(Debug)]
pub(super) struct Slot {
    id: u64,
    pub(super) client: ClientAddress,
    pub(super) connection: Arc<ConnectionState>,
    slots: Arc<ConnectionSlots>,
}

impl ConnectionSlots {
    /// Creates the slots, all free. With `per_client_max` 0, one client may use all of them until
    /// another client needs one.
    pub(super) fn new(connections_max: usize, per_client_max: usize) -> Arc<Self> {
        Arc::new(Self {
            connections_max,
            per_client_max: match per_client_max {
                0 => usize::MAX,
                most => most,
            },
            open: Mutex::default(),
        })
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acquires a slot for a new connection, if necessary by eviction. Returns `None` if no
    /// connection may be evicted, because each has a request in progress or may have received one.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        self.acquire_up_to(address, self.connections_max)
    }

    /// Acquires a slot, for a client on loopback even one of the spare slots.
    pub(super) fn acquire_spare(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let spare = match ClientAddress::of(address).is_loopback() {
            true => SPARE_FOR_LOOPBACK,
            false => 0,
        };
        self.acquire_up_to(address, self.connections_max + spare)
    }

    fn acquire_up_to(self: &Arc<Self>, address: IpAddr, connections_max: usize) -> Option<Slot> {
        let client = ClientAddress::of(address);
        let mut open = self.open();
        if open.count(client) >= self.per_client_max && !open.evict(Some(client)) {
            return None;
        }
        if open.connections.len() >= connections_max && !open.evict(None) {
            return None;
        }
        let connection = Arc::new(ConnectionState::new());
        let id = open.next_id;
        open.next_id += 1;
        open.connections.insert(id, (client, connection.clone()));
        *open.count_by_client.entry(client).or_default() += 1;
        Some(Slot {
            id,
            client,
            connection,
            slots: self.clone(),
        })
    }

    /// Evicts one connection, to free a file descriptor. Returns `false` if no connection may be
    /// evicted, as [`acquire`](Self::acquire) says.
    pub(super) fn evict_one(&self) -> bool {
        self.open().evict(None)
    }
}

impl OpenConnections {
    fn count(&self, client: ClientAddress) -> usize {
        self.count_by_client
            .get(&client)
            .copied()
            .unwrap_or_default()
    }

    /// Evicts one connection: of `client`, or of any client if that is `None`. Returns `false` if
    /// no connection may be evicted.
    fn evict(&mut self, client: Option<ClientAddress>) -> bool {
        let candidates = self
            .connections
            .iter()
            .filter_map(|(id, (owner, connection))| {
                let class = connection.eviction_class()?;
                let wanted = client.is_none_or(|client| client == *owner);
                let is_stream = matches!(class, EvictionClass::Streaming(_));
                // The connection with the smallest rank is evicted.
                let rank = (is_stream, Reverse(self.count(*owner)), class);
                wanted.then_some((rank, *id))
            });
        let Some((_, id)) = candidates.min() else {
            return false;
        };
        if let Some(connection) = self.remove(id) {
            connection.evicted.cancel();
        }
        true
    }

    /// Removes a connection, which may have been evicted before.
    fn remove(&mut self, id: u64) -> Option<Arc<ConnectionState>> {
        let (client, connection) = self.connections.remove(&id)?;
        if let Some(count) = self.count_by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.count_by_client.remove(&client);
            }
        }
        Some(connection)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::advance;

    const MANY: [u8; 4] = [192, 0, 2, 1];
    const FEW: [u8; 4] = [192, 0, 2, 2];
    const OTHER: [u8; 4] = [192, 0, 2, 3];

    /// Acquires a slot, and records that its connection was polled and no request has arrived on
    /// it.
    fn acquire(slots: &Arc<ConnectionSlots>, address: [u8; 4]) -> Option<Slot> {
        let slot = slots.acquire(IpAddr::from(address))?;
        slot.connection.read_pending();
        Some(slot)
    }

    fn is_open(slot: &Slot) -> bool {
        !slot.connection.evicted.is_cancelled()
    }

    async fn pass_one_second() {
        advance(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_waiting_connection_of_the_client_with_the_most_is_evicted() {
        let slots = ConnectionSlots::new(4, 0);
        let few = acquire(&slots, FEW).expect("a slot");
        pass_one_second().await;
        let mut many = Vec::new();
        for _ in 0..3 {
            many.push(acquire(&slots, MANY).expect("a slot"));
            pass_one_second().await;
        }
        many[0].connection.request_started();
        let newest = acquire(&slots, OTHER).expect("a slot");
        let many_open = many.iter().map(is_open).collect::<Vec<_>>();
        assert_eq!((is_open(&few), many_open), (true, vec![true, false, true]));
        many[0].connection.request_finished();
        let again = acquire(&slots, MANY).expect("a slot");
        let many_open = many.iter().map(is_open).collect::<Vec<_>>();
        assert_eq!(
            many_open,
            [true, false, false],
            "the one that answered last stays"
        );
        assert!(is_open(&newest) && is_open(&again) && is_open(&few));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_client_is_evicted_before_a_stream_and_a_request_in_progress_never() {
        let slots = ConnectionSlots::new(3, 0);
        let [answering, blocked, streaming] =
            [FEW; 3].map(|it| acquire(&slots, it).expect("a slot"));
        streaming.connection.stream_started();
        pass_one_second().await;
        for slot in [&answering, &blocked] {
            slot.connection.request_started();
        }
        blocked.connection.write_blocked();
        let all = [&answering, &blocked, &streaming];
        let fourth = acquire(&slots, OTHER).expect("a slot");
        assert_eq!(all.map(is_open), [true, false, true]);
        fourth.connection.request_started();
        let fifth = acquire(&slots, OTHER).expect("a slot");
        assert_eq!(all.map(is_open), [true, false, false]);
        fifth.connection.request_started();
        assert!(
            acquire(&slots, MANY).is_none(),
            "all have requests in progress"
        );
        assert!(slots.acquire_spare(IpAddr::from(MANY)).is_none());
        let local = [127, 0, 0, 1];
        let mut spare: Vec<_> = std::iter::from_fn(|| {
            let slot = slots.acquire_spare(IpAddr::from(local))?;
            slot.connection.request_started();
            Some(slot)
        })
        .take(100)
        .collect();
        assert_eq!(spare.len(), SPARE_FOR_LOOPBACK);
        drop(answering);
        spare.truncate(0);
        assert!(acquire(&slots, MANY).is_some(), "the slots are released");
    }

    #[tokio::test]
    async fn a_connection_whose_request_may_have_arrived_is_not_evicted() {
        let slots = ConnectionSlots::new(1, 0);
        let unpolled = slots.acquire(IpAddr::from(FEW)).expect("a slot");
        assert!(acquire(&slots, MANY).is_none() && is_open(&unpolled));
        unpolled.connection.read_pending();
        assert!(acquire(&slots, MANY).is_some() && !is_open(&unpolled));
    }

    #[tokio::test(start_paused = true)]
    async fn at_its_own_limit_a_client_loses_a_connection_of_its_own() {
        let slots = ConnectionSlots::new(10, 2);
        let other = acquire(&slots, OTHER).expect("a slot");
        let first = acquire(&slots, FEW).expect("a slot");
        pass_one_second().await;
        let second = acquire(&slots, FEW).expect("a slot");
        let third = acquire(&slots, FEW).expect("a slot");
        assert!(is_open(&other) && !is_open(&first) && is_open(&second) && is_open(&third));
        for slot in [&second, &third] {
            slot.connection.request_started();
        }
        assert!(acquire(&slots, FEW).is_none());
        assert!(slots.evict_one() && !is_open(&other));
        assert!(!slots.evict_one(), "all have requests in progress");
    }
}
