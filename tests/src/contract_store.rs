//! What every view store promises, one function a sentence. [`store_contract!`](crate::store_contract) makes tests of
//! them all for one implementation; [`atomic_store_contract!`](crate::atomic_store_contract) those that only hold
//! where a commit is one transaction.

use std::collections::BTreeMap;

use skytide_core::id::{Did, Epoch, Seq};
use skytide_core::port::store::{
    Committed, Control, Order, Range, StoreError, Sum, Term, ViewStore,
};
use skytide_core::time::Timestamp;
use skytide_core::view::{Change, InteractionKey, Key, StoredRow, ViewId};

use crate::world::Random;

/// Makes one test of each sentence, for the stores that `$make` makes: an async function that answers
/// `(Arc<dyn ViewStore>, whatever must outlive it)`, each time another, empty store.
#[macro_export]
macro_rules! store_contract {
    ($make:path) => {
        $crate::store_contract! {
            @sentences $make:
            an_empty_store_has_no_rows_and_no_commit,
            each_take_over_draws_a_higher_term_and_fences_the_one_before,
            a_commit_begins_behind_the_last_one_and_not_before_an_intent,
            rows_are_written_and_committed_only_at_the_intent,
            a_commit_is_read_back_with_its_rows_and_its_record,
            a_commit_may_be_repeated,
            the_last_change_of_a_key_counts,
            rows_answer_to_the_keys_in_their_order,
            views_do_not_mix,
            a_range_is_cut_at_its_ends_and_its_limit,
            a_prefix_finds_just_what_begins_with_it,
            the_second_order_has_the_same_rows_and_loses_them_with_the_first,
            after_a_take_over_the_commit_that_was_left_is_made_whole,
            any_history_leaves_what_its_changes_say,
        }
    };
    (@sentences $make:path: $($sentence:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $sentence() {
            let (store, _kept) = $make().await;
            $crate::contract_store::$sentence(&*store).await;
        }
    )*};
}

/// The same for what only transactions promise.
#[macro_export]
macro_rules! atomic_store_contract {
    ($make:path) => {
        $crate::store_contract! {
            @sentences $make:
            readers_see_a_commit_wholly_or_not_at_all,
            a_commit_that_was_left_is_forgotten,
        }
    };
}

const VIEW: ViewId = ViewId::Posts;

/// A key of these bytes.
pub fn key(bytes: impl AsRef<[u8]>) -> Key {
    Key::from(bytes.as_ref())
}

/// Puts a row.
pub fn put(at: impl AsRef<[u8]>, row: impl AsRef<[u8]>) -> Change {
    Change {
        key: key(at),
        row: Some(row.as_ref().into()),
    }
}

/// Removes a row.
pub fn remove(at: impl AsRef<[u8]>) -> Change {
    Change {
        key: key(at),
        row: None,
    }
}

/// What a commit at this epoch says of itself.
pub fn committed(epoch: u64) -> Committed {
    let sum = Sum {
        rows: -3,
        hash: u128::MAX - u128::from(epoch),
    };
    Committed {
        epoch: Epoch(epoch),
        time: Timestamp(1_000 + epoch),
        since: Timestamp(1_000),
        log_id: u64::MAX,
        log_seq: Seq(epoch * 10),
        sums: [(VIEW, sum), (ViewId::Counters, Sum::default())].into(),
    }
}

/// One whole commit.
pub async fn commit(
    store: &dyn ViewStore,
    term: Term,
    epoch: u64,
    changes: Vec<(ViewId, Vec<Change>)>,
) {
    store.begin(term, Epoch(epoch)).await.unwrap();
    for (view, changes) in changes {
        store.write(term, view, changes).await.unwrap();
    }
    store.commit(term, committed(epoch)).await.unwrap();
}

/// All rows of a view in one order, as `(key, epoch, row)`.
pub async fn rows(store: &dyn ViewStore, view: ViewId, order: Order) -> Vec<(Key, u64, Vec<u8>)> {
    let all = store
        .scan(view, Range::prefix(order, &[], usize::MAX))
        .await;
    all.unwrap().into_iter().map(plain).collect()
}

fn plain(row: StoredRow) -> (Key, u64, Vec<u8>) {
    (row.key, row.epoch.0, row.row.into())
}

async fn lead(store: &dyn ViewStore) -> Term {
    store.lead().await.unwrap().term
}

