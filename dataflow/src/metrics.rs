//! Metrics of the dataflow.

mod commits;
mod durations;
mod memory;
mod operators;
mod runs;
mod sizes;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::event::DropReason;
use skytide_core::id::Epoch;
use skytide_core::port::arrival::EpochTimes;
use skytide_core::port::clock::Clock;
use skytide_core::port::graph::{
    ArrangementReport, GraphReporter, OperatorReport, Progress, WorkerReport,
};
use skytide_core::port::size::StateSize;
use skytide_core::time::Timestamp;
use skytide_core::view::ViewId;

use crate::records::{Drops, Gauges};
use crate::runtime::worker_clock::Wait;
pub use commits::CommitProgress;
use commits::CommitWatch;
use durations::Durations;
use memory::MemoryMetrics;
use operators::{OperatorCollector, OperatorMetrics};
pub use runs::RunMetrics;
use sizes::QueueSizes;

/// Counters and gauges of the dataflow, for `/metrics`, the progress bar and the periodic log line.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Number of the newest committed epoch.
    pub epoch: Gauge,
    /// Network time of the newest commit, seconds since 1970.
    pub network_time_seconds: Gauge<f64, AtomicU64>,
    /// Events of committed epochs since the process started, including those replayed after a
    /// restart.
    pub events: Counter,
    /// Facts that live records inserted and retracted, including those emitted again after a
    /// restart.
    pub facts: Counter,
    /// Rows written.
    pub rows: Counter,
    /// Rows that were skipped because they are too large for any store.
    pub rows_left_out: Counter,
    /// Bytes of the keys and columns of the rows written.
    pub row_bytes: Counter,
    /// Commits that succeeded.
    pub commits: Counter,
    /// Seconds that worker 0 spent stepping the graph.
    pub step_seconds: Counter<f64, AtomicU64>,
    /// Seconds spent in commits.
    pub commit_seconds: Counter<f64, AtomicU64>,
    /// Commits that failed and were retried.
    pub retries: Counter,
    /// Live records, including hidden ones.
    pub live_records: Gauge,
    /// Accounts known as an author or a subject.
    pub accounts: Gauge,
    /// Accounts whose records may be incomplete, because a commit of theirs could not be applied.
    pub out_of_sync: Gauge,
    /// Batches that were fed to the graph and are not committed yet.
    pub batches_pending: Gauge,
    /// Events that were read from the log and are not fed to the graph yet.
    pub events_pending: Gauge,
    /// Shards of a checkpoint that are not restored yet after a restart.
    pub restoring: Gauge,
    /// Seconds that restoring a checkpoint took.
    pub restore_seconds: Gauge<f64, AtomicU64>,
    /// Checkpoints that were completed.
    pub checkpoints: Counter,
    /// Checkpoints that failed.
    pub checkpoint_failures: Counter,
    /// Bytes of the newest complete checkpoint.
    pub checkpoint_bytes: Gauge,
    /// The runs of checkpoints.
    pub runs: RunMetrics,
    /// Seconds from the first cut of the newest complete checkpoint until its completion.
    pub checkpoint_seconds: Gauge<f64, AtomicU64>,
    /// The longest time that a cut of the newest checkpoint paused the stream, in seconds.
    pub checkpoint_pause_seconds: Gauge<f64, AtomicU64>,
    /// Network time of the first cut of the newest complete checkpoint, in seconds since 1970. It
    /// shows the checkpoint's age.
    pub checkpoint_time_seconds: Gauge<f64, AtomicU64>,
    /// 1 during the replay after a restart, while epochs that the store already has are recomputed.
    pub catching_up: Gauge,
    /// Inputs dropped in whole or in part, by reason, including those replayed after a restart.
    pub dropped: Family<Reason, Counter>,
    /// Bytes sent to other processes of the cluster.
    pub cluster_sent: Counter,
    /// Bytes received from other processes of the cluster.
    pub cluster_received: Counter,
    durations: Durations,
    by_worker: Vec<WorkerSizes>,
    operators: Arc<OperatorMetrics>,
    commit_watch: CommitWatch,
    memory: MemoryMetrics,
    /// What waits between the log, the workers and the store.
    pub(crate) queues: QueueSizes,
    started: OnceLock<Instant>,
}

/// The newest state sizes that one worker reported.
#[derive(Debug, Default)]
struct WorkerSizes {
    records: AtomicU64,
    accounts: AtomicU64,
    out_of_sync: AtomicU64,
    evicted: AtomicU64,
}

/// The label of a drop counter: a [`DropReason`] as text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

