//! Sizes of what a process keeps in memory. Each part of the process reports its own, and the API,
//! `/metrics` and the log show them beside the resident memory of the process.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Reports the sizes of structures in memory.
pub trait SizeReporter: Send + Sync {
    /// The newest size of each structure, in a fixed order. The call is cheap: it may return sizes
    /// that were measured up to a second ago.
    fn sizes(&self) -> Vec<StateSize>;
}

/// The size of one structure: a table, a window, a queue, a buffer or a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSize {
    /// The part and the structure, such as `live_records.table` or `api.answers`. Bounded: a name
    /// in the code.
    pub name: Cow<'static, str>,
    /// The number of the worker of the dataflow that has it. `None` outside the dataflow.
    pub worker: Option<usize>,
    /// Its entries.
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
}
