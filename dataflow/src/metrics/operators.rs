//! The newest report of each worker, as metrics.
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
    by_worker: Mutex<BTreeMap<usize, Arc<WorkerReport>>>,
}

impl OperatorMetrics {
    pub(super) fn record(&self, report: WorkerReport) {
        self.lock().insert(report.worker, Arc::new(report));
    }

    pub(super) fn reports(&self) -> Vec<Arc<WorkerReport>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<WorkerReport>>> {
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
        let reports = self.0.reports();
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
    Ok(())
}