impl Metrics {
    /// Registers the metrics of up to `workers` workers under the prefix `indexer_`.
    pub fn register(registry: &mut Registry, workers: usize) -> Arc<Self> {
        let metrics = Arc::new(Self {
            by_worker: (0..workers).map(|_| Default::default()).collect(),
            started: Instant::now().into(),
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
            "Rows skipped because they are too large for any store",
            m.rows_left_out.clone(),
        );
        registry.register_with_unit("rows", "Rows written", Unit::Bytes, m.row_bytes.clone());
        registry.register("commits", "Commits", m.commits.clone());
        registry.register_with_unit(
            "step",
            "Time spent stepping the graph",
            Unit::Seconds,
            m.step_seconds.clone(),
        );
        registry.register_with_unit(
            "commit",
            "Time spent in commits",
            Unit::Seconds,
            m.commit_seconds.clone(),
        );
        registry.register("commit_retries", "Commits retried", m.retries.clone());
        m.register_sizes(registry);
        registry.register(
            "batches_pending",
            "Batches fed and not committed yet",
            m.batches_pending.clone(),
        );
        registry.register(
            "events_pending",
            "Events read and not fed yet",
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
                "Bytes received from other processes",
                &m.cluster_received,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Bytes, bytes.clone());
        }
        m.register_checkpoints(registry);
        m.durations.register(registry);
        m.memory.register(registry);
        registry.register_collector(Box::new(OperatorCollector(m.operators.clone())));
        metrics
    }

    fn register_sizes(&self, registry: &mut Registry) {
        registry.register("live_records", "Live records", self.live_records.clone());
        registry.register("accounts", "Accounts known", self.accounts.clone());
        registry.register(
            "accounts_out_of_sync",
            "Accounts whose records may be incomplete: a commit of theirs could not be applied",
            self.out_of_sync.clone(),
        );
    }

