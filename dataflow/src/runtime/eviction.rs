//! Moves state to disk while the process uses much of the memory that its limit allows.
//!
//! ```text
//! above 80 % of the limit ─▶ after each batch, each worker evicts a piece ─▶ below 75 %: done
//!                                └─ nothing is left that a checkpoint contains ─▶ early checkpoint
//! ```
//!
//! The states are asked in turn: live records first, then days of interactions. A worker evicts only
//! records that are in the newest complete checkpoint. So memory that is short
//! although everything else is evicted asks the keeper for a checkpoint before its time. While the
//! source waits for memory, there are no batches: then workers evict at its request, once a second.

use std::sync::Arc;

use skytide_core::port::memory::{MemoryLimit, MemoryUse};

use crate::metrics::Metrics;
use crate::runtime::checkpoint::CutGate;
use crate::sizes::StateRegistry;

/// Above this share of the limit, in percent, workers begin to evict.
const BEGIN_PERCENT: u64 = 80;
/// Below this share of the limit, in percent, they stop.
const END_PERCENT: u64 = 75;
/// The number of bytes that a worker evicts at most after one batch. Releasing them takes a few
/// milliseconds, during which the worker counts nothing.
const PIECE_BYTES: u64 = 4 << 20;

/// Decides how much one worker evicts.
#[derive(Debug)]
pub(crate) struct Eviction {
    /// The limit on the memory of this process; `None` for no limit.
    pub memory: Option<MemoryLimit>,
    /// The number of workers of this process, which all evict.
    pub workers: usize,
    /// Where a checkpoint is requested.
    pub gate: Arc<CutGate>,
    /// Where evicted bytes are counted.
    pub metrics: Arc<Metrics>,
    /// Whether memory was above the beginning, and has not been below the end since.
    pub is_active: bool,
}

impl Eviction {
    /// Evicts a piece of the states if memory is short.
    pub fn after_batch(&mut self, states: &StateRegistry) {
        self.evict(states, PIECE_BYTES);
    }

    /// Evicts as much as memory needs, while the source waits. Then returns free memory to the
    /// system, which may take some seconds.
    pub fn while_waiting(&mut self, states: &StateRegistry) {
        self.evict(states, u64::MAX);
        if let Some(memory) = &self.memory {
            memory.return_free();
        }
    }

    fn evict(&mut self, states: &StateRegistry, bytes_max: u64) {
        let Some(memory) = self.memory.as_ref().map(MemoryLimit::measure) else {
            return;
        };
        let wanted = self.wanted_bytes(memory).min(bytes_max);
        if wanted == 0 {
            return;
        }
        let released = states.evict(wanted);
        self.metrics.runs.evicted_bytes.inc_by(released);
        if released < wanted {
            self.gate.want_checkpoint();
        }
    }

    /// The number of bytes that this worker should evict at this use of memory.
    fn wanted_bytes(&mut self, memory: MemoryUse) -> u64 {
        let share = |percent: u64| (memory.bytes_max / 100).saturating_mul(percent);
        let end = share(END_PERCENT);
        self.is_active = match self.is_active {
            true => memory.used_bytes > end,
            false => memory.used_bytes > share(BEGIN_PERCENT),
        };
        let excess = memory.used_bytes.saturating_sub(end);
        match self.is_active {
            true => excess.div_ceil(self.workers.max(1) as u64),
            false => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eviction_begins_above_80_percent_and_ends_below_75_percent() {
        let mut eviction = Eviction {
            memory: None,
            workers: 2,
            gate: Arc::default(),
            metrics: Arc::default(),
            is_active: false,
        };
        let mut wanted = |used_bytes| {
            let bytes_max = 10_000;
            eviction.wanted_bytes(MemoryUse {
                used_bytes,
                bytes_max,
            })
        };
        assert_eq!(wanted(8_000), 0);
        assert_eq!(wanted(8_001), 251, "half of what is above 7,500");
        assert_eq!(wanted(7_600), 50);
        assert_eq!(wanted(7_500), 0);
        assert_eq!(
            wanted(7_900),
            0,
            "it has ended, and begins above 80 % again"
        );
        assert_eq!(wanted(u64::MAX), (u64::MAX - 7_500).div_ceil(2));
    }
}