fn assert_order(result: Result<(), StoreError>, wanted: u64) {
    match result {
        Err(StoreError::Order { epoch, .. }) => assert_eq!(epoch, Epoch(wanted)),
        other => panic!("out of turn: {other:?}"),
    }
}

/// And no writer.
pub async fn an_empty_store_has_no_rows_and_no_commit(store: &dyn ViewStore) {
    assert_eq!(store.control().await.unwrap(), Control::default());
    for &view in ViewId::ALL {
        assert_eq!(rows(store, view, Order::First).await, []);
    }
    assert_eq!(store.get(VIEW, &[key("a")]).await.unwrap(), [None]);
}

/// In every operation.
pub async fn each_take_over_draws_a_higher_term_and_fences_the_one_before(store: &dyn ViewStore) {
    let old = lead(store).await;
    store.begin(old, Epoch(5)).await.unwrap();
    let new = lead(store).await;
    assert!(old < new);
    let fenced = |result: Result<(), StoreError>| {
        let is = matches!(&result,
            Err(StoreError::Fenced { current, ours }) if (*current, *ours) == (new, old));
        assert!(is, "{result:?}");
    };
    fenced(store.begin(old, Epoch(5)).await);
    fenced(store.write(old, VIEW, vec![put("a", "old")]).await);
    fenced(store.commit(old, committed(5)).await);
    commit(store, new, 5, vec![(VIEW, vec![put("b", "new")])]).await;
    assert_eq!(
        rows(store, VIEW, Order::First).await,
        [(key("b"), 5, b"new".into())]
    );
    assert_eq!(store.control().await.unwrap().term, new);
}

/// The same intent again is fine, and so is a later one.
pub async fn a_commit_begins_behind_the_last_one_and_not_before_an_intent(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(store, term, 3, vec![]).await;
    assert_order(store.begin(term, Epoch(2)).await, 2);
    assert_order(store.begin(term, Epoch(3)).await, 3);
    store.begin(term, Epoch(7)).await.unwrap();
    assert_eq!(store.control().await.unwrap().intent, Some(Epoch(7)));
    assert_order(store.begin(term, Epoch(6)).await, 6);
    store.begin(term, Epoch(7)).await.unwrap();
    store.begin(term, Epoch(9)).await.unwrap();
    assert_eq!(store.control().await.unwrap().intent, Some(Epoch(9)));
}

/// Neither without `begin` nor at another epoch.
pub async fn rows_are_written_and_committed_only_at_the_intent(store: &dyn ViewStore) {
    let term = lead(store).await;
    let early = store.write(term, VIEW, vec![put("a", "1")]).await;
    assert!(matches!(early, Err(StoreError::Order { .. })), "{early:?}");
    assert_order(store.commit(term, committed(1)).await, 1);
    store.begin(term, Epoch(4)).await.unwrap();
    assert_order(store.commit(term, committed(3)).await, 3);
    assert_order(store.commit(term, committed(5)).await, 5);
    store.commit(term, committed(4)).await.unwrap();
    let late = store.write(term, VIEW, vec![put("a", "1")]).await;
    assert!(matches!(late, Err(StoreError::Order { .. })), "{late:?}");
}

/// Every field of it.
pub async fn a_commit_is_read_back_with_its_rows_and_its_record(store: &dyn ViewStore) {
    let term = lead(store).await;
    let changes = vec![(VIEW, vec![put("b", "2"), put("a", "1"), put("c", "")])];
    commit(store, term, 300, changes).await;
    let control = Control {
        term,
        committed: Some(committed(300)),
        intent: None,
    };
    assert_eq!(store.control().await.unwrap(), control);
    let wanted = [
        (key("a"), 300, b"1".to_vec()),
        (key("b"), 300, b"2".into()),
        (key("c"), 300, b"".into()),
    ];
    assert_eq!(rows(store, VIEW, Order::First).await, wanted);
}

/// As a whole, and its last step.
pub async fn a_commit_may_be_repeated(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(
        store,
        term,
        1,
        vec![(VIEW, vec![put("a", "1"), put("b", "1")])],
    )
    .await;
    let changes = vec![(VIEW, vec![put("a", "2"), remove("b")])];
    store.begin(term, Epoch(2)).await.unwrap();
    store.write(term, VIEW, vec![put("a", "2")]).await.unwrap();
    commit(store, term, 2, changes).await;
    store.commit(term, committed(2)).await.unwrap();
    assert_eq!(
        rows(store, VIEW, Order::First).await,
        [(key("a"), 2, b"2".into())]
    );
    assert_eq!(store.control().await.unwrap().committed, Some(committed(2)));
    let other = Committed {
        log_id: 1,
        ..committed(2)
    };
    assert_order(store.commit(term, other).await, 2);
}

