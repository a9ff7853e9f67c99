//! One run of a job: exclusive, bounded in time, and reported for every outcome.
//!
//! ```text
//! begin (stored: excludes others) ─▶ task ─┬─ report, failure, panic ─┐
//!                                          ├─ too long: stopped ──────┼─▶ end (stored) ─▶ log
//!                                          └─ shutdown: interrupted ──┘
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skytide_core::port::job::{RunEnd, Running};
use skytide_core::time::Timestamp;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Entry, Outcome, Shared};
use crate::job::{Job, Report, RunFailure};

/// Time in ms between the time limit of a run and its stored deadline, in which the run is
/// certainly stopped.
const DEADLINE_GRACE_MS: u64 = 30_000;

impl Entry {
    pub(super) async fn run(&self, shared: &Shared, stop: &CancellationToken) -> Outcome {
        let _guard = self.running.lock().await;
        let began = shared.clock.now();
        let run_max_ms = u64::try_from(shared.run_max.as_millis()).unwrap_or(u64::MAX);
        let run = Running {
            token: shared.next_token.fetch_add(1, Ordering::Relaxed),
            began,
            deadline: Timestamp(
                began
                    .0
                    .saturating_add(run_max_ms)
                    .saturating_add(DEADLINE_GRACE_MS),
            ),
        };
        let outcome = |result| Outcome {
            began,
            ended: shared.clock.now(),
            result,
        };
        if let Err(failure) = self.begin(shared, &run).await {
            let outcome = outcome(Err(failure));
            if matches!(outcome.result, Err(RunFailure::State)) {
                self.status
                    .send_modify(|status| status.last = Some(outcome.clone()));
            }
            return outcome;
        }
        self.status
            .send_modify(|status| status.running_since = Some(began));
        let result = tokio::select! {
            result = bounded(self.job.clone(), shared.run_max) => result,
            () = stop.cancelled() => Err(RunFailure::Interrupted),
        };
        let outcome = outcome(result);
        self.end(shared, run.token, &outcome).await;
        outcome
    }

    async fn begin(&self, shared: &Shared, run: &Running) -> Result<(), RunFailure> {
        let job = self.job.name();
        match shared.store.begin(job, run).await {
            Ok(None) => Ok(()),
            Ok(Some(Running {
                began, deadline, ..
            })) => {
                tracing::info!(job, since = began.rfc3339(), "another process runs the job");
                Err(RunFailure::Busy { began, deadline })
            }
            Err(error) => {
                let error = &error as &(dyn Error + 'static);
                tracing::warn!(job, error, "job not started: could not store its state");
                Err(RunFailure::State)
            }
        }
    }

    async fn end(&self, shared: &Shared, token: u64, outcome: &Outcome) {
        let (
            job,
            Outcome {
                began,
                ended,
                result,
            },
        ) = (self.job.name(), outcome);
        let ms = ended.0.saturating_sub(began.0);
        match result {
            Ok(report @ Report::Nothing(_)) => tracing::debug!(job, ms, "{report}"),
            Ok(report) => tracing::info!(job, ms, "{report}"),
            Err(RunFailure::Failed(_)) => {}
            Err(failure) => tracing::warn!(job, ms, %failure, "the job did not finish"),
        }
        let run_end = RunEnd {
            began: *began,
            ended: *ended,
            ok: result.is_ok(),
            report: match result {
                Ok(report) => report.to_string(),
                Err(failure) => failure.to_string(),
            },
        };
        let has_ended = !matches!(result, Err(RunFailure::Interrupted));
        let stored = shared
            .store
            .end(job, token, has_ended.then_some(&run_end))
            .await;
        if let Err(error) = stored {
            let error = &error as &(dyn Error + 'static);
            tracing::warn!(job, error, "could not store the end of the job");
        }
        self.status.send_modify(|status| {
            status.running_since = None;
            status.last = Some(outcome.clone());
        });
    }
}

/// Runs the job in a task of its own, which is aborted when this future is dropped.
async fn bounded(job: Arc<dyn Job>, run_max: Duration) -> Result<Report, RunFailure> {
    let name = job.name();
    let mut task = JoinSet::new();
    task.spawn(async move { job.run().await });
    match timeout(run_max, task.join_next()).await {
        Ok(Some(Ok(Ok(report)))) => Ok(report),
        Ok(Some(Ok(Err(error)))) => {
            let source: &(dyn Error + 'static) = error.as_ref();
            tracing::warn!(
                job = name,
                error = source,
                "job failed; its next run retries"
            );
            Err(RunFailure::Failed(error.to_string()))
        }
        Ok(Some(Err(error))) => Err(panicked(name, error)),
        Ok(None) => Err(RunFailure::Interrupted),
        Err(_) => Err(RunFailure::TooLong(run_max)),
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
