//! Audits of the views in a process that runs the dataflow: on request of `skytide audit`, and of a
//! small sample at intervals.
//!
//! ```text
//! interval ─────────────────────────────▶ AuditService ─▶ report ─▶ metrics, log, /v1/audit
//! skytide audit ─▶ data/audit.sock ─▶ server ─▲  │ one audit at a time, on a thread of its own
//!                                                ▼
//!                                          skytide_audit::run
//! ```

mod machine;
mod metrics;
mod server;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use skytide_audit::{AuditError, Request, Scope, Sources};
use skytide_core::config::Config;
use skytide_core::port::audit::{AuditReport, AuditReporter};
use skytide_dataflow::{Metrics, Sections};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::data::{Data, ViewBackend};
use crate::export::ExportError;
pub use metrics::AuditMetrics;
pub use server::{Answer, AuditRequest, request_audit, serve_audits};

/// Audits at intervals work for one part in this many of their time.
const PACE: u32 = 4;
/// They take at most one part in this many of all time.
const SHARE: u32 = 100;
/// The longest pause between two tries while an audit is not possible.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The memory that an audit of a sample may use for events, and again for rows, in bytes.
const SAMPLE_BYTES: u64 = 256 << 20;
/// The part of the log that an audit at intervals reads at most, in bytes.
const LOG_BYTES_MAX: u64 = 512 << 20;

/// Why an audit was not possible.
#[derive(Debug, thiserror::Error)]
pub enum AuditFailure {
    /// The rows of one commit cannot be read.
    #[error("cannot read the rows of one commit")]
    Rows(#[source] ExportError),
    /// The audit itself was not possible.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The thread of the audit panicked.
    #[error("the audit panicked: {0}")]
    Panicked(String),
}

/// Audits the views of this process.
pub struct AuditService {
    sources: Sources,
    views: Arc<dyn ViewBackend>,
    metrics: AuditMetrics,
    /// Held during an audit, by its thread.
    running: Arc<tokio::sync::Mutex<()>>,
    newest: Mutex<Option<Arc<AuditReport>>>,
}

impl AuditService {
    /// Audits these data, which must be opened for the dataflow.
    pub fn new(data: &Data, metrics: AuditMetrics) -> Arc<Self> {
        let ports = data.ports();
        Arc::new(Self {
            sources: Sources {
                log: ports.log,
                checkpoints: data.checkpoint_reader(),
                sections: Arc::new(Sections),
            },
            views: data.views().clone(),
            metrics,
            running: Arc::default(),
            newest: Mutex::default(),
        })
    }

    /// Audits all rows, or about this many random ones. Waits for an audit that runs already.
    /// Dropping the future cancels the audit.
    ///
    /// # Errors
    ///
    /// The audit was not possible.
    pub async fn audit(&self, rows: Option<usize>) -> Result<Arc<AuditReport>, AuditFailure> {
        // The standard library seeds its hashers at random.
        let seed = RandomState::new().hash_one(0);
        let request = match rows {
            None => Request {
                memory_bytes: machine::memory_for_audit(),
                ..Request::new(Scope::All, seed)
            },
            Some(rows) => Request {
                memory_bytes: SAMPLE_BYTES,
                ..Request::new(Scope::Sample { rows }, seed)
            },
        };
        self.make(request).await
    }

    async fn make(&self, request: Request) -> Result<Arc<AuditReport>, AuditFailure> {
        let audited = match self.try_once(request.clone()).await {
            // The checkpoint was removed, or the log trimmed, since the audit chose it.
            Err(AuditFailure::Audit(AuditError::Checkpoint(_) | AuditError::Log(_))) => {
                self.try_once(request).await
            }
            audited => audited,
        };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match audited {
            Ok(report) => {
                self.metrics.record(&report);
                log_result(&report);
                let report = Arc::new(report);
                *newest = Some(report.clone());
                Ok(report)
            }
            Err(failure) => {
                self.metrics.record_failure();
                Err(failure)
            }
        }
    }

