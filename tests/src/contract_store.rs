//! What every view store promises, one function a sentence. [`store_contract!`](crate::store_contract) makes tests of
//! them all for one implementation; [`atomic_store_contract!`](crate::atomic_store_contract) those that only hold
//! where a commit is one transaction.

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
            views_that_are_rebuilt_are_noted_until_a_commit_is_made,
            a_commit_that_replaces_everything_may_end_at_any_epoch,
            the_last_change_of_a_key_counts,
            rows_answer_to_the_keys_in_their_order,
            views_do_not_mix,
            a_range_is_cut_at_its_ends_and_its_limit,
            a_prefix_finds_just_what_begins_with_it,
            the_second_order_has_the_same_rows_and_loses_them_with_the_first,
            after_a_take_over_the_commit_that_was_left_is_made_whole,
            the_largest_rows_are_taken_and_larger_ones_are_rejected_for_good,
            any_history_leaves_what_its_changes_say,
        }
    };
    (@sentences $make:path: $($sentence:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $sentence() {
            let Some((store, _kept)) = $crate::made::Made::made($make().await) else {
                return;
            };
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

/// One whole commit.
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

/// The same intent again is fine, and so is a later one.
pub async fn a_commit_begins_behind_the_last_one_and_not_before_an_intent(store: &dyn ViewStore) {
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

/// Neither without `begin` nor at another epoch.
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

/// Every field of it.
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

/// Those of several attempts together, whoever makes them; a store that forgets the attempts forgets them, too.
pub async fn views_that_are_rebuilt_are_noted_until_a_commit_is_made(store: &dyn ViewStore) {
    let noted = async || store.control().await.unwrap().rebuilding;
    let term = lead(store).await;
    commit(store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    let views = [VIEW, ViewId::Actors].into();
    let early = store.rebuild(term, &views).await;
    assert!(matches!(early, Err(StoreError::Order { .. })), "{early:?}");
    assert_eq!(noted().await, BTreeSet::new());
    store.begin(term, Epoch(2).into()).await.unwrap();
    store.rebuild(term, &views).await.unwrap();
    store.rebuild(term, &views).await.unwrap();
    assert_eq!(noted().await, views);

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
    assert_eq!(noted().await, &wanted | &more);

    commit(store, found.term, 2, vec![]).await;
    assert_eq!(noted().await, BTreeSet::new());
    store.begin(found.term, Epoch(3).into()).await.unwrap();
    assert_eq!(noted().await, BTreeSet::new());
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

/// Neither a scan nor a look-up of many keys.
pub async fn readers_see_a_commit_wholly_or_not_at_all(store: &dyn ViewStore) {
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

/// Rows and intent: the next commit may end anywhere.
pub async fn a_commit_that_was_left_is_forgotten(store: &dyn ViewStore) {
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
