//! Rows whose recipe has changed are written again; others are not touched.

use skytide_core::port::store::{Order, Range, ViewReader};
use skytide_core::view::ViewId;
use skytide_dataflow::Options;
use skytide_tests::model::{self, Policy, recount};

use super::ground::Lives;
use crate::recount::harness::{Case, seeds};
use crate::recount::logs::between;
use crate::recount::selected::selection;

const AT: usize = 30;

/// Runs a life that ends with a checkpoint, changes the options, and runs another life; also
/// returns the case that applies from then on.
async fn changed(
    before: Case,
    after: Case,
    change: impl Fn(&mut Options),
) -> Result<Lives, skytide_dataflow::DataflowError> {
    let messages = before.world();
    let lives = Lives::new(before, 60);
    lives.checkpoint_at(&messages, (0, AT), before).await;
    lives.ground.append(between(&messages, AT, 60)).await;
    lives.ground.store.take();
    let mut options = after.dataflow();
    options.checkpoint.interval = None;
    change(&mut options);
    let metrics = after.run_on(&lives.ground, options).await?;
    assert!(
        metrics.restore_seconds.get() > 0.0,
        "{after:?} did not start from the checkpoint"
    );
    Ok(lives)
}

/// Compares commits with the recount. Lists of a rebuilt view appear with the next second: before,
/// they are missing.
async fn compare(lives: &Lives, after: Case) {
    let expected = recount(&after.world(), after.options);
    let mut commits = lives.ground.store.take();
    let last = commits.split_off(commits.len() - 1);
    after.compare(&expected, &last);
    for commit in &mut commits {
        let expected = &expected[commit.committed.epoch.0 as usize - 1].1;
        let mut expected = expected.clone();
        for rows in [&mut expected, &mut commit.rows] {
            rows.retain(|view, _| !view.is_list());
        }
        let found = skytide_tests::checkers::difference(&expected, &commit.rows);
        if let Some(text) = found {
            panic!("{after:?}, epoch {}: {text}", commit.committed.epoch);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_policy_recounts_everything() {
    use Policy::{ActiveAccountsOnly, DeletedAccountsRemoved};
    for seed in seeds(30_000) {
        for (from, to) in [
            (ActiveAccountsOnly, DeletedAccountsRemoved),
            (DeletedAccountsRemoved, ActiveAccountsOnly),
        ] {
            let case = |policy| {
                let mut case = Case::of(seed).with(2, 1);
                case.options = model::Options {
                    policy,
                    interactions_days: None,
                };
                case
            };
            let lives = changed(case(from), case(to), |_| ()).await;
            let lives = lives.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            compare(&lives, case(to)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_policy_discarded_cannot_be_counted_again() {
    let case = |policy| {
        let mut case = Case::of(3).with(1, 60);
        case.options.policy = policy;
        case
    };
    let (from, to) = (case(Policy::ActiveAccountsOnly), case(Policy::OpsOnly));
    let refused = changed(from, to, |_| ())
        .await
        .err()
        .expect("a refusal")
        .to_string();
    assert!(
        refused.contains("cannot be counted as ops_only"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interactions_of_more_or_fewer_days_are_written_again() {
    for seed in seeds(31_000) {
        for (from, to) in [(Some(1), None), (None, Some(2)), (Some(8), Some(1))] {
            let case = |days| {
                let mut case = Case::of(seed).with(2, 1);
                case.options.interactions_days = days;
                case
            };
            let lives = changed(case(from), case(to), |_| ()).await;
            let lives = lives.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            compare(&lives, case(to)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_view_loses_its_rows_and_regains_them_when_enabled() {
    for seed in seeds(32_000) {
        // Every other seed: views whose state has a special place.
        let off = match seed % 2 {
            0 => vec![
                ViewId::Posts,
                ViewId::Activity,
                ViewId::TopPosts,
                ViewId::Hashtags,
            ],
            _ => selection(seed),
        };
        println!("seed {seed}: without {off:?}");
        let case = Case::of(seed).with(2, 1);
        let messages = case.world();
        let expected = recount(&messages, case.options);
        let lives = Lives::new(case, 60);
        lives
            .checkpoint_at(&messages, (0, 20), case.with(1, 60))
            .await;
        lives.ground.append(between(&messages, 20, 40)).await;
        lives.ground.store.take();
        let mut options = case.dataflow();
        options.views.retain(|view| !off.contains(view));
        options.checkpoint.events = Some(0);
        options.checkpoint.shards_per_cut = Some(64);
        let metrics = case
            .run_on(&lives.ground, options)
            .await
            .expect("the run completes");
        assert!(metrics.restore_seconds.get() > 0.0 && metrics.checkpoints.get() > 0);
        for commit in lives.ground.store.take() {
            let mut expected = expected[commit.committed.epoch.0 as usize - 1].1.clone();
            off.iter()
                .for_each(|view| expected.entry(*view).or_default().clear());
            if let Some(text) = skytide_tests::checkers::difference(&expected, &commit.rows) {
                panic!("{case:?}, epoch {}: {text}", commit.committed.epoch);
            }
        }
        lives.ground.append(between(&messages, 40, 60)).await;
        let back = case.run_on(&lives.ground, case.dataflow()).await;
        back.unwrap_or_else(|error| panic!("{case:?}: {error}"));
        compare(&lives, case).await;
    }
}

/// The recorded version of a view differs from ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_of_another_version_is_written_again_and_others_are_not_touched() {
    let case = Case::of(33_000).with(1, 1);
    let messages = case.world();
    let lives = Lives::new(case, 60);
    lives
        .checkpoint_at(&messages, (0, AT), case.with(1, 60))
        .await;
    let store = &lives.ground.store;
    let mut recipe = case.dataflow().recipe();
    recipe.views.insert(ViewId::Actors, 0);
    store.pretend(recipe);
    let expected = &recount(&messages, case.options)[..=AT];
    lives.ground.append(between(&messages, AT, AT + 1)).await;
    store.take();
    case.run_on(&lives.ground, case.dataflow())
        .await
        .expect("the run completes");
    case.compare(expected, &store.take());
    let oldest = |view: ViewId| async move {
        let all = Range::prefix(Order::First, &[], 10_000);
        let rows = store.scan(view, all).await.expect("memory answers");
        rows.iter().map(|row| row.epoch.0 as usize).min()
    };
    assert!(
        oldest(ViewId::Actors).await > Some(AT),
        "some rows were not written again"
    );
    assert_eq!(
        oldest(ViewId::Posts).await,
        Some(AT),
        "rows of another view were written"
    );
}
