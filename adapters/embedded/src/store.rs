//! The view store on disk: an LSM tree (fjall) for each view, and one atomic batch for each commit.
//!
//! ```text
//! write  ─▶ pending changes (memory)
//! commit ─▶ one batch: rows, secondary index, control record ─▶ journal, memtables
//!                                                               fsync each second and at the end
//! read   ─▶ a snapshot for each call
//! ```
//!
//! - Readers see either the whole commit or nothing of it. A commit that its writer abandons leaves
//!   no rows and no intent.
//! - A commit is handed to the operating system and reaches the disk within a second. A power cut
//!   may lose the newest commits, always from the end: the rows are a function of the log and are
//!   recomputed.
//! - One process at a time opens the database.
//! - After a failed write the store accepts no further writes: see [`EmbeddedStore::poisoned`].
//!
//! `docs/decisions/0001-embedded-store.md` explains with measurements why fjall was chosen.
//! `docs/store.md` describes keys and values.

mod options;
mod poisoned;
mod row;
mod snapshot_reader;
mod sync;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
};
use skytide_core::id::Epoch;
use skytide_core::port::BoxError;
use skytide_core::port::size::{SizeGauge, SizeReporter, StateSize};
use skytide_core::port::store::{
    Committed, Control, Intent, Order, Range, StoreError, Term, ViewReader, ViewStore, check_rows,
};
use skytide_core::view::{Change, KEY_BYTES_MAX, Key, StoredRow, ViewId};
use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};

pub use options::StoreOptions;
use poisoned::Poisoned;
pub use snapshot_reader::SnapshotReader;
use sync::Syncer;

const CONTROL: &str = "control";
/// fjall accepts keys up to this length.
const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

/// A [`ViewStore`] in a folder. Clones share one store.
#[derive(Clone)]
pub struct EmbeddedStore(Arc<Shared>);

struct Shared {
    database: Database,
    control_space: Keyspace,
    /// For each view the keyspace of its rows, and that of its second order (a secondary index), if
    /// it has one.
    views: Vec<(ViewId, Keyspace, Option<Keyspace>)>,
    control: Mutex<Control>,
    /// The changes of the commit in progress. Every operation that changes `control` holds this
    /// lock.
    pending: Arc<AsyncMutex<Vec<(ViewId, Vec<Change>)>>>,
    /// The size of `pending`.
    pending_size: SizeGauge,
    syncer: Syncer,
    poisoned: Poisoned,
    /// Bounds the threads that read at the same time, so that readers cannot take all threads from
    /// the commits.
    reads: Arc<Semaphore>,
}

impl EmbeddedStore {
    /// Opens the store in this folder and creates it if there is none. Replays the journal of the
    /// previous run.
    ///
    /// # Errors
    /// `Failed` if another process has the store open or the folder cannot be used, `Damaged` if
    /// the control record cannot be read.
    pub fn open(folder: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let builder = Database::builder(folder)
            .cache_size(options.cache_bytes)
            .max_journaling_size(options.journal_bytes.max(64 << 20))
            .worker_threads(options.threads.max(1));
        let database = builder.open().map_err(failed("open"))?;
        let space = |name: &str| {
            let settings =
                || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes);
            database.keyspace(name, settings).map_err(failed("open"))
        };
        let mut views = Vec::new();
        for &view in ViewId::ALL {
            let number = view as u8;
            let second = match view.has_second_order() {
                true => Some(space(&format!("view{number}_second"))?),
                false => None,
            };
            views.push((view, space(&format!("view{number}"))?, second));
        }
        let control_space = space(CONTROL)?;
        let control = match control_space.get(CONTROL).map_err(failed("open"))? {
            Some(bytes) => row::decode_control(&bytes)?,
            None => Control::default(),
        };
        let poisoned = Poisoned::new();
        let syncer = Syncer::start(database.clone(), poisoned.clone()).map_err(failed("open"))?;
        Ok(Self(Arc::new(Shared {
            database,
            control_space,
            views,
            control: Mutex::new(control),
            pending: Arc::default(),
            pending_size: SizeGauge::default(),
            syncer,
            poisoned,
            reads: Arc::new(Semaphore::new(reading_threads())),
        })))
    }

    /// Bytes on disk, including the journal.
    ///
    /// # Errors
    /// `Failed` if the sizes of the files cannot be read.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.0
            .database
            .disk_space()
            .map_err(failed("read the sizes of its files"))
    }

    /// The database, for data that is stored in addition to the views.
    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    /// Handles the outcome of a write to data other than the views. A successful write reaches the
    /// disk within a second; a failed write poisons the store.
    pub(crate) fn check_written(
        &self,
        outcome: Result<(), fjall::Error>,
    ) -> Result<(), StoreError> {
        outcome.map_err(|error| self.0.poisoned.record("write", error))?;
        self.0.syncer.mark_unsynced();
        Ok(())
    }

    /// Waits until the store accepts no more writes, and returns the error that caused it. Reads
    /// still work. The store must be opened again, so the process must exit: other parts of it hold
    /// the database open too.
    pub async fn poisoned(&self) -> StoreError {
        self.0.poisoned.wait().await
    }

    /// A reader of the store as it is now, unaffected by later commits. While it exists, old
    /// versions of rows occupy disk space.
    pub fn snapshot_reader(&self) -> SnapshotReader {
        SnapshotReader::new(self.0.clone())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.0.clone();
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .map_err(failed("wait for the blocking thread"))?
    }
}

