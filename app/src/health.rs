//! The health of the services in this process, for `/readyz` and the service manager.
//!
//! ```text
//! run_checks: every second ─▶ log.bounds, store.control, each with a time limit ─▶ newest result ─▶ parts
//!                                              no answer: a known problem of the log ─▶ reason
//! ingest ─▶ on_progress ─▶ relay      metrics of the dataflow ─▶ dataflow      cluster state ─▶ cluster
//! ```

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skytide_api::{Health, Part};
use skytide_core::port::clock::Clock;
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{StoreError, ViewStore};
use skytide_core::time::Timestamp;
use skytide_dataflow::Metrics;
use skytide_ingest::{Progress, Status};
use tokio::time::{interval, timeout};

use crate::cluster::ClusterState;
use crate::failure::chain;

/// Interval between two checks of the log and the store.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long an answer to a check may take.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The health of the services in this process. Reports only the parts that the process has.
pub struct ServiceHealth {
    clock: Arc<dyn Clock>,
    relay: Option<RelayHealth>,
    log: Option<LogHealth>,
    store: Option<StoreHealth>,
    dataflow: Option<Arc<Metrics>>,
    cluster: Option<Arc<ClusterState>>,
}

struct RelayHealth {
    /// A relay that is silent for longer is not healthy.
    silence_max: Duration,
    newest: Mutex<Option<NewestFrame>>,
    status: Status,
}

/// The newest frame that ingest read.
#[derive(Clone, Copy)]
struct NewestFrame {
    /// Frames read so far, with this one.
    frames: u64,
    read_at: Timestamp,
}

struct LogHealth {
    log: Arc<dyn Log>,
    /// A known reason why the log does not answer.
    problem: Box<dyn Fn() -> Option<&'static str> + Send + Sync>,
    /// The result of the newest check.
    part: Mutex<Part>,
}

struct StoreHealth {
    store: Arc<dyn ViewStore>,
    /// The result of the newest check.
    part: Mutex<Part>,
}

impl ServiceHealth {
    /// The health of a process without any part.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            relay: None,
            log: None,
            store: None,
            dataflow: None,
            cluster: None,
        }
    }

    /// Adds a relay. It is not healthy after `silence_max` without a frame, or while `status`
    /// reports a problem.
    #[must_use]
    pub fn with_relay(mut self, silence_max: Duration, status: Status) -> Self {
        self.relay = Some(RelayHealth {
            silence_max,
            newest: Mutex::default(),
            status,
        });
        self
    }

    /// Adds a log. `problem` returns a known reason why the log does not answer.
    #[must_use]
    pub fn with_log(
        mut self,
        log: Arc<dyn Log>,
        problem: impl Fn() -> Option<&'static str> + Send + Sync + 'static,
    ) -> Self {
        self.log = Some(LogHealth {
            log,
            problem: Box::new(problem),
            part: Mutex::new(unchecked("log")),
        });
        self
    }

    /// Adds a view store.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn ViewStore>) -> Self {
        self.store = Some(StoreHealth {
            store,
            part: Mutex::new(unchecked("views")),
        });
        self
    }

    /// Adds the dataflow.
    #[must_use]
    pub fn with_dataflow(mut self, metrics: Arc<Metrics>) -> Self {
        self.dataflow = Some(metrics);
        self
    }

    /// Adds the cluster, if the process belongs to one.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Option<Arc<ClusterState>>) -> Self {
        self.cluster = cluster;
        self
    }

    /// Records that ingest wrote an epoch.
    pub fn on_progress(&self, progress: &Progress) {
        let Some(relay) = &self.relay else {
            return;
        };
        let mut newest = relay.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.frames > newest.map_or(0, |newest| newest.frames) {
            *newest = Some(NewestFrame {
                frames: progress.frames,
                read_at: self.clock.now(),
            });
        }
    }

    /// Checks the log and the store every second, until the future is dropped.
    pub async fn run_checks(&self) {
        let mut due = interval(CHECK_INTERVAL);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            tokio::join!(self.check_log(), self.check_store());
        }
    }

    async fn check_log(&self) {
        let Some(LogHealth { log, problem, part }) = &self.log else {
            return;
        };
        let bounds = answer(log.bounds(), |why: LogError| chain(&why)).await;
        let bounds = bounds.map_err(|why| match problem() {
            Some(problem) => format!("{problem}: {why}"),
            None => why,
        });
        let result = bounds.and_then(|bounds| match bounds.bytes < bounds.bytes_max {
            true => Ok("has room".to_owned()),
            false => Err("at its size limit: ingest waits until the log is trimmed".to_owned()),
        });
        set(part, result);
    }

    async fn check_store(&self) {
        let Some(StoreHealth { store, part }) = &self.store else {
            return;
        };
        let control = answer(store.control(), |why: StoreError| chain(&why)).await;
        let epoch = |control: skytide_core::port::store::Control| {
            let epoch = control.committed.map_or(0, |committed| committed.epoch.0);
            format!("committed up to epoch {epoch}")
        };
        set(part, control.map(epoch));
    }

    fn relay(&self) -> Option<Part> {
        let RelayHealth {
            silence_max,
            newest,
            status,
        } = self.relay.as_ref()?;
        let newest = *newest.lock().unwrap_or_else(PoisonError::into_inner);
        let silent_ms = newest.map(|it| self.clock.now().0.saturating_sub(it.read_at.0));
        let newest = match silent_ms {
            None => "no frame yet".to_owned(),
            Some(ms) => format!("newest frame {} s ago", ms / 1_000),
        };
        let problem = status.problem();
        let is_recent = silent_ms.is_some_and(|ms| Duration::from_millis(ms) <= *silence_max);
        Some(Part {
            name: "relay".to_owned(),
            ok: is_recent && problem.is_none(),
            detail: match (problem, status.remark()) {
                (Some(problem), _) => format!("{problem}; {newest}"),
                (None, Some(remark)) => format!("{newest}; {remark}"),
                (None, None) => newest,
            },
        })
    }

    fn dataflow(&self) -> Option<Part> {
        let metrics = self.dataflow.as_ref()?;
        let catching_up = metrics.catching_up.get() == 1;
        let epoch = metrics.epoch.get();
        let failure = metrics.commit_failure();
        Some(Part {
            name: "dataflow".to_owned(),
            ok: !catching_up && failure.is_none(),
            detail: match (failure, metrics.restoring.get()) {
                (Some(why), _) => format!("commits fail and are retried: {why}"),
                (None, 0) if !catching_up => format!("at epoch {epoch}"),
                (None, 0) => format!("replaying the log after a restart: at epoch {epoch}"),
                (None, shards) => {
                    format!("restoring a checkpoint after a restart: {shards} of 64 shards left")
                }
            },
        })
    }
}

