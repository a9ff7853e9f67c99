//! The memory of this process: its resident size, and the sizes of all structures that report one.
//!
//! ```text
//! dataflow, ingest, view store, API, log lines ─ sizes ─┐
//! /proc/self/status ─ resident ─────────────────────────┼─▶ /metrics, /v1/dataflow, the log
//! mimalloc ─ committed ─────────────────────────────────┘
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use skytide_core::config::MemoryMax;
use skytide_core::port::memory::{MemoryLimit, MemoryMeter};
use skytide_core::port::size::{MemoryReporter, MemoryTotals, SizeReporter, StateSize};

use crate::memory;
use crate::memory_limit::memory_limit;

/// The parts of the process that report sizes, and the limit on its memory. Clones share them.
#[derive(Clone, Default)]
pub struct ProcessMemory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    parts: Mutex<Vec<Arc<dyn SizeReporter>>>,
    limit_bytes: OnceLock<u64>,
}

impl ProcessMemory {
    /// From now on includes the sizes of this part.
    pub fn add(&self, part: Arc<dyn SizeReporter>) {
        self.parts().push(part);
    }

    /// The limit that an option sets for the dataflow of this process. `None` if it sets none, or a
    /// share of memory that the system does not report.
    pub fn limit(&self, option: MemoryMax) -> Option<MemoryLimit> {
        let total = memory_limit().map(|(bytes, _)| bytes);
        let bytes_max = option.bytes(total);
        if bytes_max.is_none() && option != MemoryMax::Unlimited {
            let what = "the system does not report its memory, so INDEXER_MEMORY_MAX has no effect; \
                        set it to a size";
            tracing::warn!(INDEXER_MEMORY_MAX = %option, "{what}");
        }
        let bytes_max = bytes_max?;
        // A process has one dataflow, so the first limit stays.
        let _ = self.0.limit_bytes.set(bytes_max);
        Some(MemoryLimit {
            bytes_max,
            meter: Arc::new(self.clone()),
        })
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Arc<dyn SizeReporter>>> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory of the process beside the sum of these sizes.
    fn totals_of(&self, sizes: &[StateSize]) -> MemoryTotals {
        MemoryTotals {
            limit_bytes: self.0.limit_bytes.get().copied(),
            ..totals(sizes)
        }
    }
}

impl MemoryMeter for ProcessMemory {
    fn used_bytes(&self) -> u64 {
        let resident = status_bytes(&process_status(), "VmRSS:");
        resident.unwrap_or_else(|| self.sizes().iter().map(|size| size.bytes).sum())
    }

    fn release(&self) {
        // The lock is not held meanwhile: sizes are read on other threads.
        let parts = self.parts().clone();
        parts.iter().for_each(|part| part.release());
        self.return_free();
    }

    fn return_free(&self) {
        memory::return_free_memory();
    }
}

/// What the system reports of this process. Empty on systems other than Linux
/// (<https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>).
fn process_status() -> String {
    std::fs::read_to_string("/proc/self/status").unwrap_or_default()
}

impl MemoryReporter for ProcessMemory {
    fn sizes(&self) -> Vec<StateSize> {
        let parts = self.parts().clone();
        let mut sizes: Vec<_> = parts.iter().flat_map(|part| part.sizes()).collect();
        sizes.sort_by(|a, b| (&a.name, a.worker).cmp(&(&b.name, b.worker)));
        sizes
    }

    fn totals(&self) -> MemoryTotals {
        self.totals_of(&self.sizes())
    }

    fn sizes_and_totals(&self) -> (Vec<StateSize>, MemoryTotals) {
        let sizes = self.sizes();
        let totals = self.totals_of(&sizes);
        (sizes, totals)
    }
}

/// The memory of the process beside the sum of these sizes.
fn totals(sizes: &[StateSize]) -> MemoryTotals {
    let status = process_status();
    let resident = status_bytes(&status, "VmRSS:");
    let accounted = sizes.iter().map(|size| size.bytes).sum::<u64>();
    MemoryTotals {
        resident_bytes: resident,
        peak_resident_bytes: status_bytes(&status, "VmHWM:"),
        allocator_committed_bytes: Some(memory::committed_bytes()),
        accounted_bytes: accounted,
        unaccounted_bytes: resident.map(|bytes| bytes.cast_signed() - accounted.cast_signed()),
        limit_bytes: None,
    }
}

/// The value of a field of `/proc/self/status`, which is in kB.
fn status_bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// Exports the memory of the process as metrics, under the names that Prometheus recommends where it
/// has some (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
pub struct MemoryCollector(pub ProcessMemory);

impl fmt::Debug for MemoryCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryCollector")
    }
}

