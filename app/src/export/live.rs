//! Exports from a MongoDB, which others write meanwhile: commits show as they are written.
//!
//! ```text
//! it can show one moment   moments are taken until one is between two commits; all is read as of then
//! it cannot                read as it is; if it went on meanwhile, once more, a few times
//! ```

use std::path::Path;
use std::time::Duration;

use skytide_core::port::store::{Control, ViewReader};
use tokio::time::sleep;

use super::{ExportError, Format, Summary, export};
use skytide_mongodb::{MongoStore, SnapshotReader};

/// Between two looks for the end of a commit.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looks at the same unfinished commit until it counts as left so: 10 s.
const LOOKS_MAX: u32 = 1_000;
/// Looks in all: 60 s, within which a commit ends 600 times where nothing is wrong.
const LOOKS_IN_ALL_MAX: u32 = 6_000;
/// Attempts at a store that cannot show one moment.
const ATTEMPTS_MAX: u32 = 5;

/// Writes every view and the summary, as [`export`] does.
///
/// # Errors
/// As [`ExportError`] says; then the folder holds no `summary.json`.
pub async fn export_live(
    store: &MongoStore,
    folder: &Path,
    format: Format,
) -> Result<Summary, ExportError> {
    match between_commits(store).await? {
        Some(still) => export(&still, folder, format).await,
        None => export_moving(store, folder, format).await,
    }
}

/// The store at a moment at which no commit was under way; `None` if it cannot show one.
async fn between_commits(store: &MongoStore) -> Result<Option<SnapshotReader>, ExportError> {
    let mut looks = Looks::default();
    loop {
        let Some(still) = store.snapshot_reader().await? else {
            return Ok(None);
        };
        match looks.complete(still.control().await?)? {
            Some(_) => return Ok(Some(still)),
            None => sleep(LOOK_EVERY).await,
        }
    }
}

async fn export_moving(
    reader: &dyn ViewReader,
    folder: &Path,
    format: Format,
) -> Result<Summary, ExportError> {
    let mut attempts = 0;
    loop {
        let before = at_rest(reader).await?;
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

/// The control record, once no commit is under way.
async fn at_rest(reader: &dyn ViewReader) -> Result<Control, ExportError> {
    let mut looks = Looks::default();
    loop {
        match looks.complete(reader.control().await?)? {
            Some(control) => return Ok(control),
            None => sleep(LOOK_EVERY).await,
        }
    }
}

/// What was seen while waiting for the end of a commit.
#[derive(Default)]
struct Looks {
    in_all: u32,
    same: u32,
    last: Option<Control>,
}

impl Looks {
    /// The record, if it is of a moment without a commit under way.
    fn complete(&mut self, control: Control) -> Result<Option<Control>, ExportError> {
        let Some(intent) = control.intent else {
            return Ok(Some(control));
        };
        self.in_all += 1;
        self.same += 1;
        if self.last.as_ref() != Some(&control) {
            self.same = 0;
            self.last = Some(control);
        }
        if self.same < LOOKS_MAX && self.in_all < LOOKS_IN_ALL_MAX {
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

    /// Makes a commit of one row, whose value is the epoch.
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

    /// A store in which a commit is made before each scan, up to an epoch.
    struct Moving {
        store: MemoryStore,
        term: Term,
        epoch: AtomicU64,
        last: u64,
    }

    impl Moving {
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
    impl ViewReader for Moving {
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
        let exported = export_moving(reader, folder.path(), Format::Ndjson).await;
        let left = std::fs::read_dir(folder.path()).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        (exported, left.collect())
    }

    #[tokio::test]
    async fn a_store_that_comes_to_rest_is_exported() {
        let (exported, left) = exported(&Moving::until(40).await).await;
        exported.unwrap();
        assert!(left.contains(&"summary.json".to_owned()), "{left:?}");
        assert!(!left.contains(&".partial".to_owned()), "{left:?}");
    }

    #[tokio::test]
    async fn a_store_that_moves_on_is_told_and_leaves_nothing() {
        let (exported, left) = exported(&Moving::until(u64::MAX).await).await;
        let error = exported.expect_err("it moved");
        assert!(matches!(error, ExportError::Moved { .. }), "{error:?}");
        assert!(
            error.to_string().contains("stop `skytide index`"),
            "{error}"
        );
        assert_eq!(left, [""; 0]);
    }

    #[tokio::test]
    async fn other_rows_at_rest_are_damage() {
        let moving = Moving::until(1).await;
        commit(&moving.store, moving.term, 2, 3).await;
        let (exported, left) = exported(&moving).await;
        let error = exported.expect_err("it differs");
        assert!(matches!(error, ExportError::Differs { .. }), "{error:?}");
        assert_eq!(left, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_was_left_is_told() {
        let moving = Moving::until(1).await;
        moving
            .store
            .begin(moving.term, Epoch(7).into())
            .await
            .unwrap();
        let (exported, left) = exported(&moving).await;
        let error = exported.expect_err("it is not complete");
        assert!(
            matches!(error, ExportError::Unfinished { intent: 7 }),
            "{error:?}"
        );
        assert_eq!(left, [""; 0]);
    }
}
