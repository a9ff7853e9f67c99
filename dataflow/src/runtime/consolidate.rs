//! Consolidates the row updates of a batch into changes for the store, and into changes of the
//! checksum of each view.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skytide_core::port::store::Sum;
use skytide_core::view::{Change, ViewId, fits, row_hash};

use crate::sizes::vec_bytes;
use crate::types::{Row, Time};

/// How one worker's rows changed in one batch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RowChanges {
    /// Changes by view, ordered by key: one for each key whose row differs after the batch.
    pub changes: BTreeMap<ViewId, Vec<Change>>,
    /// What the changes add to the checksum of each view: the number of rows and the sum of their
    /// hashes.
    pub sums: BTreeMap<ViewId, Sum>,
    /// Rows too large for any store, by view: their number, and the key of one of them as text.
    pub left_out: BTreeMap<ViewId, (u64, String)>,
    /// Bytes of the keys and columns of the changes.
    bytes: u64,
}

impl RowChanges {
    /// The number of changes, and their bytes in memory.
    pub fn size(&self) -> (u64, u64) {
        let rows: usize = self.changes.values().map(Vec::len).sum();
        let slots: usize = self.changes.values().map(vec_bytes).sum();
        (rows as u64, self.bytes + slots as u64)
    }
}

/// Consolidates the updates of a batch: a row that is inserted and retracted within it cancels.
///
/// A row that no store can hold ([`fits`]) is left out of the changes and of the sums, as if its
/// key had no row. This depends only on the row, so every store and every recomputation leaves out
/// the same rows.
///
/// # Panics
/// If a key has two rows, or a retraction has no row: our own state is broken.
pub fn consolidate(mut updates: Vec<(Row, Time, i32)>) -> RowChanges {
    updates.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
    let mut result = RowChanges::default();
    let mut updates = updates.into_iter().peekable();
    let mut group = Vec::new();
    while let Some(first) = updates.next() {
        group.push(first);
        while let Some(update) = updates.next_if(|it| is_same_key(it, &group[0])) {
            group.push(update);
        }
        let view = group[0].0.view;
        let sum = result.sums.entry(view).or_default();
        let (mut old, mut new) = net_change(&mut group);
        if let Some(large) = new.take_if(|row| !fits(&row.key, &row.columns)) {
            let left_out = result.left_out.entry(view).or_default();
            *left_out = (left_out.0 + 1, large.key.shown());
        }
        old = old.filter(|row| fits(&row.key, &row.columns));
        for (row, sign) in [(&old, -1), (&new, 1)] {
            if let Some(row) = row {
                add(sum, row, sign);
            }
        }
        let change = match (new, old) {
            (Some(Row { key, columns, .. }), _) => Change {
                key,
                row: Some(columns),
            },
            (None, Some(Row { key, .. })) => Change { key, row: None },
            (None, None) => continue,
        };
        result.bytes += change.bytes() as u64;
        result.changes.entry(view).or_default().push(change);
    }
    result
}

fn is_same_key((a, ..): &(Row, Time, i32), (b, ..): &(Row, Time, i32)) -> bool {
    a.view == b.view && a.key == b.key
}

/// The row that the updates of one key retract, and the row that they insert, after equal rows
/// cancel. Takes the updates, which are sorted by row.
fn net_change(group: &mut Vec<(Row, Time, i32)>) -> (Option<Row>, Option<Row>) {
    let (mut old, mut new) = (None, None);
    let mut updates = group.drain(..).peekable();
    while let Some((row, _, mut diff)) = updates.next() {
        while let Some((.., more)) = updates.next_if(|(other, ..)| *other == row) {
            diff += more;
        }
        let (slot, what) = match diff {
            0 => continue,
            1 => (&mut new, "two rows"),
            -1 => (&mut old, "two old rows"),
            n => panic!(
                "row {:?} of {} changed {n} times at once",
                row.key,
                row.view.name()
            ),
        };
        if let Some(Row { key, .. }) = slot.replace(row) {
            panic!("{what} under {key:?}");
        }
    }
    (old, new)
}

fn add(sum: &mut Sum, row: &Row, sign: i64) {
    let hash = row_hash(row.view, row.key.as_bytes(), &row.columns);
    sum.rows += sign;
    sum.hash = match sign {
        1 => sum.hash.wrapping_add(hash),
        _ => sum.hash.wrapping_sub(hash),
    };
}

#[cfg(test)]
mod tests {
    use skytide_core::view::{CounterRow, KEY_BYTES_MAX, Key, ROW_BYTES_MAX};

    use super::*;

    fn row(key: &str, value: u64) -> Row {
        Row::new(ViewId::Counters, &key.to_owned(), &CounterRow { value })
    }

    #[test]
    fn rows_inserted_and_retracted_within_a_batch_cancel() {
        let result = consolidate(vec![
            (row("changed", 1), 1, -1),
            (row("changed", 2), 1, 1),
            (row("changed", 2), 2, -1),
            (row("changed", 3), 2, 1),
            (row("transient", 1), 1, 1),
            (row("transient", 1), 2, -1),
            (row("removed", 7), 2, -1),
        ]);
        let changes = &result.changes[&ViewId::Counters];
        let bytes: usize = changes.iter().map(Change::bytes).sum();
        let slots = changes.capacity() * size_of::<Change>();
        assert_eq!(result.size(), (2, (bytes + slots) as u64));
        let key = |text: &str| Key::of(&text.to_owned());
        assert_eq!(changes.len(), 2);
        assert_eq!(
            (&changes[0].key, &changes[0].row),
            (&key("changed"), &Some(row("changed", 3).columns))
        );
        assert_eq!((&changes[1].key, &changes[1].row), (&key("removed"), &None));
        assert_eq!(result.sums[&ViewId::Counters].rows, -1);
    }

    #[test]
    fn a_row_that_no_store_can_hold_is_left_out_and_counted() {
        let large = "k".repeat(KEY_BYTES_MAX);
        let result = consolidate(vec![(row(&large, 1), 1, 1), (row("small", 1), 1, 1)]);
        let changes = &result.changes[&ViewId::Counters];
        assert_eq!(changes.len(), 1);
        assert_eq!(result.sums[&ViewId::Counters].rows, 1);
        let (count, key) = &result.left_out[&ViewId::Counters];
        assert_eq!((*count, key.len()), (1, 200));
        // A retraction of such a row is left out, too.
        let result = consolidate(vec![(row(&large, 1), 2, -1)]);
        assert_eq!(result.sums[&ViewId::Counters], Sum::default());
        assert_eq!((result.changes.len(), result.left_out.len()), (0, 0));
    }

    #[test]
    fn a_row_that_grows_too_large_is_removed_from_the_store() {
        let key = || "key".to_owned();
        let of = |text: String| Row::new(ViewId::Counters, &key(), &text);
        let large = || of("x".repeat(ROW_BYTES_MAX));
        let grown = consolidate(vec![(of("x".into()), 1, -1), (large(), 1, 1)]);
        assert_eq!(grown.changes[&ViewId::Counters][0].row, None);
        assert_eq!(grown.sums[&ViewId::Counters].rows, -1);
        let back = consolidate(vec![(large(), 2, -1), (of("x".into()), 2, 1)]);
        assert_eq!(
            back.changes[&ViewId::Counters][0].row,
            Some(of("x".into()).columns)
        );
        assert_eq!(back.sums[&ViewId::Counters].rows, 1);
    }

    #[test]
    #[should_panic(expected = "two rows")]
    fn two_rows_under_one_key_panic() {
        consolidate(vec![(row("a", 1), 1, 1), (row("a", 2), 1, 1)]);
    }
}
