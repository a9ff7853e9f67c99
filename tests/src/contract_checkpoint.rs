//! What every store of checkpoints promises, one function a sentence. [`checkpoint_contract!`](crate::checkpoint_contract)
//! makes tests of them all for one implementation.

use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, Mark, Section};
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;

/// Makes one test of each sentence, for the stores that `$make` makes: a function that answers
/// `(Arc<dyn CheckpointStore>, whatever must outlive it)`, each time another, empty store.
#[macro_export]
macro_rules! checkpoint_contract {
    ($make:path) => {
        $crate::checkpoint_contract! {
            @sentences $make:
            at_first_there_is_none,
            sections_without_a_manifest_are_no_checkpoint,
            a_complete_checkpoint_is_read_back_as_it_was_written,
            the_newest_is_listed_first,
            a_section_that_is_written_again_replaces_the_first,
            a_complete_checkpoint_takes_no_more_sections,
            without_one_of_its_sections_it_does_not_become_complete,
            another_section_than_the_manifest_means_is_damage,
            what_is_not_kept_is_gone_and_so_is_what_unfinished_ones_left,
        }
    };
    (@sentences $make:path: $($sentence:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $sentence() {
            let (store, _kept) = $make();
            $crate::contract_checkpoint::$sentence(&*store).await;
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

/// The sections of a checkpoint: one of them large, one of them empty.
pub fn contents(checkpoint: Epoch) -> Vec<(&'static str, Vec<u8>)> {
    let large = (0..100_000_u64).map(|place| ((place * (checkpoint.0 + 7)) >> 3) as u8);
    vec![
        ("shard00-w0", large.collect()),
        ("shard01-w0", Vec::new()),
        ("sums-w0", checkpoint.0.to_be_bytes().to_vec()),
    ]
}

/// Writes all of a checkpoint.
///
/// # Errors
/// As the store.
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

/// The epochs of what is listed; each must be whole.
pub async fn listed(store: &dyn CheckpointStore) -> Vec<u64> {
    let mut epochs = Vec::new();
    for listed in store.list().await.expect("it answers") {
        let checkpoint = listed.checkpoint;
        let manifest = listed.manifest.expect("what is listed is readable");
        let expected = contents(checkpoint);
        assert_eq!(manifest.sections.len(), expected.len());
        for (section, (_, bytes)) in manifest.sections.iter().zip(expected) {
            let read = store.read(checkpoint, section).await;
            assert!(
                read.expect("what is listed is whole") == bytes,
                "{section:?}"
            );
        }
        epochs.push(checkpoint.0);
    }
    epochs
}

/// Before anything was written.
pub async fn at_first_there_is_none(store: &dyn CheckpointStore) {
    assert!(listed(store).await.is_empty());
    store.keep(&[]).await.expect("nothing is to be removed");
}

/// Only a manifest makes it count.
pub async fn sections_without_a_manifest_are_no_checkpoint(store: &dyn CheckpointStore) {
    store
        .write(Epoch(5), "sums-w0", vec![1])
        .await
        .expect("written");
    assert!(listed(store).await.is_empty());
}

/// Every byte and every field.
pub async fn a_complete_checkpoint_is_read_back_as_it_was_written(store: &dyn CheckpointStore) {
    let manifest = write_all(store, Epoch(7)).await.expect("written");
    assert_eq!(listed(store).await, [7]);
    let found = store.list().await.expect("it answers").remove(0);
    assert_eq!((found.checkpoint, found.manifest), (Epoch(7), Ok(manifest)));
}

/// Whatever the order in which they were written.
pub async fn the_newest_is_listed_first(store: &dyn CheckpointStore) {
    for epoch in [9, 100, 20] {
        write_all(store, Epoch(epoch)).await.expect("written");
    }
    assert_eq!(listed(store).await, [100, 20, 9]);
}

/// After a failure the same checkpoint may be tried again.
pub async fn a_section_that_is_written_again_replaces_the_first(store: &dyn CheckpointStore) {
    store
        .write(Epoch(7), "sums-w0", vec![1; 99])
        .await
        .expect("written");
    write_all(store, Epoch(7)).await.expect("written");
    assert_eq!(listed(store).await, [7]);
}

/// What was checked stays what it is.
pub async fn a_complete_checkpoint_takes_no_more_sections(store: &dyn CheckpointStore) {
    write_all(store, Epoch(7)).await.expect("written");
    let refused = store.write(Epoch(7), "sums-w0", vec![1]).await;
    assert!(
        matches!(refused, Err(CheckpointError::Failed { .. })),
        "{refused:?}"
    );
    assert_eq!(listed(store).await, [7]);
}

/// One that was never written, one that was removed, one that was cut off.
pub async fn without_one_of_its_sections_it_does_not_become_complete(store: &dyn CheckpointStore) {
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
    write_all(store, Epoch(7)).await.expect("it is tried again");
    let mut lost = Vec::new();
    for (name, bytes) in contents(Epoch(8)) {
        lost.push(store.write(Epoch(8), name, bytes).await.expect("written"));
    }
    store.keep(&[Epoch(7)]).await.expect("removed");
    let refused = store.complete(&manifest(Epoch(8), lost)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(listed(store).await, [7]);
}

/// Of another length, of another content, or not there at all.
pub async fn another_section_than_the_manifest_means_is_damage(store: &dyn CheckpointStore) {
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

/// And nothing else is touched.
pub async fn what_is_not_kept_is_gone_and_so_is_what_unfinished_ones_left(
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
        assert!(read.is_err(), "{section:?} of {epoch} is still there");
    }
}
