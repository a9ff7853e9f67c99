//! The newest report of each worker; those of the workers of this process also as metrics. The
//! process of each other worker exports its metrics itself.
//!
//! Labels are bounded: `operator` is a name in the code, `worker` a number below the number of
//! workers. Operators with the same name are added up.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use skytide_core::port::graph::{OperatorReport, WorkerReport};

/// The newest report of each worker.
#[derive(Debug, Default)]
pub(super) struct OperatorMetrics {
    by_worker: Mutex<BTreeMap<usize, Recorded>>,
}

#[derive(Debug)]
struct Recorded {
    report: Arc<WorkerReport>,
    /// Whether the worker is of this process.
    is_own: bool,
}

impl OperatorMetrics {
    pub(super) fn record(&self, report: WorkerReport, is_own: bool) {
        let worker = report.worker;
        let report = Arc::new(report);
        self.lock().insert(worker, Recorded { report, is_own });
    }

    /// The reports of all workers.
    pub(super) fn reports(&self) -> Vec<Arc<WorkerReport>> {
        let recorded = self.lock();
        recorded.values().map(|it| it.report.clone()).collect()
    }

    /// The reports of the workers of this process.
    pub(super) fn own_reports(&self) -> Vec<Arc<WorkerReport>> {
        let recorded = self.lock();
        let own = recorded.values().filter(|it| it.is_own);
        own.map(|it| it.report.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Recorded>> {
        self.by_worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
    let metrics: [(&str, &str, Seconds); 3] = [
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
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use skytide_core::port::graph::{ArrangementReport, Traffic};

    use super::*;

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
            epoch: 70,
            frontier_lag_epochs: 3,
            frontier_lag_seconds: 0.25,
            operators: vec![operator(1), operator(2)],
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
            r#"indexer_worker_running_seconds_total{worker="1"} 10.5"#,
            r#"indexer_worker_busy_seconds_total{worker="1"} 2.5"#,
            r#"indexer_worker_parked_seconds_total{worker="1"} 1.5"#,
            r#"indexer_worker_epoch{worker="1"} 70.0"#,
            r#"indexer_worker_frontier_lag_epochs{worker="1"} 3.0"#,
            r#"indexer_worker_frontier_lag_seconds{worker="1"} 0.25"#,
        ];
        assert_eq!(samples, expected);
        assert_eq!(operators.reports().len(), 2);
    }
}
