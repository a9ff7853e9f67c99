//! The contract of a view store: one function per property, named by the property.
//! [`store_contract!`](crate::store_contract) turns all of them into tests of one implementation;
//! [`atomic_store_contract!`](crate::atomic_store_contract) those that hold only if a commit is one
//! transaction.

mod content;
mod replacing;

pub use content::*;
pub use replacing::*;

use std::collections::BTreeSet;

use skytide_core::id::{Epoch, Seq};
use skytide_core::port::store::{
    Committed, Control, Order, Range, Recipe, StoreError, Sum, Term, ViewStore,
};
use skytide_core::time::Timestamp;
use skytide_core::view::{Change, Key, StoredRow, ViewId};

/// Makes one test of each property. `$make` is an async function that returns
/// `(Arc<dyn ViewStore>, guard)` with a new, empty store; the guard outlives the store.
#[macro_export]
macro_rules! store_contract {
    ($make:path) => {
        $crate::store_contract! {
            @properties $make:
            an_empty_store_has_no_rows_and_no_commit,
            each_takeover_draws_a_higher_term_and_fences_the_previous_writer,
            a_commit_begins_after_the_last_one_and_not_before_an_intent,
            rows_are_written_and_committed_only_at_the_intent,
            a_commit_is_read_back_with_its_rows_and_its_record,
            a_commit_may_be_repeated,
            views_being_rebuilt_are_recorded_until_a_commit,
            a_commit_that_replaces_everything_may_end_at_any_epoch,
            the_last_change_of_a_key_counts,
            rows_are_returned_in_the_order_of_the_keys,
            views_do_not_mix,
            a_range_is_cut_at_its_ends_and_its_limit,
            a_prefix_finds_exactly_the_keys_that_begin_with_it,
            both_orders_of_a_view_have_the_same_rows,
            after_a_takeover_an_incomplete_commit_is_completed,
            the_largest_rows_are_taken_and_larger_ones_are_rejected_for_good,
            random_commits_leave_the_rows_of_a_sorted_map,
        }
    };
    (@properties $make:path: $($property:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            let Some((store, _guard)) = $crate::made::Made::made($make().await) else {
                return;
            };
            $crate::contract_store::$property(&*store).await;
        }
    )*};
}

/// The same for the properties that only transactional stores have.
#[macro_export]
macro_rules! atomic_store_contract {
    ($make:path) => {
        $crate::store_contract! {
            @properties $make:
            readers_see_a_commit_completely_or_not_at_all,
            a_snapshot_belongs_to_one_commit_while_others_follow,
            an_incomplete_commit_is_rolled_back,
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

/// The metadata of a commit at this epoch.
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
        tick_hash: Some(u64::MAX - epoch),
        recipe: Some(recipe()),
        sums: [(VIEW, sum), (ViewId::Counters, Sum::default())].into(),
    }
}

fn recipe() -> Recipe {
    Recipe {
        account_policy: "active_accounts_only".into(),
        interactions_days: Some(8),
        views: [(VIEW, 1), (ViewId::Counters, 3)].into(),
    }
}

/// Makes one complete commit.
pub async fn commit(
    store: &dyn ViewStore,
    term: Term,
    epoch: u64,
    changes: Vec<(ViewId, Vec<Change>)>,
) {
    store.begin(term, Epoch(epoch).into()).await.unwrap();
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
        other => panic!("expected an order error, got {other:?}"),
    }
}

/// Its control record has no term either: it never had a writer.
pub async fn an_empty_store_has_no_rows_and_no_commit(store: &dyn ViewStore) {
    assert_eq!(store.control().await.unwrap(), Control::default());
    for &view in ViewId::ALL {
        assert_eq!(rows(store, view, Order::First).await, []);
    }
    assert_eq!(store.get(VIEW, &[key("a")]).await.unwrap(), [None]);
}

