//! How the services of this process do, for `/readyz`.
//!
//! ```text
//! watch: every second ─▶ log.bounds, store.control, each with a time limit ─▶ the newest answer ─▶ parts
//!                                                        no answer: trouble ─▶ why
//! ingest ─▶ heard ─▶ relay          the dataflow's metrics ─▶ dataflow
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

/// How often log and store are asked, and how long an answer may take.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What a process knows of its services. A part that it does not have is not told.
pub struct ServiceHealth {
    clock: Arc<dyn Clock>,
    /// The longest silence of a relay that is well, and its newest frame.
    relay: Option<(Duration, Mutex<Option<Heard>>, Status)>,
    log: Option<(Arc<dyn Log>, Mutex<Part>)>,
    trouble: Option<Trouble>,
    store: Option<(Arc<dyn ViewStore>, Mutex<Part>)>,
    dataflow: Option<Arc<Metrics>>,
    cluster: Option<Arc<ClusterState>>,
}

/// What is known to be the matter with a log, without asking it.
pub type Trouble = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// The newest frame.
#[derive(Clone, Copy)]
struct Heard {
    frames: u64,
    at: Timestamp,
}

impl ServiceHealth {
    /// Of a process without any part.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            relay: None,
            log: None,
            trouble: None,
            store: None,
            dataflow: None,
            cluster: None,
        }
    }

    /// One that reads a relay: silence for longer than `quiet_max` is not well, nor is what `status` says.
    #[must_use]
    pub fn with_relay(mut self, quiet_max: Duration, status: Status) -> Self {
        self.relay = Some((quiet_max, Mutex::default(), status));
        self
    }

    /// One that uses a log.
    #[must_use]
    pub fn with_log(mut self, log: Arc<dyn Log>) -> Self {
        self.log = Some((log, Mutex::new(unknown("log"))));
        self
    }

    /// One that can know why its log does not answer.
    #[must_use]
    pub fn with_trouble(mut self, trouble: Option<Trouble>) -> Self {
        self.trouble = trouble;
        self
    }

    /// One that uses a view store.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn ViewStore>) -> Self {
        self.store = Some((store, Mutex::new(unknown("views"))));
        self
    }

    /// One that counts.
    #[must_use]
    pub fn with_dataflow(mut self, metrics: Arc<Metrics>) -> Self {
        self.dataflow = Some(metrics);
        self
    }

    /// One that counts together with others.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Option<Arc<ClusterState>>) -> Self {
        self.cluster = cluster;
        self
    }

    /// Ingest wrote an epoch.
    pub fn heard(&self, progress: &Progress) {
        let Some((_, heard, _)) = &self.relay else {
            return;
        };
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.frames > heard.map_or(0, |heard| heard.frames) {
            *heard = Some(Heard {
                frames: progress.frames,
                at: self.clock.now(),
            });
        }
    }

    /// Asks log and store how they do, for as long as this is awaited.
    pub async fn watch(&self) {
        let mut due = interval(ASK_EVERY);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            tokio::join!(self.ask_log(), self.ask_store());
        }
    }

    async fn ask_log(&self) {
        if let Some((log, part)) = &self.log {
            let bounds = answer(log.bounds(), |why: LogError| chain(&why)).await;
            let known = || self.trouble.as_ref().and_then(|trouble| trouble());
            let bounds = bounds.map_err(|why| match known() {
                Some(trouble) => format!("{trouble}: {why}"),
                None => why,
            });
            let told = bounds.and_then(|bounds| match bounds.bytes < bounds.bytes_max {
                true => Ok("has room".to_owned()),
                false => Err("at its size limit, reading waits until it is trimmed".to_owned()),
            });
            set(part, told);
        }
    }

    async fn ask_store(&self) {
        if let Some((store, part)) = &self.store {
            let control = answer(store.control(), |why: StoreError| chain(&why)).await;
            let epoch = |control: skytide_core::port::store::Control| {
                let epoch = control.committed.map_or(0, |committed| committed.epoch.0);
                format!("committed up to epoch {epoch}")
            };
            set(part, control.map(epoch));
        }
    }

    fn relay(&self) -> Option<Part> {
        let (quiet_max, heard, status) = self.relay.as_ref()?;
        let heard = *heard.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = heard.map(|heard| self.clock.now().0.saturating_sub(heard.at.0));
        let newest = match silent {
            None => "no frame yet".to_owned(),
            Some(ms) => format!("newest frame {} s ago", ms / 1_000),
        };
        let problem = status.problem();
        let well = silent.is_some_and(|ms| Duration::from_millis(ms) <= *quiet_max);
        Some(Part {
            name: "relay".to_owned(),
            ok: well && problem.is_none(),
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
                (Some(why), _) => format!("commits fail and are repeated: {why}"),
                (None, 0) if !catching_up => format!("at epoch {epoch}"),
                (None, 0) => {
                    format!("counting again what the log holds, after a restart: at epoch {epoch}")
                }
                (None, shards) => {
                    format!("taking in a checkpoint, after a restart: {shards} of 64 shards to go")
                }
            },
        })
    }
}

