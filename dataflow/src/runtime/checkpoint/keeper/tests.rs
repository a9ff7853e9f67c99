use super::*;
use crate::runtime::checkpoint::Cut;
use skytide_core::event::{Message, Sources, Tick};
use skytide_core::memory::{MemoryCheckpoints, MemoryLog, MemoryStore};
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
        ended: 1,
        last: first.epoch,
    }
}

/// The first writer makes two checkpoints and is frozen; the second one makes a third; then the first one wakes up.
#[tokio::test]
async fn a_writer_that_was_replaced_completes_removes_and_trims_nothing() {
    let (log, store) = (MemoryLog::new(1), Arc::new(MemoryStore::default()));
    let checkpoints = MemoryCheckpoints::new();
    let mut writer = log.writer().await.expect("nobody else writes");
    writer
        .append((1..=9).map(tick).collect())
        .await
        .expect("memory takes it");
    writer.flush().await.expect("memory keeps it");
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
        let finished = first.finish(&unfinished(epoch), &last).await;
        finished.expect("it leads");
    }
    assert_eq!(state().await, (vec![3, 2], 2));
    let mut second = keeper(&[]).await;
    second
        .finish(&unfinished(5), &last)
        .await
        .expect("it leads");
    assert_eq!(state().await, (vec![5, 3], 3));

    let refused = first.finish(&unfinished(7), &last).await;
    assert!(refused.is_err_and(|why| why.to_string().contains("fenced")));
    assert!(first.retire(1, true).await.is_err());
    assert!(first.make_room().await.is_err());
    let recent = Recent {
        right: true,
        ..Recent::default()
    };
    first.tidy(&recent, Some(Epoch(5))).await;
    assert_eq!(state().await, (vec![5, 3], 3));
}

/// A keeper of two workers over ports in memory.
async fn of_two(checkpoints: &MemoryCheckpoints, unusable: &[u64]) -> Keeper {
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
    }
}

fn part(attempt: u64, worker: usize) -> News {
    let cut = Cut {
        checkpoint: Epoch(4),
        attempt,
        shards: 0..SHARDS,
        last: true,
    };
    News::Part(Part {
        cut,
        through: Epoch(4),
        sections: vec![(format!("sums-w{worker}"), vec![7])],
    })
}

fn committed(epoch: u64) -> News {
    News::Committed(Committed {
        epoch: Epoch(epoch),
        ..Committed::default()
    })
}

async fn epochs(checkpoints: &MemoryCheckpoints) -> Vec<u64> {
    let listed = checkpoints.list().await.expect("memory answers");
    listed.iter().map(|it| it.checkpoint.0).collect()
}

/// One worker's part fails while the other one still cuts; that part comes when the next attempt has begun.
#[tokio::test]
async fn parts_of_an_attempt_that_failed_are_not_taken_for_those_of_the_next_one() {
    let checkpoints = MemoryCheckpoints::new();
    let mut keeper = of_two(&checkpoints, &[]).await;
    let mut recent = Recent::default();
    let first = unfinished(4).first;
    for news in [committed(4), News::Begun(first, 2), part(1, 1), part(2, 1)] {
        assert_eq!(keeper.hear(&mut recent, news).await, None);
    }
    assert!(epochs(&checkpoints).await.is_empty(), "a part is missing");
    let ended = keeper.hear(&mut recent, part(2, 0)).await;
    assert_eq!(ended, Some(Duration::MAX));
    let listed = checkpoints.list().await.expect("memory answers");
    let manifest = listed[0].manifest.as_ref().expect("it is readable");
    assert_eq!(manifest.sections.len(), 2);
}

/// A byte may be flipped, or a person may have taken the wrong policy: what a start cannot use another one may.
#[tokio::test]
async fn what_a_start_cannot_use_stays_until_a_newer_one_is_complete_whatever_fails() {
    let checkpoints = MemoryCheckpoints::new();
    let mut keeper = of_two(&checkpoints, &[3]).await;
    let whole = Unfinished {
        through: vec![Epoch(3); usize::from(SHARDS)],
        ..unfinished(3)
    };
    let finished = keeper.finish(&whole, &Committed::default()).await;
    finished.expect("memory takes it");
    keeper.unusable.insert(Epoch(3));
    let mut recent = Recent::default();
    for news in [News::Begun(unfinished(4).first, 1), part(1, 1)] {
        keeper.hear(&mut recent, news).await;
    }
    keeper
        .give_up(&mut recent, &StoreError::Damaged("told".into()))
        .await;
    assert_eq!(epochs(&checkpoints).await, [3]);
    keeper.hear(&mut recent, committed(4)).await;
    assert_eq!(epochs(&checkpoints).await, [3]);
    // Also where its epoch is the higher one, as of a log that lost its newest messages.
    let newer = Unfinished {
        through: vec![Epoch(2); usize::from(SHARDS)],
        ..unfinished(2)
    };
    let finished = keeper.finish(&newer, &Committed::default()).await;
    finished.expect("memory takes it");
    assert_eq!(epochs(&checkpoints).await, [2]);
}

#[test]
fn a_disk_that_stays_full_is_tried_less_and_less() {
    let waits = [0, 1, 2, 3, 4, 5, 6, u32::MAX].map(|failures| patience(failures).as_secs());
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
}
