//! The health of the services in this process: its parts, and what the pipeline waits for. They are
//! for `/readyz`, the other answers with health, the service manager, a metric and the log.
//!
//! ```text
//! run_checks: every second ─▶ log, store, each with a time limit ─▶ newest result ─▶ parts
//!                      └────▶ counters of the dataflow ─▶ rates ─▶ Observed ─▶ waits_for
//! ingest ─▶ on_progress ─▶ relay      metrics of the dataflow ─▶ dataflow      cluster state ─▶ cluster
//! ```

pub mod metric;
mod waits;
mod watch;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide_api::{Health, Part};
use skytide_core::id::Epoch;
use skytide_core::port::clock::Clock;
use skytide_core::port::explanation::Explanation;
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{StoreError, ViewStore};
use skytide_core::port::wait::{Wait, WaitWord};
use skytide_core::time::Timestamp;
use skytide_dataflow::Metrics;
use skytide_ingest::{Progress, Status};
use tokio::time::{interval, timeout};

use crate::cluster::ClusterState;
use metric::WaitMetric;
use waits::{Backlog, Observed};
use watch::{CheckpointWatch, CommitDelay, CommitShare, Unchanged};

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
    dataflow: Option<DataflowHealth>,
    cluster: Option<Arc<ClusterState>>,
    metric: WaitMetric,
    /// What the pipeline waited for at the newest check.
    wait: Mutex<Wait>,
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
    checked: Mutex<Checked<LogState>>,
    /// How long the log has had no new epoch.
    silence: Mutex<Unchanged<Option<Epoch>>>,
}

/// What a check of the log found.
#[derive(Clone, Copy, Debug)]
struct LogState {
    bytes: u64,
    bytes_max: u64,
    /// The newest epoch that ended.
    newest: Option<Epoch>,
}

struct StoreHealth {
    store: Arc<dyn ViewStore>,
    /// The newest committed epoch, as the newest check found it.
    checked: Mutex<Checked<Option<Epoch>>>,
    /// How long nothing has been committed.
    silence: Mutex<Unchanged<Option<Epoch>>>,
}

/// The result of the newest check; `None` before the first.
type Checked<T> = Option<Result<T, Explanation>>;

struct DataflowHealth {
    metrics: Arc<Metrics>,
    watch: Mutex<DataflowWatch>,
}

/// Rates and delays of the dataflow.
struct DataflowWatch {
    delay: CommitDelay,
    share: CommitShare,
    checkpoints: CheckpointWatch,
}

