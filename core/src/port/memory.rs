//! The memory limit of the dataflow, and the memory that its processes use.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Measures the memory of this process, and releases memory that is not needed.
pub trait MemoryMeter: Send + Sync {
    /// Bytes that the process uses now: its resident memory, or where the system does not report
    /// that, the sum of the sizes of its structures. The call is cheap: it is made for each batch.
    fn used_bytes(&self) -> u64;

    /// Releases what can be computed or read again, such as cached answers, and returns free memory
    /// to the system. It may take some seconds, so it must not be called on a thread that runs
    /// asynchronous tasks.
    fn release(&self);

    /// Returns free memory to the system and releases nothing else. See [`release`](Self::release)
    /// for the time that it takes.
    fn return_free(&self);
}

/// The limit on the memory of this process. Above it, the dataflow takes no further batch.
#[derive(Clone)]
pub struct MemoryLimit {
    /// The limit, in bytes.
    pub bytes_max: u64,
    /// Measures the memory that is compared with the limit.
    pub meter: Arc<dyn MemoryMeter>,
}

impl MemoryLimit {
    /// The memory in use now, beside the limit.
    pub fn measure(&self) -> MemoryUse {
        MemoryUse {
            used_bytes: self.meter.used_bytes(),
            bytes_max: self.bytes_max,
        }
    }

    /// Returns free memory to the system if a dataflow that waits may not take batches again yet. An
    /// allocator may have free memory of each thread, so each worker calls this while it waits. See
    /// [`MemoryMeter::release`] for the time that it takes.
    pub fn return_free(&self) {
        if !self.measure().may_resume() {
            self.meter.return_free();
        }
    }
}

impl fmt::Debug for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLimit")
            .field("bytes_max", &self.bytes_max)
            .finish_non_exhaustive()
    }
}

/// The memory that a process uses, beside its limit. Both are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// The memory in use.
    pub used_bytes: u64,
    /// The limit.
    pub bytes_max: u64,
}

/// Below this share of the limit, in percent, a dataflow that waits takes batches again. The
/// distance prevents it from starting and stopping with every batch.
const RESUME_PERCENT: u128 = 95;

impl MemoryUse {
    /// Whether more memory is in use than the limit allows.
    pub fn is_over(self) -> bool {
        self.used_bytes > self.bytes_max
    }

    /// Whether a dataflow that waits may take batches again: less than 95 % of the limit is in use.
    pub fn may_resume(self) -> bool {
        u128::from(self.used_bytes) * 100 < u128::from(self.bytes_max) * RESUME_PERCENT
    }
}

/// A process of the dataflow that uses more memory than its limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryExcess {
    /// The number of the process; 0 if the dataflow runs in a single one.
    pub process: usize,
    /// Its memory and its limit, as last measured.
    pub memory: MemoryUse,
    /// Whether the dataflow takes no batch because of that. It takes batches in spite of it while it
    /// restores a checkpoint and computes again what the store already has.
    pub waits: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_begins_above_the_limit_and_ends_below_95_percent_of_it() {
        let memory = |used_bytes| MemoryUse {
            used_bytes,
            bytes_max: 1_000,
        };
        assert!(!memory(1_000).is_over());
        assert!(memory(1_001).is_over());
        assert!(!memory(950).may_resume());
        assert!(memory(949).may_resume());
        let largest = MemoryUse {
            used_bytes: u64::MAX,
            bytes_max: u64::MAX,
        };
        assert!(!largest.is_over() && !largest.may_resume());
    }
}
