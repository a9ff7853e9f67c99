//! Tasks and threads of a run, which end with it, also when it is dropped in the middle.

use std::sync::Arc;

use timely::communication::WorkerGuards;
use tokio::task::JoinHandle;

use crate::DataflowError;
use crate::runtime::cluster::{Cause, Fate};

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

/// The worker threads of this process. They end when nobody feeds them any more.
pub(crate) struct Threads {
    guards: Option<WorkerGuards<()>>,
    fate: Arc<Fate>,
}

impl Threads {
    /// Of these workers.
    pub fn new(guards: WorkerGuards<()>, fate: Arc<Fate>) -> Self {
        let guards = Some(guards);
        Self { guards, fate }
    }

    /// Waits until all have ended and everything that they had to tell other processes is sent.
    ///
    /// # Errors
    /// One of them panicked, or another process is gone.
    pub fn join(mut self) -> Result<(), DataflowError> {
        let guards = self.guards.take().expect("threads are joined once");
        let ended: Result<Vec<()>, _> = guards.join().into_iter().collect();
        self.fate.wait_for_senders();
        self.fate.wait_for_leader();
        let cause = self.fate.cause();
        self.fate.end(Cause::Over);
        ended.map_err(DataflowError::Panicked)?;
        match cause {
            Some(Cause::Lost { peer, why }) => Err(DataflowError::Lost { peer, why }),
            _ => Ok(()),
        }
    }
}

impl Drop for Threads {
    /// Timely waits for its threads where the guards are dropped, and who drops a run must not wait.
    fn drop(&mut self) {
        if let Some(guards) = self.guards.take() {
            self.fate.end(Cause::Over);
            std::thread::spawn(move || drop(guards));
        }
    }
}
