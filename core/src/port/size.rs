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
