//! Audits of the views in a process that runs the dataflow: on request of `skytide audit`, and of a
//! small sample at intervals.
//!
//! ```text
//! interval ─────────────────────────────▶ AuditService ─▶ report ─▶ metrics, log, /v1/audit
//! skytide audit ─▶ data/audit.sock ─▶ server ─▲  │ one audit at a time, on a thread of its own
//!                                                ▼
//!                                          skytide_audit::run
//! ```

mod metrics;
mod server;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skytide_audit::{AuditError, Request, Scope, Sources};
use skytide_core::config::Config;
use skytide_core::port::audit::{AuditReport, AuditReporter};
use skytide_core::port::checkpoint::CheckpointError;
use skytide_dataflow::Sections;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::data::{Data, ViewBackend};
use crate::export::ExportError;
pub use metrics::AuditMetrics;
pub use server::{Answer, AuditRequest, request_audit, serve_audits};

/// Audits at intervals compute for one part in this many of their time.
const PACE: u32 = 4;
/// They take at most one part in this many of all time.
const SHARE: u32 = 100;
/// The longest pause between two tries while an audit is not possible.
const RETRY_MAX: Duration = Duration::from_secs(60);

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
    /// Held during an audit.
    running: tokio::sync::Mutex<()>,
    newest: Mutex<Option<Arc<AuditReport>>>,
}

impl AuditService {
    /// Audits these data, which must be opened for the dataflow.
    pub fn new(data: &Data, metrics: AuditMetrics) -> Arc<Self> {
        let ports = data.ports();
        Arc::new(Self {
            sources: Sources {
                log: ports.log,
                checkpoints: ports.checkpoints,
                sections: Arc::new(Sections),
            },
            views: data.views().clone(),
            metrics,
            running: tokio::sync::Mutex::default(),
            newest: Mutex::default(),
        })
    }

    /// Audits all rows, or about this many random ones. Waits for an audit that runs already.
    ///
    /// # Errors
    ///
    /// The audit was not possible.
    pub async fn audit(
        &self,
        rows: Option<usize>,
        pace: u32,
    ) -> Result<Arc<AuditReport>, AuditFailure> {
        let _running = self.running.lock().await;
        let request = Request {
            scope: rows.map_or(Scope::All, |rows| Scope::Sample { rows }),
            // The standard library seeds its hashers at random.
            seed: RandomState::new().hash_one(0),
            pace,
        };
        let audited = match self.try_once(request).await {
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

    /// Waits until this process holds the lock on the checkpoints.
    ///
    /// # Errors
    ///
    /// Another process holds it, or they cannot be read.
    pub async fn lock_checkpoints(&self) -> Result<(), CheckpointError> {
        match &self.sources.checkpoints {
            Some(checkpoints) => checkpoints.list().await.map(drop),
            None => Ok(()),
        }
    }

    async fn try_once(&self, request: Request) -> Result<AuditReport, AuditFailure> {
        let reader = self.views.reader_of_one_commit().await;
        let reader = reader.map_err(AuditFailure::Rows)?;
        let (sources, runtime) = (self.sources.clone(), Handle::current());
        // Counting takes seconds without a pause, so it must not block a thread of the runtime.
        let audit =
            move || runtime.block_on(skytide_audit::run(&sources, reader.as_ref(), &request));
        let ended = tokio::task::spawn_blocking(audit).await;
        let audited = ended.map_err(|error| AuditFailure::Panicked(error.to_string()))?;
        Ok(audited?)
    }

    /// Audits a sample at intervals until `stop` is cancelled.
    pub async fn audit_at_intervals(self: Arc<Self>, config: &Config, stop: CancellationToken) {
        let Some(interval) = config.indexer.audit_interval.0 else {
            stop.cancelled().await;
            return;
        };
        let rows = config.indexer.audit_rows as usize;
        let _stopped = stop
            .run_until_cancelled(self.audit_repeatedly(interval.0, rows))
            .await;
    }

    async fn audit_repeatedly(&self, interval: Duration, rows: usize) {
        let mut pause = interval;
        loop {
            sleep(pause).await;
            pause = match self.audit(Some(rows), PACE).await {
                Ok(report) => {
                    let worked = Duration::from_secs_f64(report.seconds / f64::from(PACE));
                    interval.max(worked * SHARE)
                }
                Err(failure) => {
                    let error: &dyn std::error::Error = &failure;
                    tracing::warn!(error, "an audit was not possible; another one follows");
                    interval.min(RETRY_MAX)
                }
            };
        }
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
