//! Snapshots: copies of all top lists at one time. The scheduler writes them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::id::Epoch;
use crate::time::Timestamp;
use crate::view::{ListKey, ListRow, ViewId};

/// A store of snapshots, at most one for each network time. Network time is the time of the stream,
/// not of this machine's clock.
#[async_trait]
pub trait SnapshotStore: Send + Sync {
    /// Stores a snapshot, durably and atomically. It replaces a stored snapshot of the same time.
    async fn put(&self, snapshot: &Snapshot) -> Result<(), SnapshotError>;

    /// The newest snapshot whose time is not after `time`; `None` if there is none.
    async fn at(&self, time: Timestamp) -> Result<Option<Snapshot>, SnapshotError>;

    /// The times of all snapshots, in ascending order.
    async fn times(&self) -> Result<Vec<Timestamp>, SnapshotError>;

    /// Removes snapshots older than `time`, oldest first, at most `limit` of them. Returns how many
    /// were removed.
    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, SnapshotError>;
}

/// All top lists at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Network time of the commit that was the newest when the lists were read.
    pub time: Timestamp,
    /// Epoch of that commit.
    pub epoch: Epoch,
    /// Network time of the first event that was counted. Nothing before it is included.
    pub since: Timestamp,
    /// The lists, ordered by view and key.
    pub lists: Vec<SnapshotList>,
}

/// A list in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotList {
    /// The view that contains the list.
    pub view: ViewId,
    /// The key of the list within the view.
    pub key: ListKey,
    /// Epoch of the commit that wrote the list. It is later than the snapshot's epoch if the
    /// dataflow committed while the lists were read.
    pub epoch: Epoch,
    /// The entries of the list.
    pub row: ListRow,
}

/// Why a snapshot was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The stored bytes are not the ones that were written. An operator must investigate.
    #[error("the snapshot of {} is damaged", .0.rfc3339())]
    Damaged(Timestamp),
    /// The operation failed. The caller may retry.
    #[error("the snapshot store could not {operation}")]
    Failed {
        /// The operation, for example `write`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}
