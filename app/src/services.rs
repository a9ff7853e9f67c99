//! Services side by side: the first one to end stops the rest, in bounded time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use skytide_api::Health;
use skytide_core::port::BoxError;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::notify::Manager;

/// Services that run.
pub struct Services {
    tasks: JoinSet<Result<(), Failure>>,
    stop: CancellationToken,
    shutdown_max: Duration,
    health: Option<Arc<dyn Health>>,
}

/// Of the time that the end of the process may take, so much is the services'. The rest is for what is closed after them.
const SERVICES_PART: f64 = 0.75;

impl Services {
    /// None yet. They end with `stop`, and after it within a part of `shutdown_max`, which is for all of the process.
    pub fn new(stop: CancellationToken, shutdown_max: Duration) -> Self {
        Self {
            tasks: JoinSet::new(),
            stop,
            shutdown_max,
            health: None,
        }
    }

    /// Shows a service manager how their parts do.
    pub fn show(&mut self, health: Arc<dyn Health>) {
        self.health = Some(health);
    }

    /// Starts one.
    pub fn start<E: Into<BoxError>>(
        &mut self,
        name: &'static str,
        service: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            match service.await {
                Ok(()) if stop.is_cancelled() => Ok(()),
                Ok(()) => Err(Failure::new(format!("{name} ended by itself"))),
                Err(error) => Err(Failure::because(format!("{name} stopped"), error)),
            }
        });
    }

    /// Waits until one ends, ends the others, and waits for them.
    ///
    /// # Errors
    /// One of them failed (the first that did), or did not end in time.
    pub async fn until_one_ends(mut self) -> Result<(), Failure> {
        let mut manager = Manager::new(self.health.take());
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
        let services_max = self.shutdown_max.mul_f64(SERVICES_PART);
        let rest = timeout(services_max, rest);
        let overdue = tokio::select! {
            ended = rest => ended.is_err(),
            never = manager.keep_informed() => match never {},
        };
        match failed {
            Some(failure) => Err(failure),
            None if overdue => Err(Failure::new(format!(
                "not all services ended within {} s: the process ends without them, nothing is \
                 lost (SKYTIDE_SHUTDOWN_MAX)",
                services_max.as_secs_f64()
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

    fn services() -> (Services, CancellationToken) {
        let stop = CancellationToken::new();
        (Services::new(stop.clone(), Duration::from_secs(1)), stop)
    }

    async fn until(stop: CancellationToken) -> io::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn the_first_failure_ends_all_and_is_told() {
        let (mut services, stop) = services();
        services.start("one", until(stop.clone()));
        services.start("two", async { Err(io::Error::other("no more frames")) });
        let failure = services.until_one_ends().await.expect_err("a failure");
        let told = crate::failure::chain(&failure);
        assert_eq!(told, "two stopped\n  because: no more frames");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_signal_ends_all_and_is_no_failure() {
        let (mut services, stop) = services();
        services.start("one", until(stop.clone()));
        services.start("two", until(stop.clone()));
        stop.cancel();
        services.until_one_ends().await.expect("no failure");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_end_is_left_behind() {
        let (mut services, stop) = services();
        services.start("deaf", std::future::pending::<io::Result<()>>());
        services.start("one", until(stop.clone()));
        stop.cancel();
        let failure = services.until_one_ends().await.expect_err("overdue");
        assert!(failure.to_string().contains("within 0.75 s"), "{failure}");
    }
}
