//! Hostile frames through the whole dataflow, in a process of its own: its allocator counts.
//!
//! ```text
//! frames ─ assemble ─▶ log ─ dataflow ─▶ rows in memory ══ the naive recount        bytes held and asked for, facts: each
//!                       │      └ checkpoint ─ restart ─▶ the rest ══ the recount     at most a multiple of the frames' bytes
//! ```
//!
//! A failure names its seed; `SKYTIDE_TEST_SEED` runs a single one, `SKYTIDE_TEST_SEEDS` so many instead of a few. The fuzz
//! target `rows` does the same with what a fuzzer draws (`docs/fuzzing.md`).

use skytide_tests::allocated::Counting;
use skytide_tests::hostile::{Hostile, Journey};
use skytide_tests::world::Random;

#[global_allocator]
static ALLOCATED: Counting = Counting::new();

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("SKYTIDE_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SKYTIDE_TEST_SEEDS").unwrap_or(12)).collect(),
    }
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn hostile_frames_cost_memory_and_work_in_proportion_to_their_bytes_and_count_exactly() {
    for seed in seeds() {
        println!("seed {seed}");
        let mut hostile = Hostile::new(Random::new(seed));
        let frames = (0..400).map_while(|_| hostile.frame()).collect();
        Journey::of(frames, &ALLOCATED).check(&ALLOCATED);
    }
}
