//! A view store that records all rows after every commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryStore;
use skytide_core::port::store::{
    Committed, Control, Intent, Range, Recipe, StoreError, Term, ViewReader, ViewStore,
};
use skytide_core::view::{Change, Key, StoredRow, ViewId};
use tokio_util::sync::CancellationToken;

use crate::model::Rows;

/// A commit as readers of the store see it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The commit's own metadata.
    pub committed: Committed,
    /// All rows that the store holds after the commit.
    pub rows: Rows,
}

/// A [`MemoryStore`] that keeps a copy of all rows at each commit.
#[derive(Debug, Default)]
pub struct Recorder {
    store: MemoryStore,
    commits: Mutex<Vec<Commit>>,
    /// The epoch at which the writer is to stop, and the token that stops it.
    end: Mutex<Option<(Epoch, CancellationToken)>>,
    pretended: Mutex<Option<Recipe>>,
    /// Commits that began to replace everything.
    replacing: AtomicUsize,
    without_copies: bool,
}

impl Recorder {
    /// A recorder over a store without transactions: rows are visible as soon as they are written,
    /// and a commit can be left incomplete.
    pub fn torn() -> Self {
        Self {
            store: MemoryStore::torn(),
            ..Self::default()
        }
    }

    /// One that keeps no copies, for tests that measure memory.
    pub fn without_copies() -> Self {
        Self {
            without_copies: true,
            ..Self::default()
        }
    }

    /// Returns a token that is cancelled when this epoch or a later one is committed.
    pub fn until(&self, end: Epoch) -> CancellationToken {
        let stop = CancellationToken::new();
        let mut place = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some((end, stop.clone()));
        stop
    }

    /// The epoch of the newest commit.
    pub fn newest(&self) -> Option<Epoch> {
        self.store.committed()
    }

    /// How many commits began to replace everything.
    pub fn replacing(&self) -> usize {
        self.replacing.load(Ordering::Relaxed)
    }

    /// Answers the next writer that takes over that the rows were computed in another way.
    pub fn pretend(&self, recipe: Recipe) {
        *self
            .pretended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(recipe);
    }

    /// All rows that are stored at this moment.
    pub fn rows_of_all(&self) -> Rows {
        ViewId::ALL
            .iter()
            .map(|view| (*view, self.rows_of(*view)))
            .collect()
    }

    fn rows_of(&self, view: ViewId) -> BTreeMap<Key, Box<[u8]>> {
        self.store
            .rows(view)
            .into_iter()
            .map(|(key, stored)| (key, stored.row))
            .collect()
    }

    /// Takes the commits since the last call, in order.
    pub fn take(&self) -> Vec<Commit> {
        std::mem::take(&mut *self.commits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, committed: Committed) {
        let rows = self.rows_of_all();
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.push(Commit { committed, rows });
    }
}

#[async_trait]
impl ViewReader for Recorder {
    async fn control(&self) -> Result<Control, StoreError> {
        self.store.control().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.store.get(view, keys).await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.store.scan(view, range).await
    }
}

#[async_trait]
impl ViewStore for Recorder {
    async fn lead(&self) -> Result<Control, StoreError> {
        let mut control = self.store.lead().await?;
        let mut pretended = self
            .pretended
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let (Some(committed), Some(recipe)) = (&mut control.committed, pretended.take()) {
            committed.recipe = Some(recipe);
        }
        Ok(control)
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        self.store.begin(term, intent).await?;
        let replacing = usize::from(intent.replaces_all);
        self.replacing.fetch_add(replacing, Ordering::Relaxed);
        Ok(())
    }

    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        self.store.rebuild(term, views).await
    }

    async fn write(
        &self,
        term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        self.store.write(term, view, changes).await
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        self.store.commit(term, committed.clone()).await?;
        let epoch = committed.epoch;
        if !self.without_copies {
            self.record(committed);
        }
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((end, stop)) = &*end
            && *end <= epoch
        {
            stop.cancel();
        }
        Ok(())
    }
}
