//! The memory limit, and how long it has stopped the dataflow.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::port::memory::{MemoryExcess, MemoryUse};

use super::Metrics;

/// What the source and a follower record of their memory.
#[derive(Debug, Default)]
pub(super) struct MemoryMetrics {
    limit: Gauge,
    waiting: Gauge,
    waits: Counter,
    wait_seconds: Counter<f64, AtomicU64>,
    excess: Mutex<Option<MemoryExcess>>,
}

impl MemoryMetrics {
    /// Registers the metrics under the prefix of the dataflow.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "memory_max",
            "Memory above which this process takes no further batch; 0 without a limit",
            Unit::Bytes,
            self.limit.clone(),
        );
        registry.register(
            "memory_waiting",
            "1 while no batch is taken because a process is over its memory limit",
            self.waiting.clone(),
        );
        registry.register(
            "memory_waits",
            "Times that the memory limit stopped the dataflow",
            self.waits.clone(),
        );
        registry.register_with_unit(
            "memory_wait",
            "Time in which the memory limit stopped the dataflow",
            Unit::Seconds,
            self.wait_seconds.clone(),
        );
    }

    fn excess(&self) -> MutexGuard<'_, Option<MemoryExcess>> {
        self.excess.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metrics {
    /// The process that uses more memory than its limit allows, or more than allows a dataflow that
    /// waits to continue. `None` if there is none. At most a second old while the dataflow waits.
    pub fn memory_excess(&self) -> Option<MemoryExcess> {
        *self.memory.excess()
    }

    /// Records the limit of this process, in bytes.
    pub(crate) fn record_memory_limit(&self, bytes_max: u64) {
        let limit = i64::try_from(bytes_max).unwrap_or(i64::MAX);
        self.memory.limit.set(limit);
    }

    /// Records the process that is over its limit, if there is one.
    pub(crate) fn record_memory_excess(&self, excess: Option<MemoryExcess>) {
        let waits = |excess: Option<MemoryExcess>| excess.is_some_and(|it| it.waits);
        let before = std::mem::replace(&mut *self.memory.excess(), excess);
        self.memory.waiting.set(i64::from(waits(excess)));
        if waits(excess) && !waits(before) {
            self.memory.waits.inc();
        }
    }

    /// Records that the memory limit has stopped the dataflow for this time.
    pub(crate) fn record_memory_wait(&self, waited: Duration) {
        self.memory.wait_seconds.inc_by(waited.as_secs_f64());
    }

    /// The time for which the memory limit has stopped the dataflow so far, in seconds.
    pub fn memory_wait_seconds(&self) -> f64 {
        self.memory.wait_seconds.get()
    }

    /// The memory of the other processes, as their workers last reported it, with the number of the
    /// worker.
    pub(crate) fn remote_memory(&self) -> Vec<(usize, MemoryUse)> {
        self.operators.remote_memory()
    }
}
