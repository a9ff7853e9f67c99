//! The health of the services in this process: its parts, and what the pipeline waits for. They are
//! for `/readyz`, the other answers with health, the service manager, a metric and the log.
//!
//! ```text
//! run_checks: every second ─▶ log, store, each with a time limit ─▶ newest result ─▶ parts
//!                      └────▶ counters of the dataflow ─▶ rates ─▶ Observed ─▶ waits_for
//! ingest ─▶ on_progress ─▶ relay      metrics of the dataflow ─▶ dataflow      cluster state ─▶ cluster
//! ```

pub mod metric;
mod parts;
mod waits;
mod watch;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide_api::{Health, Part};
use skytide_core::port::clock::Clock;
use skytide_core::port::explanation::Explanation;
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{StoreError, ViewStore};
use skytide_core::port::wait::{Wait, WaitWord};
use skytide_dataflow::Metrics;
use skytide_ingest::{Progress, Status};
use tokio::time::{interval, timeout};

use crate::cluster::ClusterState;
use metric::WaitMetric;
use parts::{
    DataflowHealth, DataflowWatch, LogHealth, LogState, NewestFrame, RelayHealth, StoreHealth, lock,
};
use waits::Observed;
use watch::{CheckpointWatch, CommitDelay, CommitShare};

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
    /// The metrics of a follower, which has no other part of the dataflow.
    follower: Option<Arc<Metrics>>,
    metric: WaitMetric,
    /// What the pipeline waited for at the newest check.
    wait: Mutex<Wait>,
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
            follower: None,
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

    /// Adds the memory of a process that follows in a cluster.
    #[must_use]
    pub fn with_follower(mut self, metrics: Arc<Metrics>) -> Self {
        self.follower = Some(metrics);
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
        if let Some(follower) = &self.follower {
            observed.memory = follower.memory_excess().filter(|excess| excess.waits);
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

/// Waits for an answer of `part` within [`ANSWER_MAX`].
async fn answer<T, E>(
    request: impl Future<Output = Result<T, E>>,
    part: &str,
    explain: impl Fn(E) -> Explanation,
) -> Result<T, Explanation> {
    match timeout(ANSWER_MAX, request).await {
        Ok(answer) => answer.map_err(explain),
        Err(_) => Err(Explanation::new(format!(
            "no answer within {} s from {part}",
            ANSWER_MAX.as_secs()
        ))),
    }
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
