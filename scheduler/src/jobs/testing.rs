//! Helpers for the tests of the jobs.

use skytide_core::id::Epoch;
use skytide_core::memory::MemoryStore;
use skytide_core::port::store::{Committed, ViewStore};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    Change, Key, ListEntry, ListKey, ListRow, Measure, ViewId, Window, encode_row,
};

/// Commits `count` lists of hashtags, one per language, at `epoch`. Returns them in the order of
/// their keys.
pub async fn commit_lists(
    store: &MemoryStore,
    epoch: u64,
    count: usize,
) -> Vec<(ListKey, ListRow)> {
    let list = |number: usize| {
        let key = ListKey {
            window: Window::Hour,
            measure: Measure::Count,
            lang: format!("l{number:05}").into(),
        };
        let entry = ListEntry {
            key: format!("tag {number}").into(),
            value: 3,
            other: 2,
            longer: 4,
        };
        let entries = vec![entry];
        (key, ListRow { entries })
    };
    let lists: Vec<_> = (0..count).map(list).collect();
    let change = |(key, row): &(ListKey, ListRow)| Change {
        key: Key::of(key),
        row: Some(encode_row(row)),
    };
    let term = store.lead().await.expect("lead").term;
    let epoch = Epoch(epoch);
    store.begin(term, epoch.into()).await.expect("begin");
    let changes = lists.iter().map(change).collect();
    store
        .write(term, ViewId::TopHashtags, changes)
        .await
        .expect("write");
    let committed = Committed {
        epoch,
        time: Timestamp(epoch.0 * 1_000),
        ..Committed::default()
    };
    store.commit(term, committed).await.expect("commit");
    lists
}
