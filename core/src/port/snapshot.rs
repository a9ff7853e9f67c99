//! Snapshots: all top lists as they were at some moment. The scheduler writes them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::id::Epoch;
use crate::time::Timestamp;
use crate::view::{ListKey, ListRow, ViewId};

/// Where snapshots are kept, one for each moment of network time.
#[async_trait]
pub trait SnapshotStore: Send + Sync {
    /// Stores a snapshot, durably, wholly or not at all. One of the same moment is replaced.
    async fn put(&self, snapshot: &Snapshot) -> Result<(), SnapshotError>;

    /// The newest snapshot that is not of a later moment; `None` if there is none.
    async fn at(&self, time: Timestamp) -> Result<Option<Snapshot>, SnapshotError>;

    /// The moments of all snapshots, in order.
    async fn times(&self) -> Result<Vec<Timestamp>, SnapshotError>;

    /// Removes snapshots of earlier moments, the oldest first, at most `limit`; answers how many.
    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, SnapshotError>;
}

/// All top lists at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Network time of the commit at which reading began.
    pub time: Timestamp,
    /// That commit's epoch.
    pub epoch: Epoch,
    /// Network time of the first event that was counted: nothing is known from before.
    pub since: Timestamp,
    /// The lists, by view and key.
    pub lists: Vec<SnapshotList>,
}

/// A list in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotList {
    /// Of which view.
    pub view: ViewId,
    /// Which list.
    pub key: ListKey,
    /// The commit that wrote it: later than the snapshot's if the dataflow went on meanwhile.
    pub epoch: Epoch,
    /// Its entries.
    pub row: ListRow,
}

/// Why a snapshot was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// What is stored is not what was written: a person must look.
    #[error("the snapshot of {0:?} is damaged")]
    Damaged(Timestamp),
    /// The operation failed; it may be repeated.
    #[error("the snapshot store could not {operation}")]
    Failed {
        /// What was tried, as `write`.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}
