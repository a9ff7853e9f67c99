//! The newest report of each worker; those of the workers of this process also as metrics. The
//! process of each other worker exports its metrics itself.
//!
//! Labels are bounded: `operator` is a name in the code, `worker` a number below the number of
//! workers. Operators with the same name are added up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use skytide_core::port::graph::{OperatorReport, WorkerReport};

use super::sizes::encode_states;
use crate::runtime::worker_clock::{Since, add};

/// The newest report of each worker.
#[derive(Debug, Default)]
pub(super) struct OperatorMetrics {
    by_worker: Mutex<BTreeMap<usize, Recorded>>,
    /// What each worker of this process does now.
    activities: Mutex<BTreeMap<usize, Since>>,
}

#[derive(Clone, Debug)]
struct Recorded {
    report: Arc<WorkerReport>,
    /// The time up to which it includes what the worker did.
    at: Instant,
    /// Whether the worker is of this process.
    is_own: bool,
}

impl OperatorMetrics {
    pub(super) fn record(&self, report: WorkerReport, is_own: bool) {
        let worker = report.worker;
        let recorded = Recorded {
            report: Arc::new(report),
            at: Instant::now(),
            is_own,
        };
        self.lock().insert(worker, recorded);
    }

    /// Records what a worker of this process begins to do. From now on, its report includes
    /// what it did until now.
    pub(super) fn record_activity(&self, worker: usize, activity: Since) {
        let mut recorded = self.lock();
        let ended = self.lock_activities().insert(worker, activity);
        if let Some((ended, began)) = ended
            && let Some(recorded) = recorded.get_mut(&worker)
        {
            let (_, now) = activity;
            recorded.add((ended, began), now);
            recorded.at = recorded.at.max(now);
        }
    }

    /// The reports of all workers.
    pub(super) fn reports(&self) -> Vec<Arc<WorkerReport>> {
        self.current(|_| true)
    }

    /// The reports of the workers of this process.
    pub(super) fn own_reports(&self) -> Vec<Arc<WorkerReport>> {
        self.current(|recorded| recorded.is_own)
    }

    /// The newest reports of some workers. If a worker waits, the wait counts until now.
    fn current(&self, is_wanted: impl Fn(&Recorded) -> bool) -> Vec<Arc<WorkerReport>> {
        let recorded = self.lock();
        let activities = self.lock_activities();
        let now = Instant::now();
        let wanted = recorded.iter().filter(|(_, it)| is_wanted(it));
        wanted
            .map(|(worker, it)| match activities.get(worker) {
                Some(&activity) if it.is_own => {
                    let mut current = it.clone();
                    current.add(activity, now);
                    current.report
                }
                _ => it.report.clone(),
            })
            .collect()
    }

