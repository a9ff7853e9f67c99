//! Snapshots in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::port::snapshot::{Snapshot, SnapshotError, SnapshotStore};
use crate::time::Timestamp;

/// A [`SnapshotStore`] in memory. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshots(Arc<Mutex<BTreeMap<Timestamp, Snapshot>>>);

impl MemorySnapshots {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Timestamp, Snapshot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SnapshotStore for MemorySnapshots {
    async fn put(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.all().insert(snapshot.time, snapshot.clone());
        Ok(())
    }

    async fn at(&self, time: Timestamp) -> Result<Option<Snapshot>, SnapshotError> {
        let all = self.all();
        let newest = all.range(..=time).next_back();
        Ok(newest.map(|(_, snapshot)| snapshot.clone()))
    }

    async fn times(&self) -> Result<Vec<Timestamp>, SnapshotError> {
        Ok(self.all().keys().copied().collect())
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, SnapshotError> {
        let mut all = self.all();
        let old: Vec<_> = all.range(..time).map(|(at, _)| *at).take(limit).collect();
        for time in &old {
            all.remove(time);
        }
        Ok(old.len())
    }
}
