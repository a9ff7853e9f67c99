//! The newest report of each worker; those of the workers of this process also as metrics. The
//! process of each other worker exports its metrics itself.
//!
//! Labels are bounded: `operator` is a name in the code, `worker` a number below the number of
//! workers. Operators with the same name are added up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use skytide_core::port::graph::{OperatorReport, WorkerReport};
use skytide_core::port::memory::MemoryUse;

use super::sizes::encode_states;
use crate::runtime::worker_clock::{Activity, Wait};

/// The newest report of each worker.
#[derive(Debug, Default)]
pub(super) struct OperatorMetrics {
    by_worker: Mutex<BTreeMap<usize, Recorded>>,
    /// What each worker of this process does now.
    activities: Mutex<BTreeMap<usize, Wait>>,
}

#[derive(Clone, Debug)]
struct Recorded {
    report: Arc<WorkerReport>,
    /// Waits since the report. Readers add them to a copy: a report is large, and workers must not
    /// wait for a copy of it.
    waits: Waits,
    /// The time up to which `waits` are complete.
    at: Instant,
}

/// How long a worker has waited since its report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Waits {
    for_batch: Duration,
    for_committer: Duration,
}

impl OperatorMetrics {
    pub(super) fn record(&self, mut report: WorkerReport, is_own: bool) {
        let worker = report.worker;
        report.is_remote = !is_own;
        let recorded = Recorded {
            report: Arc::new(report),
            waits: Waits::default(),
            at: Instant::now(),
        };
        let previous = self.lock().insert(worker, recorded);
        // It is large. It is freed after the lock is released.
        drop(previous);
    }

    /// Records what a worker of this process begins to do. If it waited until now, its report
    /// includes that wait from now on.
    pub(super) fn record_activity(&self, worker: usize, activity: Wait) {
        let mut recorded = self.lock();
        let ended = self.lock_activities().insert(worker, activity);
        if let Some((ended, began)) = ended
            && let Some(recorded) = recorded.get_mut(&worker)
        {
            let (_, now) = activity;
            recorded
                .waits
                .add(ended, recorded.waited((ended, began), now));
            recorded.at = recorded.at.max(now);
        }
    }

    /// The reports of all workers.
    pub(super) fn reports(&self) -> Vec<Arc<WorkerReport>> {
        self.current(|_| true)
    }

    /// The newest reports of the workers of this process, without what they have waited since. No
    /// report is copied.
    pub(super) fn own_reports_as_made(&self) -> Vec<Arc<WorkerReport>> {
        let recorded = self.lock();
        let own = recorded.values().filter(|it| !it.report.is_remote);
        own.map(|it| it.report.clone()).collect()
    }

    /// The memory that the workers of other processes reported, with the number of the worker.
    pub(super) fn remote_memory(&self) -> Vec<(usize, MemoryUse)> {
        let recorded = self.lock();
        let remote = recorded.values().filter(|it| it.report.is_remote);
        let memory = |it: &Recorded| Some((it.report.worker, it.report.memory?));
        remote.filter_map(memory).collect()
    }

    /// The reports of the workers of this process.
    pub(super) fn own_reports(&self) -> Vec<Arc<WorkerReport>> {
        self.current(|report| !report.is_remote)
    }

    /// The newest reports of some workers. If a worker waits, the wait counts until now.
    fn current(&self, is_wanted: impl Fn(&WorkerReport) -> bool) -> Vec<Arc<WorkerReport>> {
        let current: Vec<(Arc<WorkerReport>, Waits)> = {
            let recorded = self.lock();
            let activities = self.lock_activities();
            let now = Instant::now();
            let wanted = recorded.iter().filter(|(_, it)| is_wanted(&it.report));
            let with_waits = wanted.map(|(worker, it)| {
                let mut waits = it.waits;
                if let Some(&activity) = activities.get(worker) {
                    waits.add(activity.0, it.waited(activity, now));
                }
                (it.report.clone(), waits)
            });
            with_waits.collect()
        };
        let current = current.into_iter();
        current
            .map(|(report, waits)| waits.added_to(report))
            .collect()
    }

