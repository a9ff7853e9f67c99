//! The contract of a checkpoint store: one function per property, named by the property.
//! [`checkpoint_contract!`](crate::checkpoint_contract) turns all of them into tests of one
//! implementation.

use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, Mark, Section};
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;

/// Makes one test of each property. `$make` is a function that returns
/// `(Arc<dyn CheckpointStore>, guard)` with a new, empty store; the guard outlives the store.
#[macro_export]
macro_rules! checkpoint_contract {
    ($make:path) => {
        $crate::checkpoint_contract! {
            @properties $make:
            an_empty_store_lists_no_checkpoint,
            sections_without_a_manifest_are_not_listed,
            a_complete_checkpoint_is_read_back_as_it_was_written,
            the_newest_is_listed_first,
            a_section_that_is_written_again_replaces_the_first,
            a_complete_checkpoint_refuses_more_sections,
            a_checkpoint_that_lacks_a_section_cannot_be_completed,
            a_section_that_differs_from_its_manifest_is_damage,
            keep_removes_all_other_checkpoints_and_incomplete_sections,
            a_shared_section_stays_when_the_checkpoint_that_wrote_it_is_removed,
            only_existing_sections_are_shared_with_incomplete_checkpoints,
            a_section_that_is_written_or_shared_again_changes_no_other_checkpoint,
            an_open_section_is_read_at_any_offset_also_after_it_was_removed,
            a_section_of_another_length_or_checkpoint_is_not_opened,
        }
    };
    (@properties $make:path: $($property:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            let (store, _guard) = $make();
            $crate::contract_checkpoint::$property(&*store).await;
        }
    )*};
}

/// A manifest of these sections.
pub fn manifest(checkpoint: Epoch, sections: Vec<Section>) -> Manifest {
    Manifest {
        format: Manifest::FORMAT,
        first: Mark {
            epoch: checkpoint,
            seq: Seq(checkpoint.0 * 10),
            hash: u64::MAX - 1,
            time: Timestamp(checkpoint.0 * 100),
        },
        last: Committed {
            epoch: Epoch(checkpoint.0 + 3),
            log_id: u64::MAX,
            tick_hash: Some(u64::MAX),
            ..Committed::default()
        },
        through: vec![checkpoint, Epoch(checkpoint.0 + 3)],
        sections,
        marks: Vec::new(),
    }
}

/// The sections of a checkpoint. One is large, one is empty.
pub fn contents(checkpoint: Epoch) -> Vec<(&'static str, Vec<u8>)> {
    let large = (0..100_000_u64).map(|place| ((place * (checkpoint.0 + 7)) >> 3) as u8);
    vec![
        ("shard00-w0", large.collect()),
        ("shard01-w0", Vec::new()),
        ("sums-w0", checkpoint.0.to_be_bytes().to_vec()),
    ]
}

/// Writes a complete checkpoint.
///
/// # Errors
/// Fails as the store fails.
pub async fn write_all(
    store: &dyn CheckpointStore,
    checkpoint: Epoch,
) -> Result<Manifest, CheckpointError> {
    let mut sections = Vec::new();
    for (name, bytes) in contents(checkpoint) {
        sections.push(store.write(checkpoint, name, bytes).await?);
    }
    let manifest = manifest(checkpoint, sections);
    store.complete(&manifest).await?;
    Ok(manifest)
}

/// The epochs of the listed checkpoints, each of which must be complete and readable.
pub async fn listed(store: &dyn CheckpointStore) -> Vec<u64> {
    let mut epochs = Vec::new();
    for listed in store.list().await.expect("the list is readable") {
        let checkpoint = listed.checkpoint;
        let manifest = listed.manifest.expect("a listed manifest is readable");
        let expected = contents(checkpoint);
        assert_eq!(manifest.sections.len(), expected.len());
        for (section, (_, bytes)) in manifest.sections.iter().zip(expected) {
            let read = store.read(checkpoint, section).await;
            assert!(
                read.expect("a section of a listed checkpoint is readable") == bytes,
                "{section:?}"
            );
        }
        epochs.push(checkpoint.0);
    }
    epochs
}

