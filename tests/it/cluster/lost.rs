//! A process that dies: all others stop, whatever their state, and the next life resumes from what
//! is stored.

use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::log::Log as _;
use skytide_core::port::store::ViewStore as _;
use skytide_dataflow::{DataflowError, Metrics};
use skytide_tests::faulty::{Fault, Plan, Planned, Side};
use skytide_tests::model::recount;
use skytide_tests::world::Random;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::crash::faulty;
use crate::recount::harness::{Case, Ground, Team, seeds};
use crate::recount::logs::between;
use crate::restart::ground::Lives;

type Ended = Result<(), DataflowError>;

/// The process that the error names as lost.
#[track_caller]
fn lost(ended: Ended, text: &str) -> usize {
    match ended {
        Err(DataflowError::Lost { peer, .. }) => peer.process,
        other => panic!("{text}: {other:?}"),
    }
}

/// Waits after process `gone` has died: all others must stop, and the leading one must name the
/// dead process.
async fn assert_lost(
    gone: usize,
    life: JoinHandle<Ended>,
    others: Vec<JoinHandle<Ended>>,
    text: &str,
) {
    others[gone - 1].abort();
    let first = life.await.expect("no panic");
    assert_eq!(lost(first, text), gone, "{text}");
    for (process, other) in (1..).zip(others) {
        if process != gone {
            let ended = other.await.expect("no panic");
            // The process may name the dead process or process 0, whichever it noticed first.
            let lost = lost(ended, text);
            assert!([0, gone].contains(&lost), "{text}: {process} lost {lost}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_in_the_middle_stops_all_and_the_next_life_resumes() {
    for seed in seeds(22_000) {
        let case = Case::of(seed).with(1, 1).over(3);
        let messages = case.world();
        let mut random = Random::new(seed);
        let lives = Lives::new(case, 60);
        let ground = &lives.ground;
        lives.checkpoint_at(&messages, (0, 12), case.over(2)).await;
        ground.append(between(&messages, 12, 60)).await;
        ground.store.take();
        let at = Epoch(13 + random.below(46));
        let reached = ground.store.until(at);
        let team = Team::start(case.processes, case.workers);
        let never = CancellationToken::new();
        let metrics = Arc::new(Metrics::default());
        let mut options = case.dataflow();
        options.checkpoint.interval = None;
        let life =
            skytide_dataflow::lead(options, ground.ports(), team.links, metrics, never.clone());
        let life = tokio::spawn(life);
        reached.cancelled().await;
        let gone = 1 + random.below(2) as usize;
        let text = format!("seed {seed}, process {gone} at {at}");
        assert_lost(gone, life, team.others, &text).await;

        let after = case.over(1 + random.below(3) as usize);
        let ended = after.run_on(ground, after.dataflow()).await;
        ended.unwrap_or_else(|error| panic!("{text}: {error}"));
        after.compare(&recount(&messages, case.options), &ground.store.take());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_the_log_is_idle_stops_all() {
    let case = Case::of(2).with(2, 60).over(3);
    let ground = Ground::new();
    ground.append(&case.world()).await;
    let newest = ground.log.newest_tick().await.expect("memory answers");
    let all = ground.store.until(newest.expect("a tick").1.epoch);
    let team = Team::start(case.processes, case.workers);
    let (metrics, never) = (Arc::new(Metrics::default()), CancellationToken::new());
    let life = skytide_dataflow::lead(
        case.dataflow(),
        ground.ports(),
        team.links,
        metrics,
        never.clone(),
    );
    let life = tokio::spawn(life);
    all.cancelled().await;
    assert_lost(2, life, team.others, "after the end").await;
}

/// The first process waits as it does while another indexer holds the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_the_first_one_waits_to_lead_stops_all() {
    let case = Case::of(3).with(1, 60).over(3);
    let ground = Ground::new();
    // A port that has crashed never returns.
    let plan = Plan::new(vec![Planned {
        point: "store.lead",
        nth: 1,
        side: Side::Before,
        fault: Fault::Crash,
    }]);
    let team = Team::start(case.processes, case.workers);
    let (metrics, never) = (Arc::new(Metrics::default()), CancellationToken::new());
    let ports = faulty(ground.ports(), &plan);
    let life = skytide_dataflow::lead(case.dataflow(), ports, team.links, metrics, never.clone());
    let life = tokio::spawn(life);
    while plan.fired().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_lost(1, life, team.others, "before it leads").await;
}

/// At the moment of the failure, some workers may have received their commands and others not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_of_the_first_process_stops_all() {
    for seed in seeds(24_000) {
        let case = Case::of(seed).with(2, 1).over(3);
        let ground = Ground::new();
        ground.append(&case.world()).await;
        let at = Epoch(1 + Random::new(seed).below(50));
        let reached = ground.store.until(at);
        let team = Team::start(case.processes, case.workers);
        let (metrics, never) = (Arc::default(), CancellationToken::new());
        let links = team.links;
        let life = skytide_dataflow::lead(case.dataflow(), ground.ports(), links, metrics, never);
        let life = tokio::spawn(life);
        reached.cancelled().await;
        ground.store.lead().await.expect("memory answers");
        let ended = life.await.expect("no panic");
        assert!(
            matches!(ended, Err(DataflowError::Store(_))),
            "seed {seed}: {ended:?}"
        );
        for other in team.others {
            let ended = other.await.expect("no panic");
            assert!(
                matches!(ended, Err(DataflowError::LeaderEnded { .. })),
                "seed {seed}: {ended:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_the_first_process_stops_all_cleanly() {
    let case = Case::of(4).with(2, 7).over(2);
    let messages = case.world();
    let ground = Ground::new();
    ground.append(between(&messages, 0, 40)).await;
    // Everything up to the stop is committed, and the next life misses nothing after it.
    let stopped = case.run_on(&ground, case.dataflow()).await;
    stopped.unwrap_or_else(|error| panic!("{case:?}: {error}"));
    let commits = ground.store.take();
    let expected = recount(&messages, case.options);
    case.compare(&expected[..40], &commits);
}
