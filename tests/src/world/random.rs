//! Pseudo-random numbers, determined by a seed.

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>): small, and of sufficient quality for test
/// data.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that starts from this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A random 64-bit number.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True with a probability of `percent` in 100.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A random item, all with equal probability.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// A random index into a list of `length` items: low indices are far more likely than high
    /// ones.
    pub fn skewed(&mut self, length: usize) -> usize {
        let part = self.below(1_000) * self.below(1_000) / 1_000;
        length * part as usize / 1_000
    }

    /// A random index into `weights`, each with a probability proportional to its weight.
    pub fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut rest = self.below(weights.iter().sum());
        for (place, weight) in weights.iter().enumerate() {
            if rest < *weight {
                return place;
            }
            rest -= weight;
        }
        unreachable!("the rest is below the sum of the weights")
    }
}
