//! An asynchronous task that is aborted when its handle is dropped, so that no task outlives the
//! future that runs the dataflow.

use tokio::task::JoinHandle;

use crate::DataflowError;

/// A task that is aborted when this handle is dropped.
pub(crate) struct Task<T>(pub JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts the task.
    pub fn start(task: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Waits until the task ends, and returns its result.
    ///
    /// # Errors
    /// The task panicked or was aborted.
    pub async fn join(mut self) -> Result<T, DataflowError> {
        let joined = (&mut self.0).await;
        joined.map_err(|error| DataflowError::Panicked(error.to_string()))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
