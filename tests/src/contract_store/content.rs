//! Properties of rows: every way of reading returns what was written.

use std::collections::BTreeMap;

use skytide_core::id::{Did, Epoch};
use skytide_core::port::store::{Order, Range, StoreError, ViewStore};
use skytide_core::view::{Change, InteractionKey, KEY_BYTES_MAX, Key, ROW_BYTES_MAX, ViewId};

use super::{VIEW, commit, committed, key, lead, plain, put, remove, rows};
use crate::world::Random;

/// Holds within one write and over several writes.
pub async fn the_last_change_of_a_key_counts(store: &dyn ViewStore) {
    let term = lead(store).await;
    let first = vec![
        put("a", "1"),
        put("b", "1"),
        remove("a"),
        put("c", "1"),
        put("c", "2"),
    ];
    let second = vec![put("d", "1"), remove("b"), put("a", "3"), remove("nobody")];
    commit(store, term, 1, vec![(VIEW, first), (VIEW, second)]).await;
    let wanted = [
        (key("a"), 1, b"3".to_vec()),
        (key("c"), 1, b"2".into()),
        (key("d"), 1, b"1".into()),
    ];
    assert_eq!(rows(store, VIEW, Order::First).await, wanted);
    commit(
        store,
        term,
        2,
        vec![(VIEW, vec![remove("c"), remove("d"), put("d", "2")])],
    )
    .await;
    let wanted = [(key("a"), 1, b"3".to_vec()), (key("d"), 2, b"2".into())];
    assert_eq!(rows(store, VIEW, Order::First).await, wanted);
}

/// Some keys are missing and some are repeated.
pub async fn rows_are_returned_in_the_order_of_the_keys(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(
        store,
        term,
        1,
        vec![(VIEW, vec![put("a", "1"), put("b", "2")])],
    )
    .await;
    let keys = [key("b"), key("aa"), key("a"), key("b"), key("")];
    let found = store.get(VIEW, &keys).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|row| row.map(plain)).collect();
    let (a, b) = ((key("a"), 1, b"1".to_vec()), (key("b"), 1, b"2".to_vec()));
    assert_eq!(found, [Some(b.clone()), None, Some(a), Some(b), None]);
    assert_eq!(store.get(VIEW, &[]).await.unwrap(), []);
}

/// Each view has a row under the same key.
pub async fn views_do_not_mix(store: &dyn ViewStore) {
    let term = lead(store).await;
    let row = |view: ViewId| vec![put("same", view.name())];
    let changes = ViewId::ALL.iter().map(|view| (*view, row(*view))).collect();
    commit(store, term, 1, changes).await;
    for &view in ViewId::ALL {
        let wanted = [(key("same"), 1, view.name().into())];
        assert_eq!(rows(store, view, Order::First).await, wanted, "{view:?}");
    }
}

/// With a name of the row, and without harm to the commit.
pub async fn the_largest_rows_are_taken_and_larger_ones_are_rejected_for_good(
    store: &dyn ViewStore,
) {
    let term = lead(store).await;
    let (long, large) = (vec![b'k'; KEY_BYTES_MAX], vec![b'r'; ROW_BYTES_MAX]);
    store.begin(term, Epoch(1).into()).await.unwrap();
    let mut longer = b"name".to_vec();
    longer.resize(KEY_BYTES_MAX + 1, b'k');
    let larger = vec![b'r'; ROW_BYTES_MAX + 1];
    let rows_beyond = [put(&longer, "1"), put("name", &larger), remove(&longer)];
    for beyond in rows_beyond.into_iter().chain([put("", "1")]) {
        let named = beyond.key.shown();
        let refused = store.write(term, VIEW, vec![put("a", "1"), beyond]).await;
        let Err(StoreError::Rejected { view, key, .. }) = refused else {
            panic!("rejected for good: {refused:?}");
        };
        assert_eq!((view, &key, key.len() <= 200), (VIEW.name(), &named, true));
    }
    let taken = vec![put(&long, &large), put("b", "2")];
    store.write(term, VIEW, taken).await.unwrap();
    store.commit(term, committed(1)).await.unwrap();
    let wanted = [(key("b"), 1, b"2".to_vec()), (key(&long), 1, large)];
    let found = rows(store, VIEW, Order::First).await;
    assert!(found == wanted, "{} rows", found.len());
}

/// Against a sorted map, at all ends.
pub async fn a_range_is_cut_at_its_ends_and_its_limit(store: &dyn ViewStore) {
    let term = lead(store).await;
    let keys: Vec<&[u8]> = vec![b"\0", b"a", b"a\0", b"a\xff", b"b", b"\xff", b"\xff\xff"];
    let changes = keys.iter().rev().map(|at| put(at, at)).collect();
    commit(store, term, 1, vec![(VIEW, changes)]).await;
    let ends = keys.iter().map(|end| Some(key(end))).chain([None]);
    for to in ends {
        for from in keys.iter().chain([&&b""[..]]) {
            for limit in [0, 1, 3, usize::MAX] {
                let (from, to) = (key(from), to.clone());
                let inside = |at: &Key| *at >= from && to.as_ref().is_none_or(|to| at < to);
                let wanted: Vec<Key> = keys.iter().map(key).filter(inside).take(limit).collect();
                let range = Range {
                    order: Order::First,
                    from: from.clone(),
                    to: to.clone(),
                    limit,
                };
                let found = store.scan(VIEW, range).await.unwrap();
                let found: Vec<Key> = found.into_iter().map(|row| row.key).collect();
                assert_eq!(found, wanted, "{from:?} to {to:?}, {limit} at most");
            }
        }
    }
}

