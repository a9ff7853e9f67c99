//! `snapshot`: stores all top lists as of the newest commit.

use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::port::BoxError;
use skytide_core::port::snapshot::{Snapshot, SnapshotList, SnapshotStore};
use skytide_core::port::store::{Order, Range, ViewReader};
use skytide_core::view::{Measure, ViewId, decode_row};

use crate::job::{Job, Report};

/// Lists per read.
const PAGE_ROWS: usize = 256;

/// Stores all top lists under the network time of the newest commit. A run without a new commit
/// does nothing.
pub struct TakeSnapshot {
    /// The reader of the lists.
    pub reader: Arc<dyn ViewReader>,
    /// The store of snapshots.
    pub store: Arc<dyn SnapshotStore>,
}

#[async_trait]
impl Job for TakeSnapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    async fn run(&self) -> Result<Report, BoxError> {
        let Some(committed) = self.reader.control().await?.committed else {
            return Ok(Report::Nothing("nothing is counted yet"));
        };
        if self.store.times().await?.last() == Some(&committed.time) {
            return Ok(Report::Nothing("no commit since the last snapshot"));
        }
        let mut snapshot = Snapshot {
            time: committed.time,
            epoch: committed.epoch,
            since: committed.since,
            lists: Vec::new(),
        };
        let views = ViewId::ALL.iter().copied();
        for view in views.filter(|view| !Measure::of(*view).is_empty()) {
            self.read(view, &mut snapshot.lists).await?;
        }
        self.store.put(&snapshot).await?;
        Ok(Report::Snapshot {
            epoch: snapshot.epoch,
            lists: snapshot.lists.len(),
        })
    }
}

impl TakeSnapshot {
    async fn read(&self, view: ViewId, lists: &mut Vec<SnapshotList>) -> Result<(), BoxError> {
        let mut range = Range::prefix(Order::First, &[], PAGE_ROWS);
        loop {
            let page = self.reader.scan(view, range.clone()).await?;
            let full = page.len() == PAGE_ROWS;
            for row in page {
                // The smallest key after this one.
                let after = [row.key.as_bytes(), &[0]].concat();
                range.from = after.as_slice().into();
                lists.push(SnapshotList {
                    view,
                    key: row.key.decode()?,
                    epoch: row.epoch,
                    row: decode_row(&row.row)?,
                });
            }
            if !full {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::testing::commit_lists;
    use skytide_core::memory::{MemorySnapshots, MemoryStore};
    use skytide_core::time::Timestamp;

    #[tokio::test]
    async fn a_snapshot_holds_every_list_and_is_taken_once_per_commit() {
        let (reader, store) = (MemoryStore::new(), Arc::new(MemorySnapshots::default()));
        let job = TakeSnapshot {
            reader: Arc::new(reader.clone()),
            store: store.clone(),
        };
        let nothing = Report::Nothing("nothing is counted yet");
        assert_eq!(job.run().await.expect("no commit"), nothing);

        let count = PAGE_ROWS * 2 + 3;
        let written = commit_lists(&reader, 1, count).await;
        let taken = job.run().await.expect("the first");
        let lists = count;
        let epoch = skytide_core::id::Epoch(1);
        assert_eq!(taken, Report::Snapshot { epoch, lists });
        let snapshot = store.at(Timestamp(u64::MAX)).await.expect("stored");
        let snapshot = snapshot.expect("there is one");
        let rows: Vec<_> = snapshot
            .lists
            .into_iter()
            .map(|it| (it.key, it.row))
            .collect();
        assert_eq!(rows, written);

        let again = Report::Nothing("no commit since the last snapshot");
        assert_eq!(job.run().await.expect("no new commit"), again);
    }
}
