//! The contract of a job store: one function per property, named by the property.
//! [`job_contract!`](crate::job_contract) turns all of them into tests of one implementation.

use std::sync::Arc;

use skytide_core::port::job::{
    BEGAN_AHEAD_MS_MAX, JobPlan, JobState, JobStore, RUNS_KEPT, RunEnd, RunOutcome, Running,
    Trigger,
};
use skytide_core::time::Timestamp;

/// Makes one test of each property. `$make` is an async function that returns
/// `(Arc<dyn JobStore>, guard)` with a new, empty store; the guard outlives the store.
#[macro_export]
macro_rules! job_contract {
    ($make:path) => {
        $crate::job_contract! {
            @properties $make:
            plans_and_results_are_read_back_by_name,
            a_run_holds_the_job_until_it_ends,
            a_run_that_died_holds_the_job_until_its_deadline,
            a_run_that_a_wrong_clock_recorded_does_not_hold_the_job,
            only_the_current_run_can_end,
            an_interrupted_run_releases_the_job_and_changes_no_result,
            the_history_holds_the_newest_runs_that_ended_or_died,
            of_many_concurrent_runs_one_begins,
        }
    };
    (@properties $make:path: $($property:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            let Some((store, _guard)) = $crate::made::Made::made($make().await) else {
                return;
            };
            $crate::contract_jobs::$property(store).await;
        }
    )*};
}

fn run(token: u64, began: u64) -> Running {
    Running {
        token,
        began: Timestamp(began),
        deadline: Timestamp(began + 100),
        trigger: Some(Trigger::Schedule),
    }
}

fn end(began: u64, report: &str) -> RunEnd {
    RunEnd {
        began: Timestamp(began),
        ended: Timestamp(began + 7),
        trigger: Some(Trigger::CatchUp),
        outcome: if report == "done" {
            RunOutcome::Ok
        } else {
            RunOutcome::TimedOut
        },
        report: report.to_owned(),
    }
}

async fn state(store: &dyn JobStore, name: &str) -> JobState {
    let all = store.all().await.unwrap();
    all.into_iter().find(|it| it.name == name).unwrap()
}

/// Plans, runs and results are stored under the name of their job.
pub async fn plans_and_results_are_read_back_by_name(store: Arc<dyn JobStore>) {
    assert_eq!(store.all().await.unwrap(), []);
    let plan = JobPlan {
        cron: "0 0 * * * *".to_owned(),
        zone: "Europe/Vienna".to_owned(),
        due: Some(Timestamp(1_783_175_888_123)),
        run_ms_max: Some(300_000),
    };
    store.plan("snapshot", &plan).await.unwrap();
    assert_eq!(
        store.begin("retention", &run(u64::MAX, 5)).await.unwrap(),
        None
    );
    store
        .end("retention", u64::MAX, &end(5, "it \"failed\""))
        .await
        .unwrap();
    store.begin("profiles", &run(2, 9)).await.unwrap();
    let names = ["profiles", "retention", "snapshot"];
    let mut expected = names.map(|name| JobState {
        name: name.to_owned(),
        ..JobState::default()
    });
    expected[0].running = Some(run(2, 9));
    expected[1].last = Some(end(5, "it \"failed\""));
    expected[1].history = vec![end(5, "it \"failed\"")];
    expected[2].plan = plan.clone();
    assert_eq!(store.all().await.unwrap(), expected);

    // A new plan does not change the rest of the state.
    let never = JobPlan { due: None, ..plan };
    store.plan("retention", &never).await.unwrap();
    expected[1].plan = never;
    assert_eq!(store.all().await.unwrap(), expected);
}

/// The second caller learns which run holds the job.
pub async fn a_run_holds_the_job_until_it_ends(store: Arc<dyn JobStore>) {
    assert_eq!(store.begin("a", &run(1, 10)).await.unwrap(), None);
    assert_eq!(
        store.begin("a", &run(2, 109)).await.unwrap(),
        Some(run(1, 10))
    );
    assert_eq!(
        store.begin("b", &run(3, 11)).await.unwrap(),
        None,
        "another job"
    );
    store.end("a", 1, &end(10, "done")).await.unwrap();
    assert_eq!(store.begin("a", &run(2, 18)).await.unwrap(), None);
    let found = state(&*store, "a").await;
    assert_eq!(
        (found.running, found.last),
        (Some(run(2, 18)), Some(end(10, "done")))
    );
}

