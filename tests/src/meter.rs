//! Memory meters whose values are drawn or follow what the dataflow does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use skytide_core::port::memory::{MemoryLimit, MemoryMeter};
use skytide_dataflow::Metrics;

use crate::world::Random;

/// The limit of these meters, in bytes.
const LIMIT: u64 = 40_000;

/// Random use of memory between 70 and 94 % of the limit, so that workers evict at random times,
/// and the source never waits.
struct RandomMeter(Mutex<Random>);

/// A limit on memory whose use is drawn from this seed.
pub fn random_memory(seed: u64) -> MemoryLimit {
    MemoryLimit {
        bytes_max: LIMIT,
        meter: Arc::new(RandomMeter(Mutex::new(Random::new(seed)))),
    }
}

impl MemoryMeter for RandomMeter {
    fn used_bytes(&self) -> u64 {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        LIMIT / 100 * (70 + random.below(25))
    }

    fn release(&self) {}

    fn return_free(&self) {}
}

/// Memory that is over the limit from a number of events after each eviction until the next one.
struct FillingMeter {
    metrics: Arc<Metrics>,
    events: u64,
    /// The evicted bytes at the newest eviction.
    evicted: AtomicU64,
    /// The events that were counted then.
    counted: AtomicU64,
}

/// A limit on memory that only evictions satisfy: it is exceeded when this many events were counted
/// since the last one.
pub fn filling_memory(metrics: &Arc<Metrics>, events: u64) -> MemoryLimit {
    MemoryLimit {
        bytes_max: LIMIT,
        meter: Arc::new(FillingMeter {
            metrics: metrics.clone(),
            events,
            evicted: AtomicU64::default(),
            counted: AtomicU64::default(),
        }),
    }
}

impl MemoryMeter for FillingMeter {
    fn used_bytes(&self) -> u64 {
        let evicted = self.metrics.runs.evicted_bytes.get();
        let counted = self.metrics.events.get();
        if self.evicted.swap(evicted, Ordering::SeqCst) != evicted {
            self.counted.store(counted, Ordering::SeqCst);
        }
        let since = counted.saturating_sub(self.counted.load(Ordering::SeqCst));
        match since >= self.events {
            true => LIMIT + 1,
            false => LIMIT / 2,
        }
    }

    fn release(&self) {}

    fn return_free(&self) {}
}
