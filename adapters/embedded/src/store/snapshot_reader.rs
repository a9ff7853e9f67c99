//! Reads the store as of one commit, for readers that need longer than the time between two
//! commits.

use std::sync::Arc;

use async_trait::async_trait;
use fjall::{Readable, Snapshot};
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Key, StoredRow, ViewId};

use super::{CONTROL, Shared, failed, row};

/// A [`ViewReader`] whose rows and control record all belong to one commit.
#[derive(Clone)]
pub struct SnapshotReader(Arc<StoreSnapshot>);

struct StoreSnapshot {
    shared: Arc<Shared>,
    snapshot: Snapshot,
}

impl SnapshotReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let snapshot = shared.database.snapshot();
        Self(Arc::new(StoreSnapshot { shared, snapshot }))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StoreSnapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let state = self.0.clone();
        let permit = self.0.shared.read_permit().await;
        let work = move || {
            let _permit = permit;
            work(&state)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(failed("wait for the blocking thread"))?
    }
}

#[async_trait]
impl ViewReader for SnapshotReader {
    async fn control(&self) -> Result<Control, StoreError> {
        self.blocking(|state| {
            let record = state.snapshot.get(&state.shared.control_space, CONTROL);
            let record = record.map_err(failed("read its control record"))?;
            let control = record.map(|bytes| row::decode_control(&bytes));
            Ok(control.transpose()?.unwrap_or_default())
        })
        .await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let keys = keys.to_vec();
        self.blocking(move |state| state.shared.get(&state.snapshot, view, keys))
            .await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.blocking(move |state| state.shared.scan(&state.snapshot, view, &range))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EmbeddedStore, StoreOptions};
    use skytide_core::id::Epoch;
    use skytide_core::port::store::{Committed, Order, ViewStore};
    use skytide_core::view::Change;

    async fn commit(store: &EmbeddedStore, epoch: u64) {
        let term = store.control().await.expect("control").term;
        let epoch = Epoch(epoch);
        let row = Some(epoch.0.to_be_bytes().into());
        let key = Key::from([7_u8].as_slice());
        store.begin(term, epoch.into()).await.expect("begins");
        let changes = vec![Change { key, row }];
        store
            .write(term, ViewId::Counters, changes)
            .await
            .expect("writes");
        let committed = Committed {
            epoch,
            ..Committed::default()
        };
        store.commit(term, committed).await.expect("commits");
    }

    #[tokio::test]
    async fn a_snapshot_reader_does_not_see_later_commits() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedStore::open(folder.path(), StoreOptions::default()).expect("opens");
        store.lead().await.expect("leads");
        commit(&store, 1).await;
        let reader = store.snapshot_reader();
        commit(&store, 2).await;
        for (reader, epoch) in [(&reader as &dyn ViewReader, 1), (&store, 2)] {
            let control = reader.control().await.expect("control");
            assert_eq!(control.committed.expect("a commit").epoch, Epoch(epoch));
            let range = Range::prefix(Order::First, &[], 10);
            let rows = reader.scan(ViewId::Counters, range).await.expect("rows");
            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0].epoch, Epoch(epoch));
            let got = reader.get(ViewId::Counters, &[rows[0].key.clone()]).await;
            assert_eq!(got.expect("a row"), [Some(rows[0].clone())]);
        }
    }
}
