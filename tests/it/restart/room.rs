//! Disk space of checkpoints, and retention of the log.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::event::Message;
use skytide_core::id::Epoch;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore};
use skytide_core::port::log::Log;
use skytide_dataflow::{CheckpointOptions, LogKeep};
use skytide_embedded::EmbeddedCheckpoints;
use skytide_tests::contract_checkpoint::{listed, try_share_all, write_all};
use skytide_tests::model::recount;
use skytide_tests::world::Random;

use super::disk::{Disk, Fault};
use super::ground::Lives;
use crate::recount::harness::{Case, Ground, seeds};
use crate::recount::logs::between;

fn on(disk: &Disk) -> EmbeddedCheckpoints {
    EmbeddedCheckpoints::on(Path::new("/checkpoints"), Box::new(disk.clone()))
}

/// Each process would remove what the other one is writing.
#[tokio::test(start_paused = true)]
async fn of_two_processes_one_locks_the_checkpoints_and_the_other_learns_which() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || EmbeddedCheckpoints::open(folder.path()).expect("a folder");
    let (first, second, third) = (open(), open(), open());
    write_all(&first, Epoch(1)).await.expect("the disk works");
    let Err(CheckpointError::Failed { source, .. }) = second.list().await else {
        panic!("both processes hold the checkpoints");
    };
    let text = source.to_string();
    let holder = format!("process {}", std::process::id());
    assert!(
        text.contains(&holder) && text.contains("STORE_DIR"),
        "{text}"
    );
    assert!(second.keep(&[]).await.is_err());
    assert_eq!(listed(&first).await, [1]);

    // A process waits for one that is about to end.
    let ends = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(first);
    };
    let (listed, ()) = tokio::join!(third.list(), ends);
    assert_eq!(listed.expect("the lock").len(), 1);
}

/// A store with two complete checkpoints, and its disk.
async fn with_two() -> (Disk, EmbeddedCheckpoints) {
    let disk = Disk::default();
    let store = on(&disk);
    for epoch in [1, 2] {
        write_all(&store, Epoch(epoch))
            .await
            .expect("the disk works");
    }
    (disk, store)
}

#[tokio::test]
async fn whenever_writing_fails_earlier_checkpoints_stay_complete() {
    let (disk, store) = with_two().await;
    let before = disk.operations();
    write_all(&store, Epoch(3)).await.expect("the disk works");
    let steps = disk.operations() - before;
    assert!(steps > 8, "only {steps} steps");
    for seed in seeds(20_000) {
        for step in 0..steps {
            for fault in [Fault::Once, Fault::FromHereOn] {
                let (disk, store) = with_two().await;
                disk.fail(Some((step, fault)));
                let written = write_all(&store, Epoch(3)).await;
                assert!(written.is_err(), "{fault:?} at {step} was not reported");
                assert!(disk.faults() > 0);
                assert_two_and_perhaps_three(&store).await;
                if fault == Fault::FromHereOn {
                    disk.cut_power(&mut Random::new(seed + step));
                    assert_two_and_perhaps_three(&on(&disk)).await;
                }
                disk.fail(None);
                if listed(&store).await.len() == 2 {
                    store
                        .keep(&[Epoch(1), Epoch(2)])
                        .await
                        .expect("the disk works");
                    write_all(&store, Epoch(3)).await.expect("a retry succeeds");
                }
                assert_eq!(
                    listed(&store).await,
                    [3, 2, 1],
                    "seed {seed}, {fault:?} at {step}"
                );
            }
        }
    }
}

/// The third checkpoint shares sections of the second. Where links fail, sections are copied.
#[tokio::test]
async fn whenever_sharing_fails_all_listed_checkpoints_are_readable() {
    let (disk, store) = with_two().await;
    let second = store.list().await.expect("a list").remove(0);
    let second = second.manifest.expect("a manifest");
    let before = disk.operations();
    let shared = try_share_all(&store, &second, Epoch(3)).await;
    shared.expect("the disk works");
    let steps = disk.operations() - before;
    assert!(steps > 8, "only {steps} steps");
    for seed in seeds(23_000) {
        for step in 0..steps {
            for fault in [Fault::Once, Fault::FromHereOn] {
                let (disk, store) = with_two().await;
                disk.fail(Some((step, fault)));
                let shared = try_share_all(&store, &second, Epoch(3)).await;
                assert!(disk.faults() > 0);
                if fault == Fault::FromHereOn {
                    assert!(shared.is_err(), "a fault at {step} was not reported");
                    disk.cut_power(&mut Random::new(seed + step));
                }
                let context = format!("seed {seed}, {fault:?} at {step}");
                let after = readable(&on(&disk)).await;
                assert!(
                    after.ends_with(&[2, 1]) && after.len() < 4,
                    "{context}: {after:?}"
                );
                assert!(
                    shared.is_err() || after == [3, 2, 1],
                    "{context}: {after:?}"
                );
                disk.fail(None);
                if after.len() == 2 {
                    store
                        .keep(&[Epoch(1), Epoch(2)])
                        .await
                        .expect("the disk works");
                    let shared = try_share_all(&store, &second, Epoch(3)).await;
                    shared.expect("a retry succeeds");
                }
                store.keep(&[Epoch(3)]).await.expect("the disk works");
                assert_eq!(readable(&store).await, [3], "{context}");
            }
        }
    }
}

