//! Tasks and threads of a run, which end with it, also when it is dropped in the middle.

use tokio::task::JoinHandle;

use crate::DataflowError;

/// A task that ends when it is dropped.
pub(crate) struct Task<T>(pub JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    /// Starts it.
    pub fn start(task: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It panicked or was aborted.
    pub async fn end(mut self) -> Result<T, DataflowError> {
        let ended = (&mut self.0).await;
        ended.map_err(|error| DataflowError::Panicked(error.to_string()))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The worker threads. They end when nobody feeds them any more.
pub(crate) struct Threads(pub Option<Result<timely::communication::WorkerGuards<()>, String>>);

impl Threads {
    /// Waits until all have ended.
    ///
    /// # Errors
    /// One of them panicked.
    pub fn join(mut self) -> Result<(), DataflowError> {
        let guards = self.0.take().expect("threads are joined once");
        let guards = guards.map_err(DataflowError::Panicked)?;
        for result in guards.join() {
            result.map_err(DataflowError::Panicked)?;
        }
        Ok(())
    }
}

impl Drop for Threads {
    /// Timely waits for its threads where the guards are dropped, and who drops a run must not wait.
    fn drop(&mut self) {
        if let Some(guards) = self.0.take() {
            std::thread::spawn(move || drop(guards));
        }
    }
}
