//! `retention`: removes snapshots that are older than they may get.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::time::Timestamp;

use crate::job::{Job, Report};

/// Snapshots removed in one run, at most.
const REMOVED_MAX: usize = 1_000;

/// Removes snapshots whose network time lies further back than `keep`.
pub struct Retention {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where the snapshots are.
    pub store: Arc<dyn SnapshotStore>,
    /// How long they are kept.
    pub keep: Duration,
}

#[async_trait]
impl Job for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        let keep_ms = u64::try_from(self.keep.as_millis())?;
        let oldest = Timestamp(self.clock.now().0.saturating_sub(keep_ms));
        let removed = self.store.remove_before(oldest, REMOVED_MAX).await?;
        let kept = self.store.times().await?.len();
        Ok(Report::Retention { removed, kept })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::testing::Snapshots;
    use skytide_core::port::clock::ManualClock;
    use skytide_core::port::snapshot::Snapshot;

    #[tokio::test]
    async fn snapshots_live_as_long_as_they_should() {
        let (clock, store) = (
            Arc::new(ManualClock::default()),
            Arc::new(Snapshots::default()),
        );
        for time in [1_000, 5_000, 9_000].map(Timestamp) {
            let snapshot = Snapshot {
                time,
                ..Snapshot::default()
            };
            store.put(&snapshot).await.expect("stored");
        }
        let job = Retention {
            clock: clock.clone(),
            store: store.clone(),
            keep: Duration::from_secs(4),
        };
        clock.set(Timestamp(9_000));
        let report = job.run().await.expect("a run");
        let (removed, kept) = (1, 2);
        assert_eq!(report, Report::Retention { removed, kept });
        let times = store.times().await.expect("times");
        assert_eq!(times, [5_000, 9_000].map(Timestamp));
    }
}