    async fn try_once(&self, request: Request) -> Result<AuditReport, AuditFailure> {
        let request = Request {
            cancelled: Arc::default(),
            ..request
        };
        let running = self.running.clone().lock_owned().await;
        let _cancel = CancelOnDrop(request.cancelled.clone());
        let reader = self.views.reader_of_one_commit().await;
        let reader = reader.map_err(AuditFailure::Rows)?;
        let (sources, runtime) = (self.sources.clone(), Handle::current());
        // Counting takes seconds without a pause, so it must not block a thread of the runtime.
        let audit = move || {
            let _running = running;
            runtime.block_on(skytide_audit::run(&sources, reader.as_ref(), &request))
        };
        let ended = tokio::task::spawn_blocking(audit).await;
        let audited = ended.map_err(|error| AuditFailure::Panicked(error.to_string()))?;
        Ok(audited?)
    }

    /// Audits a sample at intervals until `stop` is cancelled, while the dataflow with these metrics
    /// counts. In a standby it does not.
    pub async fn audit_at_intervals(
        self: Arc<Self>,
        config: &Config,
        dataflow: &Metrics,
        stop: CancellationToken,
    ) {
        let Some(interval) = config.indexer.audit_interval.0 else {
            stop.cancelled().await;
            return;
        };
        let rows = config.indexer.audit_rows as usize;
        let _stopped = stop
            .run_until_cancelled(self.audit_repeatedly(interval.0, rows, dataflow))
            .await;
    }

    async fn audit_repeatedly(&self, interval: Duration, rows: usize, dataflow: &Metrics) {
        let mut pause = interval;
        loop {
            sleep(pause).await;
            if dataflow.epoch.get() == 0 {
                pause = interval.min(RETRY_MAX);
                continue;
            }
            let seed = RandomState::new().hash_one(0);
            let request = Request {
                pace: PACE,
                memory_bytes: SAMPLE_BYTES,
                log_bytes_max: Some(LOG_BYTES_MAX),
                ..Request::new(Scope::Sample { rows }, seed)
            };
            let started = Instant::now();
            let audited = self.make(request).await;
            if let Err(failure) = &audited {
                let error: &dyn std::error::Error = failure;
                tracing::warn!(error, "an audit was not possible; another one follows");
            }
            // A report does not count the time in which another audit ran.
            let took = match &audited {
                Ok(report) => Duration::from_secs_f64(report.seconds),
                Err(_) => started.elapsed(),
            };
            pause = pause_after(took, interval, audited.is_ok());
        }
    }
}

/// The pause after an audit at intervals that took this long: after a failed one it may be shorter
/// than the interval, but the share of work is bounded in any case.
fn pause_after(took: Duration, interval: Duration, succeeded: bool) -> Duration {
    let pause = match succeeded {
        true => interval,
        false => interval.min(RETRY_MAX),
    };
    pause.max(took / PACE * SHARE)
}

/// Cancels an audit whose future is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl AuditReporter for AuditService {
    fn newest(&self) -> Option<Arc<AuditReport>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }
}

/// The number of differences that are logged one by one.
const LOGGED_MAX: usize = 10;

fn log_result(report: &AuditReport) {
    let (epoch, rows, seconds) = (report.epoch.0, report.rows, report.seconds);
    if report.differing == 0 {
        tracing::info!(epoch, rows, seconds, "an audit found no difference");
        return;
    }
    for difference in report.differences.iter().take(LOGGED_MAX) {
        tracing::error!(
            epoch,
            view = &*difference.view,
            key = &*difference.key,
            expected = difference.expected.as_deref().unwrap_or("no row"),
            found = difference.found.as_deref().unwrap_or("no row"),
            "a stored row differs from the live records"
        );
    }
    let differing = report.differing;
    tracing::error!(
        epoch,
        rows,
        differing,
        seconds,
        "an audit found rows that differ from the live records; docs/audit.md says what to do"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_audit_is_retried_soon_but_bounds_the_share_of_its_work() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let interval = 10 * minute;
        assert_eq!(pause_after(second, interval, true), interval);
        assert_eq!(pause_after(second, interval, false), minute);
        assert_eq!(pause_after(second, second, false), 25 * second);
        for succeeded in [true, false] {
            // It worked for 15 s of this minute.
            let pause = pause_after(minute, interval, succeeded);
            assert_eq!(pause, 1_500 * second);
        }
    }
}