/// The listed checkpoints, of which every section must be readable.
async fn readable(store: &EmbeddedCheckpoints) -> Vec<u64> {
    let mut epochs = Vec::new();
    for listed in store.list().await.expect("a list") {
        let manifest = listed.manifest.expect("a manifest");
        for section in &manifest.sections {
            let read = store.read(listed.checkpoint, section).await;
            read.unwrap_or_else(|error| panic!("{section:?}: {error}"));
        }
        epochs.push(listed.checkpoint.0);
    }
    epochs
}

async fn assert_two_and_perhaps_three(store: &EmbeddedCheckpoints) {
    let found = listed(store).await;
    assert!(found.ends_with(&[2, 1]) && found.len() < 4, "{found:?}");
}

#[tokio::test]
async fn whenever_removing_fails_listed_checkpoints_are_complete() {
    let (disk, store) = with_two().await;
    let before = disk.operations();
    store.keep(&[Epoch(2)]).await.expect("the disk works");
    let steps = disk.operations() - before;
    assert!(steps > 3, "only {steps} steps");
    for seed in seeds(21_000) {
        for step in 0..steps {
            let (disk, store) = with_two().await;
            disk.fail(Some((step, Fault::FromHereOn)));
            assert!(store.keep(&[Epoch(2)]).await.is_err());
            assert!(listed(&store).await.contains(&2));
            disk.cut_power(&mut Random::new(seed + step));
            assert!(
                listed(&on(&disk)).await.contains(&2),
                "seed {seed}, step {step}"
            );
            store.keep(&[Epoch(2)]).await.expect("a retry succeeds");
            assert_eq!(listed(&store).await, [2]);
        }
    }
}

/// Checkpoints fail repeatedly while the stream continues; those that succeed are usable for a
/// restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_harms_no_row_and_each_failure_is_counted() {
    let mut restored = 0;
    for seed in seeds(22_000) {
        let case = Case::of(seed).with(2, 1);
        let messages = case.world();
        let expected = recount(&messages, case.options);
        let disk = Disk::default();
        let ground = Ground {
            checkpoints: Some(Arc::new(on(&disk))),
            ..Ground::new()
        };
        let mut random = Random::new(seed);
        let (mut begin, mut failures) = (0, 0);
        for end in [15, 30, 45, 60] {
            ground.append(between(&messages, begin, end)).await;
            begin = end;
            disk.fail(Some((random.below(60), Fault::FromHereOn)));
            let mut options = case.dataflow();
            options.checkpoint = CheckpointOptions {
                interval: None,
                events: Some(0),
                shards_per_cut: Some(32),
                ..CheckpointOptions::default()
            };
            let lived = case.run_on(&ground, options).await;
            let metrics = lived.unwrap_or_else(|error| panic!("{case:?}, to {end}: {error}"));
            failures += metrics.checkpoint_failures.get();
            restored += usize::from(metrics.restore_seconds.get() > 0.0);
            case.compare(&expected[..end], &ground.store.take());
            disk.cut_power(&mut random);
        }
        assert!(
            failures > 0 && disk.faults() > 0,
            "{case:?}: no checkpoint failed"
        );
    }
    assert!(restored > 0, "no life started from a checkpoint");
}

fn at_every_batch(log_keep: LogKeep) -> CheckpointOptions {
    CheckpointOptions {
        interval: None,
        events: Some(0),
        shards_per_cut: Some(64),
        log_keep,
        ..CheckpointOptions::default()
    }
}

/// The first position of the log after many checkpoints, and all messages.
async fn left_with(log_keep: LogKeep) -> (u64, Vec<Message>) {
    let case = Case::of(3);
    let messages = case.world();
    let lives = Lives::new(case, 60);
    lives.ground.append(&messages).await;
    let case = case.with(1, 1);
    let mut options = case.dataflow();
    options.checkpoint = at_every_batch(log_keep);
    case.run_on(&lives.ground, options)
        .await
        .expect("the run completes");
    let bounds = lives.ground.log.bounds().await.expect("memory answers");
    (bounds.first.0, messages)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_retains_what_its_options_demand() {
    let (nothing, messages) = left_with(LogKeep::Nothing).await;
    assert!(nothing > 1, "the log was not trimmed");
    assert_eq!(left_with(LogKeep::All).await.0, 1);
    let hours = 48;
    let (first, _) = left_with(LogKeep::Time(Duration::from_secs(hours * 3_600))).await;
    assert!(first > 1, "a log of weeks was not trimmed");
    let time = |message: &Message| match message {
        Message::Event(event) => event.time.0,
        Message::Tick(tick) => tick.time.0,
    };
    let retained = time(messages.last().expect("a tick")) - time(&messages[first as usize - 1]);
    assert!(retained >= hours * 3_600_000, "only {retained} ms are left");
}
