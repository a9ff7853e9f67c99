use skytide_core::id::Seq;
use skytide_core::memory::MemoryCheckpoints;
use skytide_core::port::checkpoint::Mark;
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;
use skytide_state::Merge;

use super::*;

/// An entry of a worker's changes: a key and a value of one byte each; `None` removes the key.
fn change(key: u8, value: Option<u8>) -> Vec<u8> {
    let head = [1, key];
    match value {
        Some(value) => [&head[..], &[2, value]].concat(),
        None => [&head[..], &[0]].concat(),
    }
}

fn manifest(epoch: u64, sections: Vec<Section>) -> Manifest {
    let first = Mark {
        epoch: Epoch(epoch),
        seq: Seq(epoch),
        hash: 0,
        time: Timestamp(epoch),
    };
    Manifest {
        format: Manifest::FORMAT,
        first,
        last: Committed::default(),
        through: Vec::new(),
        sections,
        marks: Vec::new(),
    }
}

/// Makes a checkpoint of changes in shard 5 that two workers sent.
async fn checkpoint(
    store: &MemoryCheckpoints,
    epoch: u64,
    base: Option<&Base>,
    changes: [Vec<u8>; 2],
) -> Result<Manifest, BoxError> {
    let mut runs = NewRuns::new(Epoch(epoch), base.cloned());
    let [one, other] = changes;
    assert!(!runs.add_part(5, Some(one), 2));
    assert!(runs.add_part(5, Some(other), 2));
    runs.finish(5, store, &Metrics::default()).await?;
    let manifest = manifest(epoch, runs.sections().cloned().collect());
    store.complete(&manifest).await?;
    Ok(manifest)
}

/// All entries of shard 5.
async fn entries(store: &MemoryCheckpoints, manifest: &Manifest) -> Vec<(u8, u8)> {
    let mut runs = Vec::new();
    for section in &manifest.sections {
        let bytes = store.read(manifest.first.epoch, section).await;
        let run = Run::open(&section.name, Arc::new(bytes.expect("it is intact")));
        runs.push(Arc::new(run.expect("it is intact")));
    }
    let mut merge = Merge::open(&runs, b"").expect("they are intact");
    let mut entries = Vec::new();
    while let Some((key, value)) = merge.next_entry().expect("they are intact") {
        entries.extend(value.map(|value| (key[0], value[0])));
    }
    entries
}

#[tokio::test]
async fn unchanged_runs_are_shared_and_four_of_a_size_become_one() {
    let store = MemoryCheckpoints::new();
    let mut base: Option<Base> = None;
    let mut names = Vec::new();
    for epoch in 1..=5 {
        let removed = change(epoch as u8 - 1, None);
        let changes = [change(epoch as u8, Some(7)), removed];
        let made = checkpoint(&store, epoch, base.as_ref(), changes).await;
        let made = made.expect("memory accepts it");
        let expected = vec![(epoch as u8, 7)];
        assert_eq!(entries(&store, &made).await, expected, "epoch {epoch}");
        let runs = made.sections.iter();
        let runs = runs.map(|it| (it.name.to_string(), it.origin.map(|epoch| epoch.0)));
        names = runs.collect();
        base = Base::of(&made, epoch);
        // The runs of removed checkpoints stay.
        store.keep(&[Epoch(epoch)]).await.expect("memory removes");
    }
    let expected = [("run05-e5", None), ("run05-e4-m0", Some(4))];
    assert_eq!(names, expected.map(|(name, it)| (name.to_owned(), it)));
    let base = base.expect("the format has runs");
    assert_eq!(base.id, (Epoch(5), 5));

    // Without changes, everything is shared.
    let made = checkpoint(&store, 6, Some(&base), [Vec::new(), Vec::new()]).await;
    let made = made.expect("memory accepts it");
    let origins = made.sections.iter().map(|it| it.origin.map(|it| it.0));
    assert_eq!(origins.collect::<Vec<_>>(), [Some(5), Some(4)]);
}

#[tokio::test]
async fn a_base_that_is_damaged_or_gone_is_an_error_and_one_of_format_1_is_none() {
    let store = MemoryCheckpoints::new();
    let mut sections = Vec::new();
    for name in ["run05-e3", "run05-e2", "run05-e1"] {
        let written = store.write(Epoch(3), name, vec![1; 50]).await;
        sections.push(written.expect("memory accepts it"));
    }
    let damaged = manifest(3, sections);
    store.complete(&damaged).await.expect("memory accepts it");
    let base = Base::of(&damaged, 1).expect("the format has runs");
    let changes = || [change(1, Some(1)), change(2, Some(2))];
    let failed = checkpoint(&store, 4, Some(&base), changes()).await;
    let error = failed.expect_err("a run to merge is damaged");
    assert_eq!(BaseState::of(error.as_ref()), BaseState::Damaged);
    assert!(error.to_string().starts_with("run05-e3 is damaged at byte"));

    store.keep(&[]).await.expect("memory removes");
    let failed = checkpoint(&store, 4, Some(&base), changes()).await;
    let error = failed.expect_err("a run is gone");
    assert_eq!(BaseState::of(error.as_ref()), BaseState::Damaged);
    let made = checkpoint(&store, 4, None, changes()).await;
    let made = made.expect("memory accepts it");
    assert_eq!(entries(&store, &made).await, [(1, 1), (2, 2)]);

    let former = Manifest { format: 1, ..made };
    assert!(Base::of(&former, 1).is_none());
}

/// Shards of one size grow by the same bytes with each checkpoint.
#[test]
fn shards_merge_their_large_runs_for_different_checkpoints() {
    let mut shards = vec![vec![160_u64 << 20]; usize::from(SHARDS)];
    for round in 0..600 {
        let mut merging = 0;
        for (shard, sizes) in (0..).zip(&mut shards) {
            sizes.insert(0, 30 << 10);
            let groups = merge_policy(shard).groups(sizes);
            let merged = groups.iter().map(|group| {
                let bytes: u64 = sizes[group.clone()].iter().sum();
                (group.len() > 1 && bytes > 4 << 20, bytes)
            });
            let merged: Vec<(bool, u64)> = merged.collect();
            merging += usize::from(merged.iter().any(|(is_large, _)| *is_large));
            *sizes = merged.into_iter().map(|(_, bytes)| bytes).collect();
        }
        assert!(merging <= shards.len() / 4, "round {round}: {merging}");
    }
}
