//! The clock on the wall, which only `app` may read.

use crate::time::Timestamp;

/// Tells the time of day.
pub trait Clock: Send + Sync {
    /// Now, by this machine's clock. May go back.
    fn now(&self) -> Timestamp;
}

/// A clock that is set by hand.
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicU64);

impl ManualClock {
    /// Sets the time.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}
