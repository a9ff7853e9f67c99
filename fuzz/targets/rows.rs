//! Hostile frames through ingest, log and dataflow to rows, and over a restart: no panic, memory and work in proportion to the
//! bytes of the frames, facts in proportion to their events, and every view as the naive recount says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skytide_tests::allocated::Counting;
use skytide_tests::hostile::{Hostile, Journey};

#[global_allocator]
static ALLOCATED: Counting = Counting::new();

/// Frames of one input, at most: more of the same slow a fuzzer down.
const FRAMES_MAX: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let mut hostile = Hostile::new(bytes);
    let frames = (0..FRAMES_MAX).map_while(|_| hostile.frame()).collect();
    Journey::of(frames, &ALLOCATED).check(&ALLOCATED);
});
