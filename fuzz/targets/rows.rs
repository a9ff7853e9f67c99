//! Runs hostile frames through ingest, log and dataflow to rows, and over a restart. Checks that
//! nothing panics, that memory and work are proportional to the bytes of the frames and facts to
//! their events, and that every view is equal to the naive recount.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skytide_tests::allocated::Counting;
use skytide_tests::hostile::{Hostile, Journey};

#[global_allocator]
static ALLOCATED: Counting = Counting::new();

/// The maximum number of frames of one input. More frames slow a fuzzer down.
const FRAMES_MAX: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let mut hostile = Hostile::new(bytes);
    let frames = (0..FRAMES_MAX).map_while(|_| hostile.frame()).collect();
    Journey::of(frames, &ALLOCATED).check(&ALLOCATED);
});
