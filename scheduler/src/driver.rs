//! Runs jobs when they are due or requested. Each job has its own task; two runs of a job never
//! overlap.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::job::{JobPlan, JobStore};
use skytide_core::time::Timestamp;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cron::Schedule;
use crate::job::{Job, Report, RunFailure};

mod run;

/// How often the clock is checked while a job waits, because the clock may be changed meanwhile.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How long storing the end of a run may take once the process shuts down.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The jobs with their schedules.
pub struct Scheduler {
    shared: Arc<Shared>,
    jobs: Vec<Arc<Entry>>,
}

/// The settings of a scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest time of a run. A longer run is stopped.
    pub run_max: Duration,
    /// A random number of this process. It distinguishes its runs from those of other processes.
    pub seed: u64,
}

/// The state that all jobs share.
struct Shared {
    clock: Arc<dyn Clock>,
    store: Arc<dyn JobStore>,
    run_max: Duration,
    next_token: AtomicU64,
}

/// A job with its schedule and state.
struct Entry {
    job: Arc<dyn Job>,
    schedule: Schedule,
    /// Requests a run outside the schedule.
    wake: Notify,
    /// Locked during a run.
    running: Mutex<()>,
    status: watch::Sender<Status>,
}

/// The current state and the last run of a job in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name of the job.
    pub name: &'static str,
    /// When the job is due; `None` if it runs only on request.
    pub due: Option<Timestamp>,
    /// When the current run started; `None` if the job does not run.
    pub running_since: Option<Timestamp>,
    /// The last run that ended.
    pub last: Option<Outcome>,
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When the run started.
    pub began: Timestamp,
    /// When the run ended.
    pub ended: Timestamp,
    /// Its report, or why it failed.
    pub result: Result<Report, RunFailure>,
}

/// There is no job of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no job {name:?}; there are: {known}")]
pub struct UnknownJob {
    /// The requested name.
    pub name: String,
    /// The names of all jobs.
    pub known: String,
}

impl Scheduler {
    /// A scheduler of these jobs and their schedules. Their state is stored in `store`.
    pub fn new(
        clock: Arc<dyn Clock>,
        store: Arc<dyn JobStore>,
        options: Options,
        jobs: Vec<(Arc<dyn Job>, Schedule)>,
    ) -> Self {
        let entry = |(job, schedule): (Arc<dyn Job>, Schedule)| {
            let (status, _) = watch::channel(Status {
                name: job.name(),
                due: schedule.next(clock.now()),
                running_since: None,
                last: None,
            });
            Arc::new(Entry {
                job,
                schedule,
                wake: Notify::new(),
                running: Mutex::new(()),
                status,
            })
        };
        let jobs = jobs.into_iter().map(entry).collect();
        let shared = Arc::new(Shared {
            clock,
            store,
            run_max: options.run_max,
            next_token: AtomicU64::new(options.seed),
        });
        Self { shared, jobs }
    }

    /// The states of all jobs.
    pub fn status(&self) -> Vec<Status> {
        let statuses = self.jobs.iter().map(|entry| entry.status.borrow().clone());
        statuses.collect()
    }

    /// Requests a run. It starts after the current run, if there is one.
    ///
    /// # Errors
    /// There is no such job.
    pub fn wake(&self, name: &str) -> Result<(), UnknownJob> {
        self.entry(name)?.wake.notify_one();
        Ok(())
    }

    /// Runs a job now and waits for it, or until `stop`.
    ///
    /// # Errors
    /// There is no such job.
    pub async fn run_once(
        &self,
        name: &str,
        stop: &CancellationToken,
    ) -> Result<Outcome, UnknownJob> {
        let entry = self.entry(name)?;
        let outcome = entry.run(&self.shared, stop).await;
        entry
            .store_plan(&self.shared, entry.schedule.next(self.shared.clock.now()))
            .await;
        Ok(outcome)
    }