/// Covers prefixes that end with the highest byte.
pub async fn a_prefix_finds_exactly_the_keys_that_begin_with_it(store: &dyn ViewStore) {
    let term = lead(store).await;
    let keys: Vec<&[u8]> = vec![
        b"a",
        b"a\xff",
        b"a\xff\x01",
        b"a\xff\xff",
        b"b",
        b"\xff",
        b"\xff\0",
    ];
    let changes = keys.iter().map(|at| put(at, at)).collect();
    commit(store, term, 1, vec![(VIEW, changes)]).await;
    for prefix in keys
        .iter()
        .chain([&&b""[..], &&b"\xff\xff"[..], &&b"c"[..]])
    {
        let wanted: Vec<Key> = keys
            .iter()
            .filter(|at| at.starts_with(prefix))
            .map(key)
            .collect();
        let found = store
            .scan(VIEW, Range::prefix(Order::First, prefix, 100))
            .await
            .unwrap();
        let found: Vec<Key> = found.into_iter().map(|row| row.key).collect();
        assert_eq!(found, wanted, "{}", prefix.escape_ascii());
    }
}

fn pair(author: u8, day: u32, subject: u8) -> InteractionKey {
    InteractionKey {
        author: Did::from_plc([author; 15]),
        day,
        subject: Did::from_plc([subject; 15]),
    }
}

/// The expected keys are written out, not computed by the view.
pub async fn both_orders_of_a_view_have_the_same_rows(store: &dyn ViewStore) {
    const PAIRS: ViewId = ViewId::Interactions;
    let term = lead(store).await;
    let at = |a, day, b| Key::of(&pair(a, day, b));
    let put = |a, day, b, row: &str| Change {
        key: at(a, day, b),
        row: Some(row.as_bytes().into()),
    };
    let changes = vec![put(1, 5, 9, "x"), put(2, 4, 9, "y"), put(3, 4, 8, "z")];
    commit(store, term, 1, vec![(PAIRS, changes)]).await;
    let by_subject = [
        (at(8, 4, 3), 1, b"z".to_vec()),
        (at(9, 4, 2), 1, b"y".into()),
        (at(9, 5, 1), 1, b"x".into()),
    ];
    assert_eq!(rows(store, PAIRS, Order::Second).await, by_subject);

    let gone = Change {
        key: at(2, 4, 9),
        row: None,
    };
    commit(store, term, 2, vec![(PAIRS, vec![gone, put(1, 5, 9, "w")])]).await;
    let by_author = [
        (at(1, 5, 9), 2, b"w".to_vec()),
        (at(3, 4, 8), 1, b"z".into()),
    ];
    assert_eq!(rows(store, PAIRS, Order::First).await, by_author);
    let by_subject = [
        (at(8, 4, 3), 1, b"z".to_vec()),
        (at(9, 5, 1), 2, b"w".into()),
    ];
    assert_eq!(rows(store, PAIRS, Order::Second).await, by_subject);
    assert_eq!(
        rows(store, VIEW, Order::Second).await,
        [],
        "no second order, no rows"
    );
}

/// Compares random commits with sorted maps.
pub async fn random_commits_leave_the_rows_of_a_sorted_map(store: &dyn ViewStore) {
    let seed = 11;
    let mut random = Random::new(seed);
    let term = lead(store).await;
    let views = [ViewId::Posts, ViewId::Actors, ViewId::Counters];
    let mut model: BTreeMap<ViewId, BTreeMap<Key, (u64, Vec<u8>)>> = BTreeMap::new();
    for epoch in (10..400).step_by(10) {
        let mut writes = Vec::new();
        for _ in 0..random.below(6) {
            let view = *random.pick(&views);
            let rows = model.entry(view).or_default();
            let mut changes = Vec::new();
            for _ in 0..random.below(60) {
                let at = format!("{:x}", random.below(300)).repeat(1 + random.below(3) as usize);
                if random.chance(30) {
                    rows.remove(&key(&at));
                    changes.push(remove(at));
                } else {
                    let row = format!("{epoch}:{}", random.bits());
                    rows.insert(key(&at), (epoch, row.clone().into()));
                    changes.push(put(at, row));
                }
            }
            writes.push((view, changes));
        }
        commit(store, term, epoch, writes).await;
        for view in views {
            let stored = rows(store, view, Order::First).await;
            let wanted = model.get(&view).cloned().unwrap_or_default();
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(key, (epoch, row))| (key, epoch, row))
                .collect();
            assert_eq!(stored, wanted, "seed {seed}, epoch {epoch}, {view:?}");
        }
    }
}
