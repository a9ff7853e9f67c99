//! Views that are being rebuilt by a process that dies before it finishes. Whatever the recipe of
//! the next process, no row of another recipe may remain. The store is one that retains the writes
//! of an incomplete commit.

use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::checkpoint::CheckpointStore as _;
use skytide_core::port::store::ViewReader;
use skytide_core::view::ViewId;
use skytide_dataflow::{Options, Ports};
use skytide_tests::checkers::Recorder;
use skytide_tests::faulty::{Fault, FaultyStore, Plan, Planned, Side};
use skytide_tests::model::{Policy, recount};
use tokio_util::sync::CancellationToken;

use super::ground::Lives;
use crate::recount::harness::{Case, Ground, seeds};
use crate::recount::logs::between;

/// The number of epochs that are committed before the crash, and of the world.
const AT: usize = 30;
const END: usize = 60;
/// The number of row writes after which a process crashes. Views are written in order, each with
/// some removals and a page.
const WRITES: [u32; 4] = [2, 9, 17, 26];

fn case(seed: u64, policy: Policy) -> Case {
    let mut case = Case::of(seed).with(1 + (seed % 2) as usize, 1);
    case.options.policy = policy;
    case.options.interactions_days = None;
    case
}

fn torn() -> Ground {
    Ground {
        store: Arc::new(Recorder::torn()),
        ..Ground::new()
    }
}

/// A life whose process is gone behind so many writes of rows.
pub async fn crash(ground: &Ground, options: Options, writes: u32) {
    let plan = Plan::new(vec![Planned {
        point: "store.write",
        nth: writes,
        side: Side::After,
        fault: Fault::Crash,
    }]);
    let store = FaultyStore {
        plan: plan.clone(),
        store: ground.store.clone(),
    };
    let ports = Ports {
        store: Arc::new(store),
        ..ground.ports()
    };
    let never = CancellationToken::new();
    let mut life = tokio::spawn(skytide_dataflow::run(options, ports, Arc::default(), never));
    tokio::select! {
        () = plan.crashed() => life.abort(),
        ended = &mut life => panic!("the life ended before write {writes}: {ended:?}"),
    }
    let _aborted = life.await;
    ground.store.take();
}

/// Lives on to the end of the log: each commit is that of the recount, and the first one ends where one was begun, unless
/// that one was to replace everything.
async fn goes_on(case: Case, ground: &Ground, options: Options) {
    let before = ground.store.control().await.expect("memory answers");
    let begun = before.committed.and(before.intent);
    let lived = case.run_on(ground, options).await;
    lived.unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let commits = ground.store.take();
    let first = commits.first().map(|commit| commit.committed.epoch);
    assert!(begun.is_none() || first == begun, "{case:?}: {first:?}");
    case.compare(&recount(&case.world(), case.options), &commits);
    let control = ground.store.control().await.expect("memory answers");
    assert!(control.rebuilding.is_empty(), "{case:?}: {control:?}");
}

