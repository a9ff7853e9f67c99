//! A view store in memory: sorted maps, and all of the commit protocol in one file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::Epoch;
use crate::port::store::{
    Committed, Control, Intent, Order, Range, StoreError, Term, ViewReader, ViewStore, check_rows,
};
use crate::view::{Change, Key, StoredRow, ViewId};

/// A [`ViewStore`] in memory. Clones share one store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    torn: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    control: Control,
    rows: BTreeMap<ViewId, BTreeMap<Key, StoredRow>>,
    by_second_key: BTreeMap<ViewId, BTreeMap<Key, StoredRow>>,
    /// The changes of the commit in progress. Always empty in a store without transactions.
    pending: Vec<(ViewId, Vec<Change>)>,
}

impl MemoryStore {
    /// An empty store with transactions: readers see either all or none of a commit.
    /// [`lead`](ViewStore::lead) discards an unfinished commit of the previous writer.
    pub fn new() -> Self {
        Self {
            torn: false,
            state: Arc::default(),
        }
    }

    /// An empty store with the weakest guarantees that the port allows: readers see rows as they
    /// are written. The rows and the intent of an unfinished commit remain.
    pub fn torn() -> Self {
        Self {
            torn: true,
            state: Arc::default(),
        }
    }

    /// All rows of a view.
    pub fn rows(&self, view: ViewId) -> BTreeMap<Key, StoredRow> {
        self.state().rows.get(&view).cloned().unwrap_or_default()
    }

    /// The committed epoch.
    pub fn committed(&self) -> Option<Epoch> {
        self.state().control.committed.as_ref().map(|it| it.epoch)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ViewReader for MemoryStore {
    async fn control(&self) -> Result<Control, StoreError> {
        Ok(self.state().control.clone())
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let state = self.state();
        let rows = state.rows.get(&view);
        Ok(keys
            .iter()
            .map(|key| rows.and_then(|rows| rows.get(key)).cloned())
            .collect())
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        if range.to.as_ref().is_some_and(|to| *to <= range.from) {
            return Ok(Vec::new());
        }
        let state = self.state();
        let orders = match range.order {
            Order::First => &state.rows,
            Order::Second => &state.by_second_key,
        };
        let to = range.to.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = orders
            .get(&view)
            .into_iter()
            .flat_map(|rows| rows.range((Bound::Included(range.from.clone()), to.clone())));
        Ok(rows.take(range.limit).map(|(_, row)| row.clone()).collect())
    }

    /// A copy of everything, unless commits in progress are visible.
    fn snapshot(&self) -> Option<Arc<dyn ViewReader>> {
        if self.torn {
            return None;
        }
        let copy = self.state().clone();
        Some(Arc::new(Self {
            state: Arc::new(Mutex::new(copy)),
            ..self.clone()
        }))
    }
}

#[async_trait]
impl ViewStore for MemoryStore {
    async fn lead(&self) -> Result<Control, StoreError> {
        let mut state = self.state();
        state.control.term.0 += 1;
        if !self.torn {
            state.pending.clear();
            state.control.forget_intent();
        }
        Ok(state.control.clone())
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        let mut state = self.state();
        state.control.check_begin(term, intent)?;
        state.control.record_intent(intent);
        if intent.replaces_all && self.torn {
            state.control.committed = None;
            state.control.rebuilding = ViewId::ALL.iter().copied().collect();
        }
        state.pending.clear();
        Ok(())
    }

    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        let mut state = self.state();
        state.control.check_write(term)?;
        state.control.rebuilding.extend(views);
        Ok(())
    }

    async fn write(
        &self,
        term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        let mut state = self.state();
        let epoch = state.control.check_write(term)?;
        check_rows(view, &changes)?;
        if self.torn {
            state.apply(view, changes, epoch);
        } else {
            state.pending.push((view, changes));
        }
        Ok(())
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        let mut state = self.state();
        if !state.control.check_commit(term, &committed)? {
            return Ok(());
        }
        for (view, changes) in std::mem::take(&mut state.pending) {
            state.apply(view, changes, committed.epoch);
        }
        state.control.committed = Some(committed);
        state.control.forget_intent();
        Ok(())
    }
}

impl State {
    fn apply(&mut self, view: ViewId, changes: Vec<Change>, epoch: Epoch) {
        for Change { key, row } in changes {
            if let Some(second) = view.second_key(key.as_bytes()) {
                let order = self.by_second_key.entry(view).or_default();
                put(order, second, row.clone(), epoch);
            }
            put(self.rows.entry(view).or_default(), key, row, epoch);
        }
    }
}

fn put(rows: &mut BTreeMap<Key, StoredRow>, key: Key, row: Option<Box<[u8]>>, epoch: Epoch) {
    match row {
        Some(row) => rows.insert(key.clone(), StoredRow { key, epoch, row }),
        None => rows.remove(&key),
    };
}