    fn register_checkpoints(&self, registry: &mut Registry) {
        let m = self;
        registry.register(
            "restoring_shards",
            "Shards of a checkpoint that are not restored yet",
            m.restoring.clone(),
        );
        registry.register(
            "checkpoints",
            "Checkpoints completed",
            m.checkpoints.clone(),
        );
        registry.register(
            "checkpoint_failures",
            "Checkpoints that failed",
            m.checkpoint_failures.clone(),
        );
        registry.register_with_unit(
            "checkpoint",
            "Bytes of the newest complete checkpoint, in full also those that it shares with others",
            Unit::Bytes,
            m.checkpoint_bytes.clone(),
        );
        m.runs.register(registry);
        let seconds = [
            (
                "restore",
                "Time that restoring a checkpoint took",
                &m.restore_seconds,
            ),
            (
                "checkpoint",
                "Time that the newest checkpoint took",
                &m.checkpoint_seconds,
            ),
            (
                "checkpoint_pause",
                "Longest pause that one of its cuts caused",
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

    /// Records what the operators of a worker of this process did.
    pub fn record_report(&self, report: WorkerReport) {
        self.operators.record(report, true);
    }

    /// Records what the operators of a worker of another process did. That process exports it as
    /// metrics.
    pub(crate) fn record_remote_report(&self, report: WorkerReport) {
        self.operators.record(report, false);
    }

    /// Records what a worker of this process begins to do, and when. Only for a worker that makes
    /// no report while it waits.
    pub(crate) fn record_activity(&self, worker: usize, activity: Wait) {
        self.operators.record_activity(worker, activity);
    }

    /// The newest reports of the workers of this process.
    pub fn own_reports(&self) -> Vec<Arc<WorkerReport>> {
        self.operators.own_reports()
    }

    /// Adds one time series to each metric with labels, for the reference page of metrics: a metric
    /// without a time series is not exported.
    pub fn add_examples(&self) {
        drop(self.dropped.get_or_create(&Reason { reason: "" }));
        self.durations.frame_to_row.add_example();
        self.checkpoint_time_seconds.set(1.0);
        let operator = OperatorReport {
            arrangement: Some(ArrangementReport::default()),
            ..OperatorReport::default()
        };
        let state = StateSize {
            worker: Some(0),
            ..StateSize::new("", 0, 0, None)
        };
        self.record_report(WorkerReport {
            operators: vec![operator],
            state: vec![state],
            ..WorkerReport::default()
        });
    }

    /// How many inputs were dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        let reason = reason.as_str();
        let counter = self.dropped.get(&Reason { reason });
        counter.map_or(0, |counter| counter.get())
    }

    /// From now on measures how long a frame takes to become rows, by this clock. `arrivals`: when
    /// the first frame of each epoch arrived, if ingest is in this process.
    pub fn measure_latency(&self, clock: Arc<dyn Clock>, arrivals: Option<EpochTimes<Instant>>) {
        self.durations.frame_to_row.measure(clock, arrivals);
    }

    /// Records that an epoch with events was read. `time` is network time at its end.
    pub(crate) fn record_read(&self, epoch: Epoch, time: Timestamp) {
        self.durations.frame_to_row.read(epoch, time);
    }

    /// Records that the rows of all epochs up to this one are in the store. `by_former_run`: they
    /// were there before this process started.
    pub(crate) fn record_stored(&self, epoch: Epoch, by_former_run: bool) {
        self.durations.frame_to_row.stored(epoch, by_former_run);
    }

    /// Records the time that worker 0 spent stepping the graph for a batch.
    pub(crate) fn record_step(&self, took: Duration) {
        self.step_seconds.inc_by(took.as_secs_f64());
        self.durations.step.observe(took);
    }

    /// Records that a cut paused one worker for this many seconds.
    pub(crate) fn record_pause(&self, seconds: f64) {
        self.durations.checkpoint_pause.observe_seconds(seconds);
        if seconds > self.checkpoint_pause_seconds.get() {
            self.checkpoint_pause_seconds.set(seconds);
        }
    }

    /// The commit in progress and its failures.
    pub fn commit_progress(&self) -> CommitProgress {
        self.commit_watch.progress()
    }

    /// Records that a commit starts.
    pub(crate) fn commit_started(&self) {
        self.commit_watch.start();
    }

    /// Records that a commit failed and will be retried.
    pub(crate) fn commit_failed(&self, error: &(dyn std::error::Error + 'static)) {
        self.commit_watch.fail(error);
        self.retries.inc();
    }

    /// Records that a commit succeeded, and the time that it took, with its retries.
    pub(crate) fn commit_made(&self) {
        let took = self.commit_watch.succeed();
        self.commits.inc();
        self.commit_seconds.inc_by(took.as_secs_f64());
        self.durations.commit.observe(took);
    }

    /// Records and logs rows of a batch that were skipped because they are too large for any store.
    pub(crate) fn record_rows_left_out(&self, rows: &BTreeMap<ViewId, (u64, String)>) {
        for (view, (count, key)) in rows {
            let view = view.name();
            tracing::error!(
                view,
                count,
                key,
                "skipped rows that are too large for any store"
            );
            self.rows_left_out.inc_by(*count);
        }
    }

    /// Records the sizes of one worker's state, and the inputs that it dropped since its last
    /// report.
    pub(crate) fn record_worker(&self, worker: usize, gauges: Gauges, drops: Drops) {
        for (reason, count) in drops {
            let reason = Reason {
                reason: reason.as_str(),
            };
            self.dropped.get_or_create(&reason).inc_by(count);
        }
        self.facts.inc_by(gauges.facts);
        self.runs.look_ups.inc_by(gauges.look_ups);
        self.runs.reads.inc_by(gauges.reads);
        self.runs.found.inc_by(gauges.found);
        if let Some(sizes) = self.by_worker.get(worker) {
            sizes.records.store(gauges.records, Ordering::Relaxed);
            sizes.accounts.store(gauges.accounts, Ordering::Relaxed);
            sizes.evicted.store(gauges.evicted, Ordering::Relaxed);
            let out_of_sync = &sizes.out_of_sync;
            out_of_sync.store(gauges.out_of_sync, Ordering::Relaxed);
        }
        let sum = |size: fn(&WorkerSizes) -> &AtomicU64| -> i64 {
            self.by_worker
                .iter()
                .map(|sizes| size(sizes).load(Ordering::Relaxed) as i64)
                .sum()
        };
        self.live_records.set(sum(|sizes| &sizes.records));
        self.runs.evicted.set(sum(|sizes| &sizes.evicted));
        self.accounts.set(sum(|sizes| &sizes.accounts));
        self.out_of_sync.set(sum(|sizes| &sizes.out_of_sync));
    }

    /// Logs one structured line with the progress of the last `period`.
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

impl GraphReporter for Metrics {
    fn reports(&self) -> Vec<Arc<WorkerReport>> {
        self.operators.reports()
    }

    fn progress(&self) -> Option<Progress> {
        let commits = self.commit_watch.progress();
        let committing = commits.running.unwrap_or_default();
        let commit_seconds = (commits.total + committing).as_secs_f64();
        let committing = committing.as_secs_f64();
        let gauge = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or_default();
        Some(Progress {
            running_seconds: self.started.get()?.elapsed().as_secs_f64(),
            epoch: gauge(&self.epoch),
            network_time: Timestamp((self.network_time_seconds.get() * 1e3).round() as u64),
            events: self.events.get(),
            rows: self.rows.get(),
            commits: self.commits.get(),
            commit_seconds,
            committing_seconds: committing,
            commit_retries: self.retries.get(),
            events_pending: gauge(&self.events_pending),
            batches_pending: gauge(&self.batches_pending),
            memory_excess: self.memory_excess(),
        })
    }
}

/// The values of the counters when the previous line was logged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoggedCounters {
    events: u64,
    rows: u64,
    commits: u64,
    step_seconds: f64,
    commit_seconds: f64,
}
