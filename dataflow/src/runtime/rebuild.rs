//! Views that are written anew: another version, another policy, switched on or off, or a store that was lost.
//!
//! Their rows are gathered until the first commit, which takes the old ones away, page by page, and writes the new
//! ones: readers of a store with transactions see one or the other. State: all rows of those views, until then.
//!
//! The store is told first which views these are. If the commit is left, and the next start is one with the options of
//! before, it finds them noted and writes them anew once more: nothing else would tell that some rows are of neither.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::port::store::{Order, Range, StoreError, Term, ViewStore};
use skytide_core::view::{Change, Key, ViewId};

/// Rows by key.
type Rows = BTreeMap<Key, Box<[u8]>>;

/// Rows read or written at once.
const PAGE: usize = 10_000;

/// The views that are written anew by the first commit.
#[derive(Debug, Default)]
pub(crate) struct Rebuild {
    views: BTreeMap<ViewId, Rows>,
}

impl Rebuild {
    /// These views, without rows so far.
    pub fn of(views: &BTreeSet<ViewId>) -> Self {
        let views = views.iter().map(|view| (*view, Rows::new()));
        Self {
            views: views.collect(),
        }
    }

    /// Takes what concerns these views out of the changes of a batch.
    pub fn gather(&mut self, changes: &mut BTreeMap<ViewId, Vec<Vec<Change>>>) {
        for (view, rows) in &mut self.views {
            for change in changes.remove(view).into_iter().flatten().flatten() {
                match change.row {
                    Some(row) => rows.insert(change.key, row),
                    None => rows.remove(&change.key),
                };
            }
        }
    }

    /// Writes them into the commit that was begun. May be repeated.
    ///
    /// # Errors
    /// The store refused.
    pub async fn write(&self, store: &dyn ViewStore, term: Term) -> Result<(), StoreError> {
        if !self.views.is_empty() {
            let views = self.views.keys().copied().collect();
            store.rebuild(term, &views).await?;
        }
        for (&view, rows) in &self.views {
            let removed = remove_others(store, (term, view), rows).await?;
            let (name, written) = (view.name(), rows.len());
            tracing::info!(view = name, rows = written, removed, "view is written anew");
            let mut page = Vec::with_capacity(PAGE.min(rows.len()));
            for (key, row) in rows {
                page.push(Change {
                    key: key.clone(),
                    row: Some(row.clone()),
                });
                if page.len() == PAGE {
                    store.write(term, view, std::mem::take(&mut page)).await?;
                }
            }
            store.write(term, view, page).await?;
        }
        Ok(())
    }

    /// They are committed.
    pub fn done(&mut self) {
        self.views.clear();
    }
}

/// Removes the stored rows of a view whose keys are not among `rows`; answers how many.
async fn remove_others(
    store: &dyn ViewStore,
    (term, view): (Term, ViewId),
    rows: &Rows,
) -> Result<usize, StoreError> {
    let mut range = Range::prefix(Order::First, &[], PAGE);
    let mut removed = 0;
    loop {
        let page = store.scan(view, range.clone()).await?;
        let Some(last) = page.last() else {
            return Ok(removed);
        };
        let behind = [last.key.as_bytes(), &[0]].concat();
        range.from = Key::from(behind.as_slice());
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
