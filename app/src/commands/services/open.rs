//! Opens the data of a service, unless the process has to stop first.

use tokio_util::sync::CancellationToken;

use crate::data::Data;
use crate::failure::Failure;

/// Waits until the data are open. Returns `None` if `stop` is cancelled first: a server that is
/// not reachable can block the opening for any time.
pub async fn open_unless_stopped(
    opening: impl Future<Output = Result<Data, Failure>>,
    stop: &CancellationToken,
) -> Result<Option<Data>, Failure> {
    stop.run_until_cancelled(opening).await.transpose()
}