/// Holds before anything is written.
pub async fn an_empty_store_lists_no_checkpoint(store: &dyn CheckpointStore) {
    assert!(listed(store).await.is_empty());
    store.keep(&[]).await.expect("there is nothing to remove");
}

/// Only a manifest makes a checkpoint exist.
pub async fn sections_without_a_manifest_are_not_listed(store: &dyn CheckpointStore) {
    store
        .write(Epoch(5), "sums-w0", vec![1])
        .await
        .expect("written");
    assert!(listed(store).await.is_empty());
}

/// Compares every byte and every field.
pub async fn a_complete_checkpoint_is_read_back_as_it_was_written(store: &dyn CheckpointStore) {
    let manifest = write_all(store, Epoch(7)).await.expect("written");
    assert_eq!(listed(store).await, [7]);
    let found = store.list().await.expect("the list is readable").remove(0);
    assert_eq!((found.checkpoint, found.manifest), (Epoch(7), Ok(manifest)));
}

/// Holds for any order of writing.
pub async fn the_newest_is_listed_first(store: &dyn CheckpointStore) {
    for epoch in [9, 100, 20] {
        write_all(store, Epoch(epoch)).await.expect("written");
    }
    assert_eq!(listed(store).await, [100, 20, 9]);
}

/// After a failure, writing the same checkpoint may be retried.
pub async fn a_section_that_is_written_again_replaces_the_first(store: &dyn CheckpointStore) {
    store
        .write(Epoch(7), "sums-w0", vec![1; 99])
        .await
        .expect("written");
    write_all(store, Epoch(7)).await.expect("written");
    assert_eq!(listed(store).await, [7]);
}

/// A verified checkpoint does not change.
pub async fn a_complete_checkpoint_refuses_more_sections(store: &dyn CheckpointStore) {
    write_all(store, Epoch(7)).await.expect("written");
    let refused = store.write(Epoch(7), "sums-w0", vec![1]).await;
    assert!(
        matches!(refused, Err(CheckpointError::Failed { .. })),
        "{refused:?}"
    );
    assert_eq!(listed(store).await, [7]);
}

