//! Runs jobs when they are due or wanted, each by itself, never two runs of one at once.

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

/// The clock is looked at again after so long: it may be set while a job waits.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How long recording how a run ended may take once the process is to stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The jobs and when they are due.
pub struct Scheduler {
    shared: Arc<Shared>,
    jobs: Vec<Arc<Entry>>,
}

/// What a scheduler wants to know.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A run that takes longer is ended.
    pub run_max: Duration,
    /// Drawn at random by the process: its runs are told apart by it from those of others.
    pub seed: u64,
}

/// What the jobs share.
struct Shared {
    clock: Arc<dyn Clock>,
    store: Arc<dyn JobStore>,
    run_max: Duration,
    next_token: AtomicU64,
}

struct Entry {
    job: Arc<dyn Job>,
    schedule: Schedule,
    wake: Notify,
    /// Held during a run.
    running: Mutex<()>,
    status: watch::Sender<Status>,
}

/// What a job is doing and what it did last, in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The job.
    pub name: &'static str,
    /// When it is due; `None`: never by itself.
    pub due: Option<Timestamp>,
    /// When the run that goes on began; `None`: none does.
    pub running_since: Option<Timestamp>,
    /// The last run that ended.
    pub last: Option<Outcome>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What it did, or why it could not.
    pub result: Result<Report, RunFailure>,
}

/// There is no job of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no job {name:?}; there are: {known}")]
pub struct UnknownJob {
    /// What was asked for.
    pub name: String,
    /// The names there are.
    pub known: String,
}

impl Scheduler {
    /// The given jobs, each with the moments at which it is due. Their state is kept in `store`.
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

    /// What the jobs are doing.
    pub fn status(&self) -> Vec<Status> {
        let statuses = self.jobs.iter().map(|entry| entry.status.borrow().clone());
        statuses.collect()
    }

    /// Asks for a run as soon as the one that goes on, if any, has ended.
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

    /// Runs the jobs until `stop`; first, once, those whose moment passed while nobody was there. A run that goes on
    /// at `stop` is cut off: the next one does its work.
    ///
    /// # Errors
    /// A bug of the scheduler itself; that of a job is told and no more.
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
            // How a run ended cannot be recorded: as after a crash, the next process finds it unfinished.
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

    /// Runs once if a moment at which the job was due has passed since its last run. A process that died in a run keeps
    /// others out until its deadline: that is waited for.
    async fn catch_up(&self, shared: &Shared, stop: &CancellationToken) {
        while !stop.is_cancelled() && self.has_missed_run(shared).await {
            if self.run_or_wait(shared, stop).await {
                return;
            }
        }
    }

    /// Runs; waits for the deadline of another process that does, and answers false.
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
                tracing::warn!(job = name, error, "missed runs could not be looked for");
                return false;
            }
        };
        let Some(state) = states.into_iter().find(|state| state.name == name) else {
            return false;
        };
        // One that never ended was due when it was planned.
        let due = match state.last {
            Some(last) => self.schedule.next(last.ended),
            None => state.plan.due.filter(|_| !self.schedule.is_never()),
        };
        due.is_some_and(|due| due <= shared.clock.now())
    }

    /// Others read it; that it could not be kept stops nothing.
    async fn store_plan(&self, shared: &Shared, due: Option<Timestamp>) {
        let job = self.job.name();
        let plan = JobPlan {
            cron: self.schedule.text(),
            zone: self.schedule.zone(),
            due,
        };
        if let Err(error) = shared.store.plan(job, &plan).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(job, error, "when the job is due could not be kept");
        }
    }
}

/// Waits for a moment of the clock on the wall.
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
