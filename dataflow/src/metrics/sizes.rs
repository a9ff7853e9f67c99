//! The sizes of the state of the workers of this process, and of what waits between the log, the
//! workers and the store.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use skytide_core::port::graph::WorkerReport;
use skytide_core::port::size::{SizeGauge, SizeReporter, StateSize};

use super::Metrics;
use crate::sizes::BATCH_EVENTS;

/// What waits outside the workers.
#[derive(Debug, Default)]
pub(crate) struct QueueSizes {
    /// Events that were read from the log and are not sent to the workers yet.
    pub read: SizeGauge,
    /// Events of the batches that wait for the workers. A worker that processes a batch counts them
    /// in its own state.
    pub batches: SizeGauge,
    /// Changes of rows on their way to the store.
    pub changes: SizeGauge,
    /// Rows of views that are rebuilt, until the first commit.
    pub rebuild: SizeGauge,
    /// Parts of checkpoints that are not written yet.
    pub checkpoint_parts: SizeGauge,
}

impl SizeReporter for Metrics {
    fn sizes(&self) -> Vec<StateSize> {
        let queues = &self.queues;
        let own = self.operators.own_reports_as_made().into_iter();
        let states = own.flat_map(|report| report.state.clone());
        let queues = [
            queues.read.size("dataflow.read", BATCH_EVENTS),
            queues.batches.size("dataflow.batches", BATCH_EVENTS),
            queues.changes.size("dataflow.changes", BATCH_EVENTS),
            queues
                .rebuild
                .size("dataflow.rebuild", Some("INDEXER_REBUILD")),
            queues.checkpoint_parts.size(
                "dataflow.checkpoint_parts",
                Some("INDEXER_CHECKPOINT_INTERVAL"),
            ),
        ];
        queues.into_iter().chain(states).collect()
    }
}

impl Metrics {
    /// Bytes that the state of the workers of this process holds, and what waits for them or
    /// for the store. At most a second old, and cheap: the sum of some hundred numbers.
    pub fn state_bytes(&self) -> u64 {
        self.sizes().iter().map(|size| size.bytes).sum()
    }
}

/// Exports the sizes of the states of workers.
pub(super) fn encode_states(
    reports: &[Arc<WorkerReport>],
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    type Value = fn(&StateSize) -> u64;
    let metrics: [(&str, &str, Option<&Unit>, Value); 2] = [
        (
            "state",
            "Memory that a structure of the state of a worker holds, with unused capacity",
            Some(&Unit::Bytes),
            |size| size.bytes,
        ),
        (
            "state_entries",
            "Entries of a structure of the state of a worker",
            None,
            |size| size.entries,
        ),
    ];
    for (name, help, unit, value) in metrics {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for report in reports {
            for size in &report.state {
                let worker = report.worker.to_string();
                let labels = [("part", size.name.to_string()), ("worker", worker)];
                ConstGauge::new(value(size) as i64).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}
