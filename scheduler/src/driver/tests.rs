use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryJobs;
use skytide_core::port::job::{JobPlan, RUNS_KEPT, RunOutcome, Running};
use tokio::time::Instant;

use super::*;

/// The start time of the tests' clock in ms: a full hour.
const START: u64 = 3_600_000 * 400_000;

/// A clock that starts at [`START`] and advances with tokio's paused time.
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp(START + self.0.elapsed().as_millis() as u64)
    }
}

/// A job whose run takes 90 seconds. The second run fails.
#[derive(Default)]
struct Slow {
    /// Finished runs.
    runs: AtomicU64,
    /// Runs in progress.
    running: AtomicU64,
    /// Runs that started while another one was in progress.
    overlaps: AtomicU64,
}

#[async_trait]
impl Job for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        if self.running.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        sleep(Duration::from_secs(90)).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        if run == 2 {
            return Err("the second run fails".into());
        }
        let epoch = Epoch(run);
        Ok(Report::Snapshot { epoch, lists: 0 })
    }
}

/// A scheduler that runs [`Slow`] by this cron expression.
fn scheduler(cron: &str) -> (Arc<Scheduler>, Arc<Slow>) {
    let job = Arc::new(Slow::default());
    (
        scheduler_of(vec![(job.clone(), cron)], MemoryJobs::default()),
        job,
    )
}

/// A scheduler of these jobs, each with its cron expression.
fn scheduler_of(jobs: Vec<(Arc<dyn Job>, &str)>, store: MemoryJobs) -> Arc<Scheduler> {
    let jobs = jobs.into_iter().map(|(job, cron)| scheduled(job, cron));
    scheduler_with(jobs.collect(), Arc::new(store), 7)
}

/// A job with its cron expression and a limit of 300 s.
fn scheduled(job: Arc<dyn Job>, cron: &str) -> ScheduledJob {
    ScheduledJob {
        job,
        schedule: Schedule::parse(cron, "UTC").expect(cron),
        run_max: Duration::from_secs(300),
    }
}

/// A scheduler whose random delays are below 20 s.
fn scheduler_with(jobs: Vec<ScheduledJob>, store: Arc<dyn JobStore>, seed: u64) -> Arc<Scheduler> {
    let clock = Arc::new(Paused(Instant::now()));
    let jitter = Duration::from_secs(20);
    let options = Options { jitter, seed };
    Arc::new(Scheduler::new(clock, store, options, jobs))
}

async fn run_once(scheduler: &Scheduler) -> Result<RunEnd, RunRefusal> {
    scheduler.run_once("slow", &CancellationToken::new()).await
}

/// The time this many seconds after the start of the tests' clock.
fn moment(seconds: i64) -> Timestamp {
    Timestamp(START.saturating_add_signed(seconds * 1_000))
}

