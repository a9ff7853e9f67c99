//! Computes the wait before reconnecting.

use std::time::Duration;

/// The longest wait that a relay may request.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Exponential backoff with jitter. It starts at `min` and doubles up to `max`. A random part of up
/// to half of each wait is subtracted, so that the clients of a restarted relay do not all
/// reconnect at the same time.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max,
            failures: 0,
            random: seed,
        }
    }

    /// Resets the wait to `min` after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and returns the wait after it.
    pub(super) fn after_failure(&mut self) -> Duration {
        let doubled = self.min.saturating_mul(1 << self.failures.min(30));
        self.failures = self.failures.saturating_add(1);
        let half = doubled.min(self.max) / 2;
        half + half.mul_f64(self.fraction())
    }

    /// A random number in 0..1 (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_are_never_shorter_than_half() {
        for seed in 0..100 {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), seed);
            for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
                let (wait, full) = (backoff.after_failure(), Duration::from_secs(expected));
                assert!(
                    wait >= full / 2 && wait <= full,
                    "seed {seed}: {wait:?} of {full:?}"
                );
            }
            backoff.reset();
            assert!(backoff.after_failure() <= Duration::from_secs(1));
        }
    }

    #[test]
    fn different_seeds_give_different_waits() {
        let waits = |seed| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), seed);
            [(); 6].map(|()| backoff.after_failure())
        };
        assert_ne!(waits(1), waits(2));
    }
}
