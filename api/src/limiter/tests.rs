use std::net::{IpAddr, Ipv4Addr};

use super::*;
use governor::clock::FakeRelativeClock;

const RATE: u32 = 4;
const BURST: u32 = 25;
/// Time in which a bucket gains a unit, in ns.
const UNIT: u128 = 250_000_000;

fn limit(per_second: u32, burst: u32) -> RateLimit {
    RateLimit { per_second, burst }
}

fn client(text: &str) -> ClientAddress {
    ClientAddress::of(text.parse().expect("an address"))
}

fn manual() -> (LimitClock, FakeRelativeClock) {
    let clock = FakeRelativeClock::default();
    (LimitClock::Manual(clock.clone()), clock)
}

fn numbers(charge: &Charge) -> [u32; 3] {
    let mut headers = HeaderMap::new();
    charge.set_headers(&mut headers);
    [LIMIT, REMAINING, RESET].map(|name| {
        let text = headers[&name].to_str().expect("digits");
        text.parse().expect("a number")
    })
}

/// A sequence of pseudo-random numbers (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The model is a bucket whose level, in ns of refill, is written down after each request.
#[test]
fn a_bucket_gives_what_a_naive_bucket_gives_and_its_headers_are_true() {
    let seed = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(1, |time| time.as_nanos() as u64);
    println!("seed {seed}");
    let mut random = Random(seed);
    let (clock, time) = manual();
    let limits = AddressLimits::new(limit(RATE, BURST), clock);
    let full = u128::from(BURST) * UNIT;
    let mut level = full;
    for step in 0..20_000 {
        let pause = u128::from(random.below(4) * random.below(1_500_000_000));
        time.advance(Duration::from_nanos(pause as u64));
        level = full.min(level + pause);
        let cost = [1, 2, 10][random.below(3) as usize];
        let charge = limits.charge(client("192.0.2.1"), cost).expect("a limit");
        let price = u128::from(cost) * UNIT;
        let expected_wait = match level.checked_sub(price) {
            Some(rest) => {
                level = rest;
                None
            }
            None => Some((price - level).div_ceil(1_000_000_000) as u32),
        };
        let [burst, remaining, reset] = numbers(&charge);
        let waited = charge.retry_after_seconds;
        assert_eq!(waited, expected_wait, "step {step}, seed {seed}");
        assert_eq!(burst, BURST);
        assert_eq!(
            u128::from(remaining),
            level / UNIT,
            "step {step}, seed {seed}"
        );
        let missing = u128::from(BURST - remaining) * UNIT;
        assert_eq!(u128::from(reset), missing.div_ceil(1_000_000_000));
        if let Some(seconds) = waited {
            // The client waits for that time. Then the same request succeeds.
            time.advance(Duration::from_secs(seconds.into()));
            level = full.min(level + u128::from(seconds) * 1_000_000_000) - price;
            let again = limits.charge(client("192.0.2.1"), cost).expect("a limit");
            assert_eq!(again.retry_after_seconds, None, "step {step}, seed {seed}");
        }
    }
}

#[test]
fn the_policy_is_the_burst_and_the_time_in_which_it_refills() {
    for (per_second, burst, policy) in [
        (100, 1_000, "1000;w=10"),
        (3, 10, "10;w=4"),
        (1_000, 10, "10;w=1"),
        // The burst is at least the cost of the most expensive request.
        (1, 1, "10;w=10"),
    ] {
        let (clock, _) = manual();
        let limits = AddressLimits::new(limit(per_second, burst), clock);
        let mut headers = HeaderMap::new();
        let charge = limits
            .charge(client("192.0.2.1"), COST_MAX)
            .expect("a limit");
        assert_eq!(charge.retry_after_seconds, None);
        charge.set_headers(&mut headers);
        assert_eq!(headers[POLICY], policy);
    }
    let (clock, _) = manual();
    let none = AddressLimits::new(RateLimit::NONE, clock);
    assert!(none.charge(client("192.0.2.1"), 1).is_none());
}

#[test]
fn each_ipv4_address_and_each_ipv6_site_has_a_bucket() {
    let (clock, _) = manual();
    let limits = AddressLimits::new(limit(1, 10), clock);
    let is_limited = |text| {
        let charge = limits.charge(client(text), 10).expect("a limit");
        charge.retry_after_seconds.is_some()
    };
    assert!(!is_limited("192.0.2.1") && is_limited("192.0.2.1"));
    assert!(is_limited("::ffff:192.0.2.1"));
    assert!(!is_limited("192.0.2.2"));
    assert!(!is_limited("2001:db8::1") && is_limited("2001:db8::2"));
    assert!(!is_limited("2001:db8:0:1::1"));
}

#[test]
fn a_flood_of_addresses_is_bounded_and_does_not_refill_a_bucket_in_use() {
    const ADDRESSES_MAX: u64 = 100;
    let (clock, _) = manual();
    let limits = AddressLimits::bounded(limit(1, 1_000), clock, ADDRESSES_MAX);
    let (cache, _) = limits.buckets.as_ref().expect("a limit");
    let ours = client("192.0.2.1");
    let mut used = 0;
    for address in 0..10_000_u32 {
        let flood = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + address));
        limits.charge(ClientAddress::of(flood), 1).expect("a limit");
        if address % 50 == 0 {
            used += 1;
            let charge = limits.charge(ours, 1).expect("a limit");
            assert_eq!(
                numbers(&charge)[1],
                1_000 - used,
                "after {address} addresses"
            );
        }
        // The cache does its work in batches; a server does it as requests arrive.
        cache.run_pending_tasks();
        assert!(cache.entry_count() <= ADDRESSES_MAX);
    }
}

#[test]
fn a_key_has_its_own_limit_or_the_default() {
    use skytide_core::port::key::{KeyHash, KeyId, StoredKey};
    use skytide_core::time::Timestamp;
    let (clock, _) = manual();
    let quota = KeyQuota::new(limit(20, 300), clock.clone());
    let of = |quota: &KeyQuota, rate, burst| {
        let key = StoredKey {
            id: KeyId::admin(),
            hash: KeyHash([0; 32]),
            label: String::new(),
            scopes: Vec::new(),
            created: Timestamp(0),
            expires: None,
            rate,
            burst,
            revoked: None,
            last_used: None,
        };
        let charge = quota.limiter(&key)?.charge(1);
        let mut headers = HeaderMap::new();
        charge.set_headers(&mut headers);
        Some(headers[POLICY].to_str().expect("text").to_owned())
    };
    let policies = [
        (None, None, Some("300;w=15")),
        (Some(5), None, Some("50;w=10")),
        (Some(5), Some(20), Some("20;w=4")),
        (None, Some(40), Some("40;w=2")),
        (Some(0), None, None),
    ];
    for (rate, burst, policy) in policies {
        assert_eq!(
            of(&quota, rate, burst).as_deref(),
            policy,
            "{rate:?} {burst:?}"
        );
    }
    let none = KeyQuota::new(RateLimit::NONE, clock);
    assert_eq!(of(&none, None, None), None);
    assert_eq!(of(&none, Some(5), None).as_deref(), Some("50;w=10"));
}
