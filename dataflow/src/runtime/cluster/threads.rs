//! The worker threads of this process.

use std::sync::Arc;

use timely::communication::WorkerGuards;

use super::liveness::{Cause, Liveness};
use crate::DataflowError;

/// The worker threads of this process. They end when there are no more commands.
pub(crate) struct Threads {
    guards: Option<WorkerGuards<()>>,
    liveness: Arc<Liveness>,
}

impl Threads {
    /// The threads with these guards.
    pub fn new(guards: WorkerGuards<()>, liveness: Arc<Liveness>) -> Self {
        let guards = Some(guards);
        Self { guards, liveness }
    }

    /// Waits until all threads have ended and all their messages to other processes are sent.
    ///
    /// # Errors
    /// A thread panicked, or another process disconnected.
    pub fn join(mut self) -> Result<(), DataflowError> {
        let guards = self.guards.take().expect("threads are joined once");
        let ended: Result<Vec<()>, _> = guards.join().into_iter().collect();
        self.liveness.wait_for_senders();
        self.liveness.wait_for_leader();
        let cause = self.liveness.cause();
        self.liveness.end(Cause::Over);
        ended.map_err(DataflowError::Panicked)?;
        match cause {
            Some(Cause::Lost { peer, why }) => Err(DataflowError::Lost { peer, why }),
            _ => Ok(()),
        }
    }
}

impl Drop for Threads {
    /// Ends the threads without waiting for them: the guards join their threads when they are
    /// dropped, and the task that drops a run must not block.
    fn drop(&mut self) {
        if let Some(guards) = self.guards.take() {
            self.liveness.end(Cause::Over);
            std::thread::spawn(move || drop(guards));
        }
    }
}
