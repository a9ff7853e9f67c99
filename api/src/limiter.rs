//! Rate limits: a token bucket (GCRA, <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>)
//! for each key, and one for each client address without a key.
//!
//! A bucket holds `burst` units and gains `per_second` units each second. A request takes as many
//! units as its route costs. If there are fewer, the request is refused and takes none.
//!
//! The bucket of a key is in its entry of the table of keys, so there are at most as many as keys.
//! The buckets of addresses are in a cache that is bounded by entries and by idle time. An idle
//! bucket is evicted when it is full again, so the client notices nothing. If more clients than
//! [`ADDRESSES_MAX`] send requests within that time, the bucket that was used least recently is
//! evicted, and its client starts with a full one. That helps no attacker: to evict one bucket, it
//! needs as many addresses as the cache has entries, and the bursts of those addresses alone are
//! more than any server answers.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use skytide_core::port::key::StoredKey;

use crate::catalogue::COST_MAX;
use crate::connection_state::ClientAddress;
use crate::estimate::estimated;
use crate::options::RateLimit;

/// Maximum number of client addresses whose bucket is in memory, about 300 bytes each.
const ADDRESSES_MAX: u64 = 100_000;
/// Minimum idle time after which the bucket of an address is evicted.
const IDLE_MIN: Duration = Duration::from_secs(10);

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// The time of the buckets. It never jumps, unlike the wall clock.
#[derive(Clone, Debug)]
pub(crate) enum LimitClock {
    /// The monotonic clock of the system, since this instant.
    System(Instant),
    /// A clock for tests.
    #[cfg(test)]
    Manual(governor::clock::FakeRelativeClock),
}

impl LimitClock {
    /// The monotonic clock of the system.
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }
}

impl Clock for LimitClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        match self {
            Self::System(start) => start.elapsed().into(),
            #[cfg(test)]
            Self::Manual(clock) => clock.now(),
        }
    }
}

/// A bucket.
#[derive(Debug)]
pub(crate) struct Limiter {
    bucket: RateLimiter<NotKeyed, InMemoryState, LimitClock, StateInformationMiddleware>,
    clock: LimitClock,
    rules: Arc<Rules>,
}

/// What all buckets with the same limit share.
#[derive(Debug)]
struct Rules {
    quota: Quota,
    limit: HeaderValue,
    policy: HeaderValue,
}

impl Rules {
    /// `None` if there is no limit.
    fn new(limit: RateLimit) -> Option<Self> {
        let per_second = NonZeroU32::new(limit.per_second)?;
        // A request that costs more than the burst would be refused for ever.
        let burst = NonZeroU32::new(limit.burst.max(COST_MAX)).unwrap_or(per_second);
        let seconds = burst.get().div_ceil(per_second.get());
        let policy = HeaderValue::try_from(format!("{burst};w={seconds}"));
        Some(Self {
            quota: Quota::per_second(per_second).allow_burst(burst),
            limit: burst.get().into(),
            policy: policy.expect("digits are allowed in a header"),
        })
    }

    /// Time in which an empty bucket becomes full.
    fn refill(&self) -> Duration {
        self.quota.burst_size_replenished_in()
    }
}

/// The state of a bucket after a request.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    rules: Arc<Rules>,
    remaining: u32,
    /// Seconds after which the same request succeeds; `None` if it succeeded now.
    pub(crate) retry_after_seconds: Option<u32>,
}

impl Limiter {
    fn new(rules: Arc<Rules>, clock: LimitClock) -> Self {
        let bucket = RateLimiter::direct_with_clock(rules.quota, clock.clone());
        Self {
            bucket: bucket.with_middleware::<StateInformationMiddleware>(),
            clock,
            rules,
        }
    }

    /// Takes `cost` units, at least 1, from the bucket if it has them.
    pub(crate) fn charge(&self, cost: u32) -> Charge {
        let cost = NonZeroU32::new(cost.min(COST_MAX)).unwrap_or(NonZeroU32::MIN);
        let (remaining, wait) = match self.bucket.check_n(cost) {
            Ok(Ok(state)) => (state.remaining_burst_capacity(), None),
            Ok(Err(not_until)) => {
                let wait = not_until.wait_time_from(self.clock.now());
                let missing = wait
                    .as_nanos()
                    .div_ceil(self.rules.quota.replenish_interval().as_nanos());
                let missing = u32::try_from(missing).unwrap_or(u32::MAX);
                (cost.get().saturating_sub(missing), Some(wait))
            }
            // The burst is at least `COST_MAX`.
            Err(_) => (0, Some(self.rules.refill())),
        };
        Charge {
            rules: self.rules.clone(),
            remaining,
            retry_after_seconds: wait.map(whole_seconds),
        }
    }
}

