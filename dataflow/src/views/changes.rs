//! Emits row changes: a retraction of the old row and an insertion of the new one.
//!
//! [`RowChange`] serves views whose operator stores the old value of a key (`posts`, `actors`,
//! `trends`). [`TouchedRows`] serves views whose rows also expire by time (`activity`, `counters`,
//! `interactions`).

use std::hash::Hash;

use hashbrown::HashMap;
use skytide_core::view::{ViewId, ViewKey};

use crate::operators::lists::Output;
use crate::types::{Row, Time};

/// A change of the value of a key from `old` to `new`. The default value stands for no row.
#[derive(Debug)]
pub struct RowChange<V> {
    /// The view of the row.
    pub view: ViewId,
    /// The time of the change.
    pub time: Time,
    /// The value before the change.
    pub old: V,
    /// The value after the change.
    pub new: V,
}

impl<V: Default + PartialEq> RowChange<V> {
    /// Emits the retracted row and the inserted one; nothing if the values are equal. `columns`
    /// gives the columns of a value.
    pub fn emit<C: serde::Serialize>(
        self,
        key: &impl ViewKey,
        columns: impl Fn(&V) -> C,
        output: &mut Vec<Output>,
    ) {
        if self.old == self.new {
            return;
        }
        for (value, diff) in [(self.old, -1), (self.new, 1)] {
            if value != V::default() {
                let row = Row::new(self.view, key, &columns(&value));
                output.push(Output::Row((row, self.time, diff)));
            }
        }
    }
}

/// The previous rows of the keys that were touched at the current time.
///
/// State: the touched keys, until the end of the time.
#[derive(Debug)]
pub struct TouchedRows<K, C> {
    view: ViewId,
    time: Time,
    old: HashMap<K, Option<C>>,
}

impl<K: Hash + Eq + Clone + ViewKey, C: serde::Serialize + PartialEq> TouchedRows<K, C> {
    /// No key of this view was touched yet at this time.
    pub fn new(view: ViewId, time: Time) -> Self {
        Self {
            view,
            time,
            old: HashMap::new(),
        }
    }

    /// At the first touch of a key, stores the row that it had; `None` if it had none.
    pub fn touch(&mut self, key: &K, row: impl FnOnce() -> Option<C>) {
        if !self.old.contains_key(key) {
            self.old.insert(key.clone(), row());
        }
    }

    /// Emits the retracted and the inserted rows, in no order. `new_row` gives the row that a key has
    /// now.
    pub fn emit(self, mut new_row: impl FnMut(&K) -> Option<C>, rows: &mut Vec<(Row, Time, i32)>) {
        let Self { view, time, old } = self;
        for (key, old) in old {
            let new = new_row(&key);
            if old != new {
                for (columns, diff) in [(old, -1), (new, 1)] {
                    rows.extend(columns.map(|c| (Row::new(view, &key, &c), time, diff)));
                }
            }
        }
    }
}
