//! `merge_lists`: a top-k merge. The top list of each worker's own keys becomes the top list of all
//! keys.
//!
//! ```text
//! list of a worker ──exchange by list──▶ newest list of each worker ── merge, truncate ──▶ row
//! ```
//!
//! The merge is exact, because each key is on one worker only. State: for each list the newest
//! entries of each worker. It is shared with the worker, which writes it into checkpoints: a list
//! shows the last time at which lists were written, and the state of that time cannot be recomputed
//! later.
//!
//! The lists of a checkpoint belong to former workers, whose numbers start at [`FORMER`]. When
//! lists are written for the first time after a restart, every worker emits all of its lists, and
//! the entries of the former workers are removed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use differential_dataflow::Hashable;
use serde::{Deserialize, Serialize};
use skytide_core::view::{ListEntry, ListKey, ListRow, ViewId};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;

use super::named::flat_map;
use super::on_tick::on_tick;
use crate::sizes::{COLLECTIONS, HeapSize, Size, Sizes, StateSizes, btree_bytes};
use crate::types::{Clocks, Row, Rows, Shared, SuppressedRows, Time};

/// Worker numbers from here on denote former workers: those that wrote the checkpoint.
pub const FORMER: usize = usize::MAX / 2;

/// The newest entries of each top list, by worker.
pub type Newest = BTreeMap<(ViewId, ListKey), BTreeMap<usize, Vec<ListEntry>>>;

/// All entries of one worker for one top list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerList {
    /// The view of the list.
    pub view: ViewId,
    /// The key of the list.
    pub key: ListKey,
    /// The worker that has these entries.
    pub worker: usize,
    /// The entries, best first; empty if the worker has none any more.
    pub entries: Vec<ListEntry>,
}

/// An output of an operator that emits both rows and top lists.
#[derive(Clone, Debug)]
pub enum Output {
    /// A row is inserted or retracted.
    Row((Row, Time, i32)),
    /// A list of this worker changed.
    List(WorkerList),
}

impl HeapSize for WorkerList {
    fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.entries.heap_bytes()
    }
}

/// The newest lists, with the size of their entries.
struct NewestLists {
    newest: Shared<Newest>,
    /// The size of the entries of all lists of all workers.
    entries: Size,
}

impl StateSizes for NewestLists {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let lists = self.newest.borrow().len();
        let lists = btree_bytes::<(ViewId, ListKey), BTreeMap<usize, Vec<ListEntry>>>(lists)
            + lists * btree_bytes::<usize, Vec<ListEntry>>(1);
        let size = Size {
            bytes: self.entries.bytes + lists,
            ..self.entries
        };
        sizes.add("merge_lists.newest", size, COLLECTIONS);
    }
}

/// The size of a list of entries.
fn entries_size(entries: &Vec<ListEntry>) -> Size {
    Size {
        entries: entries.len(),
        bytes: entries.heap_bytes(),
    }
}

/// Replaces the entries of a worker in a list, and changes the total size accordingly.
fn set_entries(
    list: &mut BTreeMap<usize, Vec<ListEntry>>,
    total: &mut Size,
    (worker, entries): (usize, Vec<ListEntry>),
) {
    let before = list.get(&worker).map(entries_size).unwrap_or_default();
    match entries.is_empty() {
        true => drop(list.remove(&worker)),
        false => drop(list.insert(worker, entries)),
    }
    let after = list.get(&worker).map(entries_size).unwrap_or_default();
    total.replace(before, after);
}

/// Splits the output of operators into rows and top lists.
pub fn split<'s>(
    output: StreamVec<'s, Time, Output>,
) -> (Rows<'s>, StreamVec<'s, Time, WorkerList>) {
    let rows = flat_map(output.clone(), "RowsOfViews", |output| match output {
        Output::Row(row) => Some(row),
        Output::List(_) => None,
    });
    let lists = flat_map(output, "ListsOfViews", |output| match output {
        Output::Row(_) => None,
        Output::List(list) => Some(list),
    });
    (rows, lists)
}