/// Commits everything up to an epoch, and then appends the rest of the log.
async fn committed(case: Case) -> Ground {
    let (messages, ground) = (case.world(), torn());
    ground.append(between(&messages, 0, AT)).await;
    let lived = case.run_on(&ground, case.dataflow()).await;
    lived.unwrap_or_else(|error| panic!("{case:?}: {error}"));
    ground.append(between(&messages, AT, END)).await;
    ground.store.take();
    ground
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_change_that_is_reverted_midway_leaves_no_row() {
    use Policy::{ActiveAccountsOnly, DeletedAccountsRemoved};
    for seed in seeds(34_000).into_iter().take(3) {
        for (stored, tried) in [
            (ActiveAccountsOnly, DeletedAccountsRemoved),
            (DeletedAccountsRemoved, ActiveAccountsOnly),
        ] {
            let (stored, tried) = (case(seed, stored), case(seed, tried));
            for writes in WRITES {
                let ground = committed(stored).await;
                crash(&ground, tried.dataflow(), writes).await;
                goes_on(stored, &ground, stored.dataflow()).await;
            }
        }
    }
}

/// The second attempt has no third recipe, so the views that it rebuilds would not be recorded on
/// its account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_change_whose_reversal_is_interrupted_leaves_no_row() {
    for seed in seeds(35_000).into_iter().take(3) {
        let stored = case(seed, Policy::ActiveAccountsOnly);
        let tried = case(seed, Policy::DeletedAccountsRemoved);
        let ground = committed(stored).await;
        crash(&ground, tried.dataflow(), WRITES[3]).await;
        crash(&ground, stored.dataflow(), WRITES[1]).await;
        crash(&ground, stored.dataflow(), WRITES[0]).await;
        goes_on(stored, &ground, stored.dataflow()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incomplete_first_commit_is_replaced_by_one_of_another_policy() {
    for seed in seeds(36_000).into_iter().take(3) {
        let tried = case(seed, Policy::OpsOnly).with(1, AT);
        let ground = torn();
        ground.append(between(&tried.world(), 0, AT)).await;
        crash(&ground, tried.dataflow(), 9).await;
        ground.append(between(&tried.world(), AT, END)).await;
        let stored = case(seed, Policy::ActiveAccountsOnly);
        goes_on(stored, &ground, stored.dataflow()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_whose_rebuild_was_interrupted_are_restored_from_a_checkpoint() {
    for seed in seeds(37_000).into_iter().take(3) {
        let stored = case(seed, Policy::ActiveAccountsOnly);
        let messages = stored.world();
        let mut lives = Lives::new(stored, END);
        lives.ground.store = Arc::new(Recorder::torn());
        lives
            .checkpoint_at(&messages, (0, 20), stored.with(1, END))
            .await;
        let mut options = stored.dataflow();
        options.checkpoint.interval = None;
        lives.ground.append(between(&messages, 20, AT)).await;
        let lived = stored.run_on(&lives.ground, options.clone()).await;
        lived.unwrap_or_else(|error| panic!("{stored:?}: {error}"));
        lives.ground.append(between(&messages, AT, END)).await;
        let over = Options {
            rebuild: true,
            ..options.clone()
        };
        crash(&lives.ground, over, WRITES[2]).await;
        let left = lives.checkpoints.list().await.expect("memory answers");
        assert_eq!(left.len(), 1, "{stored:?}: the checkpoint is gone");
        let control = lives.ground.store.control().await.expect("memory answers");
        // The first whole epoch that the log has.
        assert_eq!(control.intent, Some(Epoch(21)));
        assert_eq!(control.rebuilding, ViewId::ALL.iter().copied().collect());
        goes_on(stored, &lives.ground, options).await;
    }
}

/// A life with at least two checkpoints, each cut over several epochs; also returns the epoch of
/// the previous one.
async fn two_checkpoints(case: Case) -> (Lives, Epoch) {
    // The speed of writing decides how much is cut at the end of a batch.
    loop {
        let lives = Lives::new(case, END);
        lives.ground.append(between(&case.world(), 0, AT)).await;
        let mut options = case.dataflow();
        options.checkpoint.interval = None;
        options.checkpoint.events = Some(0);
        options.checkpoint.shards_per_cut = Some(24);
        let lived = case.run_on(&lives.ground, options).await;
        lived.unwrap_or_else(|error| panic!("{case:?}: {error}"));
        let spread = lives.manifests().await.into_iter();
        let spread = spread.filter(|it| it.first.epoch < it.last.epoch);
        let spread: Vec<_> = spread.map(|it| it.first.epoch).collect();
        if let [_newest, before, ..] = spread[..] {
            return (lives, before);
        }
    }
}

/// The views are lost, and the process dies while it rebuilds them from the newest checkpoint. Then that checkpoint is
/// damaged. The previous checkpoint ends earlier than the commit under way: its rows are all replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_views_are_restored_from_the_previous_checkpoint_if_the_newest_one_is_damaged() {
    for seed in seeds(38_000).into_iter().take(3) {
        let case = case(seed, Policy::ActiveAccountsOnly);
        let messages = case.world();
        let (mut lives, before) = two_checkpoints(case).await;
        lives.ground.store = Arc::new(Recorder::torn());
        let mut options = case.dataflow();
        options.checkpoint.interval = None;
        crash(&lives.ground, options.clone(), WRITES[1]).await;
        lives.checkpoints.keep(&[before]).await.expect("memory");
        lives.ground.append(between(&messages, AT, END)).await;
        // The life must end even if it never commits anything.
        options.until_last = true;
        options.checkpoint.events = Some(0);
        options.checkpoint.shards_per_cut = Some(64);
        goes_on(case, &lives.ground, options).await;
        let made = lives.manifests().await;
        assert!(made[0].first.epoch > before, "{case:?}: no checkpoint");
    }
}
