//! A selection of views has the rows of the recount, and the other views have none.

use std::collections::BTreeSet;

use skytide_core::id::Epoch;
use skytide_core::view::ViewId;
use skytide_tests::model::{Rows, recount};
use skytide_tests::world::Random;

use super::harness::{Case, Ground, seeds};

/// About half of all views, at least one.
pub fn selection(seed: u64) -> Vec<ViewId> {
    let mut random = Random::new(seed);
    let views = ViewId::ALL.iter().copied();
    let mut selected: Vec<ViewId> = views.filter(|_| random.chance(50)).collect();
    if selected.is_empty() {
        selected.push(ViewId::Posts);
    }
    selected
}

/// The rows of these views only.
pub fn rows_of(views: &[ViewId], epochs: &[(Epoch, Rows)]) -> Vec<(Epoch, Rows)> {
    let mut selected = epochs.to_vec();
    for (_, rows) in &mut selected {
        rows.retain(|view, _| views.contains(view));
    }
    selected
}

#[tokio::test]
async fn any_selection_of_views_equals_the_recount_and_others_have_no_rows() {
    let mut covered = BTreeSet::new();
    for seed in seeds(11_000) {
        let messages = Case::of(seed).world();
        let all = recount(&messages, Case::of(seed).options);
        for (number, workers, epochs_max) in [(0, 1, 1), (1, 2, 1), (2, 4, 7)] {
            let case = Case::of(seed).with(workers, epochs_max);
            let views = selection(seed * 3 + number);
            println!("seed {seed}: {views:?}");
            covered.extend(views.iter().copied());
            let mut options = case.dataflow();
            options.views = views.clone();
            let ground = Ground::new();
            ground.append(&messages).await;
            let ended = case.run_on(&ground, options).await;
            ended.unwrap_or_else(|error| panic!("{case:?} {views:?}: {error}"));
            case.compare(&rows_of(&views, &all), &ground.store.take());
        }
    }
    if std::env::var_os("SKYTIDE_TEST_SEED").is_none() {
        assert_eq!(covered.len(), ViewId::ALL.len(), "a view is never selected");
    }
}
