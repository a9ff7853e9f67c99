//! 64-bit counts that take 4 bytes each.
//!
//! ```text
//! the owner's i32   the low 32 bits: the whole count as long as it is within ±2^31
//! Carries           the high 32 bits of the other counts, in a map that is almost always empty
//! ```
//!
//! Each post and account has dozens of counts, and hardly any of them ever exceeds 32 bits. A count
//! that does must neither stop the process nor wrap around, and later retractions must restore the
//! exact value.

use std::hash::Hash;
use std::sync::Once;

use hashbrown::HashMap;

use crate::sizes::Size;

/// The high 32 bits of the counts of one owner, by key, where they are not zero.
#[derive(Debug)]
pub struct Carries<K>(HashMap<K, i32>);

impl<K> Default for Carries<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Carries<K> {
    /// Adds `diff` to the count whose low 32 bits are `low`.
    pub fn add(&mut self, low: &mut i32, diff: i64, key: impl FnOnce() -> K) {
        let sum = i64::from(*low) + diff;
        *low = sum as i32;
        let carry = ((sum - i64::from(*low)) >> 32) as i32;
        if carry != 0 {
            let key = key();
            let high = self.0.get(&key).copied().unwrap_or_default() + carry;
            match high {
                0 => self.0.remove(&key),
                _ => self.0.insert(key, high),
            };
        }
    }

    /// The value of the count whose low 32 bits are `low`.
    pub fn value(&self, low: i32, key: impl FnOnce() -> K) -> i64 {
        let high = match self.0.is_empty() {
            true => 0,
            false => self.0.get(&key()).copied().unwrap_or_default(),
        };
        (i64::from(high) << 32) + i64::from(low)
    }

    /// The size.
    pub fn size(&self) -> Size {
        Size {
            entries: self.0.len(),
            bytes: self.0.allocation_size(),
        }
    }

    /// Whether any count whose key matches exceeds 32 bits.
    pub fn any(&self, matches: impl Fn(&K) -> bool) -> bool {
        self.0.keys().any(matches)
    }
}

/// A count of live records as rows store it: a larger one becomes `u32::MAX`.
///
/// # Panics
/// If the count is negative: an invariant of our own state is broken.
pub fn to_row_count(count: i64) -> u32 {
    static LOGGED: Once = Once::new();
    assert!(count >= 0, "a count of live records is negative");
    u32::try_from(count).unwrap_or_else(|_| {
        LOGGED.call_once(|| {
            let most = u32::MAX;
            tracing::error!(
                count,
                most,
                "a count exceeds the largest value that a row can store"
            );
        });
        u32::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_the_sum_of_its_additions_in_any_order() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let (mut carries, mut lows, mut sums) = (Carries::default(), [0_i32; 4], [0_i64; 4]);
        for step in 0..20_000 {
            let key = next(4) as usize;
            let large = i64::from(i32::MAX) * (next(5) as i64 - 2);
            let diff = large + next(3) as i64 - 1;
            carries.add(&mut lows[key], diff, || key);
            sums[key] += diff;
            assert_eq!(
                carries.value(lows[key], || key),
                sums[key],
                "seed {seed:#x} step {step}"
            );
        }
        for key in 0..4 {
            carries.add(&mut lows[key], -sums[key], || key);
        }
        assert_eq!(lows, [0; 4]);
        assert!(!carries.any(|_| true), "a count of zero leaves no carry");
    }

    #[test]
    fn a_row_count_is_capped_at_u32_max() {
        let most = i64::from(u32::MAX);
        assert_eq!(
            [0, 1, most, most + 1, i64::MAX].map(to_row_count),
            [0, 1, u32::MAX, u32::MAX, u32::MAX]
        );
    }
}