    /// Runs the jobs until `stop` is cancelled. First, each job that was due while no process ran
    /// is caught up once. A run in progress at `stop` is interrupted; the next process catches up.
    ///
    /// # Errors
    /// A bug of the scheduler itself. A bug of a job is only reported.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), BoxError> {
        let mut tasks = JoinSet::new();
        for entry in &self.jobs {
            let (entry, shared, stop) = (entry.clone(), self.shared.clone(), stop.clone());
            tasks.spawn(async move { entry.run_on_schedule(&shared, &stop).await });
        }
        let ended = async {
            while let Some(ended) = tasks.join_next().await {
                ended?;
            }
            stop.cancelled().await;
            Ok(())
        };
        let overdue = async {
            stop.cancelled().await;
            sleep(STOP_GRACE).await;
        };
        tokio::select! {
            biased;
            ended = ended => ended,
            // The end of a run cannot be stored. The next process finds it unfinished, as after a
            // crash.
            () = overdue => Ok(()),
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry, UnknownJob> {
        let found = self.jobs.iter().find(|entry| entry.job.name() == name);
        found.map(AsRef::as_ref).ok_or_else(|| {
            let known: Vec<_> = self.jobs.iter().map(|entry| entry.job.name()).collect();
            UnknownJob {
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }
}

impl Entry {
    async fn run_on_schedule(&self, shared: &Shared, stop: &CancellationToken) {
        self.catch_up(shared, stop).await;
        while !stop.is_cancelled() {
            let due = self.schedule.next(shared.clock.now());
            self.status.send_modify(|status| status.due = due);
            self.store_plan(shared, due).await;
            tokio::select! {
                () = wait_until(due, shared) => {}
                () = self.wake.notified() => {}
                () = stop.cancelled() => return,
            }
            if self.run_or_wait(shared, stop).await {
                continue;
            }
            self.catch_up(shared, stop).await;
        }
    }

    /// Runs the job once if it was due since its last run. A process that died during a run
    /// excludes others until the deadline of its run, so this waits for that deadline.
    async fn catch_up(&self, shared: &Shared, stop: &CancellationToken) {
        while !stop.is_cancelled() && self.has_missed_run(shared).await {
            if self.run_or_wait(shared, stop).await {
                return;
            }
        }
    }

    /// Runs the job. If another process runs it, waits until the deadline of that run and returns
    /// false.
    async fn run_or_wait(&self, shared: &Shared, stop: &CancellationToken) -> bool {
        let outcome = self.run(shared, stop).await;
        let Err(RunFailure::Busy { deadline, .. }) = outcome.result else {
            return true;
        };
        tokio::select! {
            () = wait_until(Some(deadline), shared) => {}
            () = stop.cancelled() => {}
        }
        false
    }

    async fn has_missed_run(&self, shared: &Shared) -> bool {
        let name = self.job.name();
        let states = match shared.store.all().await {
            Ok(states) => states,
            Err(error) => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(job = name, error, "could not check for missed runs");
                return false;
            }
        };
        let Some(state) = states.into_iter().find(|state| state.name == name) else {
            return false;
        };
        // A job whose run never ended was due at the stored time.
        let due = match state.last {
            Some(last) => self.schedule.next(last.ended),
            None => state.plan.due.filter(|_| !self.schedule.is_never()),
        };
        due.is_some_and(|due| due <= shared.clock.now())
    }

    /// Stores when the job is due, for other processes to show. A failure is only logged.
    async fn store_plan(&self, shared: &Shared, due: Option<Timestamp>) {
        let job = self.job.name();
        let plan = JobPlan {
            cron: self.schedule.text(),
            zone: self.schedule.zone(),
            due,
        };
        if let Err(error) = shared.store.plan(job, &plan).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(job, error, "could not store when the job is due");
        }
    }
}

/// Waits until the wall clock shows this time; forever if it is `None`.
async fn wait_until(due: Option<Timestamp>, shared: &Shared) {
    let Some(due) = due else {
        return std::future::pending().await;
    };
    loop {
        let left = Duration::from_millis(due.0.saturating_sub(shared.clock.now().0));
        if left.is_zero() {
            return;
        }
        sleep(left.min(CLOCK_CHECK_INTERVAL)).await;
    }
}

#[cfg(test)]
mod tests;
