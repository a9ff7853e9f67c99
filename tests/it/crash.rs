//! Crashes at every step, and what is true after them.
//!
//! ```text
//! frames ─ ingest ─▶ Faulty(log) ─ dataflow ─▶ Faulty(store), Faulty(checkpoints)
//!            └── one "process": a runtime that is dropped at the planned crash; then everything is opened anew
//! ```
//!
//! Each run has a seed: a stretch of recorded frames, its faults, the number of workers, the size of commits. After
//! some processes that crash or fail, one without faults ends the stream. Then every row of every view must be what the naive
//! recount makes of the same frames, which were never disturbed. Which faults fired is counted, and each must have.

mod process;
mod real;

pub use process::faulty;

use std::collections::{BTreeMap, BTreeSet};

use skytide_tests::checkers::difference;
use skytide_tests::faulty::{Fault, POINTS, Plan, Planned, Side};
use skytide_tests::world::Random;

use process::{Embedded, Ending, Stretch};

/// Processes that end badly before the one that does not.
const CRASHES_MAX: u64 = 4;

/// What a run did.
#[derive(Default)]
pub struct Told {
    fired: BTreeSet<(&'static str, Side, Fault)>,
    crashes: usize,
    failures: usize,
    /// Processes that left a full log.
    full: usize,
}

/// A log that takes all of a stretch; and one of four segments, which is soon full and gets room a second later.
const LOG_BYTES_MAX: [u64; 2] = [64 << 20, 60_000];
/// So many seeds have a large log for one that has a small one.
const LARGE_LOGS: u64 = 20;

/// How often each operation is called at the very most before a fault is due; later ones rarely come.
fn nth(point: &str, random: &mut Random) -> u32 {
    let most = match point {
        "log.append" | "log.flush" | "log.read" | "store.begin" | "store.commit" => 12,
        "store.write" | "checkpoint.write" => 60,
        "checkpoint.read" => 8,
        _ => 2,
    };
    1 + random.below(most) as u32
}

fn faults(random: &mut Random) -> Vec<Planned> {
    let one = |random: &mut Random| {
        // A process that restores is rarer than one that writes.
        let point = match random.chance(15) {
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

/// One seed: processes with faults, one without, then the comparison.
pub fn run(seed: u64, backend: &Embedded, told: &mut Told) {
    let mut random = Random::new(seed);
    let stretch = Stretch::random(&mut random);
    let expected = stretch.expected();
    for _ in 0..1 + random.below(CRASHES_MAX) {
        let plan = Plan::new(faults(&mut random));
        let ending = process::run(&stretch, backend, &plan, &mut random);
        eprintln!("{ending:?} {:?}", plan.fired());
        for it in plan.fired() {
            told.fired.insert((it.point, it.side, it.fault));
        }
        told.full += usize::from(backend.is_full());
        match ending {
            Ending::Crashed => told.crashes += 1,
            Ending::Failed(_) => told.failures += 1,
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

/// Seeds of a run: as many as the variable says, or the one of `SKYTIDE_TEST_SEED`.
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
    let mut told = Told::default();
    let seeds = seeds("SKYTIDE_TEST_CRASHES", 200);
    for &seed in &seeds {
        eprintln!("seed {seed}");
        let small = usize::from(seed % (LARGE_LOGS + 1) == LARGE_LOGS);
        run(seed, &Embedded::new(LOG_BYTES_MAX[small]), &mut told);
    }
    let mut by_point = BTreeMap::<&str, usize>::new();
    for (point, ..) in &told.fired {
        *by_point.entry(point).or_default() += 1;
    }
    eprintln!(
        "{} runs, {} crashes, {} failures, {} full logs; kinds of fault that fired: {by_point:?}",
        seeds.len(),
        told.crashes,
        told.failures,
        told.full
    );
    if seeds.len() >= 200 {
        let missing: Vec<_> = POINTS
            .iter()
            .filter(|it| !by_point.contains_key(*it))
            .collect();
        assert!(missing.is_empty(), "no fault ever fired at {missing:?}");
        assert!(told.crashes >= 100, "{} crashes", told.crashes);
        assert!(told.full > 0, "no log was full");
    }
}
