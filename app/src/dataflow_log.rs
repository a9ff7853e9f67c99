//! JSON lines about the dataflow (`INDEXER_DATAFLOW_LOG`): one for each worker, each operator and
//! each structure of state, at each interval. `docs/dataflow.md` describes their fields, which
//! other programs read: names and meanings stay.
//!
//! ```text
//! reports of the workers, sizes ─▶ minus those of the previous interval ─▶ tracing, by target
//!                                             standard error, or a file ◀─ JSON ┘
//! ```

mod output;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::config::Config;
use skytide_core::port::graph::{OperatorReport, WorkerReport};
use skytide_core::port::size::{MemoryReporter, StateSize};
use skytide_dataflow::Metrics;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

pub use output::{Output, dropped, layer, open};

/// Lines about operators.
pub const OPERATOR: &str = "skytide::dataflow::operator";
/// Lines about structures of state.
pub const STATE: &str = "skytide::dataflow::state";
/// Lines about workers.
pub const WORKER: &str = "skytide::dataflow::worker";

/// Whether events of this target are lines about the dataflow. They are written only where
/// `INDEXER_DATAFLOW_LOG` says.
pub fn is_target(target: &str) -> bool {
    [OPERATOR, STATE, WORKER].contains(&target)
}

/// Runs `counting`, and writes the lines beside it at each interval and once after it has ended.
pub async fn beside<T>(log: Option<DataflowLog>, counting: impl Future<Output = T>) -> T {
    let Some(log) = log else {
        return counting.await;
    };
    // A task of its own: `counting` commits, and must not wait for the lines.
    let (end, ended) = oneshot::channel();
    let logging = tokio::spawn(log.run(ended));
    let counted = counting.await;
    let _logging_has_ended = end.send(());
    let _result = logging.await;
    counted
}

/// Writes lines about the workers of this process.
pub struct DataflowLog {
    metrics: Arc<Metrics>,
    memory: Option<Arc<dyn MemoryReporter>>,
    interval: Duration,
    /// The reports of the previous lines, by worker.
    reports: BTreeMap<usize, Arc<WorkerReport>>,
    /// The sizes of the previous lines, by worker and name.
    sizes: BTreeMap<SizeKey, Size>,
    /// Lines that were dropped until the previous ones.
    dropped: u64,
}

/// The worker, if there is one, and the name of a structure.
type SizeKey = (Option<usize>, String);

#[derive(Clone, Copy, Default)]
struct Size {
    entries: u64,
    bytes: u64,
}

impl DataflowLog {
    /// The log that the options ask for; `None` if it is off. With `memory`, it has the structures
    /// of the whole process, else those of the workers.
    pub fn of(
        config: &Config,
        metrics: &Arc<Metrics>,
        memory: Option<Arc<dyn MemoryReporter>>,
    ) -> Option<Self> {
        let interval = config.indexer.dataflow_log_interval.0;
        output::is_open().then(|| Self::new(metrics.clone(), memory, interval))
    }

    fn new(
        metrics: Arc<Metrics>,
        memory: Option<Arc<dyn MemoryReporter>>,
        interval: Duration,
    ) -> Self {
        Self {
            metrics,
            memory,
            interval,
            reports: BTreeMap::new(),
            sizes: BTreeMap::new(),
            dropped: 0,
        }
    }

