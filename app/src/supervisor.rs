//! Runs tasks side by side. The first task to exit stops the others, within a time limit.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use skytide_api::Health;
use skytide_core::port::BoxError;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::notify::ServiceManager;

/// The fraction of the shutdown time in which the tasks have to exit. The rest is for closing the
/// data afterwards.
const TASKS_FRACTION: f64 = 0.75;

/// The tasks of the services in one process.
pub struct Supervisor {
    tasks: JoinSet<Result<(), Failure>>,
    stop: CancellationToken,
    shutdown_max: Duration,
    health: Option<Arc<dyn Health>>,
}

impl Supervisor {
    /// Creates a supervisor without tasks. The tasks must exit when `stop` is cancelled. They have
    /// a fraction of `shutdown_max`, the time limit for the exit of the whole process.
    pub fn new(stop: CancellationToken, shutdown_max: Duration) -> Self {
        Self {
            tasks: JoinSet::new(),
            stop,
            shutdown_max,
            health: None,
        }
    }

    /// Reports the health of the services to the service manager.
    pub fn report_health(&mut self, health: Arc<dyn Health>) {
        self.health = Some(health);
    }

    /// Starts a task. Its exit before `stop` is a failure, even without an error.
    pub fn start<E: Into<BoxError>>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            match task.await {
                Ok(()) if stop.is_cancelled() => Ok(()),
                Ok(()) => Err(Failure::new(format!("{name} exited unexpectedly"))),
                Err(error) => Err(Failure::because(format!("{name} stopped"), error)),
            }
        });
    }

    /// Waits until a task exits or `stop` is cancelled, then stops the other tasks and waits for
    /// them.
    ///
    /// # Errors
    ///
    /// The failure of the first task that failed. Otherwise, that a task did not exit in time.
    pub async fn run_until_one_exits(mut self) -> Result<(), Failure> {
        let mut manager = ServiceManager::new(self.health.take());
        manager.ready();
        let first = tokio::select! {
            first = self.tasks.join_next() => first,
            () = self.stop.cancelled() => None,
            never = manager.keep_informed() => match never {},
        };
        self.stop.cancel();
        manager.stopping();
        let mut failed = first.and_then(failure);
        let rest = async {
            while let Some(ended) = self.tasks.join_next().await {
                failed = failed.take().or(failure(ended));
            }
        };
        let tasks_max = self.shutdown_max.mul_f64(TASKS_FRACTION);
        let rest = timeout(tasks_max, rest);
        let overdue = tokio::select! {
            ended = rest => ended.is_err(),
            never = manager.keep_informed() => match never {},
        };
        match failed {
            Some(failure) => Err(failure),
            None if overdue => Err(Failure::new(format!(
                "not all services stopped within {} s: the process exits without waiting for them, \
                 and no data are lost (SKYTIDE_SHUTDOWN_MAX)",
                tasks_max.as_secs_f64()
            ))),
            None => Ok(()),
        }
    }
}

fn failure(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Option<Failure> {
    match ended {
        Ok(result) => result.err(),
        Err(error) => Some(Failure::because("a service panicked", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn supervisor() -> (Supervisor, CancellationToken) {
        let stop = CancellationToken::new();
        (Supervisor::new(stop.clone(), Duration::from_secs(1)), stop)
    }

    async fn until(stop: CancellationToken) -> io::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn the_first_failure_stops_all_tasks_and_is_reported() {
        let (mut supervisor, stop) = supervisor();
        supervisor.start("one", until(stop.clone()));
        supervisor.start("two", async { Err(io::Error::other("no more frames")) });
        let failure = supervisor
            .run_until_one_exits()
            .await
            .expect_err("a failure");
        let text = crate::failure::chain(&failure);
        assert_eq!(text, "two stopped\n  because: no more frames");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_signal_stops_all_tasks_and_is_no_failure() {
        let (mut supervisor, stop) = supervisor();
        supervisor.start("one", until(stop.clone()));
        supervisor.start("two", until(stop.clone()));
        stop.cancel();
        supervisor.run_until_one_exits().await.expect("no failure");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ignores_the_stop_is_abandoned_after_the_time_limit() {
        let (mut supervisor, stop) = supervisor();
        supervisor.start("stuck", std::future::pending::<io::Result<()>>());
        supervisor.start("one", until(stop.clone()));
        stop.cancel();
        let failure = supervisor.run_until_one_exits().await.expect_err("overdue");
        assert!(failure.to_string().contains("within 0.75 s"), "{failure}");
    }
}
