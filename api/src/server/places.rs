//! Who has a place among the open connections, and who gives one up for a new client.
//!
//! ```text
//! new client ─ a place is free ─▶ in
//!            └ none ─▶ close a connection that waits for a request, or whose client does not read; then a stream:
//!                      of the client with the most connections, the one that has waited longest
//!                      none of these: all have requests under way ─▶ loopback gets a spare place, others are refused
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::link::{ClientAddress, Link, Use};

/// Places beyond the limit for health checks from the same machine, while every other one has a request under way.
const SPARE_FOR_LOOPBACK: usize = 8;

/// The open connections.
#[derive(Debug)]
pub(super) struct Places {
    connections_max: usize,
    /// Of one client.
    per_client_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// By number, in the order of their arrival. A connection that was evicted is not among them.
    links: BTreeMap<u64, (ClientAddress, Arc<Link>)>,
    of_client: BTreeMap<ClientAddress, usize>,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    pub(super) client: ClientAddress,
    pub(super) link: Arc<Link>,
    places: Arc<Places>,
}

impl Places {
    /// All are free. `per_client_max` 0: a client may have all of them while nobody else wants one.
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

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new connection; `None`: all have requests under way, or have not been looked at.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.enter_among(address, self.connections_max)
    }

    /// A place beyond the limit, for a health check from this machine.
    pub(super) fn enter_spare(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let spare = match ClientAddress::of(address).is_loopback() {
            true => SPARE_FOR_LOOPBACK,
            false => 0,
        };
        self.enter_among(address, self.connections_max + spare)
    }

    fn enter_among(self: &Arc<Self>, address: IpAddr, connections_max: usize) -> Option<Place> {
        let client = ClientAddress::of(address);
        let mut open = self.open();
        if open.count(client) >= self.per_client_max && !open.evict(Some(client)) {
            return None;
        }
        if open.links.len() >= connections_max && !open.evict(None) {
            return None;
        }
        let link = Arc::new(Link::new());
        let number = open.next;
        open.next += 1;
        open.links.insert(number, (client, link.clone()));
        *open.of_client.entry(client).or_default() += 1;
        Some(Place {
            number,
            client,
            link,
            places: self.clone(),
        })
    }

    /// Closes one connection, as when the system has no more file descriptors; false: all have requests under way.
    pub(super) fn make_room(&self) -> bool {
        self.open().evict(None)
    }
}

impl Open {
    fn count(&self, client: ClientAddress) -> usize {
        self.of_client.get(&client).copied().unwrap_or_default()
    }

    /// Closes the connection, of this client or of any, that is needed least.
    fn evict(&mut self, of: Option<ClientAddress>) -> bool {
        let candidates = self.links.iter().filter_map(|(number, (client, link))| {
            let used = link.use_now()?;
            let wanted = of.is_none_or(|of| of == *client);
            let streams = matches!(used, Use::Streaming(_));
            let rank = (streams, Reverse(self.count(*client)), used);
            wanted.then_some((rank, *number))
        });
        let Some((_, number)) = candidates.min() else {
            return false;
        };
        if let Some(link) = self.remove(number) {
            link.evicted.cancel();
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Link>> {
        let (client, link) = self.links.remove(&number)?;
        if let Some(count) = self.of_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                self.of_client.remove(&client);
            }
        }
        Some(link)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.open().remove(self.number);
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

    /// A connection on which nothing has arrived.
    fn enter(places: &Arc<Places>, address: [u8; 4]) -> Option<Place> {
        let place = places.enter(IpAddr::from(address))?;
        place.link.waits();
        Some(place)
    }

    fn open(place: &Place) -> bool {
        !place.link.evicted.is_cancelled()
    }

    async fn pass() {
        advance(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_with_the_most_connections_gives_up_the_one_that_waited_longest() {
        let places = Places::new(4, 0);
        let few = enter(&places, FEW).expect("a place");
        pass().await;
        let mut many = Vec::new();
        for _ in 0..3 {
            many.push(enter(&places, MANY).expect("a place"));
            pass().await;
        }
        many[0].link.asked();
        let newest = enter(&places, OTHER).expect("a place");
        let still = many.iter().map(open).collect::<Vec<_>>();
        assert_eq!((open(&few), still), (true, vec![true, false, true]));
        many[0].link.answered();
        let again = enter(&places, MANY).expect("a place");
        let still = many.iter().map(open).collect::<Vec<_>>();
        assert_eq!(still, [true, false, false], "what answered last stays");
        assert!(open(&newest) && open(&again) && open(&few));
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_goes_before_a_stream_and_a_request_under_way_never() {
        let places = Places::new(3, 0);
        let [answers, blocks, streams] = [FEW; 3].map(|it| enter(&places, it).expect("a place"));
        streams.link.streams();
        pass().await;
        for place in [&answers, &blocks] {
            place.link.asked();
        }
        blocks.link.blocks();
        let all = [&answers, &blocks, &streams];
        let fourth = enter(&places, OTHER).expect("a place");
        assert_eq!(all.map(open), [true, false, true]);
        fourth.link.asked();
        let fifth = enter(&places, OTHER).expect("a place");
        assert_eq!(all.map(open), [true, false, false]);
        fifth.link.asked();
        assert!(enter(&places, MANY).is_none(), "all have requests");
        assert!(places.enter_spare(IpAddr::from(MANY)).is_none());
        let local = [127, 0, 0, 1];
        let mut spare: Vec<_> = std::iter::from_fn(|| {
            let place = places.enter_spare(IpAddr::from(local))?;
            place.link.asked();
            Some(place)
        })
        .take(100)
        .collect();
        assert_eq!(spare.len(), SPARE_FOR_LOOPBACK);
        drop(answers);
        spare.truncate(0);
        assert!(enter(&places, MANY).is_some(), "places are given back");
    }

    #[tokio::test]
    async fn a_connection_whose_request_may_have_arrived_is_not_closed_for_a_newer_one() {
        let places = Places::new(1, 0);
        let unread = places.enter(IpAddr::from(FEW)).expect("a place");
        assert!(enter(&places, MANY).is_none() && open(&unread));
        unread.link.waits();
        assert!(enter(&places, MANY).is_some() && !open(&unread));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_at_its_own_limit_gives_up_a_connection_of_its_own() {
        let places = Places::new(10, 2);
        let other = enter(&places, OTHER).expect("a place");
        let first = enter(&places, FEW).expect("a place");
        pass().await;
        let second = enter(&places, FEW).expect("a place");
        let third = enter(&places, FEW).expect("a place");
        assert!(open(&other) && !open(&first) && open(&second) && open(&third));
        for place in [&second, &third] {
            place.link.asked();
        }
        assert!(enter(&places, FEW).is_none());
        assert!(places.make_room() && !open(&other));
        assert!(!places.make_room(), "all have requests");
    }
}
