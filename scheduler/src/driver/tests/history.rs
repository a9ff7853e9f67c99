//! The history of runs, and the limits of single jobs.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_history_has_the_outcome_and_the_trigger_of_each_run() {
    let (store, job) = (MemoryJobs::default(), Arc::new(Slow::default()));
    let due = Some(moment(-60));
    let plan = JobPlan {
        due,
        ..JobPlan::default()
    };
    store.plan("slow", &plan).await.expect("planned");
    let scheduler = scheduler_of(vec![(job, "0 */5 * * * *")], store.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(scheduler.clone().run(stop.clone()));
    // Caught up from 0 to 90 s; due at 300 s, fails at 390 s; by request from 400 to 490 s; due at
    // 600 s, interrupted at 610 s.
    sleep(Duration::from_secs(400)).await;
    let end = scheduler.run_now("slow").await.expect("it has run");
    sleep(Duration::from_secs(120)).await;
    stop.cancel();
    running.await.expect("no panic").expect("no error");
    let state = stored_state(&store).await;
    let history = state.history.iter().map(|run| {
        let seconds = (run.began.0 - START) / 1_000;
        let took = (run.ended.0 - run.began.0) / 1_000;
        (seconds, took, run.trigger.expect("stored"), run.outcome)
    });
    let expected = [
        (600, 10, Trigger::Schedule, RunOutcome::Interrupted),
        (400, 90, Trigger::Command, RunOutcome::Ok),
        (300, 90, Trigger::Schedule, RunOutcome::Failed),
        (0, 90, Trigger::CatchUp, RunOutcome::Ok),
    ];
    assert_eq!(history.collect::<Vec<_>>(), expected);
    assert_eq!(state.last, Some(end));
    assert_eq!(state.history[2].report, "the second run fails");
}

/// A job whose report is long and has control characters.
struct Wordy;

#[async_trait]
impl Job for Wordy {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        Err(format!("\u{1b}[2\n{}", "ü".repeat(5_000)).into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_is_one_line_of_bounded_length_and_the_history_is_bounded() {
    let store = MemoryJobs::default();
    let scheduler = scheduler_of(vec![(Arc::new(Wordy), "never")], store.clone());
    for _ in 0..RUNS_KEPT + 1 {
        run_once(&scheduler).await.expect("it has run");
    }
    let history = stored_state(&store).await.history;
    assert_eq!(history.len(), RUNS_KEPT);
    let report = &history[0].report;
    assert_eq!(report.len(), 999, "1,000 bytes would split a character");
    assert!(report.starts_with(" [2 üü") && report.ends_with("üü..."));
}

#[tokio::test(start_paused = true)]
async fn each_job_has_its_own_time_limit() {
    let limits = [("hangs", 60), ("slow", 89), ("works", 1)];
    let store = MemoryJobs::default();
    let jobs = limits.map(|(name, seconds)| {
        let runs = AtomicU64::new(0);
        let job: Arc<dyn Job> = match name {
            "slow" => Arc::new(Slow::default()),
            name => Arc::new(Bad { name, runs }),
        };
        ScheduledJob {
            run_max: Duration::from_secs(seconds),
            ..scheduled(job, "0 0 * * * *")
        }
    });
    let scheduler = scheduler_with(jobs.into(), Arc::new(store.clone()), 7);
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(3_600 + 100)).await;
    let states = scheduler.states().await.expect("read");
    let took = states.iter().map(|state| {
        let last = state.last.as_ref().expect("ended");
        let took = (last.ended.0 - last.began.0) / 1_000;
        (state.plan.run_ms_max, took, last.outcome)
    });
    let expected = [
        (Some(60_000), 60, RunOutcome::TimedOut),
        (Some(89_000), 89, RunOutcome::TimedOut),
        (Some(1_000), 0, RunOutcome::Ok),
    ];
    assert_eq!(took.collect::<Vec<_>>(), expected);
    assert_eq!(states, store.all().await.expect("read"));
}

/// A job that waits until it is dropped, and then reads whether its run is still stored as running.
struct Endless {
    store: MemoryJobs,
    was_running: Arc<AtomicU64>,
}

struct Dropped<'a>(&'a Endless);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        let mut read = std::pin::pin!(self.0.store.all());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(states) = read.as_mut().poll(&mut context) else {
            panic!("the store in memory does not wait");
        };
        let is_running = states.expect("read").remove(0).running.is_some();
        let counted = u64::from(is_running);
        self.0.was_running.fetch_add(counted, Ordering::SeqCst);
    }
}

#[async_trait]
impl Job for Endless {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        let _dropped = Dropped(self);
        std::future::pending().await
    }
}

/// Another process could start the job as soon as the end is stored.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_is_stored_after_its_task_has_ended() {
    let store = MemoryJobs::default();
    let was_running = Arc::new(AtomicU64::new(0));
    let job = Endless {
        store: store.clone(),
        was_running: was_running.clone(),
    };
    let scheduler = scheduler_of(vec![(Arc::new(job), "never")], store);
    // The first run ends at its limit, the second one because the process stops.
    let end = run_once(&scheduler).await.expect("it has run");
    assert_eq!(end.outcome, RunOutcome::TimedOut);
    let stop = CancellationToken::new();
    let soon = async {
        sleep(Duration::from_secs(1)).await;
        stop.cancel();
    };
    let (end, ()) = tokio::join!(scheduler.run_once("slow", &stop), soon);
    assert_eq!(end.expect("it has run").outcome, RunOutcome::Interrupted);
    assert_eq!(was_running.load(Ordering::SeqCst), 2);
}