/// Waits for an answer within [`ANSWER_MAX`]. The error is a text in one line.
async fn answer<T, E>(
    request: impl Future<Output = Result<T, E>>,
    describe: impl Fn(E) -> String,
) -> Result<T, String> {
    match timeout(ANSWER_MAX, request).await {
        Ok(answer) => answer.map_err(|why| describe(why).replace("\n  because:", ":")),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}

/// Stores the result of a check.
fn set(part: &Mutex<Part>, result: Result<String, String>) {
    let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
    part.ok = result.is_ok();
    part.detail = result.unwrap_or_else(|why| why);
}

fn unchecked(name: &str) -> Part {
    Part {
        name: name.to_owned(),
        ok: false,
        detail: "not checked yet".to_owned(),
    }
}

impl Health for ServiceHealth {
    fn parts(&self) -> Vec<Part> {
        let now = |part: &Mutex<Part>| part.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let log = self.log.as_ref().map(|log| now(&log.part));
        let store = self.store.as_ref().map(|store| now(&store.part));
        let cluster = self.cluster.as_ref().map(|it| it.part());
        let parts = [self.relay(), log, cluster, self.dataflow(), store];
        parts.into_iter().flatten().collect()
    }

    fn needs_help(&self) -> bool {
        let relay = self.relay.as_ref();
        relay.is_some_and(|relay| relay.status.problem().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::event::Tick;
    use skytide_core::id::Seq;
    use skytide_core::memory::MemoryLog;
    use skytide_core::port::clock::ManualClock;
    use skytide_core::port::log::{Bounds, LogReader, LogWriter};

    #[tokio::test]
    async fn a_log_is_healthy_after_its_first_answer() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
        let health = ServiceHealth::new(Arc::new(ManualClock::default())).with_log(log, || None);
        assert!(!health.parts()[0].ok);
        health.check_log().await;
        let part = &health.parts()[0];
        assert!(part.ok, "{part:?}");
    }

    #[tokio::test]
    async fn a_log_that_does_not_answer_reports_its_known_problem() {
        struct FailingLog;
        #[async_trait::async_trait]
        impl Log for FailingLog {
            async fn bounds(&self) -> Result<Bounds, LogError> {
                let source = "timed out".into();
                let operation = "read the state of the stream";
                Err(LogError::Failed { operation, source })
            }
            async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
                Ok(None)
            }
            async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
                Err(LogError::Held)
            }
            async fn reader(&self, _: Seq) -> Result<Box<dyn LogReader>, LogError> {
                Err(LogError::Held)
            }
            async fn trim(&self, _: Seq) -> Result<(), LogError> {
                Ok(())
            }
        }
        let health = ServiceHealth::new(Arc::new(ManualClock::default()))
            .with_log(Arc::new(FailingLog), || Some("no connection"));
        health.check_log().await;
        let Part { ok, detail, .. } = &health.parts()[0];
        assert!(
            !ok && detail.starts_with("no connection: ") && detail.ends_with("timed out"),
            "{detail}"
        );
    }

    #[test]
    fn a_relay_that_cannot_be_read_needs_help_and_reports_the_reason() {
        let status = Status::default();
        let clock = Arc::new(ManualClock::default());
        let health = ServiceHealth::new(clock).with_relay(Duration::from_secs(60), status.clone());
        assert!(!health.needs_help());
        status.stuck(Some("a message is too large".to_owned()));
        assert!(health.needs_help());
        let Part { ok, detail, .. } = &health.parts()[0];
        assert!(!ok && detail.contains("is too large"), "{detail}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_answer_is_reported_after_the_time_limit() {
        let never = std::future::pending::<Result<(), LogError>>();
        let answered = answer(never, |why| why.to_string()).await;
        assert_eq!(answered.err().as_deref(), Some("no answer within 3 s"));
    }
}