impl ServiceHealth {
    /// The health of a process without any part.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let starting = Explanation::new("the process has just started: nothing is checked yet");
        Self {
            clock,
            relay: None,
            log: None,
            store: None,
            dataflow: None,
            cluster: None,
            metric: WaitMetric::default(),
            wait: Mutex::new(Wait::new(WaitWord::Recovery, starting)),
        }
    }

    /// Exports what the pipeline waits for as a metric.
    #[must_use]
    pub fn with_metric(self, registry: &Mutex<Registry>) -> Self {
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.metric.register(&mut registry);
        self
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
            checked: Mutex::default(),
            silence: Mutex::default(),
        });
        self
    }

    /// Adds a view store.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn ViewStore>) -> Self {
        self.store = Some(StoreHealth {
            store,
            checked: Mutex::default(),
            silence: Mutex::default(),
        });
        self
    }

    /// Adds the dataflow, which makes a checkpoint at this interval.
    #[must_use]
    pub fn with_dataflow(mut self, metrics: Arc<Metrics>, checkpoint_interval: Duration) -> Self {
        self.dataflow = Some(DataflowHealth {
            metrics,
            watch: Mutex::new(DataflowWatch {
                delay: CommitDelay::default(),
                share: CommitShare::default(),
                checkpoints: CheckpointWatch::new(checkpoint_interval),
            }),
        });
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
        let mut newest = lock(&relay.newest);
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
            self.check().await;
        }
    }

    /// Checks the log and the store, and records what the pipeline waits for.
    async fn check(&self) {
        tokio::join!(self.check_log(), self.check_store());
        self.record(self.observe().wait());
    }

    async fn check_log(&self) {
        let Some(health) = &self.log else {
            return;
        };
        let state = async {
            let bounds = health.log.bounds().await?;
            let newest = health.log.newest_tick().await?;
            Ok::<_, LogError>(LogState {
                bytes: bounds.bytes,
                bytes_max: bounds.bytes_max,
                newest: newest.map(|(_, tick)| tick.epoch),
            })
        };
        let state = answer(state, "the log", |why| {
            Explanation::because("the log returned an error", &why)
        });
        let state = state.await.map_err(|why| match (health.problem)() {
            Some(problem) => why.map_public(|public| format!("{problem}: {public}")),
            None => why,
        });
        *lock(&health.checked) = Some(state);
    }

    async fn check_store(&self) {
        let Some(health) = &self.store else {
            return;
        };
        let control = async {
            let control = health.store.control().await?;
            Ok::<_, StoreError>(control.committed.map(|committed| committed.epoch))
        };
        let control = answer(control, "the view store", |why| {
            Explanation::because("the view store returned an error", &why)
        });
        *lock(&health.checked) = Some(control.await);
    }

    /// What this process observes now of the pipeline.
    fn observe(&self) -> Observed {
        let now = self.clock.now();
        let mut observed = Observed {
            cluster: self.cluster.as_ref().and_then(|it| it.problem()),
            ..Observed::default()
        };
        if let Some(relay) = &self.relay {
            observed.clock_behind_ms = relay.status.clock_behind_ms();
            observed.relay = relay.problem(now);
        }
        let mut in_log = None;
        if let Some(log) = &self.log {
            match &*lock(&log.checked) {
                None => {}
                Some(Err(why)) => observed.log_failure = Some(why.clone()),
                Some(Ok(state)) => {
                    let is_full = state.bytes >= state.bytes_max;
                    observed.log_full = is_full.then_some((state.bytes, state.bytes_max));
                    in_log = state.newest;
                    let silence = lock(&log.silence).observe(state.newest, now);
                    observed.no_epoch = self.relay.is_none().then_some(silence);
                }
            }
        }
        if let Some(store) = &self.store {
            match &*lock(&store.checked) {
                None => {}
                Some(Err(why)) => observed.store_failure = Some(why.clone()),
                Some(Ok(committed)) => {
                    let silence = lock(&store.silence).observe(*committed, now);
                    observed.no_commit = self.dataflow.is_none().then_some(silence);
                }
            }
        }
        if let Some(dataflow) = &self.dataflow {
            dataflow.observe(in_log, now, &mut observed);
        }
        observed
    }

    /// Stores what the pipeline waits for. Logs a change.
    fn record(&self, wait: Wait) {
        self.metric.set(wait.word);
        let before = std::mem::replace(&mut *lock(&self.wait), wait.clone());
        if before.word == wait.word {
            return;
        }
        let (word, sentence) = (wait.word.as_str(), wait.sentence.in_full());
        match wait.word {
            WaitWord::Nothing | WaitWord::Recovery => {
                tracing::info!(target: "skytide::health", waits_for = word, "{sentence}");
            }
            _ => tracing::warn!(target: "skytide::health", waits_for = word, "{sentence}"),
        }
    }

    fn relay(&self) -> Option<Part> {
        let relay = self.relay.as_ref()?;
        let now = self.clock.now();
        let newest = relay.newest_frame(now);
        let (is_recent, problem) = (relay.is_recent(now), relay.status.problem());
        Some(Part {
            name: "relay".to_owned(),
            ok: is_recent && problem.is_none(),
            detail: Explanation::new(match (problem, relay.status.remark()) {
                (Some(problem), _) => format!("{problem}; {newest}"),
                (None, Some(remark)) => format!("{newest}; {remark}"),
                (None, None) => newest,
            }),
        })
    }
}

impl RelayHealth {
    /// For how long no frame has arrived; `None` if none has since the start.
    fn silence(&self, now: Timestamp) -> Option<Duration> {
        let newest = *lock(&self.newest);
        newest.map(|it| Duration::from_millis(now.0.saturating_sub(it.read_at.0)))
    }

    fn is_recent(&self, now: Timestamp) -> bool {
        self.silence(now).is_some_and(|it| it <= self.silence_max)
    }

    fn newest_frame(&self, now: Timestamp) -> String {
        match self.silence(now) {
            None => "no frame yet".to_owned(),
            Some(silence) => format!("newest frame {} s ago", silence.as_secs()),
        }
    }

    /// Why no frames arrive, as a sentence.
    fn problem(&self, now: Timestamp) -> Option<String> {
        if let Some(problem) = self.status.problem() {
            return Some(problem);
        }
        if self.is_recent(now) {
            return None;
        }
        Some(match self.silence(now) {
            None => "no frame has arrived from the relay since the start".to_owned(),
            Some(silence) => format!(
                "no frame has arrived from the relay for {} s",
                silence.as_secs()
            ),
        })
    }
}

