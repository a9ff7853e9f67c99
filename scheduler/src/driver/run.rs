//! One run of a job: exclusive, bounded in time, and reported for every outcome.
//!
//! ```text
//! begin (stored: excludes others) ─▶ task ─┬─ report, failure, panic ─┐
//!                                          ├─ too long: stopped ──────┼─▶ end (stored) ─▶ log
//!                                          └─ shutdown: interrupted ──┘
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use skytide_core::port::BoxError;
use skytide_core::port::job::{REPORT_BYTES_MAX, RunEnd, RunOutcome, RunRefusal, Running, Trigger};
use skytide_core::time::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::{RunResult, Shared};
use crate::job::{Job, Report, RunFailure};

/// Time in ms between the time limit of a run and its stored deadline, in which the run is
/// certainly stopped.
const DEADLINE_GRACE_MS: u64 = 30_000;
/// The pauses between attempts to store the end of a run.
const END_RETRY_PAUSES: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
    Duration::from_millis(3_200),
];

impl Entry {
    pub(super) async fn run(
        &self,
        shared: &Shared,
        stop: &CancellationToken,
        trigger: Trigger,
    ) -> RunResult {
        let _guard = self.running.lock().await;
        let began = shared.clock.now();
        let run_max_ms = u64::try_from(self.run_max.as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = run_max_ms.saturating_add(DEADLINE_GRACE_MS);
        let run = Running {
            token: shared.next_token.fetch_add(1, Ordering::Relaxed),
            began,
            deadline: Timestamp(began.0.saturating_add(deadline_ms)),
            trigger: Some(trigger),
        };
        let ended = |result| RunResult {
            began,
            ended: shared.clock.now(),
            trigger,
            result,
        };
        if let Err(failure) = self.begin(shared, &run).await {
            let result = ended(Err(failure));
            if matches!(result.result, Err(RunFailure::State)) {
                self.status
                    .send_modify(|status| status.last = Some(result.clone()));
            }
            return result;
        }
        self.status
            .send_modify(|status| status.running_since = Some(began));
        let result = ended(bounded(self.job.clone(), self.run_max, stop).await);
        self.end(shared, run.token, &result).await;
        result
    }

    async fn begin(&self, shared: &Shared, run: &Running) -> Result<(), RunFailure> {
        let job = self.job.name();
        self.store_missing_ends(shared).await;
        match shared.store.begin(job, run).await {
            Ok(None) => {
                // The deadlines of earlier runs have passed: the store has recorded their ends.
                self.unstored().clear();
                Ok(())
            }
            Ok(Some(own)) if self.unstored().contains_key(&own.token) => {
                tracing::warn!(
                    job,
                    "job not started: the end of its last run is not stored yet"
                );
                Err(RunFailure::State)
            }
            Ok(Some(other)) => {
                let since = other.began.rfc3339();
                tracing::info!(job, since, "another process runs the job");
                Err(RunFailure::Busy(other))
            }
            Err(error) => {
                let error = &error as &(dyn Error + 'static);
                tracing::warn!(job, error, "job not started: could not store its state");
                Err(RunFailure::State)
            }
        }
    }

    async fn end(&self, shared: &Shared, token: u64, result: &RunResult) {
        let job = self.job.name();
        let ms = result.ended.0.saturating_sub(result.began.0);
        match &result.result {
            Ok(report @ Report::Nothing(_)) => tracing::debug!(job, ms, "{report}"),
            Ok(report) => tracing::info!(job, ms, "{report}"),
            Err(RunFailure::Failed(_)) => {}
            Err(failure) => tracing::warn!(job, ms, %failure, "the job did not finish"),
        }
        if let Ok(end) = result.clone().into_end() {
            self.store_end(shared, token, end).await;
        }
        self.status.send_modify(|status| {
            status.running_since = None;
            status.last = Some(result.clone());
        });
    }

    /// Stores the end of a run; tries again for some seconds. An end that could not be stored is
    /// kept for the next run, because it would exclude all runs until its deadline.
    async fn store_end(&self, shared: &Shared, token: u64, end: RunEnd) {
        for pause in END_RETRY_PAUSES {
            if self.try_end(shared, token, &end).await {
                return;
            }
            sleep(pause).await;
        }
        if !self.try_end(shared, token, &end).await {
            self.unstored().insert(token, end);
        }
    }

    /// Stores the ends of runs that could not be stored when the runs ended.
    pub(super) async fn store_missing_ends(&self, shared: &Shared) {
        let missing = self.unstored().clone();
        for (token, end) in missing {
            if self.try_end(shared, token, &end).await {
                self.unstored().remove(&token);
            }
        }
    }

    async fn try_end(&self, shared: &Shared, token: u64, end: &RunEnd) -> bool {
        let job = self.job.name();
        let stored = shared.store.end(job, token, end).await;
        if let Err(error) = &stored {
            let error = error as &(dyn Error + 'static);
            tracing::warn!(
                job,
                error,
                "could not store the end of the job: trying again"
            );
        }
        stored.is_ok()
    }

    fn unstored(&self) -> MutexGuard<'_, BTreeMap<u64, RunEnd>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunResult {
    /// The result as it is stored, or why the run was not started.
    pub(super) fn into_end(self) -> Result<RunEnd, RunRefusal> {
        let (outcome, report) = match &self.result {
            Ok(report) => (RunOutcome::Ok, report.to_string()),
            Err(RunFailure::Busy(other)) => {
                return Err(RunRefusal::Running { since: other.began });
            }
            Err(failure) => {
                let outcome = failure.outcome().ok_or(RunRefusal::NotStored)?;
                (outcome, failure.to_string())
            }
        };
        Ok(RunEnd {
            began: self.began,
            ended: self.ended,
            trigger: self.trigger.into(),
            outcome,
            report: bounded_report(&report),
        })
    }
}

/// The report in one line of at most [`REPORT_BYTES_MAX`] bytes. It may contain text of a server.
fn bounded_report(report: &str) -> String {
    const CUT: &str = "...";
    let line = report.replace(char::is_control, " ");
    if line.len() <= REPORT_BYTES_MAX {
        return line;
    }
    let end = line.floor_char_boundary(REPORT_BYTES_MAX - CUT.len());
    format!("{}{CUT}", &line[..end])
}

/// Runs the job in a task of its own until it ends, for at most `run_max` or until `stop`. The task
/// has ended when this returns: otherwise another process could start the job beside it.
async fn bounded(
    job: Arc<dyn Job>,
    run_max: Duration,
    stop: &CancellationToken,
) -> Result<Report, RunFailure> {
    let name = job.name();
    let mut task = JoinSet::new();
    task.spawn(async move { job.run().await });
    let result = tokio::select! {
        joined = task.join_next() => joined_result(name, joined),
        () = sleep(run_max) => Err(RunFailure::TooLong(run_max)),
        () = stop.cancelled() => Err(RunFailure::Interrupted),
    };
    task.shutdown().await;
    result
}

fn joined_result(
    job: &'static str,
    joined: Option<Result<Result<Report, BoxError>, JoinError>>,
) -> Result<Report, RunFailure> {
    match joined {
        Some(Ok(Ok(report))) => Ok(report),
        Some(Ok(Err(error))) => {
            let source: &(dyn Error + 'static) = error.as_ref();
            tracing::warn!(job, error = source, "job failed; its next run retries");
            Err(RunFailure::Failed(error.to_string()))
        }
        Some(Err(error)) => Err(panicked(job, error)),
        None => Err(RunFailure::Interrupted),
    }
}

fn panicked(job: &'static str, error: JoinError) -> RunFailure {
    let Ok(panic) = error.try_into_panic() else {
        return RunFailure::Interrupted;
    };
    let message = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(job, message, "job panicked: this is a bug");
    RunFailure::Panicked
}
