//! Two schedulers on one job store, as two processes have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use skytide::clock::SystemClock;
use skytide_core::memory::MemoryJobs;
use skytide_core::port::BoxError;
use skytide_core::port::job::{JobStore, RunOutcome, Trigger};
use skytide_mongodb::{Connection, MongoJobs};
use skytide_scheduler::{Job, Options, Report, Schedule, ScheduledJob, Scheduler};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::mongo::own_database;

/// The runs of both processes.
struct Runs {
    /// Receives the number of the process of each run that starts.
    started: mpsc::UnboundedSender<usize>,
    /// A run ends when it has a permit.
    permits: Semaphore,
    running: AtomicUsize,
    overlaps: AtomicUsize,
}

/// The job in one process.
struct Shared {
    process: usize,
    runs: Arc<Runs>,
}

/// Counts a run as running until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Job for Shared {
    fn name(&self) -> &'static str {
        "shared"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        let Runs {
            started,
            permits,
            running,
            overlaps,
        } = &*self.runs;
        let overlap = usize::from(running.fetch_add(1, Ordering::SeqCst) > 0);
        overlaps.fetch_add(overlap, Ordering::SeqCst);
        let _counted = Counted(running);
        started.send(self.process)?;
        permits.acquire().await?.forget();
        Ok(Report::Nothing("fine"))
    }
}

/// A process that runs the job every second.
fn process(
    number: usize,
    store: &Arc<dyn JobStore>,
    runs: &Arc<Runs>,
) -> (CancellationToken, JoinHandle<()>) {
    let job = ScheduledJob {
        job: Arc::new(Shared {
            process: number,
            runs: runs.clone(),
        }),
        schedule: Schedule::parse("* * * * * *", "UTC").unwrap(),
        run_max: Duration::from_secs(3_600),
    };
    let options = Options {
        jitter: Duration::ZERO,
        seed: (number as u64) << 32,
    };
    let scheduler = Scheduler::new(Arc::new(SystemClock), store.clone(), options, vec![job]);
    let stop = CancellationToken::new();
    let running = Arc::new(scheduler).run(stop.clone());
    let task = tokio::spawn(async move { running.await.unwrap() });
    (stop, task)
}

/// The first process is stopped during its run. The other one, which lost the race for that run,
/// runs the job soon, and not only at the deadline of an hour. No runs overlap.
async fn another_process_takes_over(store: Arc<dyn JobStore>) {
    let (started, mut starts) = mpsc::unbounded_channel();
    let runs = Arc::new(Runs {
        started,
        permits: Semaphore::new(0),
        running: AtomicUsize::new(0),
        overlaps: AtomicUsize::new(0),
    });
    let mut processes = [0, 1].map(|number| Some(process(number, &store, &runs)));
    let first = starts.recv().await.unwrap();
    let (stop, task) = processes[first].take().unwrap();
    stop.cancel();
    task.await.unwrap();
    assert_eq!(starts.recv().await, Some(1 - first));
    runs.permits.add_permits(1);
    assert_eq!(starts.recv().await, Some(1 - first));
    let state = store.all().await.unwrap().remove(0);
    let outcomes = state.history.iter().map(|run| (run.outcome, run.trigger));
    let [newest, oldest] =
        [outcomes.clone().next(), outcomes.clone().next_back()].map(Option::unwrap);
    assert_eq!(newest.0, RunOutcome::Ok);
    assert_eq!(oldest.0, RunOutcome::Interrupted);
    // The start of a run that another process lost may be seen as missed.
    let triggers = [Trigger::Schedule, Trigger::CatchUp].map(Some);
    assert!(triggers.contains(&oldest.1), "{oldest:?}");
    let (stop, task) = processes[1 - first].take().unwrap();
    stop.cancel();
    task.await.unwrap();
    assert_eq!(runs.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_takes_over_the_jobs_of_another_one_in_memory() {
    another_process_takes_over(Arc::new(MemoryJobs::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_takes_over_the_jobs_of_another_one_on_mongodb() {
    let Some((options, _own)) = own_database() else {
        return;
    };
    let connection = Connection::open(&options).await.unwrap();
    another_process_takes_over(Arc::new(MongoJobs::new(&connection))).await;
}
