//! Sizes of what a process keeps in memory. Each part of the process reports its own, and the API,
//! `/metrics` and the log show them beside the resident memory of the process.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Reports the sizes of structures in memory.
pub trait SizeReporter: Send + Sync {
    /// The newest size of each structure, in a fixed order. The call is cheap: it may return sizes
    /// that were measured up to a second ago.
    fn sizes(&self) -> Vec<StateSize>;

    /// Releases what this part can compute or read again, because the process is over its memory
    /// limit. The default releases nothing.
    fn release(&self) {}
}

/// The size of one structure: a table, a window, a queue, a buffer or a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    /// The part and the structure, such as `live_records.table` or `api.answers`. Bounded: a name
    /// in the code.
    pub name: Cow<'static, str>,
    /// The number of the worker of the dataflow that has it. `None` outside the dataflow.
    pub worker: Option<usize>,
    /// Its entries; 0 if they are not counted.
    pub entries: u64,
    /// The memory that it holds, in bytes, with unused capacity and with what its entries point to.
    /// Without the allocator's own overhead.
    pub bytes: u64,
    /// The environment variable of the option that changes its size, if there is one.
    pub option: Option<Cow<'static, str>>,
}

/// Reports the memory of this process.
pub trait MemoryReporter: Send + Sync {
    /// The newest size of each structure of the process, in the order of names and workers. Those
    /// of the dataflow's workers in other processes are not included.
    fn sizes(&self) -> Vec<StateSize>;

    /// The memory of the whole process, beside the sum of the sizes. It was measured at most a
    /// second ago.
    fn totals(&self) -> MemoryTotals;

    /// Both, from one reading of the sizes if the implementation has one.
    fn sizes_and_totals(&self) -> (Vec<StateSize>, MemoryTotals) {
        (self.sizes(), self.totals())
    }
}

/// The memory of a process, in bytes. `None`: the operating system or the allocator does not
/// report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryTotals {
    /// Memory that the operating system holds in RAM for the process.
    pub resident_bytes: Option<u64>,
    /// The largest value of `resident_bytes` since the process started.
    pub peak_resident_bytes: Option<u64>,
    /// Memory that the allocator obtained from the operating system and has not returned. It
    /// contains free memory that the allocator retains.
    pub allocator_committed_bytes: Option<u64>,
    /// The sum of the sizes of all structures.
    pub accounted_bytes: u64,
    /// `resident_bytes` minus `accounted_bytes`. Negative while reserved capacity has not been
    /// used: the system provides memory at its first use.
    pub unaccounted_bytes: Option<i64>,
    /// The limit above which the dataflow of this process takes no further batch
    /// (`INDEXER_MEMORY_MAX`). `None` without a limit, or without a dataflow.
    pub limit_bytes: Option<u64>,
}

impl StateSize {
    /// The size of a structure that belongs to no worker of the dataflow. `option` is the
    /// environment variable of the option that changes it.
    pub fn new(name: &'static str, entries: u64, bytes: u64, option: Option<&'static str>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            worker: None,
            entries,
            bytes,
            option: option.map(Cow::Borrowed),
        }
    }
}

/// The current size of a queue or a buffer that several threads fill and empty.
#[derive(Debug, Default)]
pub struct SizeGauge {
    entries: AtomicU64,
    bytes: AtomicU64,
}

impl SizeGauge {
    /// Records that entries were added.
    pub fn add(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records that entries were removed that were added before. If [`set`](Self::set) has already
    /// removed them, the size becomes 0.
    pub fn remove(&self, entries: u64, bytes: u64) {
        for (size, removed) in [(&self.entries, entries), (&self.bytes, bytes)] {
            let left = |size: u64| Some(size.saturating_sub(removed));
            // The function never refuses.
            let _ = size.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        }
    }

    /// Replaces the size.
    pub fn set(&self, entries: u64, bytes: u64) {
        self.entries.store(entries, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// The size now, with the name of the structure and the option that changes it. Entries and
    /// bytes may be of slightly different moments.
    pub fn size(&self, name: &'static str, option: Option<&'static str>) -> StateSize {
        let entries = self.entries.load(Ordering::Relaxed);
        let bytes = self.bytes.load(Ordering::Relaxed);
        StateSize::new(name, entries, bytes, option)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_after_a_queue_was_cleared_counts_nothing() {
        let gauge = SizeGauge::default();
        gauge.add(3, 300);
        gauge.set(0, 0);
        gauge.remove(3, 300);
        gauge.add(2, 50);
        gauge.remove(1, 20);
        let size = gauge.size("queue", None);
        assert_eq!((size.entries, size.bytes), (1, 30));
    }
}