/// Every operation of the previous writer fails.
pub async fn each_takeover_draws_a_higher_term_and_fences_the_previous_writer(
    store: &dyn ViewStore,
) {
    let old = lead(store).await;
    store.begin(old, Epoch(5).into()).await.unwrap();
    let new = lead(store).await;
    assert!(old < new);
    let fenced = |result: Result<(), StoreError>| {
        let is = matches!(&result,
            Err(StoreError::Fenced { current, ours }) if (*current, *ours) == (new, old));
        assert!(is, "{result:?}");
    };
    fenced(store.begin(old, Epoch(5).into()).await);
    fenced(store.write(old, VIEW, vec![put("a", "old")]).await);
    fenced(store.commit(old, committed(5)).await);
    commit(store, new, 5, vec![(VIEW, vec![put("b", "new")])]).await;
    assert_eq!(
        rows(store, VIEW, Order::First).await,
        [(key("b"), 5, b"new".into())]
    );
    assert_eq!(store.control().await.unwrap().term, new);
}

/// Beginning again with the same intent or with a later one succeeds.
pub async fn a_commit_begins_after_the_last_one_and_not_before_an_intent(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(store, term, 3, vec![]).await;
    assert_order(store.begin(term, Epoch(2).into()).await, 2);
    assert_order(store.begin(term, Epoch(3).into()).await, 3);
    store.begin(term, Epoch(7).into()).await.unwrap();
    assert_eq!(store.control().await.unwrap().intent, Some(Epoch(7)));
    assert_order(store.begin(term, Epoch(6).into()).await, 6);
    store.begin(term, Epoch(7).into()).await.unwrap();
    store.begin(term, Epoch(9).into()).await.unwrap();
    assert_eq!(store.control().await.unwrap().intent, Some(Epoch(9)));
}

/// Writing without `begin` fails, and so does committing at another epoch.
pub async fn rows_are_written_and_committed_only_at_the_intent(store: &dyn ViewStore) {
    let term = lead(store).await;
    let early = store.write(term, VIEW, vec![put("a", "1")]).await;
    assert!(matches!(early, Err(StoreError::Order { .. })), "{early:?}");
    assert_order(store.commit(term, committed(1)).await, 1);
    store.begin(term, Epoch(4).into()).await.unwrap();
    assert_order(store.commit(term, committed(3)).await, 3);
    assert_order(store.commit(term, committed(5)).await, 5);
    store.commit(term, committed(4)).await.unwrap();
    let late = store.write(term, VIEW, vec![put("a", "1")]).await;
    assert!(matches!(late, Err(StoreError::Order { .. })), "{late:?}");
}

/// Compares every field of the metadata.
pub async fn a_commit_is_read_back_with_its_rows_and_its_record(store: &dyn ViewStore) {
    let term = lead(store).await;
    let changes = vec![(VIEW, vec![put("b", "2"), put("a", "1"), put("c", "")])];
    commit(store, term, 300, changes).await;
    let control = Control {
        term,
        committed: Some(committed(300)),
        intent: None,
        ..Control::default()
    };
    assert_eq!(store.control().await.unwrap(), control);
    let wanted = [
        (key("a"), 300, b"1".to_vec()),
        (key("b"), 300, b"2".into()),
        (key("c"), 300, b"".into()),
    ];
    assert_eq!(rows(store, VIEW, Order::First).await, wanted);
}

/// Repeats a whole commit, and its last step alone.
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
    store.begin(term, Epoch(2).into()).await.unwrap();
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

