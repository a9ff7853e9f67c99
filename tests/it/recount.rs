//! The dataflow against the naive recount: compares every row of every view after every commit.
//!
//! | family | what it proves |
//! |---|---|
//! | `every_view_equals...` | any order of deeds, any policy, 1, 2 and 4 workers, exact at every epoch |
//! | `a_large_commit...` | epochs in one commit give what they give one by one |
//! | `lists_of_a_stream...` | where time stands, a tick that says so brings lists up to date, and no other one does |
//! | `lists_longer...` | lists are cut at their length and refilled from what was left out |
//! | `a_list_that_lost...` | the same where so many keys were left out that the list cannot be filled without them |
//! | `rows_depend_neither...` | two runs agree on every row of an epoch, whatever their workers and commits |
//! | `a_restart...` | what was computed again agrees with what is stored, and goes on from there |
//! | `interactions_of_a_day...` | what is kept for some days goes, if not at once |
//! | `what_is_delivered_again...` | repeats, in the epoch and in later ones, change nothing |
//! | `nothing_outlives...` | every fact is taken back with its record |
//! | `hostile` | lists, texts and names without end cause a bounded number of rows, and are taken back exactly |
//! | `faulty` | what ticks say of missing events, in their order, merged beyond a bound, for any workers and commits |
//! | `selected` | views that are left out have no rows, and do not change the others |
//! | `spilled` | rows do not depend on whether pairs of `interactions` are in memory or on disk |
//! | `worlds_reach...` | none of the above is vacuous: the worlds do what they are meant to |
//!
//! Each failure names its seed. `SKYTIDE_TEST_SEED` runs a single seed, `SKYTIDE_TEST_SEEDS` that
//! many seeds.

mod by_hand;
pub(crate) mod crowd;
pub(crate) mod faulty;
pub(crate) mod harness;
mod hostile;
pub(crate) mod logs;
pub(crate) mod selected;
mod spilled;

use std::collections::BTreeMap;

use skytide_core::event::Message;
use skytide_core::id::Epoch;
use skytide_core::port::store::ViewStore;
use skytide_core::view::{CounterRow, ListRow, ViewId, decode_row};
use skytide_tests::checkers::{Recorder, difference, left_of_facts};
use skytide_tests::model::{Model, Options, Policy, Rows, recount};
use skytide_tests::world::{self, World};

use harness::{Case, Ground, day, first_day, seeds};
use logs::{at_once, between, delivered_again};

#[tokio::test]
async fn every_view_equals_the_recount_at_every_epoch() {
    for seed in seeds(0) {
        let messages = Case::of(seed).world();
        let expected = recount(&messages, Case::of(seed).options);
        for workers in [1, 2, 4] {
            let case = Case::of(seed).with(workers, 1);
            let commits = case.run(&messages).await;
            assert_eq!(commits.len(), expected.len(), "commits of {case:?}");
            case.compare(&expected, &commits);
        }
    }
}

#[tokio::test]
async fn a_large_commit_equals_the_recount_at_its_last_epoch() {
    for seed in seeds(1_000) {
        let messages = Case::of(seed).world();
        let expected = recount(&messages, Case::of(seed).options);
        for (workers, epochs_max) in [(1, 2), (2, 7), (1, usize::MAX), (4, usize::MAX)] {
            let case = Case::of(seed).with(workers, epochs_max);
            case.compare(&expected, &case.run(&messages).await);
        }
    }
}

#[tokio::test]
async fn lists_of_a_stream_whose_time_stops_change_only_at_idle_ticks() {
    let lists = |rows: &Rows| -> Vec<_> {
        let lists = rows.iter().filter(|(view, _)| view.is_list());
        lists.map(|(_, rows)| rows.clone()).collect()
    };
    for seed in seeds(8_000).into_iter().take(3) {
        let (messages, settled) = at_once(&Case::of(seed).world());
        let expected = recount(&messages, Case::of(seed).options);
        let mut changed = 0;
        for pair in expected.windows(2) {
            let changes = lists(&pair[0].1) != lists(&pair[1].1);
            assert!(!changes || settled.contains(&pair[1].0), "seed {seed}");
            changed += usize::from(changes);
        }
        assert!(changed > 3, "seed {seed}: lists changed {changed} times");
        for (workers, epochs_max) in [(1, 1), (2, 1), (1, 7), (2, usize::MAX)] {
            let case = Case::of(seed).with(workers, epochs_max);
            case.compare(&expected, &case.run(&messages).await);
        }
    }
}

