//! Tasks that every process with an embedded view store runs beside its service.

use std::io;
use std::sync::Arc;

use skytide_core::config::Config;
use skytide_core::port::job::JobRunner;
use skytide_core::port::store::StoreError;
use skytide_dataflow::Metrics;
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditService, serve_audits};
use crate::data::Data;

/// Sends exports to other processes, and runs `jobs` for them, until `stop` is cancelled, if only
/// this process can open the views. `jobs` is `None` if this process has no scheduler.
pub fn serve_requests(
    data: &Data,
    jobs: Option<Arc<dyn JobRunner>>,
    stop: CancellationToken,
) -> impl Future<Output = io::Result<()>> + use<> {
    let views = data.views().clone();
    async move {
        stop.run_until_cancelled(views.serve_requests(jobs)).await;
        Ok(())
    }
}

/// Serves `skytide audit`, and audits a sample at intervals while the dataflow with these metrics
/// counts, until `stop` is cancelled.
pub fn audit_views(
    audits: Arc<AuditService>,
    config: &Config,
    dataflow: Arc<Metrics>,
    stop: CancellationToken,
) -> impl Future<Output = io::Result<()>> + use<> {
    let config = config.clone();
    async move {
        let requests = serve_audits(config.store.dir.clone(), audits.clone());
        let requests = stop.run_until_cancelled(requests);
        let intervals = audits.audit_at_intervals(&config, &dataflow, stop.clone());
        tokio::join!(requests, intervals);
        Ok(())
    }
}

/// Waits until `stop` is cancelled.
///
/// # Errors
///
/// The store accepts no more writes. Then only a new process can open it again.
pub fn watch_store(
    data: &Data,
    stop: CancellationToken,
) -> impl Future<Output = Result<(), StoreError>> + use<> {
    let views = data.views().clone();
    async move {
        let failure = stop.run_until_cancelled(views.write_failure()).await;
        failure.map_or(Ok(()), Err)
    }
}