/// An answer in time, or in words why there is none.
async fn answer<T, E>(
    asked: impl Future<Output = Result<T, E>>,
    words: impl Fn(E) -> String,
) -> Result<T, String> {
    match timeout(ANSWER_MAX, asked).await {
        Ok(answered) => answered.map_err(|why| words(why).replace("\n  because:", ":")),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}

fn set(part: &Mutex<Part>, told: Result<String, String>) {
    let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
    part.ok = told.is_ok();
    part.detail = told.unwrap_or_else(|why| why);
}

fn unknown(name: &str) -> Part {
    Part {
        name: name.to_owned(),
        ok: false,
        detail: "not asked yet".to_owned(),
    }
}

impl Health for ServiceHealth {
    fn parts(&self) -> Vec<Part> {
        let now = |part: &Mutex<Part>| part.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let log = self.log.as_ref().map(|(_, part)| now(part));
        let store = self.store.as_ref().map(|(_, part)| now(part));
        let cluster = self.cluster.as_ref().map(|it| it.part());
        let parts = [self.relay(), log, cluster, self.dataflow(), store];
        parts.into_iter().flatten().collect()
    }

    fn needs_help(&self) -> bool {
        let relay = self.relay.as_ref();
        relay.is_some_and(|(_, _, status)| status.problem().is_some())
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
    async fn a_log_is_well_once_it_has_answered() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(1));
        let health = ServiceHealth::new(Arc::new(ManualClock::default())).with_log(log);
        assert!(!health.parts()[0].ok);
        health.ask_log().await;
        let part = &health.parts()[0];
        assert!(part.ok, "{part:?}");
    }

    #[tokio::test]
    async fn a_log_that_cannot_answer_says_what_is_known_of_it() {
        struct Away;
        #[async_trait::async_trait]
        impl Log for Away {
            async fn bounds(&self) -> Result<Bounds, LogError> {
                let source = "timed out".into();
                let operation = "look at its stream";
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
        let health = ServiceHealth::new(Arc::new(ManualClock::default())).with_log(Arc::new(Away));
        let health = health.with_trouble(Some(Arc::new(|| Some("no connection"))));
        health.ask_log().await;
        let Part { ok, detail, .. } = &health.parts()[0];
        assert!(
            !ok && detail.starts_with("no connection: ") && detail.ends_with("timed out"),
            "{detail}"
        );
    }

    #[test]
    fn a_relay_that_cannot_be_read_needs_help_and_says_why() {
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
    async fn a_log_that_does_not_answer_is_told() {
        struct Silent;
        let never = std::future::pending::<Result<Silent, LogError>>();
        let told = answer(never, |why| why.to_string()).await;
        assert_eq!(told.err().as_deref(), Some("no answer within 3 s"));
    }
}
