use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use skytide_core::id::Epoch;
use tokio::time::Instant;

use super::*;

/// The clock of tokio's paused time, beginning at a full hour.
struct Paused(Instant);

impl Clock for Paused {
    fn now(&self) -> Timestamp {
        Timestamp(3_600_000 * 400_000 + self.0.elapsed().as_millis() as u64)
    }
}

/// Takes 90 seconds; counts its runs and those that overlap.
#[derive(Default)]
struct Slow {
    runs: AtomicU64,
    at_once: AtomicU64,
    overlaps: AtomicU64,
}

#[async_trait]
impl Job for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        if self.at_once.fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        sleep(Duration::from_secs(90)).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        if run == 2 {
            return Err("the second run fails".into());
        }
        let epoch = Epoch(run);
        Ok(Report::Snapshot { epoch, lists: 0 })
    }
}

fn scheduler(cron: &str) -> (Arc<Scheduler>, Arc<Slow>) {
    let job = Arc::new(Slow::default());
    let schedule = Schedule::parse(cron, "UTC").expect(cron);
    let clock = Arc::new(Paused(Instant::now()));
    let jobs: Vec<(Arc<dyn Job>, _)> = vec![(job.clone(), schedule)];
    (Arc::new(Scheduler::new(clock, jobs)), job)
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_when_due_and_misses_what_falls_into_its_run() {
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
async fn a_failed_run_is_told_and_not_repeated_before_it_is_due() {
    let (scheduler, job) = scheduler("0 * * * * *");
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(280)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 2);
    let last = scheduler.status()[0].last.clone().expect("runs ended");
    assert_eq!(last.result, Err("the second run fails".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn by_hand_and_by_time_never_run_at_once() {
    let (scheduler, job) = scheduler("0 * * * * *");
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(61)).await;
    scheduler.wake("slow").expect("known");
    let outcome = scheduler.run_once("slow").await.expect("known");
    assert!(
        outcome.began.0 % 3_600_000 >= 150_000,
        "waited for its turn"
    );
    sleep(Duration::from_secs(600)).await;
    assert!(job.runs.load(Ordering::SeqCst) > 3);
    assert_eq!(job.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_never_due_runs_when_it_is_woken() {
    let (scheduler, job) = scheduler("never");
    tokio::spawn(scheduler.clone().run(CancellationToken::new()));
    sleep(Duration::from_secs(100_000)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 0);
    scheduler.wake("slow").expect("known");
    sleep(Duration::from_secs(91)).await;
    assert_eq!(job.runs.load(Ordering::SeqCst), 1);
    let unknown = scheduler.wake("fast").expect_err("unknown");
    assert_eq!(
        unknown.to_string(),
        r#"there is no job "fast"; there are: slow"#
    );
}
