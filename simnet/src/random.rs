//! Numbers that look random and follow from a seed alone.

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>): one multiplication chain a number, any seed is a good one.
#[derive(Clone, Debug)]
pub struct Random(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Scrambles 64 bits: neighbours become strangers.
pub fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One seed from several numbers; their order matters.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(STEP, |seed, &part| {
        scramble(seed.rotate_left(17) ^ part.wrapping_add(STEP))
    })
}

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        scramble(self.0)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in so many of 100 cases.
    pub fn percent(&mut self, rate: u32) -> bool {
        self.below(100) < u64::from(rate)
    }

    /// One of the items, each as likely as the others.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len() as u64) as usize]
    }

    /// The place of the choice: `weights` says how often each is taken.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total = weights.iter().map(|&weight| u64::from(weight)).sum();
        let mut rest = self.below(total);
        for (place, &weight) in weights.iter().enumerate() {
            if rest < u64::from(weight) {
                return place;
            }
            rest -= u64::from(weight);
        }
        unreachable!("the rest is below the sum of the weights")
    }

    /// Exponentially distributed, with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Normally distributed, mean 0 and deviation 1 (the sum of twelve uniform numbers).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// Between `low` and `high`, each order of magnitude as likely as the others.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }

    /// At least 1, with a tail that falls as a power: P(more than x) = x^-`tail`.
    pub fn pareto(&mut self, tail: f64) -> f64 {
        (1.0 - self.unit()).powf(-1.0 / tail)
    }

    /// A place below `end` by Zipf's law: about proportional to 1 / (place + 1).
    pub fn zipf(&mut self, end: u64) -> u64 {
        let place = ((end as f64 + 1.0).powf(self.unit()) - 1.0) as u64;
        place.min(end - 1)
    }
}

/// Chooses places by weight in constant time (the alias method of Walker, as Vose builds it:
/// <https://www.keithschwarz.com/darts-dice-coins/>).
#[derive(Clone, Debug)]
pub struct Weights {
    /// For each place: the bound below which it keeps the draw, and whom it gives it to otherwise.
    places: Vec<(f64, u32)>,
}

impl Weights {
    /// Prepares the choice; there is at least one weight, and their sum is positive.
    pub fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut places: Vec<(f64, u32)> = weights.iter().map(|w| (w / mean, 0)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..places.len()).partition(|&place| places[place].0 < 1.0);
        while let (Some(&poor), Some(&rich)) = (small.last(), large.last()) {
            small.pop();
            places[poor].1 = rich as u32;
            places[rich].0 -= 1.0 - places[poor].0;
            if places[rich].0 < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        for place in small.into_iter().chain(large) {
            places[place].0 = 1.0;
        }
        Self { places }
    }

    /// A place.
    pub fn draw(&self, random: &mut Random) -> u32 {
        let place = random.below(self.places.len() as u64) as usize;
        let (bound, other) = self.places[place];
        if random.unit() < bound {
            place as u32
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_drawn_as_often_as_their_weights_say() {
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
    fn the_tail_of_a_power_law_is_as_heavy_as_asked() {
        let mut random = Random::new(3);
        let draws: Vec<f64> = (0..100_000).map(|_| random.pareto(1.15)).collect();
        let above = |bound: f64| draws.iter().filter(|&&draw| draw > bound).count() as f64;
        let slope = (above(2.0) / above(64.0)).ln() / 32_f64.ln();
        assert!((slope - 1.15).abs() < 0.05, "{slope}");
    }
}
