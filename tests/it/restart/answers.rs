//! The behaviour of the dataflow when a port never returns, or reports a failure of an operation
//! that succeeded.

use std::sync::Arc;
use std::task::Poll;

use futures_util::poll;
use skytide_core::id::Epoch;
use skytide_core::port::store::StoreError;
use skytide_core::view::ViewId;
use skytide_dataflow::{DataflowError, Ports};
use skytide_tests::faulty::{Fault, Plan, Planned, RejectingStore, Side};
use skytide_tests::model::recount;
use tokio_util::sync::CancellationToken;

use super::ground::Lives;
use crate::crash::faulty;
use crate::recount::harness::{Case, seeds};
use crate::recount::logs::between;

pub fn once(point: &'static str, side: Side, fault: Fault) -> Plan {
    let nth = 1;
    Plan::new(vec![Planned {
        point,
        nth,
        side,
        fault,
    }])
}

/// The start waits as it does while another indexer holds the lease, a server is away, or a check
/// takes long.
#[tokio::test]
async fn a_stop_takes_effect_while_a_start_waits_for_a_port() {
    let case = Case::of(1).with(1, 60);
    let lives = Lives::new(case, 60);
    lives.checkpoint_at(&case.world(), (0, 20), case).await;
    for point in [
        "store.lead",
        "log.bounds",
        "checkpoint.list",
        "checkpoint.read",
        "log.reader",
    ] {
        // A port that has crashed never returns.
        let plan = once(point, Side::Before, Fault::Crash);
        let stop = CancellationToken::new();
        let ports = faulty(lives.ground.ports(), &plan);
        let life = skytide_dataflow::run(case.dataflow(), ports, Arc::default(), stop.clone());
        let mut life = Box::pin(life);
        while plan.fired().is_empty() {
            assert!(poll!(&mut life).is_pending(), "{point}");
            tokio::task::yield_now().await;
        }
        assert!(poll!(&mut life).is_pending(), "{point}");
        stop.cancel();
        let ended = poll!(&mut life);
        assert!(matches!(ended, Poll::Ready(Ok(()))), "{point}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_succeeded_but_reported_failure_is_retried() {
    for seed in seeds(39_000).into_iter().take(2) {
        let case = Case::of(seed).with(2, 7);
        let messages = case.world();
        let lives = Lives::new(case, 60);
        lives.ground.append(between(&messages, 0, 60)).await;
        let stop = lives.ground.store.until(Epoch(60));
        let plan = once("store.commit", Side::After, Fault::Fail);
        let mut options = case.dataflow();
        options.checkpoint.interval = None;
        let metrics = Arc::new(skytide_dataflow::Metrics::default());
        let ports = faulty(lives.ground.ports(), &plan);
        let lived = skytide_dataflow::run(options, ports, metrics.clone(), stop).await;
        lived.unwrap_or_else(|error| panic!("{case:?}: {error}"));
        assert_eq!((plan.fired().len(), metrics.retries.get()), (1, 1));
        let expected = recount(&messages, case.options);
        case.compare(&expected, &lives.ground.store.take());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_store_rejects_for_good_ends_the_process_and_is_named() {
    let case = Case::of(2).with(2, 7);
    let lives = Lives::new(case, 60);
    lives.ground.append(between(&case.world(), 0, 60)).await;
    let store = Arc::new(RejectingStore {
        view: ViewId::Actors,
        store: lives.ground.store.clone(),
    });
    let ports = Ports {
        store,
        ..lives.ground.ports()
    };
    let metrics = Arc::new(skytide_dataflow::Metrics::default());
    let never = CancellationToken::new();
    let ended = skytide_dataflow::run(case.dataflow(), ports, metrics.clone(), never).await;
    let Err(DataflowError::Store(error @ StoreError::Rejected { .. })) = ended else {
        panic!("it names the row: {ended:?}");
    };
    let message = error.to_string();
    assert!(
        message.starts_with("the view store cannot hold the row \""),
        "{message}"
    );
    assert!(
        message.ends_with("\" of actors: it is not wanted"),
        "{message}"
    );
    assert_eq!(metrics.retries.get(), 0);
}