    fn lock_activities(&self) -> MutexGuard<'_, BTreeMap<usize, Wait>> {
        self.activities
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Recorded>> {
        self.by_worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorded {
    /// How long an activity of the worker has taken until `now`, without what the report or its
    /// waits include already.
    fn waited(&self, (_, began): Wait, now: Instant) -> Duration {
        now.saturating_duration_since(began.max(self.at))
    }
}

impl Waits {
    /// Adds the time of an activity, if it is a wait: nobody knows yet how another one ends.
    fn add(&mut self, activity: Activity, time: Duration) {
        match activity {
            Activity::WaitForBatch => self.for_batch += time,
            Activity::WaitForCommitter => self.for_committer += time,
            Activity::Other
            | Activity::Feed
            | Activity::Step
            | Activity::Consolidate
            | Activity::Cut => {}
        }
    }

    /// The report with these waits. So the report of a worker that waits long is not out of date.
    fn added_to(self, report: Arc<WorkerReport>) -> Arc<WorkerReport> {
        if self == Self::default() {
            return report;
        }
        let mut report = Arc::unwrap_or_clone(report);
        report.batch_wait_seconds += self.for_batch.as_secs_f64();
        report.commit_wait_seconds += self.for_committer.as_secs_f64();
        report.running_seconds += (self.for_batch + self.for_committer).as_secs_f64();
        Arc::new(report)
    }
}

/// Exports the reports under the prefix of the dataflow.
#[derive(Debug)]
pub(super) struct OperatorCollector(pub(super) Arc<OperatorMetrics>);

/// Name, help and value of a metric of operators.
type OperatorMetric = (&'static str, &'static str, fn(&OperatorReport) -> u64);

const OPERATOR_COUNTERS: [OperatorMetric; 5] = [
    (
        "operator_activations",
        "Times that an operator was scheduled",
        |it| it.activations,
    ),
    (
        "operator_input_messages",
        "Messages that an operator received",
        |it| it.input.messages,
    ),
    (
        "operator_input_records",
        "Records that an operator received",
        |it| it.input.records,
    ),
    (
        "operator_output_messages",
        "Messages that an operator sent",
        |it| it.output.messages,
    ),
    (
        "operator_output_records",
        "Records that an operator sent",
        |it| it.output.records,
    ),
];

/// Name, help and value of a gauge of arrangements.
type ArrangementMetric = (
    &'static str,
    &'static str,
    fn(&OperatorReport) -> Option<i64>,
);

const ARRANGEMENT_GAUGES: [ArrangementMetric; 3] = [
    (
        "arrangement_records",
        "Updates in the batches of an arrangement",
        |it| it.arrangement.map(|arrangement| arrangement.records),
    ),
    ("arrangement_batches", "Batches of an arrangement", |it| {
        it.arrangement.map(|arrangement| arrangement.batches)
    }),
    (
        "arrangement_pending_records",
        "Updates whose time is not complete",
        |it| {
            it.arrangement
                .map(|arrangement| arrangement.pending_records)
        },
    ),
];

impl Collector for OperatorCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reports = self.0.own_reports();
        for (name, help, of_operator) in OPERATOR_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, operators) in by_name(&reports) {
                let sum = operators.into_iter().map(of_operator).sum::<u64>();
                ConstCounter::new(sum).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut family = encoder.encode_descriptor(
            "operator_busy",
            "Time in which an operator ran, without operators that it contains",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (labels, operators) in by_name(&reports) {
            let seconds: f64 = operators.into_iter().map(|it| it.busy_seconds).sum();
            ConstCounter::new(seconds).encode(family.encode_family(&labels)?)?;
        }
        for (name, help, of_operator) in ARRANGEMENT_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, operators) in by_name(&reports) {
                let values: Vec<i64> = operators.into_iter().filter_map(of_operator).collect();
                if !values.is_empty() {
                    ConstGauge::new(values.iter().sum::<i64>())
                        .encode(family.encode_family(&labels)?)?;
                }
            }
        }
        encode_states(&reports, &mut encoder)?;
        encode_workers(&reports, encoder)
    }
}