/// Rounded up, at least 1: a client that waits this long waits long enough.
fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_nanos().div_ceil(1_000_000_000);
    u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
}

impl Charge {
    /// Sets the headers of
    /// <https://www.ietf.org/archive/id/draft-ietf-httpapi-ratelimit-headers-07.html>:
    /// `RateLimit-Limit`, `-Remaining`, `-Reset` and `-Policy`.
    pub(crate) fn set_headers(&self, headers: &mut HeaderMap) {
        let rules = &self.rules;
        let burst = rules.quota.burst_size().get();
        let missing = burst.saturating_sub(self.remaining);
        let reset = whole_seconds_until_full(&rules.quota, missing);
        headers.insert(LIMIT, rules.limit.clone());
        headers.insert(POLICY, rules.policy.clone());
        headers.insert(REMAINING, self.remaining.into());
        headers.insert(RESET, reset.into());
    }
}

/// Seconds until a bucket that lacks `missing` units is full.
fn whole_seconds_until_full(quota: &Quota, missing: u32) -> u32 {
    let nanos = quota.replenish_interval().as_nanos() * u128::from(missing);
    u32::try_from(nanos.div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

/// The buckets of client addresses. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct AddressLimits {
    buckets: Option<(Cache<ClientAddress, Arc<Limiter>>, Arc<Rules>)>,
    clock: LimitClock,
}

impl AddressLimits {
    /// The buckets for this limit.
    pub(crate) fn new(limit: RateLimit, clock: LimitClock) -> Self {
        Self::bounded(limit, clock, ADDRESSES_MAX)
    }

    fn bounded(limit: RateLimit, clock: LimitClock, addresses_max: u64) -> Self {
        let buckets = Rules::new(limit).map(|rules| {
            let cache = Cache::builder()
                .max_capacity(addresses_max)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(rules.refill().max(IDLE_MIN))
                .build();
            (cache, Arc::new(rules))
        });
        Self { buckets, clock }
    }

    /// The number of buckets, and their estimated bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let entries = self
            .buckets
            .as_ref()
            .map_or(0, |(cache, _)| cache.entry_count());
        estimated(entries, size_of::<ClientAddress>() + size_of::<Limiter>())
    }

    /// Takes `cost` units from the bucket of a client; `None` if there is no limit.
    pub(crate) fn charge(&self, client: ClientAddress, cost: u32) -> Option<Charge> {
        let (cache, rules) = self.buckets.as_ref()?;
        let limiter = match cache.get(&client) {
            Some(limiter) => limiter,
            None => cache.get_with(client, || {
                Arc::new(Limiter::new(rules.clone(), self.clock.clone()))
            }),
        };
        Some(limiter.charge(cost))
    }
}

/// The limit of keys that have no limit of their own.
#[derive(Clone, Debug)]
pub(crate) struct KeyQuota {
    limit: RateLimit,
    clock: LimitClock,
}

impl KeyQuota {
    /// This limit.
    pub(crate) fn new(limit: RateLimit, clock: LimitClock) -> Self {
        Self { limit, clock }
    }

    /// A full bucket for a key; `None` if the key has no limit.
    pub(crate) fn limiter(&self, key: &StoredKey) -> Option<Limiter> {
        let per_second = key.rate.unwrap_or(self.limit.per_second);
        // A key with a rate of its own and no burst of its own may save up ten seconds.
        let own_burst = key.rate.map(|rate| rate.saturating_mul(10));
        let burst = key.burst.or(own_burst).unwrap_or(self.limit.burst);
        let rules = Rules::new(RateLimit { per_second, burst })?;
        Some(Limiter::new(Arc::new(rules), self.clock.clone()))
    }
}

#[cfg(test)]
mod tests;
