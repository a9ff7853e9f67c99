//! Crashes at every step, and the state after them.
//!
//! ```text
//! frames ─ ingest ─▶ Faulty(log) ─ dataflow ─▶ Faulty(store), Faulty(checkpoints)
//!            └── one "process": a runtime that is dropped at the planned crash;
//!                then everything is opened again
//! ```
//!
//! Each run has a seed, which determines a stretch of recorded frames, its faults, the number of
//! workers and the size of commits. After some processes that crash or fail, a process without
//! faults completes the stream. Then every row of every view must equal the naive recount of the
//! same frames, read without any fault. The test counts which faults fired; each kind must have
//! fired.

mod process;
mod real;

pub use process::faulty;

use std::collections::{BTreeMap, BTreeSet};

use skytide_tests::checkers::difference;
use skytide_tests::faulty::{Fault, POINTS, Plan, Planned, Side};
use skytide_tests::world::Random;

use process::{Embedded, Ending, Stretch};

/// Maximum number of processes with faults before the process without faults.
const CRASHES_MAX: u64 = 4;

/// Statistics over all runs.
#[derive(Default)]
pub struct Outcomes {
    fired: BTreeSet<(&'static str, Side, Fault)>,
    crashes: usize,
    failures: usize,
    /// Processes that ended while the log was full.
    full: usize,
}

/// The size limits of the logs: one log holds a whole stretch; the other has four segments, is soon
/// full and is trimmed a second later.
const LOG_BYTES_MAX: [u64; 2] = [64 << 20, 60_000];
/// Number of seeds with a large log for each seed with a small one.
const LARGE_LOGS: u64 = 20;

/// The call at which a fault happens, at most roughly as many as a run makes: later calls are rare.
fn nth(point: &str, random: &mut Random) -> u32 {
    let most = match point {
        "log.append" | "log.flush" | "log.read" | "store.begin" | "store.commit" => 12,
        "store.write" | "checkpoint.write" | "checkpoint.share" => 60,
        "checkpoint.read" | "checkpoint.open" => 8,
        _ => 2,
    };
    1 + random.below(most) as u32
}

/// `restores`: a checkpoint is there, which the process will restore.
fn faults(random: &mut Random, restores: bool) -> Vec<Planned> {
    let one = |random: &mut Random| {
        // Processes that restore a checkpoint are rare, so faults of restoring have a share of
        // their own.
        let point = match random.chance(if restores { 50 } else { 15 }) {
            true => "checkpoint.read",
            false => *random.pick(&POINTS),
        };
        Planned {
            point,
            nth: nth(point, random),
            side: *random.pick(&[Side::Before, Side::After]),
            fault: *random.pick(&[Fault::Crash, Fault::Crash, Fault::Fail]),
        }
    };
    (0..3).map(|_| one(random)).collect()
}

/// Runs one seed: processes with faults, then one without faults, then the comparison.
pub fn run(seed: u64, backend: &Embedded, outcomes: &mut Outcomes) {
    let mut random = Random::new(seed);
    let stretch = Stretch::random(&mut random);
    let expected = stretch.expected();
    for _ in 0..1 + random.below(CRASHES_MAX) {
        let plan = Plan::new(faults(&mut random, backend.has_checkpoint()));
        let ending = process::run(&stretch, backend, &plan, &mut random);
        eprintln!("{ending:?} {:?}", plan.fired());
        for it in plan.fired() {
            outcomes.fired.insert((it.point, it.side, it.fault));
        }
        outcomes.full += usize::from(backend.is_full());
        match ending {
            Ending::Crashed => outcomes.crashes += 1,
            Ending::Failed(_) => outcomes.failures += 1,
            Ending::Whole => break,
        }
    }
    let calm = Plan::new(Vec::new());
    match process::run(&stretch, backend, &calm, &mut random) {
        Ending::Whole => {}
        other => panic!("seed {seed}: a process without faults ended with {other:?}"),
    }
    let found = process::rows(backend);
    if let Some(text) = difference(&expected, &found) {
        panic!("seed {seed}, {stretch:?}: {text}");
    }
}

/// The seeds to run: as many as the variable says, or only that of `SKYTIDE_TEST_SEED`.
fn seeds(variable: &str, default: u64) -> Vec<u64> {
    let number = |name| {
        let text = std::env::var(name).ok();
        text.and_then(|text: String| text.parse().ok())
    };
    match number("SKYTIDE_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number(variable).unwrap_or(default)).collect(),
    }
}

#[test]
fn after_any_crash_every_view_equals_the_recount() {
    let mut outcomes = Outcomes::default();
    let seeds = seeds("SKYTIDE_TEST_CRASHES", 200);
    for &seed in &seeds {
        eprintln!("seed {seed}");
        let small = usize::from(seed % (LARGE_LOGS + 1) == LARGE_LOGS);
        run(seed, &Embedded::new(LOG_BYTES_MAX[small]), &mut outcomes);
    }
    let mut by_point = BTreeMap::<&str, usize>::new();
    for (point, ..) in &outcomes.fired {
        *by_point.entry(point).or_default() += 1;
    }
    eprintln!(
        "{} runs, {} crashes, {} failures, {} full logs; kinds of fault that fired: {by_point:?}",
        seeds.len(),
        outcomes.crashes,
        outcomes.failures,
        outcomes.full
    );
    if seeds.len() >= 200 {
        let missing: Vec<_> = POINTS
            .iter()
            .filter(|it| !by_point.contains_key(*it))
            .collect();
        assert!(missing.is_empty(), "no fault ever fired at {missing:?}");
        assert!(outcomes.crashes >= 100, "{} crashes", outcomes.crashes);
        assert!(outcomes.full > 0, "no log was full");
    }
}
