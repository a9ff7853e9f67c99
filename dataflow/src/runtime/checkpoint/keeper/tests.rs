use super::base::SHARDS_VERIFIED;
use super::*;
use crate::runtime::checkpoint::Cut;
use crate::runtime::checkpoint::runs::of_base;
use std::io;

use skytide_core::event::{Message, Sources, Tick};
use skytide_core::memory::{MemoryCheckpoints, MemoryLog, MemoryStore};
use skytide_core::port::checkpoint::CheckpointError;
use skytide_core::time::Timestamp;

fn tick(epoch: u64) -> Message {
    Message::Tick(Tick {
        epoch: Epoch(epoch),
        time: Timestamp(epoch),
        host: "relay.example".into(),
        cursor: skytide_core::id::Cursor(epoch),
        frames: epoch,
        last: false,
        idle: false,
        sources: Sources::default(),
        counts: BTreeMap::new(),
    })
}

fn unfinished(epoch: u64) -> Unfinished {
    let first = Mark {
        epoch: Epoch(epoch),
        seq: Seq(epoch),
        hash: 0,
        time: Timestamp(epoch),
    };
    Unfinished {
        first,
        attempt: 1,
        started: Instant::now(),
        through: Vec::new(),
        sections: Vec::new(),
        runs: NewRuns::new(first.epoch, None),
        workers_done: 1,
        last: first.epoch,
    }
}

/// The first writer makes two checkpoints and is frozen. The second one makes a third. Then the
/// first one resumes.
#[tokio::test]
async fn a_writer_that_was_replaced_completes_removes_and_trims_nothing() {
    let (log, store) = (MemoryLog::new(1), Arc::new(MemoryStore::default()));
    let checkpoints = MemoryCheckpoints::new();
    let mut writer = log.writer().await.expect("there is no other writer");
    writer
        .append((1..=9).map(tick).collect())
        .await
        .expect("memory accepts it");
    writer.flush().await.expect("memory accepts it");
    let keeper = async |unusable: &[u64]| Keeper {
        checkpoints: Arc::new(checkpoints.clone()),
        store: store.clone(),
        term: store.lead().await.expect("memory answers").term,
        log: Arc::new(log.clone()),
        options: CheckpointOptions::default(),
        workers: 1,
        metrics: Arc::default(),
        gate: Arc::default(),
        unusable: unusable.iter().copied().map(Epoch).collect(),
        base: None,
        hot_records_max: None,
    };
    let state = async || {
        let listed = checkpoints.list().await.expect("memory answers");
        let epochs: Vec<u64> = listed.iter().map(|it| it.checkpoint.0).collect();
        let first = log.bounds().await.expect("memory answers").first.0;
        (epochs, first)
    };
    let last = Committed::default();

    let mut first = keeper(&[5]).await;
    for epoch in [2, 3] {
        let completed = first.complete(&unfinished(epoch), &last).await;
        completed.expect("its term is current");
    }
    assert_eq!(state().await, (vec![3, 2], 2));
    let mut second = keeper(&[]).await;
    second
        .complete(&unfinished(5), &last)
        .await
        .expect("its term is current");
    assert_eq!(state().await, (vec![5, 3], 3));

    let refused = first.complete(&unfinished(7), &last).await;
    assert!(refused.is_err_and(|why| why.to_string().contains("fenced")));
    assert!(first.remove_old_and_trim(1, true).await.is_err());
    assert!(first.make_room().await.is_err());
    let progress = Progress {
        start_verified: true,
        ..Progress::default()
    };
    first.remove_leftovers(&progress, Some(Epoch(5))).await;
    assert_eq!(state().await, (vec![5, 3], 3));
}

/// A keeper for two workers, with ports in memory.
async fn keeper_of_two_workers(checkpoints: &MemoryCheckpoints, unusable: &[u64]) -> Keeper {
    let store = Arc::new(MemoryStore::default());
    Keeper {
        checkpoints: Arc::new(checkpoints.clone()),
        term: store.lead().await.expect("memory answers").term,
        store,
        log: Arc::new(MemoryLog::new(1)),
        options: CheckpointOptions::default(),
        workers: 2,
        metrics: Arc::default(),
        gate: Arc::default(),
        unusable: unusable.iter().copied().map(Epoch).collect(),
        base: None,
        hot_records_max: None,
    }
}