/// Labels of an operator: its name, and the number of its worker.
type Labels = [(&'static str, String); 2];

/// The operators of all workers, by worker and name.
fn by_name(reports: &[Arc<WorkerReport>]) -> impl Iterator<Item = (Labels, Vec<&OperatorReport>)> {
    reports.iter().flat_map(|report| {
        let mut by_name = BTreeMap::<&str, Vec<&OperatorReport>>::new();
        for operator in &report.operators {
            by_name.entry(&operator.name).or_default().push(operator);
        }
        by_name.into_iter().map(|(name, operators)| {
            let worker = report.worker.to_string();
            (
                [("operator", name.to_owned()), ("worker", worker)],
                operators,
            )
        })
    })
}

fn encode_workers(
    reports: &[Arc<WorkerReport>],
    mut encoder: DescriptorEncoder<'_>,
) -> fmt::Result {
    type Seconds = fn(&WorkerReport) -> f64;
    let metrics: [(&str, &str, Seconds); 10] = [
        ("worker_running", "Time since a worker started", |it| {
            it.running_seconds
        }),
        (
            "worker_busy",
            "Time in which a worker ran its operators",
            |it| it.busy_seconds,
        ),
        (
            "worker_parked",
            "Time in which a worker waited for other workers within a batch",
            |it| it.parked_seconds,
        ),
        (
            "worker_step",
            "Time in which a worker stepped the graph outside of operators",
            |it| it.step_seconds,
        ),
        (
            "worker_feed",
            "Time in which a worker fed batches into the graph",
            |it| it.feed_seconds,
        ),
        (
            "worker_consolidate",
            "Time in which a worker consolidated changed rows",
            |it| it.consolidate_seconds,
        ),
        (
            "worker_commit_wait",
            "Time in which a worker waited for the committer",
            |it| it.commit_wait_seconds,
        ),
        (
            "worker_batch_wait",
            "Time in which a worker waited for the next batch",
            |it| it.batch_wait_seconds,
        ),
        (
            "worker_cut",
            "Time in which a worker serialized its part of checkpoints",
            |it| it.cut_seconds,
        ),
        (
            "worker_other",
            "Time in which a worker did something else",
            |it| it.other_seconds,
        ),
    ];
    for (name, help, of_worker) in metrics {
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for report in reports {
            let labels = [("worker", report.worker.to_string())];
            ConstCounter::new(of_worker(report)).encode(family.encode_family(&labels)?)?;
        }
    }
    encode_progress(reports, encoder)
}

/// How far each worker has come. The newest epoch of the whole process is `indexer_epoch`.
fn encode_progress(
    reports: &[Arc<WorkerReport>],
    mut encoder: DescriptorEncoder<'_>,
) -> fmt::Result {
    type Value = fn(&WorkerReport) -> f64;
    let metrics: [(&str, &str, Option<Unit>, Value); 3] = [
        (
            "worker_epoch",
            "Newest epoch that all workers have completed, as far as a worker knows",
            None,
            |it| it.epoch as f64,
        ),
        (
            "worker_frontier_lag_epochs",
            "Epochs that a worker was fed beyond that",
            None,
            |it| it.frontier_lag_epochs as f64,
        ),
        (
            "worker_frontier_lag",
            "Network time that a worker was fed beyond that epoch",
            Some(Unit::Seconds),
            |it| it.frontier_lag_seconds,
        ),
    ];
    for (name, help, unit, of_worker) in metrics {
        let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for report in reports {
            let labels = [("worker", report.worker.to_string())];
            ConstGauge::new(of_worker(report)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
