//! Checkers. Each checks one property of rows and describes the first violation, or all of them, in
//! words.

mod ledger;
mod recorder;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use serde::de::DeserializeOwned;
use skytide_core::id::{Did, PostKey};
use skytide_core::port::store::Sum;
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, ActorRow, CounterRow, CoverageKey, CoverageRow,
    HandleKey, HandleRow, InteractionKey, InteractionRow, Key, ListKey, ListRow, PostRow,
    PostState, TrendKey, TrendRow, ViewId, ViewKey, decode_row, row_hash,
};

pub use ledger::{counters_of, unlike_ledger};
pub use recorder::{Commit, Recorder};

use crate::model::Rows;

/// Describes the first difference between two sets of rows, with both rows in readable form; `None`
/// if they are equal.
pub fn difference(expected: &Rows, found: &Rows) -> Option<String> {
    let no_rows = BTreeMap::new();
    for view in ViewId::ALL {
        let expected = expected.get(view).unwrap_or(&no_rows);
        let found = found.get(view).unwrap_or(&no_rows);
        let keys: BTreeSet<&Key> = expected.keys().chain(found.keys()).collect();
        let mut differing = keys
            .into_iter()
            .filter(|key| expected.get(*key) != found.get(*key));
        if let Some(key) = differing.next() {
            let more = differing.count();
            return Some(format!(
                "{} {}\n  expected {}\n  found    {}\n  and {more} more differences in this view",
                view.name(),
                describe_key(*view, key),
                describe_row(*view, expected.get(key)),
                describe_row(*view, found.get(key)),
            ));
        }
    }
    None
}

/// Describes the first view whose sum, as stated by a commit, differs from the sum of its rows.
pub fn wrong_sum(stated: &BTreeMap<ViewId, Sum>, rows: &Rows) -> Option<String> {
    for (view, rows) in rows {
        let mut sum = Sum::default();
        for (key, row) in rows {
            sum.rows += 1;
            sum.hash = sum.hash.wrapping_add(row_hash(*view, key.as_bytes(), row));
        }
        let stated = stated.get(view).copied().unwrap_or_default();
        if stated != sum {
            return Some(format!("{}: stated {stated:?}, is {sum:?}", view.name()));
        }
    }
    None
}

/// Lists what remains of facts after every record was deleted: no contribution of a record may
/// outlive the record.
///
/// Three remains are legitimate. Posts may remain as `Gone` with every counter at zero. Actors and
/// accounts may keep the time when they were last seen and the content of identity and account
/// events. Counts of operations and counters are never retracted.
pub fn left_of_facts(rows: &Rows) -> Option<String> {
    let mut left = Vec::new();
    for (&view, rows) in rows {
        for (key, row) in rows {
            let harmless = match view {
                ViewId::Posts => {
                    let gone = PostRow {
                        state: PostState::Gone,
                        ..PostRow::default()
                    };
                    decode_row(row) == Ok(gone)
                }
                ViewId::Actors => decode_row(row).is_ok_and(|row: ActorRow| {
                    row == ActorRow {
                        last_seen: row.last_seen,
                        ..ActorRow::default()
                    }
                }),
                ViewId::Activity => decode_row(row).is_ok_and(|row: ActivityRow| row.live == 0),
                ViewId::Accounts => decode_row(row).is_ok_and(|row: AccountRow| {
                    row.display_name.is_none() && row.description.is_none() && row.avatar.is_none()
                }),
                ViewId::Handles | ViewId::Counters | ViewId::Coverage => true,
                _ => false,
            };
            if !harmless {
                let (key, row) = (describe_key(view, key), describe_row(view, Some(row)));
                left.push(format!("{} {key} {row}", view.name()));
            }
        }
    }
    (!left.is_empty()).then(|| left.join("\n"))
}

/// A key in readable form.
fn describe_key(view: ViewId, key: &Key) -> String {
    match view {
        ViewId::Posts => show_key::<PostKey>(key),
        ViewId::Actors | ViewId::Accounts => show_key::<Did>(key),
        ViewId::Counters => show_key::<String>(key),
        ViewId::Coverage => show_key::<CoverageKey>(key),
        ViewId::Interactions => show_key::<InteractionKey>(key),
        ViewId::Activity => show_key::<ActivityKey>(key),
        ViewId::Handles => show_key::<HandleKey>(key),
        ViewId::Hashtags
        | ViewId::Domains
        | ViewId::Links
        | ViewId::Mentions
        | ViewId::Languages => show_key::<TrendKey>(key),
        _ => show_key::<ListKey>(key),
    }
}

/// A row in readable form.
#[expect(
    clippy::borrowed_box,
    reason = "rows are boxed in the maps that are compared"
)]
fn describe_row(view: ViewId, row: Option<&Box<[u8]>>) -> String {
    let Some(row) = row else {
        return "no row".to_owned();
    };
    match view {
        ViewId::Posts => show_row::<PostRow>(row),
        ViewId::Actors => show_row::<ActorRow>(row),
        ViewId::Accounts => show_row::<AccountRow>(row),
        ViewId::Counters => show_row::<CounterRow>(row),
        ViewId::Coverage => show_row::<CoverageRow>(row),
        ViewId::Interactions => show_row::<InteractionRow>(row),
        ViewId::Activity => show_row::<ActivityRow>(row),
        ViewId::Handles => show_row::<HandleRow>(row),
        ViewId::Hashtags
        | ViewId::Domains
        | ViewId::Links
        | ViewId::Mentions
        | ViewId::Languages => show_row::<TrendRow>(row),
        _ => show_row::<ListRow>(row),
    }
}

fn show_key<K: ViewKey + Debug>(key: &Key) -> String {
    let typed: Result<K, _> = key.decode();
    typed.map_or_else(|_| format!("unreadable {key:?}"), |key| format!("{key:?}"))
}

fn show_row<R: DeserializeOwned + Debug>(row: &[u8]) -> String {
    let typed: Result<R, _> = decode_row(row);
    typed.map_or_else(|_| format!("unreadable {row:?}"), |row| format!("{row:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::view::encode_row;

    #[test]
    fn a_difference_names_view_key_and_both_rows() {
        let row = |value| encode_row(&CounterRow { value });
        let rows = |value| {
            let rows = BTreeMap::from([(Key::of(&"frames".to_owned()), row(value))]);
            Rows::from([(ViewId::Counters, rows)])
        };
        assert_eq!(difference(&rows(1), &rows(1)), None);
        let text = difference(&rows(1), &rows(2)).unwrap();
        for part in ["counters \"frames\"", "value: 1", "value: 2", "0 more"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(
            difference(&rows(1), &Rows::new())
                .unwrap()
                .contains("no row")
        );
    }

    #[test]
    fn a_tally_of_a_deleted_record_is_found() {
        let row = encode_row(&ActorRow {
            follows: 1,
            ..ActorRow::default()
        });
        let rows = BTreeMap::from([(Key::of(&"did:web:ana".parse::<Did>().unwrap()), row)]);
        let rows = Rows::from([(ViewId::Actors, rows)]);
        assert!(left_of_facts(&rows).unwrap().contains("follows: 1"));
    }
}