impl SizeReporter for EmbeddedStore {
    fn sizes(&self) -> Vec<StateSize> {
        let (cache, memtables) = (
            self.0.database.cache_size(),
            self.0.database.write_buffer_size(),
        );
        vec![
            StateSize::new("store.cache", 0, cache, Some("STORE_CACHE_BYTES")),
            StateSize::new("store.memtables", 0, memtables, None),
            self.0
                .pending_size
                .size("store.pending", Some("INDEXER_BATCH_EVENTS_MAX")),
        ]
    }
}

#[async_trait]
impl ViewReader for EmbeddedStore {
    async fn control(&self) -> Result<Control, StoreError> {
        Ok(self.0.control().clone())
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let keys = keys.to_vec();
        let permit = self.0.read_permit().await;
        self.blocking(move |shared| {
            let _permit = permit;
            shared.get(&shared.database.snapshot(), view, keys)
        })
        .await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        let permit = self.0.read_permit().await;
        self.blocking(move |shared| {
            let _permit = permit;
            shared.scan(&shared.database.snapshot(), view, &range)
        })
        .await
    }

    fn snapshot(&self) -> Option<Arc<dyn ViewReader>> {
        Some(Arc::new(self.snapshot_reader()))
    }
}

#[async_trait]
impl ViewStore for EmbeddedStore {
    async fn lead(&self) -> Result<Control, StoreError> {
        let mut pending = self.0.pending.clone().lock_owned().await;
        self.blocking(move |shared| {
            pending.clear();
            shared.pending_size.set(0, 0);
            let mut control = shared.control().clone();
            control.term.0 += 1;
            control.forget_intent();
            shared.apply(shared.database.batch(), control.clone())?;
            Ok(control)
        })
        .await
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        let mut pending = self.0.pending.lock().await;
        let mut control = self.0.control();
        control.check_begin(term, intent)?;
        control.record_intent(intent);
        pending.clear();
        self.0.pending_size.set(0, 0);
        Ok(())
    }

    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        let _lock = self.0.pending.lock().await;
        let mut control = self.0.control();
        control.check_write(term)?;
        control.rebuilding.extend(views);
        Ok(())
    }

    async fn write(
        &self,
        term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        let mut pending = self.0.pending.lock().await;
        self.0.control().check_write(term)?;
        check_rows(view, &changes)?;
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        let slots = changes.capacity() * size_of::<Change>();
        let (rows, bytes) = (changes.len() as u64, (bytes + slots) as u64);
        self.0.pending_size.add(rows, bytes);
        pending.push((view, changes));
        Ok(())
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        let mut pending = self.0.pending.clone().lock_owned().await;
        if !self.0.control().check_commit(term, &committed)? {
            return Ok(());
        }
        self.blocking(move |shared| {
            let mut batch = shared.database.batch();
            shared.put_rows(&mut batch, &pending, committed.epoch);
            let mut control = shared.control().clone();
            control.committed = Some(committed);
            control.forget_intent();
            shared.apply(batch, control)?;
            pending.clear();
            shared.pending_size.set(0, 0);
            Ok(())
        })
        .await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        self.blocking(Shared::sync).await
    }
}

