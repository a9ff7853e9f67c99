//! A start compares the rows that it computes with those in the store.

use skytide_core::id::{Epoch, Seq};
use skytide_core::memory::MemoryStore;
use skytide_core::port::store::ViewReader as _;
use skytide_core::time::Timestamp;
use skytide_core::view::{Key, row_hash};

use super::*;
use crate::runtime::consolidate::RowChanges;

fn output(epoch: u64, rows: &[(ViewId, u8)]) -> BatchOutput {
    let mut changes = RowChanges::default();
    for &(view, row) in rows {
        let change = Change {
            key: Key::from(&[1, 2][..]),
            row: Some([row].into()),
        };
        let hash = row_hash(view, change.key.as_bytes(), &[row]);
        changes.sums.insert(view, Sum { rows: 1, hash });
        changes.changes.insert(view, vec![change]);
    }
    let end = End {
        epoch: Epoch(epoch),
        time: Timestamp(epoch * 1_000),
        since: Timestamp(1_000),
        log_seq: Seq(epoch),
        hash: epoch,
        restored: false,
        events: 0,
        bytes: 0,
        epochs: 1,
    };
    BatchOutput { end, changes }
}

/// Runs a process that starts with `store` and computes these batches.
async fn run(
    store: &MemoryStore,
    metrics: &Arc<Metrics>,
    batches: Vec<BatchOutput>,
) -> Result<(), DataflowError> {
    let control = store.lead().await?;
    let coverage: BTreeSet<ViewId> = [ViewId::Coverage].into();
    let is_first = control.committed.is_none();
    let committer = Committer {
        store: Arc::new(store.clone()),
        control,
        log_id: 1,
        recipe: Recipe::default(),
        workers: 1,
        sums: BTreeMap::new(),
        restored: None,
        recounted: BTreeSet::new(),
        rebuilt: BTreeSet::new(),
        rebuild: Rebuild::new(&match is_first {
            true => BTreeSet::new(),
            false => coverage.clone(),
        }),
        rebuilt_if_different: match is_first {
            true => BTreeSet::new(),
            false => coverage,
        },
        replaces_all: false,
        checkpoint_events: None,
        metrics: metrics.clone(),
        stop: CancellationToken::new(),
    };
    let (sender, outputs) = mpsc::channel(batches.len());
    for batch in batches {
        let (rows, bytes) = batch.changes.size();
        metrics.queues.changes.add(rows, bytes);
        sender.send(batch).await.expect("there is room");
    }
    drop(sender);
    committer.run(outputs).await
}

/// The columns of the row of a view, and its epoch.
async fn stored(store: &MemoryStore, view: ViewId) -> (u8, u64) {
    let rows = store.get(view, &[Key::from(&[1, 2][..])]).await;
    let row = rows.expect("rows").pop().flatten().expect("a row");
    (row.row[0], row.epoch.0)
}

#[tokio::test]
async fn rows_of_coverage_that_differ_are_replaced_and_others_refuse_the_start() {
    let (coverage, posts) = (ViewId::Coverage, ViewId::Posts);
    let store = MemoryStore::new();
    let metrics = Arc::new(Metrics::default());
    let first = vec![output(10, &[(coverage, 5), (posts, 7)])];
    run(&store, &metrics, first).await.expect("a commit");
    // Equal rows stay.
    let same = || output(10, &[(coverage, 5), (posts, 7)]);
    let batches = vec![same(), output(20, &[])];
    run(&store, &metrics, batches).await.expect("it resumes");
    assert_eq!(stored(&store, coverage).await, (5, 10));
    // Such rows are computed from another checkpoint.
    let batches = vec![
        output(15, &[(coverage, 6), (posts, 7)]),
        output(20, &[]),
        output(30, &[]),
    ];
    run(&store, &metrics, batches).await.expect("it resumes");
    assert_eq!(stored(&store, coverage).await, (6, 30));
    assert_eq!(stored(&store, posts).await, (7, 10));
    let queued = metrics.queues.changes.size("changes", None);
    assert_eq!((queued.entries, queued.bytes), (0, 0));
    let batches = vec![output(30, &[(coverage, 6), (posts, 8)])];
    let refused = run(&store, &metrics, batches).await;
    assert!(
        matches!(refused, Err(DataflowError::Differs { view: "posts", .. })),
        "{refused:?}"
    );
}
