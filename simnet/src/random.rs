//! Pseudo-random numbers: the same seed gives the same sequence.

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>), a fast generator for which every seed is
/// equally good.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// The increment of SplitMix64: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the bits of a number, so that the results of neighbouring numbers are unrelated.
pub fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Combines several numbers into one seed. Their order matters.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(STEP, |seed, &part| {
        scramble(seed.rotate_left(17) ^ part.wrapping_add(STEP))
    })
}

impl Random {
    /// The sequence of random numbers with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any 64-bit number.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        scramble(self.0)
    }

    /// A number below `end`, which must not be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability in percent.
    pub fn percent(&mut self, rate: u32) -> bool {
        self.below(100) < u64::from(rate)
    }

    /// One of the items, all equally likely.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len() as u64) as usize]
    }

    /// An index, drawn with these weights.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total = weights.iter().map(|&weight| u64::from(weight)).sum();
        let mut rest = self.below(total);
        for (index, &weight) in weights.iter().enumerate() {
            if rest < u64::from(weight) {
                return index;
            }
            rest -= u64::from(weight);
        }
        unreachable!("the rest is below the sum of the weights")
    }

    /// An exponentially distributed number with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// A normally distributed number of mean 0 and standard deviation 1 (the sum of twelve uniform
    /// numbers).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// A number between `low` and `high`; each order of magnitude is equally likely.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// A number of at least 1 with a power-law tail: P(more than x) = x^-`tail`.
    pub fn pareto(&mut self, tail: f64) -> f64 {
        (1.0 - self.unit()).powf(-1.0 / tail)
    }

    /// An index below `end` by Zipf's law: about proportional to 1 / (index + 1).
    pub fn zipf(&mut self, end: u64) -> u64 {
        let index = ((end as f64 + 1.0).powf(self.unit()) - 1.0) as u64;
        index.min(end - 1)
    }
}

/// Draws indexes by weight in constant time: Walker's alias method in Vose's version
/// (<https://www.keithschwarz.com/darts-dice-coins/>).
#[derive(Clone, Debug)]
pub struct Weights {
    /// For each index: the probability that a draw of this slot returns the index itself, and the
    /// index that it returns otherwise.
    slots: Vec<(f64, u32)>,
}

impl Weights {
    /// Builds the table. There must be at least one weight, and their sum must be positive.
    pub fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut slots: Vec<(f64, u32)> = weights.iter().map(|w| (w / mean, 0)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..slots.len()).partition(|&index| slots[index].0 < 1.0);
        while let (Some(&below), Some(&above)) = (small.last(), large.last()) {
            small.pop();
            slots[below].1 = above as u32;
            slots[above].0 -= 1.0 - slots[below].0;
            if slots[above].0 < 1.0 {
                large.pop();
                small.push(above);
            }
        }
        // Rounding errors leave slots whose probability is not exactly 1.
        for index in small.into_iter().chain(large) {
            slots[index].0 = 1.0;
        }
        Self { slots }
    }

    /// Draws an index.
    pub fn draw(&self, random: &mut Random) -> u32 {
        let index = random.below(self.slots.len() as u64) as usize;
        let (bound, other) = self.slots[index];
        if random.unit() < bound {
            index as u32
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_drawn_in_proportion_to_their_weights() {
        let weights = [0.0, 1.0, 5.0, 0.5, 3.5];
        let table = Weights::new(&weights);
        let mut random = Random::new(7);
        let mut drawn = [0_u32; 5];
        for _ in 0..100_000 {
            drawn[table.draw(&mut random) as usize] += 1;
        }
        for (count, weight) in drawn.iter().zip(weights) {
            let expected = weight * 10_000.0;
            assert!((f64::from(*count) - expected).abs() < 600.0, "{drawn:?}");
        }
    }

    #[test]
    fn the_power_law_tail_has_the_requested_exponent() {
        let mut random = Random::new(3);
        let draws: Vec<f64> = (0..100_000).map(|_| random.pareto(1.15)).collect();
        let above = |bound: f64| draws.iter().filter(|&&draw| draw > bound).count() as f64;
        let slope = (above(2.0) / above(64.0)).ln() / 32_f64.ln();
        assert!((slope - 1.15).abs() < 0.05, "{slope}");
    }
}
