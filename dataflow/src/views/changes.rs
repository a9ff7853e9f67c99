//! How views tell that a row ended and another began: by value (`posts`, `actors`, `trends`), and for keys whose old rows are
//! taken away by time (`activity`, `counters`, `interactions`).

use std::collections::BTreeMap;

use skytide_core::view::{ViewId, ViewKey};

use crate::operators::lists::Output;
use crate::types::{Row, Time};

/// Tells the rows that ended and began when what is known of a key changed; nothing known is no row.
pub fn emit_change<V: Default + PartialEq, C: serde::Serialize>(
    (view, time): (ViewId, Time),
    key: &impl ViewKey,
    (old, new): (V, V),
    row: impl Fn(&V) -> C,
    output: &mut Vec<Output>,
) {
    if old == new {
        return;
    }
    for (value, diff) in [(old, -1), (new, 1)] {
        if value != V::default() {
            let row = Row::new(view, key, &row(&value));
            output.push(Output::Row((row, time, diff)));
        }
    }
}

/// The rows of keys before they were touched in the running time.
///
/// State: the touched keys, for the length of one time.
#[derive(Debug)]
pub struct TouchedRows<K, C> {
    before: BTreeMap<K, Option<C>>,
}

impl<K: Ord + Clone + ViewKey, C: serde::Serialize + PartialEq> TouchedRows<K, C> {
    /// Nothing was touched yet.
    pub fn new() -> Self {
        Self {
            before: BTreeMap::new(),
        }
    }

    /// Remembers the row that a key had, at its first touch; `None`: it had none.
    pub fn touch(&mut self, key: &K, row: impl FnOnce() -> Option<C>) {
        if !self.before.contains_key(key) {
            self.before.insert(key.clone(), row());
        }
    }

    /// Tells the rows that ended and began, given the row that each key has now.
    pub fn tell(
        self,
        (view, time): (ViewId, Time),
        mut now: impl FnMut(&K) -> Option<C>,
        rows: &mut Vec<(Row, Time, i32)>,
    ) {
        for (key, old) in self.before {
            let new = now(&key);
            if old != new {
                for (columns, diff) in [(old, -1), (new, 1)] {
                    rows.extend(columns.map(|c| (Row::new(view, &key, &c), time, diff)));
                }
            }
        }
    }
}

impl<K: Ord + Clone + ViewKey, C: serde::Serialize + PartialEq> Default for TouchedRows<K, C> {
    fn default() -> Self {
        Self::new()
    }
}