/// The views of several attempts accumulate, whichever writer makes them. A store that rolls back
/// an incomplete commit also forgets its views.
pub async fn views_being_rebuilt_are_recorded_until_a_commit(store: &dyn ViewStore) {
    let rebuilding = async || store.control().await.unwrap().rebuilding;
    let term = lead(store).await;
    commit(store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    let views = [VIEW, ViewId::Actors].into();
    let early = store.rebuild(term, &views).await;
    assert!(matches!(early, Err(StoreError::Order { .. })), "{early:?}");
    assert_eq!(rebuilding().await, BTreeSet::new());
    store.begin(term, Epoch(2).into()).await.unwrap();
    store.rebuild(term, &views).await.unwrap();
    store.rebuild(term, &views).await.unwrap();
    assert_eq!(rebuilding().await, views);

    let found = store.lead().await.unwrap();
    let forgotten = found.intent.is_none();
    let wanted = if forgotten { BTreeSet::new() } else { views };
    assert_eq!(found.rebuilding, wanted);
    let fenced = store.rebuild(term, &[ViewId::Links].into()).await;
    assert!(
        matches!(fenced, Err(StoreError::Fenced { .. })),
        "{fenced:?}"
    );
    store.begin(found.term, Epoch(2).into()).await.unwrap();
    let more = [ViewId::Counters].into();
    store.rebuild(found.term, &more).await.unwrap();
    assert_eq!(rebuilding().await, &wanted | &more);

    commit(store, found.term, 2, vec![]).await;
    assert_eq!(rebuilding().await, BTreeSet::new());
    store.begin(found.term, Epoch(3).into()).await.unwrap();
    assert_eq!(rebuilding().await, BTreeSet::new());
}

/// If the store has kept the intent, the commit ends exactly there.
pub async fn after_a_takeover_an_incomplete_commit_is_completed(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(
        store,
        term,
        1,
        vec![(VIEW, vec![put("a", "1"), put("b", "1")])],
    )
    .await;
    store.begin(term, Epoch(2).into()).await.unwrap();
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

/// Holds for a scan and for a lookup of many keys.
pub async fn readers_see_a_commit_completely_or_not_at_all(store: &dyn ViewStore) {
    const EPOCHS: u64 = 60;
    let term = lead(store).await;
    let names: Vec<String> = (0..200).map(|number| format!("{number:03}")).collect();
    let keys: Vec<Key> = names.iter().map(key).collect();
    let write = async {
        for epoch in 1..=EPOCHS {
            let row = epoch.to_string();
            store.begin(term, Epoch(epoch).into()).await.unwrap();
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

/// The control record and the rows of two views come from one commit, whenever they are read. Each
/// commit adds a row and removes another one, so a mixture of two commits is recognized.
pub async fn a_snapshot_belongs_to_one_commit_while_others_follow(store: &dyn ViewStore) {
    const EPOCHS: u64 = 300;
    let other = ViewId::Counters;
    let term = lead(store).await;
    let name = |epoch: u64| format!("{epoch:03}");
    let write = async {
        for epoch in 1..=EPOCHS {
            let row = epoch.to_string();
            let mut changes = vec![put(name(epoch), &row), put("same", &row)];
            changes.extend(epoch.checked_sub(3).map(|gone| remove(name(gone))));
            commit(
                store,
                term,
                epoch,
                vec![(VIEW, changes.clone()), (other, changes)],
            )
            .await;
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        let mut newest = 0;
        while newest < EPOCHS {
            let snapshot = store.snapshot().expect("an atomic store has snapshots");
            tokio::task::yield_now().await;
            let control = snapshot.control().await.unwrap();
            newest = control.committed.map_or(0, |committed| committed.epoch.0);
            let first = newest.saturating_sub(2).max(1);
            let expected: Vec<(Key, u64)> = (first..=newest)
                .map(|epoch| (key(name(epoch)), epoch))
                .chain((newest > 0).then(|| (key("same"), newest)))
                .collect();
            for view in [VIEW, other] {
                let range = Range::prefix(Order::First, &[], usize::MAX);
                let scanned = snapshot.scan(view, range).await.unwrap();
                let scanned: Vec<_> = scanned
                    .into_iter()
                    .map(|row| (row.key, row.epoch.0))
                    .collect();
                assert_eq!(scanned, expected, "{view:?} at epoch {newest}");
                let found = snapshot.get(view, &[key("same")]).await.unwrap();
                let found = found[0].as_ref().map_or(0, |row| row.epoch.0);
                assert_eq!(found, newest, "{view:?}");
            }
        }
    };
    tokio::join!(write, read);
}

/// Its rows and its intent are rolled back: the next commit may end at any later epoch.
pub async fn an_incomplete_commit_is_rolled_back(store: &dyn ViewStore) {
    let term = lead(store).await;
    commit(store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    store.begin(term, Epoch(5).into()).await.unwrap();
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