fn part(attempt: u64, worker: usize) -> CheckpointEvent {
    let cut = Cut {
        checkpoint: Epoch(4),
        attempt,
        shards: 0..SHARDS,
        base: None,
        last: true,
    };
    CheckpointEvent::Part(Part {
        cut,
        through: Epoch(4),
        sections: vec![(format!("sums-w{worker}"), vec![7])],
        changes: Vec::new(),
        pause_seconds: 0.0,
    })
}

fn committed(epoch: u64) -> CheckpointEvent {
    CheckpointEvent::Committed(Committed {
        epoch: Epoch(epoch),
        ..Committed::default()
    })
}

async fn epochs(checkpoints: &MemoryCheckpoints) -> Vec<u64> {
    let listed = checkpoints.list().await.expect("memory answers");
    listed.iter().map(|it| it.checkpoint.0).collect()
}

/// One worker's part fails while the other worker still cuts. The other part arrives after the next
/// attempt has begun.
#[tokio::test]
async fn parts_of_a_failed_attempt_are_not_used_for_the_next_attempt() {
    let checkpoints = MemoryCheckpoints::new();
    let mut keeper = keeper_of_two_workers(&checkpoints, &[]).await;
    let mut progress = Progress::default();
    let first = unfinished(4).first;
    let begun = CheckpointEvent::Begun {
        first,
        attempt: 2,
        base: None,
    };
    for event in [committed(4), begun, part(1, 1), part(2, 1)] {
        assert_eq!(keeper.on_event(&mut progress, event).await, None);
    }
    assert!(epochs(&checkpoints).await.is_empty(), "a part is missing");
    let next = keeper.on_event(&mut progress, part(2, 0)).await;
    assert_eq!(next, Some(Duration::MAX));
    let listed = checkpoints.list().await.expect("memory answers");
    let manifest = listed[0].manifest.as_ref().expect("it is readable");
    assert_eq!(manifest.sections.len(), 2);
}

/// A bit may have flipped, or the policy may be set wrong: another start may be able to use the
/// checkpoint.
#[tokio::test]
async fn an_unusable_checkpoint_survives_failures_until_a_newer_one_is_complete() {
    let checkpoints = MemoryCheckpoints::new();
    let mut keeper = keeper_of_two_workers(&checkpoints, &[3]).await;
    let old = Unfinished {
        through: vec![Epoch(3); usize::from(SHARDS)],
        ..unfinished(3)
    };
    let completed = keeper.complete(&old, &Committed::default()).await;
    completed.expect("memory accepts it");
    keeper.unusable.insert(Epoch(3));
    let mut progress = Progress::default();
    let begun = CheckpointEvent::Begun {
        first: unfinished(4).first,
        attempt: 1,
        base: None,
    };
    for event in [begun, part(1, 1)] {
        keeper.on_event(&mut progress, event).await;
    }
    keeper
        .abandon(&mut progress, &StoreError::Damaged("a test".into()))
        .await;
    assert_eq!(epochs(&checkpoints).await, [3]);
    keeper.on_event(&mut progress, committed(4)).await;
    assert_eq!(epochs(&checkpoints).await, [3]);
    // A newer checkpoint also replaces one of a later epoch, whose messages the log has lost.
    let newer = Unfinished {
        through: vec![Epoch(2); usize::from(SHARDS)],
        ..unfinished(2)
    };
    let completed = keeper.complete(&newer, &Committed::default()).await;
    completed.expect("memory accepts it");
    assert_eq!(epochs(&checkpoints).await, [2]);
}

#[test]
fn the_log_check_delay_doubles_with_each_failure_up_to_a_limit() {
    let delays =
        [0, 1, 2, 3, 4, 5, 6, u32::MAX].map(|failures| log_check_delay(failures).as_secs());
    assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
}

