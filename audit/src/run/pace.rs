//! Bounds the share of time in which an audit works, and ends a cancelled one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::AuditError;

/// The shortest time of work after which an audit pauses.
const WORK_MIN: Duration = Duration::from_millis(5);

/// Pauses an audit.
pub(super) struct Pace {
    /// The audit works for at most one part in this many of its time.
    parts: u32,
    cancelled: Arc<AtomicBool>,
    /// When the last pause ended.
    working_since: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(parts: u32, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            parts,
            cancelled,
            working_since: Mutex::new(Instant::now()),
        }
    }

    /// Pauses in proportion to the work since the last pause. To be called after each page, batch
    /// and shard.
    ///
    /// # Errors
    /// `Cancelled` if the audit was cancelled.
    pub(super) async fn pause(&self) -> Result<(), AuditError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(AuditError::Cancelled);
        }
        let worked = self.working_since().elapsed();
        if self.parts > 1 && worked >= WORK_MIN {
            sleep(worked * (self.parts - 1)).await;
            *self.working_since() = Instant::now();
        }
        Ok(())
    }

    fn working_since(&self) -> std::sync::MutexGuard<'_, Instant> {
        let since = self.working_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }
}
