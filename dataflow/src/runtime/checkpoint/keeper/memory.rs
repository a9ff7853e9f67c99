//! Checkpoints that are made before their time, because they allow evicting more records.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant as TokioInstant;

use super::{Keeper, Progress};

/// The shortest time between two checkpoints that memory requires, and the longest one. It doubles
/// while they do not help.
const SPACING: Duration = Duration::from_secs(30);
const SPACING_MAX: Duration = Duration::from_secs(600);

impl Keeper {
    /// Whether the source takes no batch because a process is over its memory limit.
    pub(super) fn waits_for_memory(&self) -> bool {
        self.metrics.memory_excess().is_some_and(|it| it.waits)
    }

    /// Requests a checkpoint if workers cannot evict as much as memory requires. While the source
    /// waits for memory, that is at once, unless the newest checkpoint contains everything already.
    /// The planner begins none at the same epoch. Otherwise there is some time between two requests.
    pub(super) fn check_memory(&self, progress: &mut Progress) {
        if !self.gate.take_wanted() {
            return;
        }
        let in_progress = self.gate.in_progress.load(Ordering::Acquire);
        // Nothing was committed since the newest checkpoint, so another one would contain the same.
        let newest = self.gate.newest_complete().0;
        if !in_progress && u64::try_from(self.metrics.epoch.get()).unwrap_or(0) <= newest {
            return;
        }
        if self.waits_for_memory() {
            if !in_progress {
                self.request_for_memory();
            }
            self.gate.cut_requested.notify_one();
            return;
        }
        let now = TokioInstant::now();
        let next = next_spacing(progress.for_memory, now);
        if let Some(spacing) = next.filter(|_| !in_progress) {
            progress.for_memory = Some((now, spacing));
            self.request_for_memory();
        }
    }

    fn request_for_memory(&self) {
        self.metrics.runs.eviction_checkpoints.inc();
        self.gate.request();
    }
}

/// The time until the next request, if one may be made now. `last` is the previous request and the
/// time that has to pass after it.
fn next_spacing(last: Option<(TokioInstant, Duration)>, now: TokioInstant) -> Option<Duration> {
    let Some((at, spacing)) = last else {
        return Some(SPACING);
    };
    let passed = now - at;
    match passed {
        _ if passed < spacing => None,
        // It is needed again as soon as it may be made: the previous one did not help.
        _ if passed < spacing * 2 => Some((spacing * 2).min(SPACING_MAX)),
        _ => Some(SPACING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_requests_doubles_while_they_do_not_help() {
        let start = TokioInstant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let spacing = |last: u64, spacing: u64, now: u64| {
            let last = (at(last), Duration::from_secs(spacing));
            next_spacing(Some(last), at(now)).map(|it| it.as_secs())
        };
        assert_eq!(next_spacing(None, start), Some(SPACING));
        assert_eq!(spacing(0, 30, 29), None);
        assert_eq!(spacing(0, 30, 30), Some(60));
        assert_eq!(spacing(30, 60, 149), Some(120));
        assert_eq!(spacing(30, 60, 150), Some(30), "it helped for a while");
        assert_eq!(spacing(0, 600, 600), Some(600));
    }
}