impl Collector for MemoryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sizes = self.0.sizes();
        let totals = totals(&sizes);
        let signed = |bytes: Option<u64>| bytes.map(u64::cast_signed);
        let gauges = [
            (
                "process_resident_memory",
                "Resident memory size",
                signed(totals.resident_bytes),
            ),
            (
                "process_peak_resident_memory",
                "Largest resident memory size since the start",
                signed(totals.peak_resident_bytes),
            ),
            (
                "process_allocator_committed_memory",
                "Memory that the allocator obtained from the system and did not return",
                signed(totals.allocator_committed_bytes),
            ),
            (
                "process_memory_limit",
                "Memory that the process may use: that of its control group or of the machine",
                signed(memory_limit().map(|(bytes, _)| bytes)),
            ),
            (
                "process_accounted_memory",
                "Sum of the sizes that all structures report",
                Some(totals.accounted_bytes.cast_signed()),
            ),
            (
                "process_unaccounted_memory",
                "Resident memory minus accounted memory; negative while reserved memory is unused",
                totals.unaccounted_bytes,
            ),
        ];
        let unit = Some(&Unit::Bytes);
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
                ConstGauge::new(value).encode(gauge)?;
            }
        }
        // Those of workers have the prefix of the dataflow.
        let sizes = || sizes.iter().filter(|size| size.worker.is_none());
        let help = "Memory that a queue, a buffer or a cache outside the dataflow holds";
        let mut family =
            encoder.encode_descriptor("process_state", help, unit, MetricType::Gauge)?;
        for size in sizes() {
            let labels = [("part", size.name.to_string())];
            let bytes = size.bytes.cast_signed();
            ConstGauge::new(bytes).encode(family.encode_family(&labels)?)?;
        }
        let help = "Entries of a queue, a buffer or a cache outside the dataflow";
        let mut family =
            encoder.encode_descriptor("process_state_entries", help, None, MetricType::Gauge)?;
        for size in sizes() {
            let labels = [("part", size.name.to_string())];
            let entries = size.entries.cast_signed();
            ConstGauge::new(entries).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    struct Part(&'static [(&'static str, Option<usize>, u64)]);

    impl SizeReporter for Part {
        fn sizes(&self) -> Vec<StateSize> {
            let size = |&(name, worker, bytes): &(&'static str, Option<usize>, u64)| StateSize {
                worker,
                ..StateSize::new(name, 2, bytes, Some("API_CACHE_BYTES_MAX"))
            };
            self.0.iter().map(size).collect()
        }
    }

    fn memory() -> ProcessMemory {
        let memory = ProcessMemory::default();
        memory.add(Arc::new(Part(&[
            ("posts.table", Some(1), 400),
            ("posts.table", Some(0), 300),
        ])));
        memory.add(Arc::new(Part(&[("api.answers", None, 50)])));
        memory
    }

    #[test]
    fn sizes_are_ordered_and_the_accounted_bytes_are_their_sum() {
        let memory = memory();
        let sizes = memory.sizes();
        let sizes: Vec<_> = sizes.iter().map(|it| (&*it.name, it.worker)).collect();
        let expected = [
            ("api.answers", None),
            ("posts.table", Some(0)),
            ("posts.table", Some(1)),
        ];
        assert_eq!(sizes, expected);
        let totals = memory.totals();
        assert_eq!(totals.accounted_bytes, 750);
        let resident = totals.resident_bytes.map(u64::cast_signed);
        assert_eq!(totals.unaccounted_bytes, resident.map(|bytes| bytes - 750));
    }

    #[test]
    fn fields_of_the_status_are_in_kib() {
        let status = "VmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(status_bytes(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(status_bytes(status, "Threads:"), None);
        assert_eq!(status_bytes("", "VmRSS:"), None);
    }

    #[test]
    fn only_parts_outside_the_dataflow_are_exported_under_process() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(MemoryCollector(memory())));
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        assert_eq!(value("process_accounted_memory_bytes "), Some("750"));
        assert_eq!(
            value("process_state_bytes{part=\"api.answers\"} "),
            Some("50")
        );
        assert_eq!(
            value("process_state_entries{part=\"api.answers\"} "),
            Some("2")
        );
        assert!(!text.contains("posts.table"), "{text}");
        let resident = value("process_resident_memory_bytes ");
        let is_linux = std::path::Path::new("/proc/self/status").exists();
        assert_eq!(resident.is_some(), is_linux, "{text}");
    }
}
