//! The contract of a snapshot store: one function per property, named by the property.
//! [`snapshot_contract!`](crate::snapshot_contract) turns all of them into tests of one
//! implementation.

use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::snapshot::{Snapshot, SnapshotList, SnapshotStore};
use skytide_core::time::Timestamp;
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, ViewId, Window};

/// Makes one test of each property. `$make` is an async function that returns
/// `(Arc<dyn SnapshotStore>, guard)` with a new, empty store; the guard outlives the store.
#[macro_export]
macro_rules! snapshot_contract {
    ($make:path) => {
        $crate::snapshot_contract! {
            @properties $make:
            a_whole_snapshot_is_found_at_its_moment_and_later,
            a_snapshot_of_the_same_moment_is_replaced,
            the_oldest_snapshots_are_removed_first_and_no_more_than_asked,
        }
    };
    (@properties $make:path: $($property:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            let Some((store, _guard)) = $crate::made::Made::made($make().await) else {
                return;
            };
            $crate::contract_snapshots::$property(store).await;
        }
    )*};
}

fn snapshot(time: u64, value: u32) -> Snapshot {
    let entry = ListEntry {
        key: "#Ä\u{1f30a} \"quoted\"".into(),
        value,
        other: 2,
        longer: u32::MAX,
    };
    let list = SnapshotList {
        view: ViewId::TopHashtags,
        key: ListKey {
            window: Window::Week,
            measure: Measure::Authors,
            lang: "und".into(),
        },
        epoch: Epoch(time / 100 + 1),
        row: ListRow {
            entries: vec![entry],
        },
    };
    Snapshot {
        time: Timestamp(time),
        epoch: Epoch(time / 100),
        since: Timestamp(3),
        lists: vec![list],
    }
}

/// No earlier moment finds it.
pub async fn a_whole_snapshot_is_found_at_its_moment_and_later(store: Arc<dyn SnapshotStore>) {
    let at = async |time| store.at(Timestamp(time)).await.unwrap();
    assert_eq!(at(u64::MAX >> 12).await, None);
    assert_eq!(store.times().await.unwrap(), []);
    for time in [5_000, 900, 1_783_175_888_123] {
        store.put(&snapshot(time, 1)).await.unwrap();
    }
    assert_eq!(at(899).await, None);
    assert_eq!(at(900).await, Some(snapshot(900, 1)));
    assert_eq!(at(1_783_175_888_122).await, Some(snapshot(5_000, 1)));
    let times = [900, 5_000, 1_783_175_888_123].map(Timestamp);
    assert_eq!(store.times().await.unwrap(), times);
}

/// A moment has at most one snapshot.
pub async fn a_snapshot_of_the_same_moment_is_replaced(store: Arc<dyn SnapshotStore>) {
    store.put(&snapshot(900, 1)).await.unwrap();
    store.put(&snapshot(900, 2)).await.unwrap();
    assert_eq!(
        store.at(Timestamp(900)).await.unwrap(),
        Some(snapshot(900, 2))
    );
    assert_eq!(store.times().await.unwrap(), [Timestamp(900)]);
}

/// A snapshot of exactly the given moment remains.
pub async fn the_oldest_snapshots_are_removed_first_and_no_more_than_asked(
    store: Arc<dyn SnapshotStore>,
) {
    for time in [100, 300, 200, 400] {
        store.put(&snapshot(time, 1)).await.unwrap();
    }
    let remove = async |time, limit| store.remove_before(Timestamp(time), limit).await.unwrap();
    assert_eq!(remove(400, 2).await, 2);
    assert_eq!(store.times().await.unwrap(), [300, 400].map(Timestamp));
    assert_eq!(remove(400, 9).await, 1);
    assert_eq!(remove(400, 9).await, 0);
    assert_eq!(store.at(Timestamp(399)).await.unwrap(), None);
}