/// Tries a section that was never written, one that was removed and one that was truncated.
pub async fn a_checkpoint_that_lacks_a_section_cannot_be_completed(store: &dyn CheckpointStore) {
    let other = [
        Section::of("shard63-w9", &[1, 2, 3]),
        Section::of("sums-w0", &[1, 2, 3]),
    ];
    for other in other {
        let mut sections = Vec::new();
        for (name, bytes) in contents(Epoch(7)) {
            sections.push(store.write(Epoch(7), name, bytes).await.expect("written"));
        }
        sections.pop();
        sections.push(other);
        let refused = store.complete(&manifest(Epoch(7), sections)).await;
        assert!(
            matches!(refused, Err(CheckpointError::Failed { .. })),
            "{refused:?}"
        );
        assert!(listed(store).await.is_empty());
    }
    write_all(store, Epoch(7)).await.expect("a retry succeeds");
    let mut lost = Vec::new();
    for (name, bytes) in contents(Epoch(8)) {
        lost.push(store.write(Epoch(8), name, bytes).await.expect("written"));
    }
    store.keep(&[Epoch(7)]).await.expect("removed");
    let refused = store.complete(&manifest(Epoch(8), lost)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(listed(store).await, [7]);
}

/// Tries a section of another length, of another content, and a missing one.
pub async fn a_section_that_differs_from_its_manifest_is_damage(store: &dyn CheckpointStore) {
    let manifest = write_all(store, Epoch(7)).await.expect("written");
    let section = manifest.sections[0].clone();
    let wrong = [
        Section {
            hash: section.hash ^ 1,
            ..section.clone()
        },
        Section {
            bytes: section.bytes + 1,
            ..section.clone()
        },
        Section {
            name: "shard63-w9".into(),
            ..section
        },
    ];
    for section in wrong {
        let read = store.read(Epoch(7), &section).await;
        assert!(
            matches!(read, Err(CheckpointError::Damaged { .. })),
            "{section:?}"
        );
    }
}

/// Nothing else is removed.
pub async fn keep_removes_all_other_checkpoints_and_incomplete_sections(
    store: &dyn CheckpointStore,
) {
    let mut manifests = Vec::new();
    for epoch in [1, 2, 3] {
        manifests.push(write_all(store, Epoch(epoch)).await.expect("written"));
    }
    let left = store
        .write(Epoch(4), "sums-w0", vec![1])
        .await
        .expect("written");
    store
        .keep(&[Epoch(3), Epoch(2), Epoch(4)])
        .await
        .expect("removed");
    assert_eq!(listed(store).await, [3, 2]);
    for (epoch, section) in [(1, &manifests[0].sections[0]), (4, &left)] {
        let read = store.read(Epoch(epoch), section).await;
        assert!(read.is_err(), "{section:?} of {epoch} still exists");
    }
}

/// Writes a complete checkpoint that shares all sections of another one but the last.
///
/// # Errors
/// Fails as the store fails.
pub async fn try_share_all(
    store: &dyn CheckpointStore,
    from: &Manifest,
    checkpoint: Epoch,
) -> Result<Manifest, CheckpointError> {
    let (last, shared) = from.sections.split_last().expect("sections");
    let origin = from.first.epoch;
    let mut sections = store.share(checkpoint, origin, shared).await?;
    sections.push(store.write(checkpoint, &last.name, vec![9]).await?);
    let manifest = manifest(checkpoint, sections);
    store.complete(&manifest).await?;
    Ok(manifest)
}

async fn share_all(store: &dyn CheckpointStore, from: &Manifest, checkpoint: Epoch) -> Manifest {
    let shared = try_share_all(store, from, checkpoint).await;
    shared.expect("the sections exist")
}

/// The shared sections of a checkpoint have the content of the checkpoint that wrote them.
async fn assert_shared(store: &dyn CheckpointStore, manifest: &Manifest, origin: Epoch) {
    let checkpoint = manifest.first.epoch;
    for (section, (name, bytes)) in manifest.sections.iter().zip(contents(origin)).take(2) {
        assert_eq!((&*section.name, section.origin), (name, Some(origin)));
        let read = store.read(checkpoint, section).await;
        assert!(read.expect("it is readable") == bytes, "{section:?}");
    }
    let last = store.read(checkpoint, &manifest.sections[2]).await;
    assert_eq!(last.expect("it is readable"), [9]);
}

/// Also if it was shared twice.
pub async fn a_shared_section_stays_when_the_checkpoint_that_wrote_it_is_removed(
    store: &dyn CheckpointStore,
) {
    let first = write_all(store, Epoch(7)).await.expect("written");
    let second = share_all(store, &first, Epoch(8)).await;
    store.keep(&[Epoch(8)]).await.expect("removed");
    assert_shared(store, &second, Epoch(7)).await;
    let third = share_all(store, &second, Epoch(9)).await;
    assert_shared(store, &second, Epoch(7)).await;
    store.keep(&[Epoch(9)]).await.expect("removed");
    assert_shared(store, &third, Epoch(7)).await;
    let found = store.list().await.expect("the list is readable").remove(0);
    assert_eq!((found.checkpoint, found.manifest), (Epoch(9), Ok(third)));
    assert!(store.read(Epoch(8), &second.sections[0]).await.is_err());
}

/// Tries a section that was never written, one of a removed checkpoint, and a complete checkpoint.
pub async fn only_existing_sections_are_shared_with_incomplete_checkpoints(
    store: &dyn CheckpointStore,
) {
    let first = write_all(store, Epoch(7)).await.expect("written");
    let second = write_all(store, Epoch(8)).await.expect("written");
    let unknown = Section::of("shard63-w9", &[1]);
    let removed = first.sections[0].clone();
    store.keep(&[Epoch(8)]).await.expect("removed");
    for (from, section) in [(Epoch(8), unknown), (Epoch(7), removed)] {
        let refused = store.share(Epoch(9), from, &[section]).await;
        assert!(
            matches!(refused, Err(CheckpointError::Damaged { checkpoint, .. }) if checkpoint == from),
            "{refused:?}"
        );
    }
    let section = second.sections[0].clone();
    let refused = store.share(Epoch(8), Epoch(8), &[section]).await;
    assert!(
        matches!(refused, Err(CheckpointError::Failed { .. })),
        "{refused:?}"
    );
    assert_eq!(listed(store).await, [8]);
}

/// An attempt that failed may leave names, under which the next one shares or writes something else.
pub async fn a_section_that_is_written_or_shared_again_changes_no_other_checkpoint(
    store: &dyn CheckpointStore,
) {
    let first = write_all(store, Epoch(7)).await.expect("written");
    let section = &first.sections[..1];
    for _ in 0..2 {
        let shared = store.share(Epoch(8), Epoch(7), section).await;
        shared.expect("the section exists");
    }
    let written = store.write(Epoch(8), &section[0].name, vec![1, 2, 3]).await;
    written.expect("written");
    assert_eq!(listed(store).await, [7]);
    share_all(store, &first, Epoch(8)).await;
    store.keep(&[Epoch(7)]).await.expect("removed");
    assert_eq!(listed(store).await, [7]);
}

/// Reads parts, and the whole.
pub async fn an_open_section_is_read_at_any_offset_also_after_it_was_removed(
    store: &dyn CheckpointStore,
) {
    let first = write_all(store, Epoch(7)).await.expect("written");
    let second = share_all(store, &first, Epoch(8)).await;
    let mut open = Vec::new();
    for manifest in [&first, &second] {
        let section = &manifest.sections[0];
        let file = store.open(manifest.first.epoch, section).await;
        open.push(file.expect("it opens"));
    }
    store.keep(&[]).await.expect("removed");
    let (_, bytes) = contents(Epoch(7)).remove(0);
    for file in open {
        assert_eq!(file.bytes(), bytes.len() as u64);
        for (offset, length) in [(0, 1), (77, 5_000), (99_999, 1), (100_000, 0), (0, 100_000)] {
            let mut buffer = vec![0; length];
            let read = file.read_at(&mut buffer, offset as u64);
            read.expect("it is readable");
            assert!(buffer == bytes[offset..offset + length], "{offset}");
        }
        for (offset, length) in [(99_999, 2), (100_001, 1), (u64::MAX, 1)] {
            let read = file.read_at(&mut vec![0; length], offset);
            assert!(read.is_err(), "{offset}");
        }
    }
}

/// Tries a section of another length, and a missing one.
pub async fn a_section_of_another_length_or_checkpoint_is_not_opened(store: &dyn CheckpointStore) {
    let manifest = write_all(store, Epoch(7)).await.expect("written");
    let section = manifest.sections[0].clone();
    let longer = Section {
        bytes: section.bytes + 1,
        ..section.clone()
    };
    let missing = Section {
        name: "shard63-w9".into(),
        ..section.clone()
    };
    for (checkpoint, section) in [(7, longer), (7, missing), (8, section)] {
        let opened = store.open(Epoch(checkpoint), &section).await;
        let refused = opened.map(drop);
        assert!(
            matches!(refused, Err(CheckpointError::Damaged { .. })),
            "{section:?}: {refused:?}"
        );
    }
}