async fn stored_state(store: &MemoryJobs) -> JobState {
    store.all().await.expect("read").remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_when_due_and_skips_times_during_its_run() {
    let (scheduler, job) = scheduler("0 * * * * *");
    let stop = CancellationToken::new();
    let running = tokio::spawn(scheduler.clone().run(stop.clone()));
    // Due at 60 s, runs to 150 s; due at 180 s, runs to 270 s and fails; due at 300 s, to 390 s.
    sleep(Duration::from_secs(400)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 3);
    let last = scheduler.status()[0].last.clone().expect("runs ended");
    assert_eq!(last.ended.0 - last.began.0, 90_000);
    let epoch = Epoch(3);
    assert_eq!(last.result, Ok(Report::Snapshot { epoch, lists: 0 }));
    stop.cancel();
    running.await.expect("no panic").expect("no error");
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_reported_and_not_repeated_before_it_is_due() {
    let (scheduler, job) = scheduler("0 * * * * *");
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(280)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 2);
    let last = scheduler.status()[0].last.clone().expect("runs ended");
    let failure = RunFailure::Failed("the second run fails".to_owned());
    assert_eq!(last.result, Err(failure));
}

#[tokio::test(start_paused = true)]
async fn runs_by_hand_and_by_schedule_never_overlap() {
    let (scheduler, job) = scheduler("0 * * * * *");
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(61)).await;
    let since = moment(60);
    let refused = scheduler.run_now("slow").await.expect_err("it runs");
    assert_eq!(refused, RunRefusal::Running { since });
    let end = run_once(&scheduler).await.expect("it has run");
    assert!(
        end.began.0 % 3_600_000 >= 150_000,
        "the run by hand waits for the scheduled one"
    );
    sleep(Duration::from_secs(600)).await;
    assert!(job.runs.load(Ordering::SeqCst) > 3);
    assert_eq!(job.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_never_due_runs_when_it_is_requested() {
    let (scheduler, job) = scheduler("never");
    let stop = CancellationToken::new();
    let running = tokio::spawn(scheduler.clone().run(stop.clone()));
    sleep(Duration::from_secs(100_000)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 0);
    let end = scheduler.run_now("slow").await.expect("it has run");
    assert_eq!(end.trigger, Some(Trigger::Command));
    assert_eq!((end.began, end.ended), (moment(100_000), moment(100_090)));
    assert_eq!(job.runs.load(Ordering::SeqCst), 1);

    // A requester that stops waiting does not stop the run.
    let waiting = tokio::time::timeout(Duration::from_secs(1), scheduler.run_now("slow"));
    assert!(waiting.await.is_err(), "the run takes longer");
    sleep(Duration::from_secs(90)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 2);

    let unknown = scheduler.run_now("fast").await.expect_err("unknown");
    assert_eq!(
        unknown.to_string(),
        r#"there is no job "fast"; there are: slow"#
    );
    stop.cancel();
    running.await.expect("no panic").expect("no error");
    let refused = scheduler.run_now("slow").await;
    assert_eq!(refused, Err(RunRefusal::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_replace_the_run_that_is_due_later() {
    let (scheduler, job) = scheduler("0 0 * * * *");
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(60)).await;
    scheduler.run_now("slow").await.expect("it has run");
    assert_eq!(scheduler.status()[0].due, Some(moment(3_600)));
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 2);
}

/// A job whose name determines whether it panics, hangs or succeeds.
struct Bad {
    name: &'static str,
    runs: AtomicU64,
}

#[async_trait]
impl Job for Bad {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&self) -> Result<Report, BoxError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        match self.name {
            "panics" => panic!("a bug"),
            "hangs" => std::future::pending().await,
            _ => Ok(Report::Nothing("fine")),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_panics_or_hangs_is_reported_and_the_others_continue() {
    let bad = ["panics", "hangs", "works"].map(|name| {
        let runs = AtomicU64::new(0);
        Arc::new(Bad { name, runs })
    });
    let jobs = bad
        .iter()
        .map(|job| (job.clone() as Arc<dyn Job>, "0 * * * * *"));
    let store = MemoryJobs::default();
    let scheduler = scheduler_of(jobs.collect(), store.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(scheduler.clone().run(stop.clone()));
    // The job that hangs runs from 60 to 360 s and from 420 to 720 s.
    sleep(Duration::from_secs(725)).await;
    let runs = bad.each_ref().map(|job| job.runs.load(Ordering::SeqCst));
    assert_eq!(runs, [12, 2, 12]);
    let results = scheduler
        .status()
        .into_iter()
        .map(|it| it.last.expect("ended").result);
    let too_long = RunFailure::TooLong(Duration::from_secs(300));
    let expected = [
        Err(RunFailure::Panicked),
        Err(too_long),
        Ok(Report::Nothing("fine")),
    ];
    assert_eq!(results.collect::<Vec<_>>(), expected);
    let all = store.all().await.expect("read");
    let reported = all.iter().map(|job| {
        let last = job.last.as_ref().expect("ended");
        (job.name.as_str(), last.outcome, last.report.as_str())
    });
    let too_long = "it took longer than 300 s and was stopped (SCHEDULER_<JOB>_RUN_MAX, else \
                    SCHEDULER_RUN_MAX)";
    let expected = [
        ("hangs", RunOutcome::TimedOut, too_long),
        ("panics", RunOutcome::Panicked, "it panicked"),
        ("works", RunOutcome::Ok, "nothing to do: fine"),
    ];
    assert_eq!(reported.collect::<Vec<_>>(), expected);
    stop.cancel();
    running.await.expect("no panic").expect("no error");
}

#[tokio::test(start_paused = true)]
async fn a_missed_run_is_caught_up_once() {
    // Seconds relative to the start of the scheduler: the end of the last run, and the stored time
    // of the next run. Then the number of runs that the scheduler starts at once. The job is due at
    // every full minute.
    let cases = [
        (Some(-61), 0, 1),
        (Some(-3_600 * 24 * 9), 0, 1),
        (Some(0), 60, 0),
        (None, -60, 1),
        (None, 60, 0),
    ];
    for (ended, planned, runs) in cases {
        let store = MemoryJobs::default();
        let due = Some(moment(planned));
        let plan = JobPlan {
            due,
            ..JobPlan::default()
        };
        store.plan("slow", &plan).await.expect("planned");
        if let Some(seconds) = ended {
            let run = Running {
                token: 1,
                began: moment(seconds - 5),
                deadline: moment(seconds + 5),
                trigger: None,
            };
            let ended = RunEnd {
                began: run.began,
                ended: moment(seconds),
                trigger: None,
                outcome: RunOutcome::Ok,
                report: "done".to_owned(),
            };
            store.begin("slow", &run).await.expect("begun");
            store.end("slow", 1, &ended).await.expect("ended");
        }
        let job = Arc::new(Slow::default());
        let scheduler = scheduler_of(vec![(job.clone(), "0 * * * * *")], store.clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(scheduler.clone().run(stop.clone()));
        sleep(Duration::from_secs(59)).await;
        let began = job.running.load(Ordering::SeqCst);
        assert_eq!(began, runs, "{ended:?} {planned}");
        sleep(Duration::from_secs(32)).await;
        assert_eq!(job.runs.load(Ordering::SeqCst), runs, "once");
        stop.cancel();
        running.await.expect("no panic").expect("no error");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_never_due_is_not_missed() {
    let store = MemoryJobs::default();
    let due = Some(moment(-60));
    let plan = JobPlan {
        due,
        ..JobPlan::default()
    };
    store.plan("slow", &plan).await.expect("planned");
    let job = Arc::new(Slow::default());
    let scheduler = scheduler_of(vec![(job.clone(), "never")], store.clone());
    tokio::spawn(scheduler.run(CancellationToken::new()));
    sleep(Duration::from_secs(300)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 0);
    let plan = JobPlan {
        cron: "never".to_owned(),
        zone: "UTC".to_owned(),
        due: None,
        run_ms_max: Some(300_000),
    };
    assert_eq!(stored_state(&store).await.plan, plan);
}

#[tokio::test(start_paused = true)]
async fn two_processes_never_run_a_job_at_once() {
    let (store, job) = (MemoryJobs::default(), Arc::new(Slow::default()));
    let other = scheduled(job.clone(), "0 * * * * *");
    let other = scheduler_with(vec![other], Arc::new(store.clone()), 1 << 40);
    let one = scheduler_of(vec![(job.clone(), "0 * * * * *")], store.clone());
    tokio::spawn(one.run(CancellationToken::new()));
    tokio::spawn(other.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(70)).await;
    // A run by hand in a third process.
    let by_hand = scheduler_of(vec![(job.clone(), "never")], store.clone());
    let since = moment(60);
    let refused = run_once(&by_hand).await;
    assert_eq!(refused, Err(RunRefusal::Running { since }));
    let plan = stored_state(&store).await.plan;
    assert_eq!(
        plan.cron, "0 * * * * *",
        "the plan of those that run on schedule"
    );
    sleep(Duration::from_secs(3_600)).await;
    assert!(job.runs.load(Ordering::SeqCst) > 15);
    assert_eq!(job.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn the_run_of_a_dead_process_is_caught_up_after_its_deadline() {
    let store = MemoryJobs::default();
    let plan = JobPlan {
        due: Some(moment(-5)),
        ..JobPlan::default()
    };
    store.plan("slow", &plan).await.expect("planned");
    let dead = Running {
        token: 1,
        began: moment(-5),
        deadline: moment(200),
        trigger: None,
    };
    store.begin("slow", &dead).await.expect("begun");
    let job = Arc::new(Slow::default());
    let scheduler = scheduler_of(vec![(job.clone(), "0 0 * * * *")], store.clone());
    tokio::spawn(scheduler.run(CancellationToken::new()));
    sleep(Duration::from_secs(199)).await;
    assert_eq!(job.running.load(Ordering::SeqCst), 0);
    sleep(Duration::from_secs(32)).await;
    assert_eq!(job.running.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_a_shutdown_interrupts_is_caught_up_at_the_next_start() {
    let (store, job) = (MemoryJobs::default(), Arc::new(Slow::default()));
    let scheduler = scheduler_of(vec![(job.clone(), "0 0 * * * *")], store.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(scheduler.run(stop.clone()));
    sleep(Duration::from_secs(3_601)).await;
    stop.cancel();
    running.await.expect("no panic").expect("no error");
    let state = stored_state(&store).await;
    assert_eq!((state.running, state.last), (None, None));
    let outcomes: Vec<_> = state.history.iter().map(|run| run.outcome).collect();
    assert_eq!(outcomes, [RunOutcome::Interrupted]);
    assert_eq!(job.runs.load(Ordering::SeqCst), 0);
}

mod history;
mod jitter;
mod lost;