/// The order within a top list: by descending value, then by the bytes of the key.
pub fn list_order(a: &ListEntry, b: &ListEntry) -> std::cmp::Ordering {
    (Reverse(a.value), &a.key).cmp(&(Reverse(b.value), &b.key))
}

/// Merges the workers' top lists into rows.
pub fn merge_lists<'s>(
    lists: StreamVec<'s, Time, WorkerList>,
    clocks: Clocks<'s>,
    newest: Shared<Newest>,
    suppressed: SuppressedRows,
) -> Rows<'s> {
    let by_list = Exchange::new(|list: &WorkerList| (list.view as u8, &list.key).hashed());
    let mut has_former_workers = true;
    let state = clocks.states.share(NewestLists {
        newest,
        entries: Size::default(),
    });
    on_tick(
        "MergeLists",
        lists,
        by_list,
        clocks,
        move |time, clock, lists, rows| {
            let NewestLists {
                newest,
                entries: total,
            } = &mut *state.borrow_mut();
            let newest = &mut *newest.borrow_mut();
            let mut before = BTreeMap::<(ViewId, ListKey), ListRow>::new();
            let mut touched = BTreeSet::new();
            if clock.lists && std::mem::take(&mut has_former_workers) {
                for (list, workers) in newest.iter_mut() {
                    if workers.keys().any(|worker| *worker >= FORMER) {
                        touched.insert(list.clone());
                        before.insert(list.clone(), merged(Some(workers)));
                        let former = workers.extract_if(FORMER.., |_, _| true);
                        former
                            .for_each(|(_, it)| total.replace(entries_size(&it), Size::default()));
                    }
                }
            }
            for WorkerList {
                view,
                key,
                worker,
                entries,
            } in lists.into_iter().flatten()
            {
                let list = (view, key);
                if touched.insert(list.clone()) {
                    before.insert(list.clone(), merged(newest.get(&list)));
                }
                set_entries(newest.entry(list).or_default(), total, (worker, entries));
            }
            for list in touched {
                let old = before.remove(&list).unwrap_or_default();
                let new = merged(newest.get(&list));
                if new.entries.is_empty() {
                    newest.remove(&list);
                }
                if old != new && suppressed.emits(list.0, time) {
                    for (row, diff) in [(old, -1), (new, 1)] {
                        if !row.entries.is_empty() {
                            rows.push((Row::new(list.0, &list.1, &row), time, diff));
                        }
                    }
                }
            }
        },
    )
}

fn merged(workers: Option<&BTreeMap<usize, Vec<ListEntry>>>) -> ListRow {
    let mut entries: Vec<ListEntry> = workers
        .into_iter()
        .flat_map(BTreeMap::values)
        .flatten()
        .cloned()
        .collect();
    entries.sort_unstable_by(list_order);
    entries.truncate(ListRow::LENGTH);
    ListRow { entries }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_size_equals_that_of_all_entries_after_random_changes() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let (mut list, mut total) = (BTreeMap::new(), Size::default());
        for step in 0..2_000 {
            let entry = |n: u64| ListEntry {
                key: "k".repeat(n as usize).into(),
                value: 1,
                other: 0,
                longer: 1,
            };
            let entries: Vec<_> = (0..next(5)).map(|_| entry(next(70))).collect();
            set_entries(&mut list, &mut total, (next(4) as usize, entries));
            let all = || list.values().flatten();
            let texts: usize = all().map(|entry| entry.key.len()).sum();
            let slots: usize = list.values().map(Vec::capacity).sum();
            let expected = Size {
                entries: all().count(),
                bytes: texts + slots * size_of::<ListEntry>(),
            };
            assert_eq!(total, expected, "seed {seed:#x} step {step}");
        }
    }
}
