//! Helpers that unit tests share.

/// Pseudo-random numbers below a limit. They depend only on the seed
/// (<https://en.wikipedia.org/wiki/Linear_congruential_generator>, Knuth's constants).
pub(crate) fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    }
}
