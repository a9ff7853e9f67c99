//! Compares rows with simnet's ledger. The ledger counts what simnet intended to publish, without
//! any of our parsers.

use std::collections::BTreeMap;
use std::fmt::Debug;

use skytide_core::id::{Did, PostKey};
use skytide_core::view::{
    ActivityKey, ActivityRow, ActorRow, CounterRow, Key, PostRow, Span, TrendKey, TrendRow, ViewId,
    Window, decode_row,
};
use skytide_simnet::LedgerTotals;

use crate::model::Rows;

/// Describes the first difference between the rows and the true totals; `None` if they agree. A row
/// whose count is zero equals a missing row.
pub fn unlike_ledger(rows: &Rows, totals: &LedgerTotals) -> Option<String> {
    let posts = table(rows, ViewId::Posts, |key, row| {
        let (key, row): (PostKey, PostRow) = (key.decode().ok()?, decode_row(row).ok()?);
        let tallies = [
            row.likes,
            row.reposts,
            row.replies,
            row.root_replies,
            row.quotes,
        ];
        Some((key, tallies.map(u64::from)))
    });
    let live = table(rows, ViewId::Activity, |key, row| {
        let (key, row): (ActivityKey, ActivityRow) = (key.decode().ok()?, decode_row(row).ok()?);
        let all = key.span == Span::All && !key.collection.is_empty();
        all.then(|| (key.collection.to_string(), row.live))
    });
    let mentions = totals.mentions.iter();
    let mentions = mentions.map(|(did, count)| (did.to_string(), *count));
    let trends = [
        (ViewId::Hashtags, &totals.hashtags),
        (ViewId::Domains, &totals.domains),
        (ViewId::Links, &totals.links),
        (ViewId::Languages, &totals.languages),
        (ViewId::Mentions, &mentions.collect()),
    ];
    let trends = trends.map(|(view, counts)| unlike(view.name(), counts, &trend(rows, view)));
    let followers = actors(rows, |row| row.followers);
    let blockers = actors(rows, |row| row.blockers);
    [
        unlike("posts", &totals.posts, &posts),
        unlike("live records", &totals.live, &live),
        unlike("followers", &totals.followers, &followers),
        unlike("blockers", &totals.blockers, &blockers),
    ]
    .into_iter()
    .chain(trends)
    .find_map(|text| text)
}

/// The counters by name, without those that are zero.
pub fn counters_of(rows: &Rows) -> BTreeMap<String, u64> {
    table(rows, ViewId::Counters, |key, row| {
        let row: CounterRow = decode_row(row).ok()?;
        Some((key.decode().ok()?, row.value))
    })
}

/// The number of posts by key, over all time and all languages.
fn trend(rows: &Rows, view: ViewId) -> BTreeMap<String, u64> {
    table(rows, view, |key, row| {
        let (key, row): (TrendKey, TrendRow) = (key.decode().ok()?, decode_row(row).ok()?);
        let count = u64::from(row.counts[Window::All as usize]);
        key.lang.is_empty().then(|| (key.key.to_string(), count))
    })
}

fn actors(rows: &Rows, value: impl Fn(&ActorRow) -> u32) -> BTreeMap<Did, u64> {
    table(rows, ViewId::Actors, |key, row| {
        Some((key.decode().ok()?, u64::from(value(&decode_row(row).ok()?))))
    })
}

/// The rows of a view as `read` decodes them, without those whose value is zero.
fn table<K: Ord, V: PartialEq + Default>(
    rows: &Rows,
    view: ViewId,
    read: impl Fn(&Key, &[u8]) -> Option<(K, V)>,
) -> BTreeMap<K, V> {
    let rows = rows.get(&view).into_iter().flatten();
    let rows = rows.filter_map(|(key, row)| read(key, row));
    rows.filter(|(_, value)| *value != V::default()).collect()
}

fn unlike<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Option<String> {
    let keys = expected.keys().chain(found.keys());
    let mut differing = keys.filter(|key| expected.get(*key) != found.get(*key));
    let key = differing.next()?;
    let (expected, found) = (expected.get(key), found.get(key));
    Some(format!(
        "{what} {key:?}: expected {expected:?}, found {found:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::view::encode_row;

    #[test]
    fn a_row_that_is_counted_once_too_often_is_found() {
        let totals = LedgerTotals {
            languages: BTreeMap::from([("en".to_owned(), 2)]),
            ..LedgerTotals::default()
        };
        let rows = |count| {
            let key = TrendKey {
                key: "en".into(),
                lang: "".into(),
            };
            let row = TrendRow {
                counts: [count; 4],
                ..TrendRow::default()
            };
            let rows = BTreeMap::from([(Key::of(&key), encode_row(&row))]);
            Rows::from([(ViewId::Languages, rows)])
        };
        assert_eq!(unlike_ledger(&rows(2), &totals), None);
        let text = unlike_ledger(&rows(3), &totals).unwrap();
        assert_eq!(text, "languages \"en\": expected Some(2), found Some(3)");
    }
}
