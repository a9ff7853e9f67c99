//! Views that are rebuilt: all their stored rows are replaced by the first commit.
//!
//! A view is rebuilt if its version or the policy changed, if it was switched on or off, or if the
//! store was lost. Its rows are gathered in memory until the first commit. That commit removes the
//! old rows, page by page, and writes the new ones, so readers of a store with transactions see
//! either all old rows or all new ones. State: all rows of the rebuilt views, until the commit.
//!
//! Before the first row is changed, the store records which views are being rebuilt. The commit may
//! be interrupted, and the next start may have the former options again. That start finds the
//! record and rebuilds these views once more. Without the record it could not know that some rows
//! belong to neither version.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::port::store::{Order, Range, StoreError, Term, ViewStore};
use skytide_core::view::{Change, Key, ViewId};

use crate::sizes::{btree_bytes, vec_bytes};

/// Rows by key.
type Rows = BTreeMap<Key, Box<[u8]>>;

/// The number of rows read or written at once.
const PAGE_ROWS: usize = 10_000;

/// The views that the first commit rebuilds.
#[derive(Debug, Default)]
pub(crate) struct Rebuild {
    views: BTreeMap<ViewId, Rows>,
    /// Bytes of the keys and columns of all rows.
    bytes: usize,
}

impl Rebuild {
    /// Starts with these views and no rows.
    pub fn new(views: &BTreeSet<ViewId>) -> Self {
        let views = views.iter().map(|view| (*view, Rows::new()));
        Self {
            views: views.collect(),
            bytes: 0,
        }
    }

    /// Stops gathering a view whose stored rows stay, and drops its rows.
    pub fn keep_stored(&mut self, view: ViewId) {
        for (key, row) in self.views.remove(&view).into_iter().flatten() {
            self.bytes -= key.as_bytes().len() + row.len();
        }
    }

    /// Removes the changes of the rebuilt views from those of a batch, and applies them to the
    /// gathered rows. Returns the number of these changes, and the bytes in memory that they had.
    pub fn gather(&mut self, changes: &mut BTreeMap<ViewId, Vec<Vec<Change>>>) -> (u64, u64) {
        let (mut gathered, mut gathered_bytes) = (0, 0);
        for (view, rows) in &mut self.views {
            let parts = changes.remove(view).unwrap_or_default();
            gathered += parts.iter().map(Vec::len).sum::<usize>();
            gathered_bytes += parts.iter().map(vec_bytes).sum::<usize>();
            for change in parts.into_iter().flatten() {
                gathered_bytes += change.bytes();
                let key_bytes = change.key.as_bytes().len();
                let added = change.row.as_ref().map_or(0, |row| key_bytes + row.len());
                let previous = match change.row {
                    Some(row) => rows.insert(change.key, row),
                    None => rows.remove(&change.key),
                };
                let removed = previous.map_or(0, |row| key_bytes + row.len());
                self.bytes = (self.bytes + added).saturating_sub(removed);
            }
        }
        (gathered as u64, gathered_bytes as u64)
    }

    /// Writes the gathered rows as part of the commit in progress. A failed write may be repeated.
    ///
    /// # Errors
    /// The store failed.
    pub async fn write(&self, store: &dyn ViewStore, term: Term) -> Result<(), StoreError> {
        if !self.views.is_empty() {
            let views = self.views.keys().copied().collect();
            store.rebuild(term, &views).await?;
        }
        for (&view, rows) in &self.views {
            let removed = remove_others(store, term, view, rows).await?;
            let (name, written) = (view.name(), rows.len());
            tracing::info!(view = name, rows = written, removed, "rebuilding a view");
            let mut page = Vec::with_capacity(PAGE_ROWS.min(rows.len()));
            for (key, row) in rows {
                page.push(Change {
                    key: key.clone(),
                    row: Some(row.clone()),
                });
                if page.len() == PAGE_ROWS {
                    store.write(term, view, std::mem::take(&mut page)).await?;
                }
            }
            store.write(term, view, page).await?;
        }
        Ok(())
    }

    /// The number of gathered rows, and their bytes in memory.
    pub fn size(&self) -> (u64, u64) {
        let rows = self.views.values().map(Rows::len);
        let trees = rows.clone().map(btree_bytes::<Key, Box<[u8]>>);
        let bytes = self.bytes + trees.sum::<usize>();
        (rows.sum::<usize>() as u64, bytes as u64)
    }

    /// Drops the rows after their commit.
    pub fn clear(&mut self) {
        self.views.clear();
        self.bytes = 0;
    }
}

/// Removes the stored rows of a view whose keys are not among `rows`. Returns their number.
async fn remove_others(
    store: &dyn ViewStore,
    term: Term,
    view: ViewId,
    rows: &Rows,
) -> Result<usize, StoreError> {
    let mut range = Range::prefix(Order::First, &[], PAGE_ROWS);
    let mut removed = 0;
    loop {
        let page = store.scan(view, range.clone()).await?;
        let Some(last) = page.last() else {
            return Ok(removed);
        };
        let after_last = [last.key.as_bytes(), &[0]].concat();
        range.from = Key::from(after_last.as_slice());
        let others = page.into_iter().filter(|row| !rows.contains_key(&row.key));
        let others: Vec<Change> = others
            .map(|stored| Change {
                key: stored.key,
                row: None,
            })
            .collect();
        removed += others.len();
        store.write(term, view, others).await?;
    }
}
