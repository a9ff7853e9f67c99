//! The dataflow over several processes. Here they run in one process and connect over the loopback
//! interface.
//!
//! | family | what it proves |
//! |---|---|
//! | `a_cluster_equals...` | 2 and 3 processes, 1 and 2 threads each, any grouping: exact at every
//! epoch |
//! | `sizes_and_drops...` | the leading process reports the statistics of all workers |
//! | `lives_on_any_number...` | checkpoints, clean stops and kills; each life has another number of
//! processes |
//! | `lost` | a dead process, a closed connection: all others stop in any state and name the lost
//! process |
//! | `strangers` | who may connect, who is rejected, and the reasons that are sent |
//!
//! Each failure names its seed. `SKYTIDE_TEST_SEED` runs a single seed, `SKYTIDE_TEST_SEEDS` that
//! many seeds.

mod lost;
mod strangers;

use skytide_core::event::DropReason;
use skytide_tests::model::recount;

use crate::recount::harness::{Case, Ground, seeds};
use crate::restart::ground::{Lives, Tally};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_equals_the_recount_at_every_epoch() {
    for seed in seeds(20_000) {
        let messages = Case::of(seed).world();
        let expected = recount(&messages, Case::of(seed).options);
        for (processes, workers, epochs_max) in [(2, 1, 1), (3, 1, 1), (2, 2, 7), (3, 2, 60)] {
            let case = Case::of(seed).with(workers, epochs_max).over(processes);
            case.compare(&expected, &case.run(&messages).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_drops_of_all_processes_are_reported_by_the_leading_one() {
    for seed in seeds(23_000).into_iter().take(3) {
        let messages = Case::of(seed).world();
        let mut reports = Vec::new();
        for (processes, workers) in [(1, 3), (3, 1)] {
            let case = Case::of(seed).with(workers, 7).over(processes);
            let ground = Ground::new();
            ground.append(&messages).await;
            let metrics = case.run_on(&ground, case.dataflow()).await;
            let metrics = metrics.unwrap_or_else(|error| panic!("{case:?}: {error}"));
            let sizes = (metrics.live_records.get(), metrics.accounts.get());
            let reasons = DropReason::ALL.iter();
            let drops: Vec<_> = reasons.map(|why| metrics.dropped_for(*why)).collect();
            assert!(
                sizes.0 > 0 && drops.iter().any(|count| *count > 0),
                "seed {seed}"
            );
            let exchanged = metrics
                .cluster_sent
                .get()
                .min(metrics.cluster_received.get());
            assert_eq!(exchanged > 0, processes > 1, "seed {seed}");
            reports.push((sizes, drops));
        }
        assert_eq!(reports[0], reports[1], "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lives_on_any_number_of_processes_equal_the_recount_at_every_epoch() {
    let mut tally = Tally::default();
    for seed in seeds(21_000) {
        let case = Case::of(seed);
        let messages = case.world();
        let mut lives = Lives::new(case, 60);
        lives.processes_max = 3;
        let expected = recount(&messages, case.options);
        tally += lives.run(&messages, &expected).await;
    }
    tally.assert_not_vacuous(seeds(0).len());
    assert!(tally.moved > 0 || seeds(0).len() < 3, "{tally:?}");
}
