//! Runs jobs when they are due or requested. Each job has its own task; two runs of a job never
//! overlap.
//!
//! ```text
//! schedule, random delay ─▶ due ─┐
//! missed or lost run ────────────┼─▶ run ─▶ end (stored) ─▶ plan the next run
//! request ───────────────────────┘    └─ another process runs the job: wait until it has ended
//! ```

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::port::clock::Clock;
use skytide_core::port::job::{
    JobError, JobRunner, JobState, JobStore, RunEnd, RunRefusal, Trigger,
};
use skytide_core::port::{BoxError, BoxFuture};
use skytide_core::time::Timestamp;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cron::Schedule;
use crate::job::{Job, Report, RunFailure};
use entry::Entry;

mod delay;
mod entry;
mod run;

/// How long storing the end of a run may take once the process shuts down.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The jobs with their schedules.
pub struct Scheduler {
    shared: Arc<Shared>,
    jobs: Vec<Arc<Entry>>,
}

/// A job, when it runs, and for how long.
pub struct ScheduledJob {
    /// The job.
    pub job: Arc<dyn Job>,
    /// When it is due.
    pub schedule: Schedule,
    /// The longest time of a run. A longer run is stopped.
    pub run_max: Duration,
}

/// The settings of a scheduler.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The limit of the random delay of jobs that use servers of other operators.
    pub jitter: Duration,
    /// A random number of this process. It distinguishes its runs from those of other processes,
    /// and determines the random delays.
    pub seed: u64,
}

/// The state that all jobs share.
struct Shared {
    clock: Arc<dyn Clock>,
    store: Arc<dyn JobStore>,
    next_token: AtomicU64,
}

/// The current state and the last run of a job in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name of the job.
    pub name: &'static str,
    /// When the job is due; `None` if it runs only on request.
    pub due: Option<Timestamp>,
    /// When the current run started, in this process or in the one that this process waits for;
    /// `None` if the job does not run.
    pub running_since: Option<Timestamp>,
    /// The last run that ended.
    pub last: Option<RunResult>,
}

/// The result of a run in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunResult {
    /// When the run started.
    pub began: Timestamp,
    /// When the run ended.
    pub ended: Timestamp,
    /// What started the run.
    pub trigger: Trigger,
    /// Its report, or why it failed.
    pub result: Result<Report, RunFailure>,
}

impl Scheduler {
    /// A scheduler of these jobs. Their state is stored in `store`.
    pub fn new(
        clock: Arc<dyn Clock>,
        store: Arc<dyn JobStore>,
        options: Options,
        jobs: Vec<ScheduledJob>,
    ) -> Self {
        let now = clock.now();
        let jobs = jobs.into_iter().map(|job| Entry::new(job, options, now));
        let jobs = jobs.map(Arc::new).collect();
        let shared = Arc::new(Shared {
            clock,
            store,
            next_token: AtomicU64::new(options.seed),
        });
        Self { shared, jobs }
    }

    /// The states of all jobs in this process.
    pub fn status(&self) -> Vec<Status> {
        let statuses = self.jobs.iter().map(|entry| entry.status.borrow().clone());
        statuses.collect()
    }

    /// Runs a job now in this process, which does not run the others, and waits for it, or until
    /// `stop`.
    ///
    /// # Errors
    /// There is no such job, or the run was not started.
    pub fn run_once<'a>(
        &'a self,
        name: &'a str,
        stop: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<RunEnd, RunRefusal>> {
        Box::pin(self.run_job(name, stop))
    }

    async fn run_job(&self, name: &str, stop: &CancellationToken) -> Result<RunEnd, RunRefusal> {
        let entry = self.entry(name)?;
        let result = entry.run(&self.shared, stop, Trigger::Command).await;
        // The stored plan is that of the process that runs the jobs on schedule, if there is one.
        if entry.is_unplanned(&self.shared).await {
            entry.store_plan(&self.shared, &entry.plan(None)).await;
        }
        result.into_end()
    }

    /// Runs the jobs until `stop` is cancelled. First, each job that was due while no process ran
    /// is caught up once. A run in progress at `stop` is interrupted; the next process catches up.
    ///
    /// # Errors
    /// A bug of the scheduler itself. A bug of a job is only reported.
    pub fn run(
        self: Arc<Self>,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<(), BoxError>> {
        Box::pin(self.run_jobs(stop))
    }

    async fn run_jobs(self: Arc<Self>, stop: CancellationToken) -> Result<(), BoxError> {
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

    fn entry(&self, name: &str) -> Result<&Entry, RunRefusal> {
        let found = self.jobs.iter().find(|entry| entry.job.name() == name);
        found.map(AsRef::as_ref).ok_or_else(|| {
            let known = self.jobs.iter().map(|entry| entry.job.name().to_owned());
            RunRefusal::Unknown {
                name: name.to_owned(),
                known: known.collect(),
            }
        })
    }
}

#[async_trait]
impl JobRunner for Scheduler {
    async fn run_now(&self, name: &str) -> Result<RunEnd, RunRefusal> {
        let result = self.entry(name)?.request().await?;
        result.into_end()
    }

    async fn states(&self) -> Result<Vec<JobState>, JobError> {
        let stored = self.shared.store.all().await?;
        let now = self.shared.clock.now();
        let state = |entry: &Arc<Entry>| {
            let name = entry.job.name();
            let stored = stored.iter().find(|state| state.name == name).cloned();
            let stored = stored.unwrap_or_default();
            let plan = entry.plan(entry.status.borrow().due);
            // The process that runs the job may be another one, with another random delay.
            let is_valid = (&stored.plan.cron, &stored.plan.zone) == (&plan.cron, &plan.zone)
                && stored.plan.due.is_some_and(|due| due > now);
            JobState {
                name: name.to_owned(),
                plan: if is_valid { stored.plan } else { plan },
                ..stored
            }
        };
        let mut states: Vec<_> = self.jobs.iter().map(state).collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(states)
    }
}

#[cfg(test)]
mod tests;
