//! A commit that replaces everything: the log lost its newest messages, or is another one.

use skytide_core::id::Epoch;
use skytide_core::id::Seq;
use skytide_core::port::store::{Intent, Order, TickRef, ViewStore};
use skytide_core::view::ViewId;

use super::{VIEW, assert_order, commit, committed, key, lead, put, remove, rows};

/// Rows of later epochs are replaced, also those that were removed, and the next commits follow it. It may be repeated, and
/// left in the middle.
pub async fn a_commit_that_replaces_everything_may_end_at_any_epoch(store: &dyn ViewStore) {
    let term = lead(store).await;
    let three = vec![put("a", "10"), put("b", "10"), put("c", "10")];
    commit(store, term, 10, vec![(VIEW, three)]).await;
    commit(store, term, 11, vec![(VIEW, vec![remove("b")])]).await;

    let term = lead(store).await;
    assert_order(store.begin(term, Epoch(5).into()).await, 5);
    let replacing = Intent {
        tick: Some(TickRef {
            log_seq: Seq(50),
            tick_hash: u64::MAX,
        }),
        replaces_all: true,
        ..Epoch(5).into()
    };
    let views = ViewId::ALL.iter().copied().collect();
    // Left in the middle, and made by the next writer at another epoch.
    store.begin(term, replacing).await.unwrap();
    store.rebuild(term, &views).await.unwrap();
    store.write(term, VIEW, vec![put("a", "5")]).await.unwrap();
    let found = store.lead().await.unwrap();
    match found.committed {
        Some(before) => assert_eq!((before, found.intent), (committed(11), None)),
        None => assert_eq!(
            (found.intent, found.intent_tick),
            (Some(Epoch(5)), replacing.tick)
        ),
    }
    let replacing = Intent {
        replaces_all: true,
        ..Epoch(4).into()
    };
    for _ in 0..2 {
        store.begin(found.term, replacing).await.unwrap();
        store.rebuild(found.term, &views).await.unwrap();
        let changes = vec![put("a", "4"), remove("c")];
        store.write(found.term, VIEW, changes).await.unwrap();
    }
    store.commit(found.term, committed(4)).await.unwrap();
    assert_eq!(
        rows(store, VIEW, Order::First).await,
        [(key("a"), 4, b"4".to_vec())]
    );

    commit(
        store,
        found.term,
        6,
        vec![(VIEW, vec![put("b", "6"), put("c", "6")])],
    )
    .await;
    let all = ["a", "b", "c"].map(key);
    let epochs = rows(store, VIEW, Order::First).await;
    let epochs = epochs.into_iter().map(|(key, epoch, _)| (key, epoch));
    assert!(epochs.eq(all.into_iter().zip([4, 6, 6])));
    let control = store.control().await.unwrap();
    assert_eq!(control.committed, Some(committed(6)));
    assert_eq!((control.intent, control.intent_tick), (None, None));
    assert!(control.rebuilding.is_empty(), "{control:?}");
}
