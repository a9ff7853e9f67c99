//! Days of `interactions` on disk: rows do not depend on where their pairs are.

use std::collections::BTreeMap;
use std::sync::Arc;

use skytide_core::event::Message;
use skytide_core::memory::MemoryScratch;
use skytide_core::view::ViewId;
use skytide_dataflow::Scratch;
use skytide_tests::checkers::{Commit, difference, left_of_facts};
use skytide_tests::model::recount;
use skytide_tests::world;

use super::farewell;
use super::harness::{Case, Ground, seeds};

/// The workers, the epochs in a commit, and the pairs of `interactions` that a worker keeps in
/// memory.
const CASES: [(usize, usize, Option<usize>); 4] = [
    (1, 1, Some(0)),
    (2, 5, Some(8)),
    (1, 3, Some(64)),
    (2, 1, None),
];

/// A world with so many pairs that 64 are only a part.
const WIDE: world::Options = world::Options {
    accounts: 60,
    rkeys: 24,
    epochs: 10,
    frames_max: 600,
};

/// Runs a case with a scratch folder. Returns its commits and the bytes that were written there.
async fn run(case: Case, hot_pairs_max: Option<usize>, messages: &[Message]) -> (Vec<Commit>, u64) {
    let (ground, scratch) = (Ground::new(), MemoryScratch::default());
    ground.append(messages).await;
    let options = skytide_dataflow::Options {
        scratch: Some(Scratch {
            files: Arc::new(scratch.clone()),
            hot_pairs_max,
        }),
        ..case.dataflow()
    };
    let ended = case.run_on(&ground, options).await;
    ended.unwrap_or_else(|error| panic!("{case:?}, {hot_pairs_max:?}: {error}"));
    let left = scratch.files();
    assert!(left.is_empty(), "{case:?}: {:?}", left.keys());
    (ground.store.take(), scratch.written())
}

#[tokio::test]
async fn every_view_equals_the_recount_wherever_the_pairs_of_interactions_are() {
    let mut written = BTreeMap::<Option<usize>, u64>::new();
    for seed in seeds(9_000) {
        let messages = match seed {
            9_000 => world::log(seed, WIDE),
            _ => Case::of(seed).world(),
        };
        let expected = recount(&messages, Case::of(seed).options);
        for (workers, epochs_max, hot_pairs_max) in CASES {
            let case = Case::of(seed).with(workers, epochs_max);
            let (commits, bytes) = run(case, hot_pairs_max, &messages).await;
            case.compare(&expected, &commits);
            *written.entry(hot_pairs_max).or_default() += bytes;
        }
    }
    assert_eq!(written[&None], 0, "nothing moves while memory suffices");
    let some = [0, 8, 64].map(|max| written[&Some(max)]);
    assert!(some.iter().all(|&bytes| bytes > 0), "{written:?}");
}

#[tokio::test]
async fn a_day_on_disk_expires_in_the_same_epoch_as_one_in_memory() {
    let long = world::Options {
        epochs: 300,
        frames_max: 6,
        ..world::Options::default()
    };
    for seed in seeds(9_100).into_iter().take(2) {
        let mut case = Case::of(seed);
        case.options.interactions_days = Some(1);
        let messages = world::log(seed, long);
        let expected = case.run(&messages).await;
        let rows = |commit: &Commit| commit.rows[&ViewId::Interactions].len();
        let expired = expected
            .windows(2)
            .map(|it| rows(&it[0]) > rows(&it[1]) + 2);
        let expired = expired.filter(|it| *it).count();
        assert!(expired > 0, "seed {seed}: no day with several rows expires");
        let by_epoch: BTreeMap<_, _> = expected
            .iter()
            .map(|commit| (commit.committed.epoch, &commit.rows))
            .collect();
        for (workers, epochs_max, hot_pairs_max) in CASES {
            let case = case.with(workers, epochs_max);
            let (commits, _) = run(case, hot_pairs_max, &messages).await;
            for commit in commits {
                let epoch = commit.committed.epoch;
                if let Some(text) = difference(by_epoch[&epoch], &commit.rows) {
                    panic!("{case:?}, {hot_pairs_max:?}, epoch {epoch}: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn interactions_on_disk_end_with_their_records() {
    for seed in seeds(9_200).into_iter().take(4) {
        let case = Case::of(seed).with(2, 5);
        let (commits, written) = run(case, Some(0), &farewell(case)).await;
        let last = commits.last().expect("a commit");
        assert_eq!(last.committed.epoch.0, 61, "{case:?} ended early");
        assert!(written > 0, "{case:?}");
        if let Some(text) = left_of_facts(&last.rows) {
            panic!("{case:?}:\n{text}");
        }
    }
}