    fn lock_activities(&self) -> MutexGuard<'_, BTreeMap<usize, Since>> {
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
    /// Adds what the worker did until `now`, without what the report includes already.
    fn add(&mut self, (activity, began): Since, now: Instant) {
        let since = began.max(self.at);
        add(Arc::make_mut(&mut self.report), (activity, since), now);
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

/// Name, help and value of a time of workers.
type WorkerSeconds = (&'static str, &'static str, fn(&WorkerReport) -> f64);

const WORKER_SECONDS: [WorkerSeconds; 10] = [
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

fn encode_workers(
    reports: &[Arc<WorkerReport>],
    mut encoder: DescriptorEncoder<'_>,
) -> fmt::Result {
    for (name, help, of_worker) in WORKER_SECONDS {
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
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use skytide_core::port::graph::{ArrangementReport, Traffic};
    use skytide_core::port::size::StateSize;

    use super::*;
    use crate::runtime::worker_clock::Activity;

    fn report(worker: usize) -> WorkerReport {
        let operator = |place| OperatorReport {
            address: vec![0, place],
            name: "Count".into(),
            busy_seconds: 0.25,
            activations: 3,
            input: Traffic {
                messages: 4,
                records: 50,
            },
            output: Traffic {
                messages: 6,
                records: 70,
            },
            arrangement: Some(ArrangementReport {
                records: 8,
                batches: 2,
                merges: 1,
                pending_records: 5,
            }),
            ..OperatorReport::default()
        };
        WorkerReport {
            worker,
            running_seconds: 10.5,
            busy_seconds: 2.5,
            parked_seconds: 1.5,
            commit_wait_seconds: 6.5,
            epoch: 70,
            frontier_lag_epochs: 3,
            frontier_lag_seconds: 0.25,
            operators: vec![operator(1), operator(2)],
            state: vec![StateSize {
                worker: Some(worker),
                ..StateSize::new("posts.table", 9, 640, None)
            }],
            ..WorkerReport::default()
        }
    }

    /// Two operators of one name are added up. The worker of another process is not exported.
    #[test]
    fn the_workers_of_this_process_are_exported_by_operator_and_worker() {
        let mut registry = Registry::default();
        let operators = Arc::new(OperatorMetrics::default());
        let indexer = registry.sub_registry_with_prefix("indexer");
        indexer.register_collector(Box::new(OperatorCollector(operators.clone())));
        operators.record(report(1), true);
        operators.record(report(2), false);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples: Vec<&str> = samples.collect();
        let expected = [
            r#"indexer_operator_activations_total{operator="Count",worker="1"} 6"#,
            r#"indexer_operator_input_messages_total{operator="Count",worker="1"} 8"#,
            r#"indexer_operator_input_records_total{operator="Count",worker="1"} 100"#,
            r#"indexer_operator_output_messages_total{operator="Count",worker="1"} 12"#,
            r#"indexer_operator_output_records_total{operator="Count",worker="1"} 140"#,
            r#"indexer_operator_busy_seconds_total{operator="Count",worker="1"} 0.5"#,
            r#"indexer_arrangement_records{operator="Count",worker="1"} 16"#,
            r#"indexer_arrangement_batches{operator="Count",worker="1"} 4"#,
            r#"indexer_arrangement_pending_records{operator="Count",worker="1"} 10"#,
            r#"indexer_state_bytes{part="posts.table",worker="1"} 640"#,
            r#"indexer_state_entries{part="posts.table",worker="1"} 9"#,
            r#"indexer_worker_running_seconds_total{worker="1"} 10.5"#,
            r#"indexer_worker_busy_seconds_total{worker="1"} 2.5"#,
            r#"indexer_worker_parked_seconds_total{worker="1"} 1.5"#,
            r#"indexer_worker_step_seconds_total{worker="1"} 0.0"#,
            r#"indexer_worker_feed_seconds_total{worker="1"} 0.0"#,
            r#"indexer_worker_consolidate_seconds_total{worker="1"} 0.0"#,
            r#"indexer_worker_commit_wait_seconds_total{worker="1"} 6.5"#,
            r#"indexer_worker_batch_wait_seconds_total{worker="1"} 0.0"#,
            r#"indexer_worker_cut_seconds_total{worker="1"} 0.0"#,
            r#"indexer_worker_other_seconds_total{worker="1"} 0.0"#,
            r#"indexer_worker_epoch{worker="1"} 70.0"#,
            r#"indexer_worker_frontier_lag_epochs{worker="1"} 3.0"#,
            r#"indexer_worker_frontier_lag_seconds{worker="1"} 0.25"#,
        ];
        assert_eq!(samples, expected);
        assert_eq!(operators.reports().len(), 2);
    }

    /// The worker does not report while it waits.
    #[test]
    fn the_report_of_a_worker_that_waits_includes_the_wait() {
        let operators = OperatorMetrics::default();
        operators.record(report(1), true);
        let before = operators.reports()[0].clone();
        assert_eq!(before.running_seconds, 10.5);
        let began = Instant::now();
        operators.record_activity(1, (Activity::WaitForCommitter, began));
        while began.elapsed().as_millis() < 3 {
            std::thread::yield_now();
        }
        let waiting = operators.reports()[0].clone();
        assert!(waiting.commit_wait_seconds >= 6.503, "{waiting:?}");
        let longer = waiting.running_seconds - before.running_seconds;
        assert!((waiting.commit_wait_seconds - 6.5 - longer).abs() < 1e-9);
        assert_eq!(waiting.batch_wait_seconds, 0.0);
        // The wait remains when it has ended: no counter may fall.
        operators.record_activity(1, (Activity::Step, Instant::now()));
        let ended = operators.reports()[0].clone();
        assert!(ended.commit_wait_seconds >= waiting.commit_wait_seconds);
        assert!(ended.running_seconds >= waiting.running_seconds);
        assert_eq!(operators.reports()[0], ended);
    }
}
