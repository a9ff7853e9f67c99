//! Restarts from checkpoints against the naive recount: compares every row of every view after
//! every commit.
//!
//! | family | what it proves |
//! |---|---|
//! | `lives_that_begin...` | any epochs, cuts, workers, groupings, clean ends and kills; the log trimmed behind checkpoints |
//! | `what_is_delivered_again...` | events before the cut of a shard, delivered again, change nothing |
//! | `a_list_that_lost...` | boards that were thinned out build themselves again |
//! | `rows_that_no_record...` | what was counted, gone posts, hidden accounts, expiry: by examples, cut in every epoch |
//! | `accidents` | log, store and checkpoints of which one was lost, put back or belongs elsewhere: each row of the table |
//! | `damage` | flipped bytes, wrong logs, missing beginnings: the previous checkpoint is used, or the start is refused |
//! | `recipes` | another version, policy, retention or choice of views: what differs is written again |
//! | `interrupted` | views that were being rebuilt when the process died, and what the next process reports |
//! | `answers` | ports that answer never, or tell of a failure that was none |
//! | `room` | what is to be kept of the log stays, a disk that is full harms nothing |
//! | `evicted` | memory that is full until a checkpoint allows evicting records |
//! | `full` | a full log gets room, whatever failed and wherever a process ended, and not at the cost of the last way back |
//!
//! Each failure names its seed. `SKYTIDE_TEST_SEED` runs a single seed, `SKYTIDE_TEST_SEEDS` that
//! many seeds.

pub mod accidents;
mod answers;
mod damage;
mod disk;
mod evicted;
mod full;
pub(crate) mod ground;
mod interrupted;
mod recipes;
mod room;

use skytide_core::port::checkpoint::CheckpointStore as _;
use skytide_core::port::log::Log as _;
use skytide_tests::model::recount;
use skytide_tests::world::{self, Random};

use crate::recount::crowd;
use crate::recount::faulty::with_faults;
use crate::recount::harness::{Case, seeds};
use crate::recount::logs::{at_once, between, delivered_again};
use ground::{Lives, Tally};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lives_that_begin_from_checkpoints_equal_the_recount_at_every_epoch() {
    let mut tally = Tally::default();
    for seed in seeds(10_000) {
        let case = Case::of(seed);
        let messages = case.world();
        let lives = Lives::new(case, 60);
        tally += lives
            .run(&messages, &recount(&messages, case.options))
            .await;
    }
    tally.assert_not_vacuous(seeds(0).len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_delivery_after_a_checkpoint_changes_nothing() {
    let mut tally = Tally::default();
    for seed in seeds(11_000).into_iter().take(3) {
        let case = Case::of(seed);
        let messages = delivered_again(&case.world(), seed);
        let lives = Lives::new(case, 60);
        tally += lives
            .run(&messages, &recount(&messages, case.options))
            .await;
    }
    tally.assert_not_vacuous(seeds(0).len());
}

/// Gaps, filters and drops cannot be computed again from records, so checkpoints contain them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_still_known_after_a_restart_from_a_checkpoint() {
    let mut tally = Tally::default();
    for seed in seeds(15_000) {
        let case = Case::of(seed);
        let messages = with_faults(&case.world(), seed);
        let lives = Lives::new(case, 60);
        tally += lives
            .run(&messages, &recount(&messages, case.options))
            .await;
    }
    tally.assert_not_vacuous(seeds(0).len());
}

/// The network time does not advance, so only idle ticks update lists after a checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_updated_after_a_checkpoint_when_the_stream_is_idle() {
    let mut tally = Tally::default();
    for seed in seeds(14_000) {
        let case = Case::of(seed);
        let (messages, _) = at_once(&case.world());
        let lives = Lives::new(case, 60);
        tally += lives
            .run(&messages, &recount(&messages, case.options))
            .await;
    }
    tally.assert_not_vacuous(seeds(0).len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_lost_its_top_keys_after_a_checkpoint_is_filled_from_all_keys() {
    let messages = crowd::log();
    let case = Case::of(0);
    let expected = recount(&messages, case.options);
    for (workers, end) in [(1, 1), (2, 1), (2, 2)] {
        let lives = Lives::new(case, 3);
        let ground = &lives.ground;
        lives
            .checkpoint_at(&messages, (0, end), case.with(workers, 1))
            .await;
        assert_eq!(lives.checkpoints.list().await.unwrap().len(), 1);
        ground.append(between(&messages, end, 3)).await;
        let case = case.with(3 - workers, 1);
        let metrics = case
            .run_on(ground, case.dataflow())
            .await
            .expect("the dataflow completes");
        assert!(metrics.restore_seconds.get() > 0.0);
        case.compare(&expected, &ground.store.take());
    }
}

/// Makes a checkpoint of every epoch of a world, cut at once or over several batches. After each
/// one, another life starts from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_any_epoch_holds_all_state_that_the_trimmed_log_cannot_restore() {
    for seed in seeds(12_000).into_iter().take(3) {
        let case = Case::of(seed);
        let messages = case.world();
        let expected = recount(&messages, case.options);
        let mut random = Random::new(seed);
        for end in 1..58_usize {
            let lives = Lives::new(case, 60);
            let ground = &lives.ground;
            let before = case.with(1 + random.below(2) as usize, 60);
            lives.checkpoint_at(&messages, (0, end), before).await;
            let first = ground.log.bounds().await.unwrap().first.0;
            assert_eq!(
                first as usize,
                between(&messages, 0, end).len(),
                "{case:?}, {end}: not trimmed"
            );
            let through = 60.min(end + 2);
            ground.append(between(&messages, end, through)).await;
            ground.store.take();
            let after = case.with(1 + random.below(3) as usize, 1);
            let metrics = after.run_on(ground, after.dataflow()).await;
            let metrics = metrics.unwrap_or_else(|error| panic!("{case:?}, {end}: {error}"));
            assert!(
                metrics.restore_seconds.get() > 0.0,
                "{case:?}, {end}: not restored"
            );
            after.compare(&expected[..through], &ground.store.take());
        }
    }
}

/// Shards are cut over several batches, so that hours and days pass between the first cut and the
/// last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_may_pass_between_the_first_cut_and_the_last() {
    let long = world::Options {
        epochs: 160,
        frames_max: 5,
        ..world::Options::default()
    };
    let mut spread = 0;
    for seed in seeds(13_000).into_iter().take(3) {
        let case = Case::of(seed);
        let messages = world::log(seed, long);
        let expected = recount(&messages, case.options);
        let mut lives = Lives::new(case, 160);
        lives.shards_per_cut = Some(3);
        let tally = lives.run(&messages, &expected).await;
        spread += tally.spread;
    }
    assert!(
        spread > 0,
        "no checkpoint took more than one batch: nothing was tested"
    );
}
