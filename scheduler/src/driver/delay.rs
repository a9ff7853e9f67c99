//! The random delay of a job: fixed for a process, so that the distances of its runs stay regular.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use skytide_core::time::Timestamp;

/// The delay of a job, in ms. Determined by the seed of the process and the name of the job, and
/// evenly distributed below `jitter`.
pub(super) fn delay_ms(seed: u64, job: &str, jitter: Duration) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, job).hash(&mut hasher);
    let jitter_ms = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    hasher.finish().checked_rem(jitter_ms).unwrap_or(0)
}

/// Delays a run that is due at `due`. The result is earlier than `next`, the due time after that.
pub(super) fn delayed(due: Timestamp, delay_ms: u64, next: Option<Timestamp>) -> Timestamp {
    let distance_ms = next.map_or(u64::MAX, |next| next.0.saturating_sub(due.0));
    let delay_ms = delay_ms.checked_rem(distance_ms).unwrap_or(0);
    Timestamp(due.0.saturating_add(delay_ms))
}
