//! Tasks that every process with an embedded view store runs beside its service.

use std::io;
use std::sync::Arc;

use skytide_core::port::job::JobRunner;
use skytide_core::port::store::StoreError;
use tokio_util::sync::CancellationToken;

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
