//! Runs jobs when they are due or wanted, each by itself, never two runs of one at once.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cron::Schedule;
use crate::job::{Job, Report};

/// The clock is looked at again after so long: it may be set while a job waits.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The jobs and when they are due.
pub struct Scheduler {
    clock: Arc<dyn Clock>,
    jobs: Vec<Arc<Entry>>,
}

struct Entry {
    job: Arc<dyn Job>,
    schedule: Schedule,
    wanted: Notify,
    /// Held during a run.
    running: Mutex<()>,
    status: watch::Sender<Status>,
}

/// What a job is doing and what it did last.
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
    pub result: Result<Report, String>,
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
    /// The given jobs, each with the moments at which it is due.
    pub fn new(clock: Arc<dyn Clock>, jobs: Vec<(Arc<dyn Job>, Schedule)>) -> Self {
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
                wanted: Notify::new(),
                running: Mutex::new(()),
                status,
            })
        };
        let jobs = jobs.into_iter().map(entry).collect();
        Self { clock, jobs }
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
        self.entry(name)?.wanted.notify_one();
        Ok(())
    }

    /// Runs a job now and waits for it.
    ///
    /// # Errors
    /// There is no such job.
    pub async fn run_once(&self, name: &str) -> Result<Outcome, UnknownJob> {
        Ok(self.entry(name)?.run(self.clock.as_ref()).await)
    }

    /// Runs the jobs until `stop`. A run that goes on then is left: the next one does its work.
    ///
    /// # Errors
    /// A job panicked.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), BoxError> {
        let mut tasks = JoinSet::new();
        for entry in &self.jobs {
            let (entry, clock) = (entry.clone(), self.clock.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
                entry.drive(clock.as_ref()).await;
            }));
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        stop.cancelled().await;
        Ok(())
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
    async fn drive(&self, clock: &dyn Clock) {
        loop {
            let due = self.schedule.next(clock.now());
            self.status.send_modify(|status| status.due = due);
            tokio::select! {
                () = reached(due, clock) => {}
                () = self.wanted.notified() => {}
            }
            self.run(clock).await;
        }
    }

    async fn run(&self, clock: &dyn Clock) -> Outcome {
        let _alone = self.running.lock().await;
        let began = clock.now();
        self.status
            .send_modify(|status| status.running_since = Some(began));
        let result = self.job.run().await;
        let ended = clock.now();
        let (job, ms) = (self.job.name(), ended.0.saturating_sub(began.0));
        match &result {
            Ok(report) => tracing::info!(job, ms, "{report}"),
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = error.as_ref();
                tracing::warn!(job, ms, error, "job failed; its next run tries again");
            }
        }
        let outcome = Outcome {
            began,
            ended,
            result: result.map_err(|error| error.to_string()),
        };
        self.status.send_modify(|status| {
            status.running_since = None;
            status.last = Some(outcome.clone());
        });
        outcome
    }
}

/// Waits for a moment of the clock on the wall.
async fn reached(due: Option<Timestamp>, clock: &dyn Clock) {
    let Some(due) = due else {
        return std::future::pending().await;
    };
    loop {
        let left = Duration::from_millis(due.0.saturating_sub(clock.now().0));
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK_EVERY)).await;
    }
}

#[cfg(test)]
mod tests;