    /// Writes lines at each interval, and once more when `ended` completes.
    async fn run(mut self, mut ended: oneshot::Receiver<()>) {
        let mut due = interval_at(Instant::now() + self.interval, self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                _ = due.tick() => false,
                _ = &mut ended => true,
            };
            // A disk may block for any time.
            let written = spawn_blocking(move || {
                self.write();
                self
            });
            // The runtime may skip it while it shuts down.
            let Ok(log) = written.await else { return };
            self = log;
            if is_last {
                return;
            }
        }
    }

    /// Writes lines about what has changed since the previous ones.
    fn write(&mut self) {
        let reports = self.metrics.own_reports();
        for report in &reports {
            let before = self.reports.insert(report.worker, report.clone());
            let before = before.unwrap_or_default();
            let interval = round(report.running_seconds - before.running_seconds);
            log_worker(interval, report, &before);
            for operator in &report.operators {
                let place = before
                    .operators
                    .binary_search_by(|it| it.address.cmp(&operator.address));
                let before = place.map(|place| &before.operators[place]).ok();
                log_operator((report.worker, interval), operator, before);
            }
        }
        let sizes = match &self.memory {
            Some(memory) => memory.sizes(),
            None => reports.iter().flat_map(|it| it.state.clone()).collect(),
        };
        for size in sizes {
            self.log_size(&size);
        }
        let dropped = dropped().get();
        if dropped > self.dropped {
            let lines = dropped - self.dropped;
            let why = output::failure();
            tracing::warn!(
                lines,
                why,
                "lines about the dataflow were dropped: the file of INDEXER_DATAFLOW_LOG cannot be \
                 written"
            );
            self.dropped = dropped;
        }
    }

    fn log_size(&mut self, size: &StateSize) {
        let key = (size.worker, size.name.clone().into_owned());
        let now = Size {
            entries: size.entries,
            bytes: size.bytes,
        };
        let before = self.sizes.insert(key, now).unwrap_or_default();
        tracing::info!(
            target: STATE,
            worker = size.worker,
            name = &*size.name,
            entries = now.entries,
            bytes = now.bytes,
            entries_change = change(now.entries, before.entries),
            bytes_change = change(now.bytes, before.bytes),
            option = size.option.as_deref(),
        );
    }
}

fn log_worker(interval: f64, now: &WorkerReport, before: &WorkerReport) {
    // Without the log of operators, these times are not known.
    let is_known = !now.operators.is_empty();
    let known = |seconds: f64| is_known.then(|| round(seconds));
    let busy = now.busy_seconds - before.busy_seconds;
    let parked = now.parked_seconds - before.parked_seconds;
    tracing::info!(
        target: WORKER,
        worker = now.worker,
        interval_seconds = interval,
        busy_seconds = known(busy),
        parked_seconds = known(parked),
        other_seconds = known(interval - busy - parked),
        running_seconds_total = round(now.running_seconds),
        busy_seconds_total = known(now.busy_seconds),
        parked_seconds_total = known(now.parked_seconds),
        epoch = now.epoch,
        epochs = now.epoch.saturating_sub(before.epoch),
        frontier_lag_epochs = now.frontier_lag_epochs,
        frontier_lag_seconds = now.frontier_lag_seconds,
    );
}

fn log_operator(
    (worker, interval): (usize, f64),
    now: &OperatorReport,
    before: Option<&OperatorReport>,
) {
    let new = OperatorReport::default();
    let before = before.unwrap_or(&new);
    let address: Vec<String> = now.address.iter().map(ToString::to_string).collect();
    let arrangement = now.arrangement;
    let merges_before = before.arrangement.map_or(0, |it| it.merges);
    tracing::info!(
        target: OPERATOR,
        worker,
        address = address.join("."),
        name = &*now.name,
        is_scope = now.is_scope,
        interval_seconds = interval,
        busy_seconds = round(now.busy_seconds - before.busy_seconds),
        activations = now.activations.saturating_sub(before.activations),
        input_messages = now.input.messages.saturating_sub(before.input.messages),
        input_records = now.input.records.saturating_sub(before.input.records),
        output_messages = now.output.messages.saturating_sub(before.output.messages),
        output_records = now.output.records.saturating_sub(before.output.records),
        busy_seconds_total = round(now.busy_seconds),
        activations_total = now.activations,
        input_messages_total = now.input.messages,
        input_records_total = now.input.records,
        output_messages_total = now.output.messages,
        output_records_total = now.output.records,
        arrangement_records = arrangement.map(|it| it.records),
        arrangement_batches = arrangement.map(|it| it.batches),
        arrangement_pending_records = arrangement.map(|it| it.pending_records),
        arrangement_merges = arrangement.map(|it| it.merges.saturating_sub(merges_before)),
        arrangement_merges_total = arrangement.map(|it| it.merges),
    );
}

/// Seconds to the nanosecond: a difference of two numbers has more digits than that.
fn round(seconds: f64) -> f64 {
    (seconds * 1e9).round() / 1e9
}

fn change(now: u64, before: u64) -> i64 {
    now.cast_signed().wrapping_sub(before.cast_signed())
}

#[cfg(test)]
mod tests;
