//! `merge_lists`: each worker's best of its own keys become the best of all.
//!
//! ```text
//! worker's list ──exchange by list──▶ newest list of each worker ── merge, cut ──▶ row of the list
//! ```
//!
//! Exact, since a key lives on one worker only. State: per list the newest entries of each worker, shared with the worker,
//! which writes them into checkpoints: a list is as of the last time at which lists were written, and that state is gone.
//!
//! Lists of a checkpoint stand as those of workers [`FORMER`] and above until lists are written again: then every
//! worker tells all of its lists, and what the former workers had leaves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use differential_dataflow::Hashable;
use serde::{Deserialize, Serialize};
use skytide_core::view::{ListEntry, ListKey, ListRow, ViewId};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::vec::Map;

use super::on_tick::on_tick;
use crate::types::{Clocks, Row, Rows, Shared, SuppressedRows, Time};

/// Numbers of workers from here on stand for those that wrote a checkpoint.
pub const FORMER: usize = usize::MAX / 2;

/// The newest entries of each list, by worker.
pub type Newest = BTreeMap<(ViewId, ListKey), BTreeMap<usize, Vec<ListEntry>>>;

/// The best that one worker has for one list, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerList {
    /// Of which view.
    pub view: ViewId,
    /// Which list.
    pub key: ListKey,
    /// Whose.
    pub worker: usize,
    /// Best first; empty when the worker has none any more.
    pub entries: Vec<ListEntry>,
}

/// What an operator with lists tells.
#[derive(Clone, Debug)]
pub enum Output {
    /// A row began or ended to hold.
    Row((Row, Time, i32)),
    /// A list of this worker changed.
    List(WorkerList),
}

/// Splits rows and lists.
pub fn split<'s>(
    output: StreamVec<'s, Time, Output>,
) -> (Rows<'s>, StreamVec<'s, Time, WorkerList>) {
    let rows = output.clone().flat_map(|output| match output {
        Output::Row(row) => Some(row),
        Output::List(_) => None,
    });
    let lists = output.flat_map(|output| match output {
        Output::Row(_) => None,
        Output::List(list) => Some(list),
    });
    (rows, lists)
}

/// The order within a list: the highest value first, equal ones by the bytes of their key.
pub fn list_order(a: &ListEntry, b: &ListEntry) -> std::cmp::Ordering {
    (Reverse(a.value), &a.key).cmp(&(Reverse(b.value), &b.key))
}

/// Merges the workers' lists.
pub fn merge_lists<'s>(
    (lists, clocks): (StreamVec<'s, Time, WorkerList>, Clocks<'s>),
    newest: Shared<Newest>,
    suppressed: SuppressedRows,
) -> Rows<'s> {
    let by_list = Exchange::new(|list: &WorkerList| (list.view as u8, &list.key).hashed());
    let mut former = true;
    on_tick(
        "MergeLists",
        (lists, by_list),
        clocks,
        move |(time, clock), lists, rows| {
            let newest = &mut *newest.borrow_mut();
            let mut before = BTreeMap::<(ViewId, ListKey), ListRow>::new();
            let mut touched = BTreeSet::new();
            if clock.lists && std::mem::take(&mut former) {
                for (list, workers) in newest.iter_mut() {
                    if workers.keys().any(|worker| *worker >= FORMER) {
                        touched.insert(list.clone());
                        before.insert(list.clone(), merged(Some(workers)));
                        workers.retain(|worker, _| *worker < FORMER);
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
                let workers = newest.entry(list).or_default();
                if entries.is_empty() {
                    workers.remove(&worker);
                } else {
                    workers.insert(worker, entries);
                }
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
