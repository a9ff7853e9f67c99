//! Exports from MongoDB while another process writes commits, which readers see row by row.
//!
//! ```text
//! with snapshots      take snapshots until one is between two commits, and read all rows from it
//! without snapshots   wait until no commit is in progress, read, and retry if the store changed
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::port::store::{Control, ViewReader};
use tokio::time::sleep;

use skytide_mongodb::{MongoStore, SnapshotReader};

use crate::export::{ExportError, Format, Summary, export};

/// Interval between two checks whether a commit is complete.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// Checks of the same incomplete commit until it counts as abandoned: 10 s.
const SAME_COMMIT_CHECKS_MAX: u32 = 1_000;
/// Checks in total: 60 s, in which a healthy store completes about 600 commits.
const CHECKS_MAX: u32 = 6_000;
/// Attempts to export a store without snapshots.
const ATTEMPTS_MAX: u32 = 5;

/// Writes every view and the summary, as [`export`] does.
///
/// # Errors
///
/// See [`ExportError`]. Then the folder holds no `summary.json`.
pub async fn export_live(
    store: &MongoStore,
    folder: &Path,
    format: Format,
) -> Result<Summary, ExportError> {
    match snapshot_between_commits(store).await? {
        Some(snapshot) => export(&snapshot, folder, format).await,
        None => export_with_retries(store, folder, format).await,
    }
}

/// A reader of one commit: a snapshot, or the store itself when no commit is in progress.
///
/// # Errors
///
/// The store cannot be read, or the commit in progress does not end.
pub async fn one_commit(store: &MongoStore) -> Result<Arc<dyn ViewReader>, ExportError> {
    if let Some(snapshot) = snapshot_between_commits(store).await? {
        return Ok(Arc::new(snapshot));
    }
    wait_for_commit(store).await?;
    Ok(Arc::new(store.clone()))
}

/// Takes a snapshot at a time at which no commit was in progress. Returns `None` if the server does
/// not support snapshots.
async fn snapshot_between_commits(
    store: &MongoStore,
) -> Result<Option<SnapshotReader>, ExportError> {
    let mut checks = CommitChecks::default();
    loop {
        let Some(snapshot) = store.snapshot_reader().await? else {
            return Ok(None);
        };
        match checks.completed(snapshot.control().await?)? {
            Some(_) => return Ok(Some(snapshot)),
            None => sleep(CHECK_INTERVAL).await,
        }
    }
}

/// Exports a store without snapshots. Retries if a commit was made during the export.
async fn export_with_retries(
    reader: &dyn ViewReader,
    folder: &Path,
    format: Format,
) -> Result<Summary, ExportError> {
    let mut attempts = 0;
    loop {
        let before = wait_for_commit(reader).await?;
        let exported = export(reader, folder, format).await;
        attempts += 1;
        let (Err(ExportError::Differs { .. } | ExportError::Moved { .. }), Some(committed)) =
            (&exported, &before.committed)
        else {
            return exported;
        };
        if reader.control().await? == before {
            return exported;
        }
        if attempts == ATTEMPTS_MAX {
            return Err(ExportError::Moved {
                before: committed.epoch.0,
            });
        }
    }
}

/// Waits until no commit is in progress and returns the control record.
async fn wait_for_commit(reader: &dyn ViewReader) -> Result<Control, ExportError> {
    let mut checks = CommitChecks::default();
    loop {
        match checks.completed(reader.control().await?)? {
            Some(control) => return Ok(control),
            None => sleep(CHECK_INTERVAL).await,
        }
    }
}

/// The checks made while waiting until a commit is complete.
#[derive(Default)]
struct CommitChecks {
    total: u32,
    /// Consecutive checks that found the same commit incomplete.
    same: u32,
    last: Option<Control>,
}