/// Within one write and over several.
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

/// Missing and repeated ones, too.
pub async fn rows_answer_to_the_keys_in_their_order(store: &dyn ViewStore) {
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

/// The same key in each of them.
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

/// Where the prefix ends with the highest byte, too.
pub async fn a_prefix_finds_just_what_begins_with_it(store: &dyn ViewStore) {
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

/// Keys are written out here, not computed by the view.
pub async fn the_second_order_has_the_same_rows_and_loses_them_with_the_first(
    store: &dyn ViewStore,
) {
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

/// By ending exactly at its intent, if there is one.
pub async fn after_a_take_over_the_commit_that_was_left_is_made_whole(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(
        store,
        term,
        1,
        vec![(VIEW, vec![put("a", "1"), put("b", "1")])],
    )
    .await;
    store.begin(term, Epoch(2)).await.unwrap();
    store.write(term, VIEW, vec![put("a", "2")]).await.unwrap();

    let found = store.lead().await.unwrap();
    assert_eq!(found.committed, Some(committed(1)));
    assert!(
        found.intent.is_none_or(|intent| intent == Epoch(2)),
        "{found:?}"
    );
    let changes = vec![put("a", "2"), put("b", "2")];
    commit(store, found.term, 2, vec![(VIEW, changes)]).await;
    let wanted = [(key("a"), 2, b"2".to_vec()), (key("b"), 2, b"2".into())];
    assert_eq!(rows(store, VIEW, Order::First).await, wanted);
}

/// Random commits against sorted maps.
pub async fn any_history_leaves_what_its_changes_say(store: &dyn ViewStore) {
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
            let rows_there = rows(store, view, Order::First).await;
            let wanted = model.get(&view).cloned().unwrap_or_default();
            let wanted: Vec<_> = wanted
                .into_iter()
                .map(|(key, (epoch, row))| (key, epoch, row))
                .collect();
            assert_eq!(rows_there, wanted, "seed {seed}, epoch {epoch}, {view:?}");
        }
    }
}

/// Neither a scan nor a look-up of many keys.
pub async fn readers_see_a_commit_wholly_or_not_at_all(store: &dyn ViewStore) {
    const EPOCHS: u64 = 60;
    let term = lead(store).await;
    let names: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    let keys: Vec<Key> = names.iter().map(key).collect();
    let write = async {
        for epoch in 1..=EPOCHS {
            let row = epoch.to_string();
            store.begin(term, Epoch(epoch)).await.unwrap();
            for names in names.chunks(50) {
                let changes = names.iter().map(|name| put(name, &row)).collect();
                store.write(term, VIEW, changes).await.unwrap();
                tokio::task::yield_now().await;
            }
            store.commit(term, committed(epoch)).await.unwrap();
        }
    };
    let read = async {
        let mut newest = 0;
        while newest < EPOCHS {
            let scanned = rows(store, VIEW, Order::First).await;
            let found = store.get(VIEW, &keys).await.unwrap();
            let found: Vec<_> = found.into_iter().flatten().map(plain).collect();
            for rows in [scanned, found] {
                assert!(rows.is_empty() || rows.len() == 200);
                assert!(
                    rows.iter().all(|row| row.1 == rows[0].1),
                    "rows of two commits"
                );
                newest = rows.first().map_or(newest, |row| row.1);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(write, read);
}

/// Rows and intent: the next commit may end anywhere.
pub async fn a_commit_that_was_left_is_forgotten(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    store.begin(term, Epoch(5)).await.unwrap();
    store
        .write(term, VIEW, vec![put("a", "5"), put("b", "5")])
        .await
        .unwrap();
    assert_eq!(
        rows(store, VIEW, Order::First).await,
        [(key("a"), 1, b"1".into())]
    );
    let found = store.lead().await.unwrap();
    assert_eq!(found.intent, None);
    commit(store, found.term, 2, vec![]).await;
    assert_eq!(
        rows(store, VIEW, Order::First).await,
        [(key("a"), 1, b"1".into())]
    );
}