impl LogHealth {
    fn part(&self) -> Part {
        let (ok, detail) = match &*lock(&self.checked) {
            None => (false, unchecked()),
            Some(Err(why)) => (false, why.clone()),
            Some(Ok(state)) if state.bytes < state.bytes_max => {
                (true, Explanation::new("has room"))
            }
            Some(Ok(_)) => {
                let full = "at its size limit: ingest waits until the log is trimmed";
                (false, Explanation::new(full))
            }
        };
        Part {
            name: "log".to_owned(),
            ok,
            detail,
        }
    }
}

impl StoreHealth {
    fn part(&self) -> Part {
        let (ok, detail) = match &*lock(&self.checked) {
            None => (false, unchecked()),
            Some(Err(why)) => (false, why.clone()),
            Some(Ok(epoch)) => {
                let epoch = epoch.unwrap_or_default();
                (
                    true,
                    Explanation::new(format!("committed up to epoch {epoch}")),
                )
            }
        };
        Part {
            name: "views".to_owned(),
            ok,
            detail,
        }
    }
}

impl DataflowHealth {
    /// Adds what the counters of the dataflow show. `in_log`: the newest epoch in the log.
    fn observe(&self, in_log: Option<Epoch>, now: Timestamp, observed: &mut Observed) {
        let m = &self.metrics;
        let mut watch = lock(&self.watch);
        let committed = Epoch(m.epoch.get().max(0) as u64);
        observed.commits = m.commit_progress();
        let running = observed.commits.running.unwrap_or_default();
        let seconds = m.commit_seconds.get() + running.as_secs_f64();
        observed.commit_share = watch.share.observe(seconds, now);
        observed.recovery = self.recovery();
        observed.backlog = Backlog {
            behind: in_log.map_or(Duration::ZERO, |it| watch.delay.observe(it, committed, now)),
            epochs: in_log.map_or(0, |it| it.0.saturating_sub(committed.0)),
            events: m.events_pending.get(),
            batches: m.batches_pending.get(),
        };
        let (completed, failed) = (m.checkpoints.get(), m.checkpoint_failures.get());
        observed.checkpoint = watch
            .checkpoints
            .observe(completed, failed, m.commits.get(), now);
    }

    /// What the dataflow does after a start.
    fn recovery(&self) -> Option<String> {
        let m = &self.metrics;
        match (m.restoring.get(), m.catching_up.get()) {
            (0, 0) => None,
            (0, _) => Some(format!(
                "replaying the log after a restart: at epoch {}",
                m.epoch.get()
            )),
            (shards, _) => Some(format!(
                "restoring a checkpoint after a restart: {shards} of 64 shards left"
            )),
        }
    }

    fn part(&self) -> Part {
        let commits = self.metrics.commit_progress();
        let recovery = self.recovery();
        let ok = recovery.is_none() && commits.failure.is_none();
        let detail = match (commits.failure, recovery) {
            (Some(why), _) => {
                why.map_public(|public| format!("commits fail and are retried: {public}"))
            }
            (None, Some(recovery)) => Explanation::new(recovery),
            (None, None) => Explanation::new(format!("at epoch {}", self.metrics.epoch.get())),
        };
        Part {
            name: "dataflow".to_owned(),
            ok,
            detail,
        }
    }
}

/// Waits for an answer of `part` within [`ANSWER_MAX`].
async fn answer<T, E>(
    request: impl Future<Output = Result<T, E>>,
    part: &str,
    explain: impl Fn(E) -> Explanation,
) -> Result<T, Explanation> {
    match timeout(ANSWER_MAX, request).await {
        Ok(answer) => answer.map_err(explain),
        Err(_) => Err(Explanation::new(format!(
            "{part} did not answer within {} s",
            ANSWER_MAX.as_secs()
        ))),
    }
}

fn unchecked() -> Explanation {
    Explanation::new("not checked yet")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Health for ServiceHealth {
    fn parts(&self) -> Vec<Part> {
        let parts = [
            self.relay(),
            self.log.as_ref().map(LogHealth::part),
            self.cluster.as_ref().map(|it| it.part()),
            self.dataflow.as_ref().map(DataflowHealth::part),
            self.store.as_ref().map(StoreHealth::part),
        ];
        parts.into_iter().flatten().collect()
    }

    fn waits_for(&self) -> Wait {
        lock(&self.wait).clone()
    }

    fn needs_help(&self) -> bool {
        let relay = self.relay.as_ref();
        relay.is_some_and(|relay| relay.status.problem().is_some())
    }
}

#[cfg(test)]
mod tests;
