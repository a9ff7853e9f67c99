//! What the dataflow tells of its work.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::event::DropReason;
use skytide_core::view::ViewId;

use crate::records::{Drops, Gauges};

/// Counters and gauges of the dataflow, for `/metrics`, the progress bar and the line a second in the log.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Epochs committed, by number of the newest.
    pub epoch: Gauge,
    /// Network time of the newest commit, seconds since 1970.
    pub network_time_seconds: Gauge<f64, AtomicU64>,
    /// Events of committed epochs since the process started, those fed again after a restart included.
    pub events: Counter,
    /// Facts that live records gave, insertions and retractions; those given again after a restart included.
    pub facts: Counter,
    /// Rows written.
    pub rows: Counter,
    /// Rows left out as no store can hold them.
    pub rows_left_out: Counter,
    /// Bytes of keys and columns written.
    pub row_bytes: Counter,
    /// Commits.
    pub commits: Counter,
    /// Seconds that worker 0 stepped the graph.
    pub step_seconds: Counter<f64, AtomicU64>,
    /// Seconds that commits took.
    pub commit_seconds: Counter<f64, AtomicU64>,
    /// Commits that failed and were repeated.
    pub retries: Counter,
    /// Live records, hidden ones included.
    pub live_records: Gauge,
    /// Accounts known, as author or subject.
    pub accounts: Gauge,
    /// Batches that were fed and are not committed.
    pub batches_pending: Gauge,
    /// Events read from the log that are not fed.
    pub events_pending: Gauge,
    /// Shards of a checkpoint that are still to be taken in after a restart.
    pub restoring: Gauge,
    /// Seconds that taking in a checkpoint took.
    pub restore_seconds: Gauge<f64, AtomicU64>,
    /// Checkpoints that became complete.
    pub checkpoints: Counter,
    /// Checkpoints that failed.
    pub checkpoint_failures: Counter,
    /// Bytes of the newest complete checkpoint.
    pub checkpoint_bytes: Gauge,
    /// Seconds from its first cut until it was complete.
    pub checkpoint_seconds: Gauge<f64, AtomicU64>,
    /// The longest time that a cut of the newest checkpoint made the stream wait, in seconds.
    pub checkpoint_pause_seconds: Gauge<f64, AtomicU64>,
    /// Network time of the first cut of the newest complete checkpoint, seconds since 1970: its age shows.
    pub checkpoint_time_seconds: Gauge<f64, AtomicU64>,
    /// 1 while what the store has already is computed again after a restart.
    pub catching_up: Gauge,
    /// Inputs dropped, in whole or in part, by reason; those fed again after a restart included.
    pub dropped: Family<Reason, Counter>,
    /// Bytes sent to other processes of the cluster.
    pub cluster_sent: Counter,
    /// Bytes received from them.
    pub cluster_received: Counter,
    by_worker: Vec<(AtomicU64, AtomicU64)>,
    commit_failure: Mutex<Option<String>>,
}

/// Why something was dropped ([`DropReason`](skytide_core::event::DropReason), as text).
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

impl Metrics {
    /// Metrics for at most so many workers, registered under `indexer_`.
    pub fn register(registry: &mut Registry, workers: usize) -> Arc<Self> {
        let by_worker = (0..workers).map(|_| Default::default()).collect();
        let metrics = Arc::new(Self {
            by_worker,
            ..Self::default()
        });
        let m = metrics.as_ref();
        let registry = registry.sub_registry_with_prefix("indexer");
        registry.register("epoch", "Newest committed epoch", m.epoch.clone());
        registry.register_with_unit(
            "network_time",
            "Network time of the newest commit, since 1970",
            Unit::Seconds,
            m.network_time_seconds.clone(),
        );
        registry.register("events", "Events of committed epochs", m.events.clone());
        registry.register("facts", "Facts inserted and retracted", m.facts.clone());
        registry.register("rows", "Rows written", m.rows.clone());
        registry.register(
            "rows_left_out",
            "Rows left out, too large for any store",
            m.rows_left_out.clone(),
        );
        registry.register_with_unit("rows", "Rows written", Unit::Bytes, m.row_bytes.clone());
        registry.register("commits", "Commits", m.commits.clone());
        registry.register_with_unit(
            "step",
            "Time that the graph was stepped",
            Unit::Seconds,
            m.step_seconds.clone(),
        );
        registry.register_with_unit(
            "commit",
            "Time that commits took",
            Unit::Seconds,
            m.commit_seconds.clone(),
        );
        registry.register("commit_retries", "Commits repeated", m.retries.clone());
        registry.register("live_records", "Live records", m.live_records.clone());
        registry.register("accounts", "Accounts known", m.accounts.clone());
        registry.register(
            "batches_pending",
            "Batches not committed",
            m.batches_pending.clone(),
        );
        registry.register(
            "events_pending",
            "Events read, not fed",
            m.events_pending.clone(),
        );
        registry.register("dropped", "Inputs dropped, by reason", m.dropped.clone());
        registry.register("catching_up", "1 during recovery", m.catching_up.clone());
        for (name, help, bytes) in [
            (
                "cluster_sent",
                "Bytes sent to other processes",
                &m.cluster_sent,
            ),
            (
                "cluster_received",
                "Bytes received from them",
                &m.cluster_received,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, bytes.clone());
        }
        m.register_checkpoints(registry);
        metrics
    }

