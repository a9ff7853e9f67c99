//! Checkpoints whose sections a later version wrote.

use std::sync::Arc;

use skytide_core::id::{Epoch, Seq};
use skytide_core::memory::MemoryCheckpoints;
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_tests::model::recount;

use super::StoreIs::At;
use super::{END, case, checkpoints, store_of};
use crate::recount::harness::Ground;
use crate::recount::logs::between;

/// The checkpoints again, with other bytes in the sections of one whose names begin so; its checksums are right.
async fn with_sections(
    made: &MemoryCheckpoints,
    (epoch, name): (u64, &str),
    change: impl Fn(&mut Vec<u8>),
) -> MemoryCheckpoints {
    let changed = MemoryCheckpoints::new();
    for listed in made.list().await.expect("memory answers") {
        let mut manifest = listed.manifest.expect("whole");
        for section in &mut manifest.sections {
            let read = made.read(listed.checkpoint, section).await;
            let mut bytes = read.expect("whole");
            if listed.checkpoint.0 == epoch && section.name.starts_with(name) {
                change(&mut bytes);
            }
            let written = changed.write(listed.checkpoint, &section.name, bytes).await;
            *section = written.expect("memory takes it");
        }
        changed.complete(&manifest).await.expect("it is whole");
    }
    changed
}

/// A change of a section's bytes.
type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

/// As a later version would write them: skipped like a manifest of an unknown format, with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_with_a_section_of_an_unknown_format_is_skipped_for_the_one_before() {
    let messages = case().world();
    let expected = recount(between(&messages, 0, END), case().options);
    let made = checkpoints(&[20, 40], &messages).await;
    let later = |bytes: &mut Vec<u8>| bytes[0] += 1;
    let other = |bytes: &mut Vec<u8>| *bytes = vec![0xff; 40];
    let empty = |bytes: &mut Vec<u8>| bytes.clear();
    let changes: [(&str, Change<'_>); 4] = [
        ("shard", &later),
        ("shard", &empty),
        ("sums", &other),
        ("sums", &empty),
    ];
    for (name, change) in changes {
        let checkpoints = with_sections(&made, (40, name), change).await;
        let ground = Ground {
            store: store_of(At(45), false, &messages).await,
            checkpoints: Some(Arc::new(checkpoints)),
            ..Ground::new()
        };
        ground.append(between(&messages, 0, END)).await;
        let mut options = case().dataflow();
        options.checkpoint.interval = None;
        let lived = case().run_on(&ground, options.clone()).await;
        let metrics = lived.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            metrics.restore_seconds.get() > 0.0,
            "{name}: not from the previous checkpoint"
        );
        case().compare(&expected, &ground.store.take());

        // Where it is the only one, the reason is in the refusal.
        let alone = with_sections(&made, (40, name), change).await;
        alone.keep(&[Epoch(40)]).await.expect("memory removes");
        let ground = Ground {
            store: store_of(At(45), false, &messages).await,
            checkpoints: Some(Arc::new(alone)),
            ..Ground::new()
        };
        ground.append(between(&messages, 0, END)).await;
        let below = Seq(between(&messages, 0, 40).len() as u64);
        ground.log.trim(below).await.expect("memory trims");
        let refused = case().run_on(&ground, options).await.err();
        let refused = refused.expect("a refusal").to_string();
        assert!(refused.contains("checkpoint 40: section"), "{refused}");
    }
}