/// After its deadline a run no longer holds the job.
pub async fn a_run_that_died_holds_the_job_until_its_deadline(store: Arc<dyn JobStore>) {
    assert_eq!(store.begin("a", &run(1, 10)).await.unwrap(), None);
    assert_eq!(store.begin("a", &run(2, 110)).await.unwrap(), None);
    assert_eq!(state(&*store, "a").await.running, Some(run(2, 110)));
}

/// A clock that was years ahead must not block the job for years.
pub async fn a_run_that_a_wrong_clock_recorded_does_not_hold_the_job(store: Arc<dyn JobStore>) {
    let ahead = 10 + BEGAN_AHEAD_MS_MAX;
    assert_eq!(store.begin("a", &run(1, ahead)).await.unwrap(), None);
    let holder = store.begin("a", &run(2, 10)).await.unwrap();
    assert_eq!(holder, Some(run(1, ahead)), "a day ahead");
    assert_eq!(store.begin("a", &run(2, 9)).await.unwrap(), None);
    assert_eq!(state(&*store, "a").await.running, Some(run(2, 9)));
}

/// A run that was superseded must not end the run that replaced it.
pub async fn only_the_current_run_can_end(store: Arc<dyn JobStore>) {
    store.end("a", 9, &end(0, "never began")).await.unwrap();
    store.begin("a", &run(1, 10)).await.unwrap();
    store.begin("a", &run(2, 200)).await.unwrap();
    store.end("a", 1, &end(10, "late")).await.unwrap();
    let found = state(&*store, "a").await;
    assert_eq!((found.running, found.last), (Some(run(2, 200)), None));
    store.end("a", 2, &end(200, "done")).await.unwrap();
    store.end("a", 2, &end(200, "twice")).await.unwrap();
    let found = state(&*store, "a").await;
    assert_eq!((found.running, found.last), (None, Some(end(200, "done"))));
}

/// The state is as if the run had never begun.
pub async fn an_interrupted_run_releases_the_job_and_changes_no_result(store: Arc<dyn JobStore>) {
    store.begin("a", &run(1, 10)).await.unwrap();
    store.end("a", 1, &end(10, "done")).await.unwrap();
    store.begin("a", &run(2, 20)).await.unwrap();
    let interrupted = RunEnd {
        outcome: RunOutcome::Interrupted,
        ..end(20, "stopped")
    };
    store.end("a", 2, &interrupted).await.unwrap();
    let found = state(&*store, "a").await;
    assert_eq!((found.running, found.last), (None, Some(end(10, "done"))));
    assert_eq!(found.history, [interrupted, end(10, "done")]);
}

/// Newest first. A run that died is recorded when the next one replaces it, and only then.
pub async fn the_history_holds_the_newest_runs_that_ended_or_died(store: Arc<dyn JobStore>) {
    let total = RUNS_KEPT as u64 + 3;
    for token in 1..=total {
        let began = token * 1_000;
        assert_eq!(store.begin("a", &run(token, began)).await.unwrap(), None);
        store.end("a", token, &end(began, "done")).await.unwrap();
    }
    let newest = (4..=total).rev().map(|token| end(token * 1_000, "done"));
    let mut expected: Vec<_> = newest.collect();
    assert_eq!(state(&*store, "a").await.history, expected);

    // A run that died, an attempt before its deadline, and the run that replaces it.
    let (died, next) = (run(90, 100_000), run(91, 100_100));
    assert_eq!(store.begin("a", &died).await.unwrap(), None);
    assert_eq!(
        store.begin("a", &run(92, 100_050)).await.unwrap(),
        Some(died)
    );
    assert_eq!(state(&*store, "a").await.history, expected);
    assert_eq!(store.begin("a", &next).await.unwrap(), None);
    expected.insert(0, RunEnd::died(&died, next.began));
    expected.truncate(RUNS_KEPT);
    let found = state(&*store, "a").await;
    assert_eq!((found.running, found.history), (Some(next), expected));
    assert_eq!(found.last, Some(end(total * 1_000, "done")));
}

/// Holds for any order of arrival.
pub async fn of_many_concurrent_runs_one_begins(store: Arc<dyn JobStore>) {
    let begin = |token| {
        let store = store.clone();
        tokio::spawn(async move { store.begin("a", &run(token, 10)).await.unwrap() })
    };
    let begun: Vec<_> = (1..=16).map(begin).collect();
    let mut free = 0;
    for task in begun {
        free += usize::from(task.await.unwrap().is_none());
    }
    assert_eq!(free, 1);
}