/// The runs of the previous checkpoint are damaged, or the checkpoint was removed: the next one
/// contains everything.
#[tokio::test]
async fn after_a_failure_a_base_that_cannot_be_used_is_given_up() {
    let checkpoints = MemoryCheckpoints::new();
    let mut keeper = keeper_of_two_workers(&checkpoints, &[]).await;
    let completed = keeper
        .complete(
            &Unfinished {
                through: vec![Epoch(2); usize::from(SHARDS)],
                ..unfinished(2)
            },
            &Committed::default(),
        )
        .await;
    let manifest = completed.expect("memory accepts it");
    let set = |keeper: &mut Keeper| keeper.set_base(Base::of(&manifest, 1));
    let id = Some((Epoch(2), 1));
    let full: CheckpointError = CheckpointError::Failed {
        operation: "write a section",
        source: "a test".into(),
    };
    let damaged = CheckpointError::Damaged {
        checkpoint: Epoch(2),
        what: "a test".into(),
    };
    let mut progress = Progress::default();
    set(&mut keeper);
    keeper.abandon(&mut progress, &full).await;
    keeper.abandon(&mut progress, &full).await;
    assert_eq!(keeper.gate.base(), id, "a disk that is full is no damage");
    let io = |kind: io::ErrorKind| {
        let source = BoxError::from(io::Error::from(kind));
        let operation = "share a section";
        of_base(CheckpointError::Failed { operation, source }.into())
    };
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::StorageFull] {
        keeper.abandon(&mut progress, io(kind).as_ref()).await;
        assert_eq!(keeper.gate.base(), id, "{kind}");
    }
    for expected in [id, None] {
        let error = io(io::ErrorKind::Other);
        keeper.abandon(&mut progress, error.as_ref()).await;
        assert_eq!(keeper.gate.base(), expected);
    }
    set(&mut keeper);
    keeper.abandon(&mut progress, &damaged).await;
    assert_eq!(keeper.gate.base(), None);
    set(&mut keeper);
    checkpoints.keep(&[]).await.expect("memory removes");
    keeper.abandon(&mut progress, &full).await;
    assert_eq!(keeper.gate.base(), None);
    assert!(keeper.base.is_none());
}

/// A checkpoint with one run in each of these shards; with damage, a byte of the run differs.
async fn base_of_runs(checkpoints: &MemoryCheckpoints, shards: &[(u16, bool)]) -> Base {
    let mut sections = Vec::new();
    for &(shard, is_damaged) in shards {
        let name = format!("run{shard:02}-e2");
        let mut run = skytide_state::RunWriter::new(&name);
        run.push(b"key", Some(b"value"));
        let mut bytes = run.finish().expect("it has an entry");
        bytes[8] ^= u8::from(is_damaged);
        let written = checkpoints.write(Epoch(2), &name, bytes).await;
        sections.push(written.expect("memory accepts it"));
    }
    let manifest = Manifest {
        format: Manifest::FORMAT,
        first: unfinished(2).first,
        last: Committed::default(),
        through: Vec::new(),
        sections,
        marks: Vec::new(),
    };
    let completed = checkpoints.complete(&manifest).await;
    completed.expect("memory accepts it");
    Base::of(&manifest, 1).expect("the format has runs")
}

#[tokio::test]
async fn damage_in_a_shared_run_is_found_and_the_next_checkpoint_is_written_whole() {
    let checkpoints = MemoryCheckpoints::new();
    let mut keeper = keeper_of_two_workers(&checkpoints, &[]).await;
    let base = base_of_runs(
        &checkpoints,
        &[(0, false), (3, false), (5, true), (63, false)],
    )
    .await;
    keeper.set_base(Some(base));
    let mut progress = Progress::default();
    keeper.verify_runs(&mut progress).await;
    assert!(keeper.base.is_some(), "shards 0 to 3 are intact");
    assert_eq!(keeper.metrics.runs.verified.get(), 2);
    keeper.verify_runs(&mut progress).await;
    assert!(keeper.base.is_none(), "shard 5 is damaged");
    assert_eq!(keeper.gate.base(), None);
    assert_eq!(keeper.metrics.runs.failures.get(), 1);
    // Each shard has its turn, and then the first one again.
    let base = base_of_runs(&MemoryCheckpoints::new(), &[]).await;
    keeper.set_base(Some(base));
    for _ in 0..14 {
        keeper.verify_runs(&mut progress).await;
    }
    assert_eq!(progress.verify_next, SHARDS);
    keeper.verify_runs(&mut progress).await;
    assert_eq!(progress.verify_next, SHARDS_VERIFIED);
}