    fn register_checkpoints(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "restoring_shards",
            "Shards of a checkpoint still to be taken in",
            m.restoring.clone(),
        );
        registry.register(
            "checkpoints",
            "Checkpoints that became complete",
            m.checkpoints.clone(),
        );
        registry.register(
            "checkpoint_failures",
            "Checkpoints that failed",
            m.checkpoint_failures.clone(),
        );
        registry.register_with_unit(
            "checkpoint",
            "Bytes of the newest complete checkpoint",
            Unit::Bytes,
            m.checkpoint_bytes.clone(),
        );
        let seconds = [
            (
                "restore",
                "Time that taking in a checkpoint took",
                &m.restore_seconds,
            ),
            (
                "checkpoint",
                "Time that the newest checkpoint took",
                &m.checkpoint_seconds,
            ),
            (
                "checkpoint_pause",
                "Longest pause by one of its cuts",
                &m.checkpoint_pause_seconds,
            ),
            (
                "checkpoint_network_time",
                "Network time of its first cut, since 1970",
                &m.checkpoint_time_seconds,
            ),
        ];
        for (name, help, gauge) in seconds {
            registry.register_with_unit(name, help, Unit::Seconds, gauge.clone());
        }
    }

    /// How often something was dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        let reason = reason.as_str();
        let counter = self.dropped.get(&Reason { reason });
        counter.map_or(0, |counter| counter.get())
    }

    /// A cut made the stream wait for so many seconds.
    pub(crate) fn record_pause(&self, seconds: f64) {
        if seconds > self.checkpoint_pause_seconds.get() {
            self.checkpoint_pause_seconds.set(seconds);
        }
    }

    /// Why the commit under way failed the last time; `None` if none has failed or it was made since.
    pub fn commit_failure(&self) -> Option<String> {
        self.failure().clone()
    }

    /// A commit failed, and is to be repeated.
    pub(crate) fn commit_failed(&self, error: &(dyn std::error::Error + 'static)) {
        let causes = std::iter::successors(error.source(), |it| it.source());
        let told = causes.fold(error.to_string(), |told, why| format!("{told}: {why}"));
        *self.failure() = Some(told);
        self.retries.inc();
    }

    /// A commit was made.
    pub(crate) fn commit_made(&self) {
        *self.failure() = None;
        self.commits.inc();
    }

    /// Rows of a batch were left out, as no store can hold them.
    pub(crate) fn left_out(&self, rows: &BTreeMap<ViewId, (u64, String)>) {
        for (view, (count, key)) in rows {
            let view = view.name();
            tracing::error!(
                view,
                count,
                key,
                "left out rows that are too large for a store"
            );
            self.rows_left_out.inc_by(*count);
        }
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        let failure = self.commit_failure.lock();
        failure.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the sizes of one worker's state, and what it dropped since it last told.
    pub(crate) fn record_worker(&self, worker: usize, gauges: Gauges, drops: Drops) {
        for (reason, count) in drops {
            let reason = Reason {
                reason: reason.as_str(),
            };
            self.dropped.get_or_create(&reason).inc_by(count);
        }
        self.facts.inc_by(gauges.facts);
        if let Some((records, accounts)) = self.by_worker.get(worker) {
            records.store(gauges.records, Ordering::Relaxed);
            accounts.store(gauges.accounts, Ordering::Relaxed);
        }
        let sum = |of: fn(&(AtomicU64, AtomicU64)) -> &AtomicU64| -> i64 {
            self.by_worker
                .iter()
                .map(|pair| of(pair).load(Ordering::Relaxed) as i64)
                .sum()
        };
        self.live_records.set(sum(|pair| &pair.0));
        self.accounts.set(sum(|pair| &pair.1));
    }

    /// One structured line, for the last `period`.
    pub(crate) fn log_progress(&self, before: &mut LoggedCounters, period: Duration) {
        let now = LoggedCounters {
            events: self.events.get(),
            rows: self.rows.get(),
            commits: self.commits.get(),
            step_seconds: self.step_seconds.get(),
            commit_seconds: self.commit_seconds.get(),
        };
        let seconds = period.as_secs_f64();
        tracing::info!(
            target: "skytide::dataflow",
            epoch = self.epoch.get(),
            events = now.events - before.events,
            events_per_second = ((now.events - before.events) as f64 / seconds).round(),
            rows_changed = now.rows - before.rows,
            live_records = self.live_records.get(),
            commits = now.commits - before.commits,
            step_ms = ((now.step_seconds - before.step_seconds) * 1e3).round(),
            commit_ms = ((now.commit_seconds - before.commit_seconds) * 1e3).round(),
            events_pending = self.events_pending.get(),
            batches_pending = self.batches_pending.get(),
            catching_up = self.catching_up.get() == 1,
        );
        *before = now;
    }
}

/// Counters at an earlier line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoggedCounters {
    events: u64,
    rows: u64,
    commits: u64,
    step_seconds: f64,
    commit_seconds: f64,
}