#[tokio::test]
async fn lists_longer_than_their_length_are_truncated_and_refilled() {
    let wide = world::Options {
        accounts: 120,
        rkeys: 24,
        epochs: 10,
        frames_max: 2_500,
    };
    for seed in seeds(2_000).into_iter().take(2) {
        let messages = world::log(seed, wide);
        let case = Case::of(seed).with(2, 1);
        let expected = recount(&messages, case.options);
        let longest = expected.iter().map(|(_, rows)| longest_list(rows)).max();
        assert_eq!(
            longest,
            Some(ListRow::LENGTH),
            "seed {seed} does not fill a list"
        );
        case.compare(&expected, &case.run(&messages).await);
    }
}

#[tokio::test]
async fn a_list_that_lost_its_top_keys_is_filled_from_all_keys() {
    let messages = crowd::log();
    let expected = recount(&messages, Case::of(0).options);
    for workers in [1, 2] {
        let case = Case::of(0).with(workers, 1);
        case.compare(&expected, &case.run(&messages).await);
    }
}

#[tokio::test]
async fn rows_depend_neither_on_workers_nor_on_commits() {
    for seed in seeds(5_000) {
        let mut case = Case::of(seed);
        case.options.interactions_days = Some(1);
        let messages = Case::of(seed).world();
        let commits = case.run(&messages).await;
        let expected: BTreeMap<_, _> = commits
            .into_iter()
            .map(|commit| (commit.committed.epoch, commit.rows))
            .collect();
        for (workers, epochs_max) in [(2, 1), (4, 1), (1, 3), (2, 10), (1, usize::MAX)] {
            let case = case.with(workers, epochs_max);
            for commit in case.run(&messages).await {
                let epoch = commit.committed.epoch;
                if let Some(text) = difference(&expected[&epoch], &commit.rows) {
                    panic!("{case:?}, epoch {epoch}: {text}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_restart_with_other_workers_and_commits_continues_from_its_own_rows() {
    for seed in seeds(7_000) {
        let mut case = Case::of(seed);
        case.options.interactions_days = Some(1);
        let messages = Case::of(seed).world();
        let expected = recount(&messages, case.options);
        let ground = Ground::new();
        let mut begin = 0;
        for (workers, epochs_max, end) in [(1, 1, 15), (2, 1, 25), (4, 5, 45), (1, 60, 60)] {
            let case = case.with(workers, epochs_max);
            ground.append(between(&messages, begin, end)).await;
            begin = end;
            let ended = case.run_on(&ground, case.dataflow()).await;
            ended.unwrap_or_else(|error| panic!("{case:?}: {error}"));
            case.compare(&expected[..end], &ground.store.take());
        }
    }
}

#[tokio::test]
async fn interactions_of_a_day_that_expired_are_removed_within_256_epochs() {
    let long = world::Options {
        epochs: 900,
        frames_max: 3,
        ..world::Options::default()
    };
    for seed in seeds(6_000).into_iter().take(2) {
        let mut case = Case::of(seed);
        case.options.interactions_days = Some(1);
        let commits = case.run(&world::log(seed, long)).await;
        let mut left = 0;
        for pair in commits.windows(257) {
            let [before, .., now] = pair else {
                unreachable!("257 commits")
            };
            let first = first_day(before.committed.time, Some(1));
            let late = now.rows[&ViewId::Interactions]
                .keys()
                .find(|key| day(key) < first);
            let epoch = now.committed.epoch;
            assert_eq!(late, None, "seed {seed}, epoch {epoch}, first day {first}");
            left += before.rows[&ViewId::Interactions].len();
        }
        assert!(left > 0, "seed {seed} has no interactions");
    }
}

#[tokio::test]
async fn repeated_delivery_changes_nothing_but_its_counter() {
    for seed in seeds(3_000) {
        let case = Case::of(seed).with(2, 1);
        let once = Case::of(seed).world();
        let again = delivered_again(&once, seed);
        assert!(again.len() > once.len());
        let mut expected = case.run(&once).await;
        let mut found = case.run(&again).await;
        assert_eq!(expected.len(), found.len(), "commits of {case:?}");
        for (expected, found) in expected.iter_mut().zip(&mut found) {
            for commit in [&mut *expected, &mut *found] {
                commit.rows.remove(&ViewId::Counters);
                commit.rows.remove(&ViewId::Coverage);
            }
            if let Some(text) = difference(&expected.rows, &found.rows) {
                panic!("{case:?}, epoch {}: {text}", expected.committed.epoch);
            }
        }
    }
}

#[tokio::test]
async fn nothing_outlives_the_record_that_contributed_it() {
    for seed in seeds(4_000) {
        let case = Case::of(seed).with(2, 5);
        let commits = case.run(&farewell(case)).await;
        let last = commits.last().expect("a commit");
        assert_eq!(last.committed.epoch.0, 61, "{case:?} ended early");
        if let Some(text) = left_of_facts(&last.rows) {
            panic!("{case:?}:\n{text}");
        }
    }
}

/// The log of a world of 60 epochs, and one epoch that deletes all records that are still live.
fn farewell(case: Case) -> Vec<Message> {
    let mut world = World::new(case.seed, world::Options::default());
    let mut model = Model::new(case.options);
    let mut messages = Vec::new();
    while let Some(mut epoch) = world.next_epoch() {
        for message in &mut epoch {
            if let Message::Tick(tick) = message {
                tick.last = false;
            }
            model.read(message);
        }
        messages.extend(epoch);
    }
    let live = model.live();
    assert!(
        live.len() > 20,
        "{case:?}: only {} live records",
        live.len()
    );
    messages.extend(world.farewell(&live));
    messages
}

#[test]
fn worlds_reach_every_intended_case() {
    let mut counters: BTreeMap<String, u64> = BTreeMap::new();
    let mut gone: BTreeMap<ViewId, usize> = BTreeMap::new();
    for seed in 0..6 {
        let policy = Policy::ActiveAccountsOnly;
        let options = Options {
            policy,
            ..Case::of(seed).options
        };
        let epochs = recount(&Case::of(seed).world(), options);
        for pair in epochs.windows(2) {
            for (view, rows) in &pair[0].1 {
                let left = rows.keys().filter(|key| !pair[1].1[view].contains_key(key));
                *gone.entry(*view).or_default() += left.count();
            }
        }
        let (_, last) = epochs.last().expect("an epoch");
        for (key, row) in &last[&ViewId::Counters] {
            let row: CounterRow = decode_row(row).expect("a counter");
            *counters.entry(key.decode().expect("a name")).or_default() += row.value;
        }
    }
    let reasons = [
        "rev_repeated",
        "announcement_repeated",
        "delete_unknown",
        "record_missing",
        "record_cbor",
        "record_shape",
        "key_length",
        "list_limit",
        "text_limit",
        "lang_syntax",
        "handle",
    ];
    for reason in reasons {
        let count = counters.get(&format!("dropped/{reason}"));
        assert!(count.is_some(), "no {reason} in {counters:?}");
    }
    // Most rows of counters and of accounts are never removed; rows of every other view are.
    for view in ViewId::ALL {
        let stays = matches!(
            view,
            ViewId::Counters | ViewId::Coverage | ViewId::Actors | ViewId::Accounts
        );
        assert!(
            stays || gone[view] > 0,
            "no row of {} was ever removed",
            view.name()
        );
    }
}

fn longest_list(rows: &Rows) -> usize {
    let lists = rows
        .get(&ViewId::TopPosts)
        .into_iter()
        .flat_map(BTreeMap::values);
    let lengths = lists.map(|row| decode_row(row).map_or(0, |list: ListRow| list.entries.len()));
    lengths.max().unwrap_or_default()
}

#[tokio::test]
async fn the_first_commit_after_a_crash_ends_at_the_intent_for_any_batch_size() {
    let case = Case::of(1).with(1, 1);
    let store = std::sync::Arc::new(Recorder::torn());
    let ground = Ground {
        store,
        ..Ground::new()
    };
    let messages = case.world();
    ground.append(between(&messages, 0, 2)).await;
    let ended = case.run_on(&ground, case.dataflow()).await;
    ended.expect("it counts");
    ground.store.take();
    ground.append(between(&messages, 2, 60)).await;
    let term = ground.store.lead().await.expect("memory answers").term;
    let begun = ground.store.begin(term, Epoch(4).into()).await;
    begun.expect("the next commit");
    let ended = case.run_on(&ground, case.dataflow()).await;
    ended.expect("the dataflow completes");
    let commits = ground.store.take();
    let epochs: Vec<_> = commits
        .iter()
        .map(|it| it.committed.epoch)
        .take(2)
        .collect();
    assert_eq!(epochs, [4, 5].map(Epoch));
}
