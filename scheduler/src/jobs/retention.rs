//! `retention`: removes snapshots and profiles that exceed their retention time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::profile::ProfileStore;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::time::Timestamp;

use crate::job::{Job, Report};

/// Largest number of snapshots removed in one run.
const SNAPSHOTS_MAX: usize = 1_000;
/// Largest number of profiles removed in one run.
const PROFILES_MAX: usize = 100_000;
/// Profiles removed per call of the store, so that other calls are not blocked for long.
const PROFILES_AT_ONCE: usize = 1_000;

/// Removes snapshots by their network time, and profiles by the time at which they were fetched.
pub struct Retention {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The store of snapshots.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// The retention time of snapshots.
    pub keep_snapshots: Duration,
    /// The store of profiles.
    pub profiles: Arc<dyn ProfileStore>,
    /// The retention time of profiles after they were fetched.
    pub keep_profiles: Duration,
}

#[async_trait]
impl Job for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        let oldest = self.before(self.keep_snapshots);
        let removed = self.snapshots.remove_before(oldest, SNAPSHOTS_MAX).await?;
        Ok(Report::Retention {
            snapshots: removed,
            snapshots_kept: self.snapshots.times().await?.len(),
            profiles: self.remove_profiles().await?,
        })
    }
}

impl Retention {
    fn before(&self, keep: Duration) -> Timestamp {
        let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.clock.now().0.saturating_sub(keep_ms))
    }

    async fn remove_profiles(&self) -> Result<usize, BoxError> {
        let oldest = self.before(self.keep_profiles);
        let mut removed = 0;
        while removed < PROFILES_MAX {
            let limit = PROFILES_AT_ONCE.min(PROFILES_MAX - removed);
            let count = self.profiles.remove_before(oldest, limit).await?;
            removed += count;
            if count < limit {
                break;
            }
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::memory::{MemoryProfiles, MemorySnapshots};
    use skytide_core::port::clock::ManualClock;
    use skytide_core::port::profile::{StoredProfile, StreamProfile};
    use skytide_core::port::snapshot::Snapshot;

    #[tokio::test]
    async fn snapshots_and_profiles_are_removed_after_their_retention_time() {
        let clock = Arc::new(ManualClock::default());
        let snapshots = Arc::new(MemorySnapshots::default());
        let profiles = Arc::new(MemoryProfiles::default());
        for time in [1_000, 5_000, 9_000].map(Timestamp) {
            let snapshot = Snapshot {
                time,
                ..Snapshot::default()
            };
            snapshots.put(&snapshot).await.expect("stored");
        }
        let profile = |number: u64| StoredProfile {
            did: format!("did:web:n{number}.test").parse().expect("a DID"),
            fetched: Timestamp(number),
            stream: StreamProfile::default(),
            profile: None,
        };
        let all: Vec<_> = (6_000..9_000).map(profile).collect();
        profiles.put(&all).await.expect("stored");
        let job = Retention {
            clock: clock.clone(),
            snapshots: snapshots.clone(),
            keep_snapshots: Duration::from_secs(4),
            profiles: profiles.clone(),
            keep_profiles: Duration::from_millis(1_200),
        };
        clock.set(Timestamp(9_000));
        let report = job.run().await.expect("a run");
        let expected = Report::Retention {
            snapshots: 1,
            snapshots_kept: 2,
            profiles: 1_800,
        };
        assert_eq!(report, expected);
        let times = snapshots.times().await.expect("times");
        assert_eq!(times, [5_000, 9_000].map(Timestamp));
        let edge = [profile(7_799).did, profile(7_800).did];
        let stored = profiles.get(&edge).await.expect("read");
        assert_eq!(stored, [None, Some(profile(7_800))]);
    }
}