impl CommitChecks {
    /// Returns the control record if it shows no commit in progress.
    ///
    /// # Errors
    ///
    /// `Unfinished` if there were too many checks.
    fn completed(&mut self, control: Control) -> Result<Option<Control>, ExportError> {
        let Some(intent) = control.intent else {
            return Ok(Some(control));
        };
        self.total += 1;
        self.same += 1;
        if self.last.as_ref() != Some(&control) {
            self.same = 0;
            self.last = Some(control);
        }
        if self.same < SAME_COMMIT_CHECKS_MAX && self.total < CHECKS_MAX {
            return Ok(None);
        }
        Err(ExportError::Unfinished { intent: intent.0 })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use skytide_core::id::Epoch;
    use skytide_core::memory::MemoryStore;
    use skytide_core::port::store::{Committed, Range, StoreError, Sum, Term, ViewStore};
    use skytide_core::view::{Change, CounterRow, Key, StoredRow, ViewId, encode_row, row_hash};
    use tempfile::TempDir;

    use super::*;

    /// Commits one row whose value is the epoch. The commit records the checksum of a row of value
    /// `recorded`.
    async fn commit(store: &MemoryStore, term: Term, epoch: u64, recorded: u64) {
        let key = Key::of(&"frames".to_owned());
        let row = |value| encode_row(&CounterRow { value });
        let sum = Sum {
            rows: 1,
            hash: row_hash(ViewId::Counters, key.as_bytes(), &row(recorded)),
        };
        let committed = Committed {
            epoch: Epoch(epoch),
            sums: [(ViewId::Counters, sum)].into(),
            ..Committed::default()
        };
        let change = Change {
            key,
            row: Some(row(epoch)),
        };
        store.begin(term, Epoch(epoch).into()).await.unwrap();
        let written = store.write(term, ViewId::Counters, vec![change]);
        written.await.unwrap();
        store.commit(term, committed).await.unwrap();
    }

    /// A store that makes a commit before each scan, until epoch `last`.
    struct ChangingStore {
        store: MemoryStore,
        term: Term,
        epoch: AtomicU64,
        last: u64,
    }

    impl ChangingStore {
        async fn until(last: u64) -> Self {
            let store = MemoryStore::torn();
            let term = store.lead().await.unwrap().term;
            commit(&store, term, 1, 1).await;
            Self {
                store,
                term,
                epoch: AtomicU64::new(1),
                last,
            }
        }
    }

    #[async_trait]
    impl ViewReader for ChangingStore {
        async fn control(&self) -> Result<Control, StoreError> {
            self.store.control().await
        }

        async fn get(
            &self,
            view: ViewId,
            keys: &[Key],
        ) -> Result<Vec<Option<StoredRow>>, StoreError> {
            self.store.get(view, keys).await
        }

        async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
            if self.epoch.load(Ordering::Relaxed) < self.last {
                let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
                commit(&self.store, self.term, epoch, epoch).await;
            }
            self.store.scan(view, range).await
        }
    }

    async fn exported(reader: &dyn ViewReader) -> (Result<Summary, ExportError>, Vec<String>) {
        let folder = TempDir::new().unwrap();
        let exported = export_with_retries(reader, folder.path(), Format::Ndjson).await;
        let left = std::fs::read_dir(folder.path()).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        (exported, left.collect())
    }

    #[tokio::test]
    async fn a_store_that_stops_changing_is_exported() {
        let (exported, left) = exported(&ChangingStore::until(40).await).await;
        exported.unwrap();
        assert!(left.contains(&"summary.json".to_owned()), "{left:?}");
        assert!(!left.contains(&".partial".to_owned()), "{left:?}");
    }

    #[tokio::test]
    async fn a_store_that_keeps_changing_is_an_error_and_leaves_no_file() {
        let (exported, left) = exported(&ChangingStore::until(u64::MAX).await).await;
        let error = exported.expect_err("a changing store");
        assert!(matches!(error, ExportError::Moved { .. }), "{error:?}");
        assert!(
            error.to_string().contains("stop `skytide index`"),
            "{error}"
        );
        assert_eq!(left, [""; 0]);
    }

    #[tokio::test]
    async fn other_rows_in_an_unchanged_store_are_damage() {
        let changing = ChangingStore::until(1).await;
        commit(&changing.store, changing.term, 2, 3).await;
        let (exported, left) = exported(&changing).await;
        let error = exported.expect_err("damage");
        assert!(matches!(error, ExportError::Differs { .. }), "{error:?}");
        assert_eq!(left, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_commit_is_an_error() {
        let changing = ChangingStore::until(1).await;
        changing
            .store
            .begin(changing.term, Epoch(7).into())
            .await
            .unwrap();
        let (exported, left) = exported(&changing).await;
        let error = exported.expect_err("an incomplete commit");
        assert!(
            matches!(error, ExportError::Unfinished { intent: 7 }),
            "{error:?}"
        );
        assert_eq!(left, [""; 0]);
    }
}
