//! A scheduler that cannot start a run: another process runs the job, or the store fails.

use std::sync::atomic::AtomicBool;

use super::*;

/// A run of another process from this second on.
async fn other_run(store: &MemoryJobs, second: i64) -> Running {
    let run = Running {
        token: 1 << 50,
        began: moment(second),
        deadline: moment(second + 330),
        trigger: Some(Trigger::Schedule),
    };
    let other = store.begin("slow", &run).await.expect("stored");
    assert_eq!(other, None);
    run
}

async fn end_of_other(store: &MemoryJobs, run: Running, second: i64, outcome: RunOutcome) {
    let ended = RunEnd {
        began: run.began,
        ended: moment(second),
        trigger: run.trigger,
        outcome,
        report: String::new(),
    };
    store.end("slow", run.token, &ended).await.expect("stored");
}

/// Starts a scheduler with this schedule on a store with a run of another process, which starts a
/// second before the first due time and ends 10 s later.
async fn lose(cron: &str, due: i64, outcome: RunOutcome) -> (Arc<Scheduler>, Arc<Slow>) {
    let (store, job) = (MemoryJobs::default(), Arc::new(Slow::default()));
    let scheduler = scheduler_of(vec![(job.clone(), cron)], store.clone());
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(due as u64 - 1)).await;
    let run = other_run(&store, due - 1).await;
    sleep(Duration::from_secs(10)).await;
    let since = moment(due - 1);
    let refused = scheduler.run_now("slow").await;
    assert_eq!(refused, Err(RunRefusal::Running { since }));
    end_of_other(&store, run, due + 9, outcome).await;
    (scheduler, job)
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_lost_the_race_runs_at_the_next_due_time() {
    let (scheduler, job) = lose("0 * * * * *", 60, RunOutcome::Ok).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(scheduler.status()[0].due, Some(moment(120)));
    assert_eq!(job.running.load(Ordering::SeqCst), 0, "nothing was missed");
    sleep(Duration::from_secs(46)).await;
    assert_eq!(job.running.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_other_process_did_not_finish_is_caught_up_within_seconds() {
    let (scheduler, job) = lose("0 0 * * * *", 3_600, RunOutcome::Interrupted).await;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(job.running.load(Ordering::SeqCst), 1);
    sleep(Duration::from_secs(90)).await;
    let last = scheduler.states().await.expect("read").remove(0).last;
    let last = last.expect("ended");
    assert_eq!(
        (last.trigger, last.outcome),
        (Some(Trigger::CatchUp), RunOutcome::Ok)
    );
}

/// A store that fails to start runs, or to end them, until it is repaired.
#[derive(Default)]
struct Unwritable {
    jobs: MemoryJobs,
    is_repaired: AtomicBool,
    only_ends: AtomicBool,
}

impl Unwritable {
    fn check(&self, is_affected: bool) -> Result<(), JobError> {
        if self.is_repaired.load(Ordering::SeqCst) || !is_affected {
            return Ok(());
        }
        Err(JobError::Failed {
            operation: "write",
            source: "no space".into(),
        })
    }
}

#[async_trait]
impl JobStore for Unwritable {
    async fn all(&self) -> Result<Vec<JobState>, JobError> {
        self.jobs.all().await
    }

    async fn plan(&self, name: &str, plan: &JobPlan) -> Result<(), JobError> {
        self.jobs.plan(name, plan).await
    }

    async fn begin(&self, name: &str, run: &Running) -> Result<Option<Running>, JobError> {
        self.check(!self.only_ends.load(Ordering::SeqCst))?;
        self.jobs.begin(name, run).await
    }

    async fn end(&self, name: &str, token: u64, ended: &RunEnd) -> Result<(), JobError> {
        self.check(true)?;
        self.jobs.end(name, token, ended).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_start_could_not_be_stored_is_tried_again_soon() {
    let (store, job) = (Arc::new(Unwritable::default()), Arc::new(Slow::default()));
    let jobs = vec![scheduled(job.clone(), "0 0 * * * *")];
    let scheduler = scheduler_with(jobs, store.clone(), 7);
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(5)).await;
    let refused = scheduler.run_now("slow").await;
    assert_eq!(refused, Err(RunRefusal::NotStored));
    assert_eq!(
        scheduler.status()[0].due,
        Some(moment(3_600)),
        "requests are not repeated"
    );
    sleep(Duration::from_secs(3_600)).await;
    store.is_repaired.store(true, Ordering::SeqCst);
    assert_eq!(job.running.load(Ordering::SeqCst), 0);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(job.running.load(Ordering::SeqCst), 1);
}

/// A scheduler of each minute, whose store cannot end runs, after its first run from 60 to 150 s.
async fn unended() -> (Arc<Unwritable>, Arc<Slow>, Arc<Scheduler>) {
    let (store, job) = (Arc::new(Unwritable::default()), Arc::new(Slow::default()));
    store.only_ends.store(true, Ordering::SeqCst);
    let jobs = vec![scheduled(job.clone(), "0 * * * * *")];
    let scheduler = scheduler_with(jobs, store.clone(), 7);
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(152)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 1);
    assert!(stored_state(&store.jobs).await.running.is_some());
    (store, job, scheduler)
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_is_stored_when_the_store_works_again_within_seconds() {
    let (store, ..) = unended().await;
    store.is_repaired.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(10)).await;
    let state = stored_state(&store.jobs).await;
    assert_eq!(state.running, None);
    assert_eq!(state.last.map(|last| last.ended), Some(moment(150)));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_end_was_not_stored_does_not_block_the_next_one_until_its_deadline() {
    let (store, job, scheduler) = unended().await;
    sleep(Duration::from_secs(33)).await;
    assert_eq!(job.running.load(Ordering::SeqCst), 0, "due at 180 s");
    assert_eq!(
        scheduler.status()[0].due,
        Some(moment(210)),
        "tried again soon"
    );
    store.is_repaired.store(true, Ordering::SeqCst);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(job.running.load(Ordering::SeqCst), 1);
    let state = stored_state(&store.jobs).await;
    let first = state.last.expect("stored");
    assert_eq!((first.ended, first.outcome), (moment(150), RunOutcome::Ok));
    assert_eq!(state.history, [first], "no run counts as died");
}