/// Number of threads that may read at the same time: as many as run at once, and one more, because
/// some of them wait for the disk.
fn reading_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get) + 1
}

impl Shared {
    /// Waits until a further thread may read. The thread holds the permit, so a reader that is
    /// dropped does not release it early.
    async fn read_permit(&self) -> OwnedSemaphorePermit {
        let permit = self.reads.clone().acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    fn sync(&self) -> Result<(), StoreError> {
        let synced = self.database.persist(PersistMode::SyncAll);
        synced.map_err(|error| self.poisoned.record("sync its journal", error))
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self, view: ViewId) -> (&Keyspace, Option<&Keyspace>) {
        let of = self.views.iter().find(|(id, ..)| *id == view);
        let (_, rows, second) = of.expect("the keyspaces of every view are created in `open`");
        (rows, second.as_ref())
    }

    fn get(
        &self,
        snapshot: &Snapshot,
        view: ViewId,
        keys: Vec<Key>,
    ) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let (rows, _) = self.view(view);
        let get = |key: Key| {
            let value = snapshot.get(rows, key.as_bytes());
            let value = value.map_err(failed("read rows"))?;
            value.map(|value| row::decode(key, &value)).transpose()
        };
        keys.into_iter().map(get).collect()
    }

    fn scan(
        &self,
        snapshot: &Snapshot,
        view: ViewId,
        range: &Range,
    ) -> Result<Vec<StoredRow>, StoreError> {
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(Vec::new());
        }
        let (rows, second) = self.view(view);
        let rows = match (range.order, second) {
            (Order::First, _) => rows,
            (Order::Second, Some(second)) => second,
            (Order::Second, None) => return Ok(Vec::new()),
        };
        let from = Bound::Included(range.from.as_bytes());
        let to = range.to.as_ref();
        let to = to.map_or(Bound::Unbounded, |to| Bound::Excluded(to.as_bytes()));
        let found = snapshot.range::<&[u8], _>(rows, (from, to));
        let read = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(failed("read rows"))?;
            row::decode(Key::from(&key[..]), &value)
        };
        found.take(range.limit).map(read).collect()
    }

    fn put_rows(
        &self,
        batch: &mut OwnedWriteBatch,
        pending: &[(ViewId, Vec<Change>)],
        epoch: Epoch,
    ) {
        let mut changes: Vec<(ViewId, &Change)> = pending
            .iter()
            .flat_map(|(view, changes)| changes.iter().map(|change| (*view, change)))
            .collect();
        // The sort is stable, so of several changes of one key the last one written comes last;
        // only that one is applied.
        changes.sort_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
        let mut changes = changes.into_iter().peekable();
        while let Some((view, change)) = changes.next() {
            if changes
                .peek()
                .is_some_and(|(next, it)| (*next, &it.key) == (view, &change.key))
            {
                continue;
            }
            let (rows, second) = self.view(view);
            let key = change.key.as_bytes();
            let value = change.row.as_deref().map(|row| row::encode(epoch, row));
            if let (Some(second), Some(second_key)) = (second, view.second_key(key)) {
                put(batch, second, second_key.as_bytes(), value.as_deref());
            }
            put(batch, rows, key, value.as_deref());
        }
    }

    /// Writes the batch and the control record atomically.
    fn apply(&self, mut batch: OwnedWriteBatch, control: Control) -> Result<(), StoreError> {
        let record = row::encode_control(&control);
        batch.insert(&self.control_space, CONTROL, record);
        let batch = batch.durability(Some(PersistMode::Buffer));
        let result = batch.commit();
        result.map_err(|error| self.poisoned.record("commit", error))?;
        self.syncer.mark_unsynced();
        *self.control() = control;
        Ok(())
    }
}

fn put(batch: &mut OwnedWriteBatch, space: &Keyspace, key: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => batch.insert(space, key, value),
        None => batch.remove(space, key),
    }
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Failed {
        operation,
        source: source.into(),
    }
}
