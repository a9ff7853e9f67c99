//! A full log: ingest blocks, so no new batch arrives, and only the dataflow can make room by a
//! checkpoint.
//!
//! ```text
//! 1 ............ 20 ............ 40 │ ingest blocks with the rest
//! └─ all of it committed, by an earlier life
//!
//! 20: the epoch of an older checkpoint, if there is one      40: the epoch of the newest one, likewise
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use skytide_core::event::Message;
use skytide_core::id::{Epoch, Seq};
use skytide_core::memory::MemoryLog;
use skytide_core::port::checkpoint::{CheckpointStore as _, Manifest};
use skytide_core::port::log::Log;
use skytide_core::view::ViewId;
use skytide_dataflow::{CheckpointOptions, DataflowError, Metrics, Ports};
use skytide_tests::faulty::{Fault, Side};
use skytide_tests::model::recount;

use super::answers::once;
use super::ground::Lives;
use crate::crash::faulty;
use crate::recount::harness::{Case, Ground};
use crate::recount::logs::between;

const OLDER: usize = 20;
const FULL: usize = 40;
const LAST: usize = 60;

/// Polling a full log and making a checkpoint take seconds; a log that stalls does so for ever.
const STALLED: Duration = Duration::from_secs(60);

/// Options with which only a full log causes a checkpoint.
fn rarely() -> CheckpointOptions {
    CheckpointOptions {
        interval: Some(Duration::from_secs(86_400)),
        events: None,
        ..CheckpointOptions::default()
    }
}

/// A log that is full up to an epoch, with everything in it committed.
struct Full {
    case: Case,
    messages: Vec<Message>,
    lives: Lives,
}

impl Full {
    /// Checkpoints begin at these epochs, the older one first; the log was not trimmed after the
    /// newest one.
    async fn new(checkpoints: &[usize]) -> Self {
        // The boundaries of batches decide when a checkpoint begins: repeats until they begin at
        // these epochs.
        loop {
            let made = Self::made(checkpoints).await;
            if made.listed().await.iter().rev().eq(checkpoints) {
                return made;
            }
        }
    }

    async fn made(checkpoints: &[usize]) -> Self {
        let case = Case::of(5).with(2, LAST);
        let messages = case.world();
        let mut lives = Lives::new(case, LAST);
        let (mut begin, mut first) = (0, 1);
        for &end in checkpoints {
            first = lives.ground.log.bounds().await.expect("memory").first.0;
            lives.checkpoint_at(&messages, (begin, end), case).await;
            begin = end;
        }
        if begin < FULL {
            lives.ground.append(between(&messages, begin, FULL)).await;
            let mut options = case.dataflow();
            options.checkpoint = rarely();
            let lived = case.run_on(&lives.ground, options).await;
            lived.expect("the life completes");
            first = lives.ground.log.bounds().await.expect("memory").first.0;
        }
        lives.ground.store.take();
        lives.ground.log = full_log(between(&messages, 0, FULL), Seq(first)).await;
        Self {
            case,
            messages,
            lives,
        }
    }

    async fn listed(&self) -> Vec<usize> {
        let manifests = self.lives.manifests().await.into_iter();
        manifests.map(|it| it.first.epoch.0 as usize).collect()
    }

    /// Replaces the newest checkpoint by another one, with a changed manifest and section.
    async fn damage(&self, change: impl FnOnce(&mut Manifest, &mut [u8])) {
        let checkpoints = &self.lives.checkpoints;
        let mut manifest = self.lives.manifests().await.swap_remove(0);
        let epoch = manifest.first.epoch;
        let mut sections = Vec::new();
        for section in &manifest.sections {
            let bytes = checkpoints.read(epoch, section).await.expect("memory");
            sections.push((section.name.clone(), bytes));
        }
        change(&mut manifest, &mut sections[0].1);
        self.keep_the_older().await;
        for (name, bytes) in sections {
            let written = checkpoints.write(epoch, &name, bytes).await;
            written.expect("memory");
        }
        checkpoints.complete(&manifest).await.expect("memory");
    }

    async fn keep_the_older(&self) {
        let removed = self.lives.checkpoints.keep(&[Epoch(OLDER as u64)]).await;
        removed.expect("memory");
    }

    /// Ingest blocks with the rest of the messages; the dataflow runs over these ports until
    /// everything is committed.
    async fn completes(&self, ports: Ports) -> Arc<Metrics> {
        let log = self.lives.ground.log.clone();
        let rest = between(&self.messages, FULL, LAST).to_vec();
        let ingest = tokio::spawn(async move {
            let mut writer = log.writer().await.expect("there is no other writer");
            for epoch in rest.split_inclusive(|it| matches!(it, Message::Tick(_))) {
                writer.append(epoch.to_vec()).await.expect("an append");
                writer.flush().await.expect("memory never fails");
            }
        });
        let metrics = Arc::new(Metrics::default());
        let counted = tokio::time::timeout(STALLED, self.life(ports, metrics.clone())).await;
        counted
            .expect("the log has stalled")
            .expect("the life completes");
        ingest.await.expect("everything was written");
        let expected = recount(&self.messages, self.case.options);
        self.case
            .compare(&expected, &self.lives.ground.store.take());
        metrics
    }

    async fn life(&self, ports: Ports, metrics: Arc<Metrics>) -> Result<(), DataflowError> {
        let mut options = self.case.dataflow();
        options.checkpoint = rarely();
        options.until_last = true;
        skytide_dataflow::run(options, ports, metrics, Default::default()).await
    }

    async fn restarts(&self) -> Arc<Metrics> {
        self.completes(self.lives.ground.ports()).await
    }
}

/// A log of these messages at its size limit, trimmed below `first`.
async fn full_log(messages: &[Message], first: Seq) -> MemoryLog {
    let fill = async |bytes_max| {
        let ground = Ground {
            log: MemoryLog::with_bytes_max(7, bytes_max),
            ..Ground::new()
        };
        ground.append(messages).await;
        ground.log.trim(first).await.expect("memory trims");
        ground.log
    };
    let whole = fill(u64::MAX).await.bounds().await;
    fill(whole.expect("memory answers").bytes).await
}

/// The log is full before the first life starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_is_trimmed_after_a_checkpoint_that_is_made_at_once() {
    let mut full = Full::new(&[]).await;
    full.case = full.case.with(2, 8);
    full.lives.ground.store = Arc::default();
    let metrics = full.restarts().await;
    let bounds = full.lives.ground.log.bounds().await;
    let first = bounds.expect("memory answers").first.0;
    assert!(first > 1 && metrics.checkpoints.get() > 0, "{first}");
}

/// The disk was full for a moment, or the store did not answer. No new epoch arrives, so the
/// checkpoint is made again at the same epoch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_checkpoint_of_a_full_log_is_repeated() {
    let fails = async |(point, side)| {
        let full = Full::new(&[]).await;
        let plan = once(point, side, Fault::Fail);
        let metrics = full
            .completes(faulty(full.lives.ground.ports(), &plan))
            .await;
        assert_eq!(plan.fired().len(), 1, "{point} {side:?}");
        let (failures, made) = (metrics.checkpoint_failures.get(), metrics.checkpoints.get());
        assert!(
            failures == 1 && made > 0,
            "{point} {side:?}: {failures}, {made}"
        );
    };
    let points = [
        ("checkpoint.write", Side::Before),
        ("store.sync", Side::Before),
        ("checkpoint.complete", Side::Before),
        // The checkpoint is complete although the operation failed.
        ("checkpoint.complete", Side::After),
    ];
    join_all(points.map(fails)).await;
}

/// No batch arrives and nothing is committed: the dataflow must use what the store already has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_at_a_fully_committed_full_log_makes_room() {
    let restarted = async |checkpoints: &'static [usize]| {
        let full = Full::new(checkpoints).await;
        let metrics = full.restarts().await;
        assert!(metrics.checkpoints.get() > 0, "{checkpoints:?}");
    };
    join_all([&[][..], &[OLDER]].map(restarted)).await;
}

/// The previous process ended between making a checkpoint and trimming the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_at_a_full_log_that_ends_with_the_newest_checkpoint_makes_room() {
    let restarted = async |(checkpoints, rows_lost): (&'static [usize], bool)| {
        let mut full = Full::new(checkpoints).await;
        if rows_lost {
            full.lives.ground.store = Arc::default();
        }
        full.restarts().await;
    };
    let all = [
        (&[FULL][..], false),
        (&[OLDER, FULL], false),
        (&[FULL], true),
        (&[OLDER, FULL], true),
    ];
    join_all(all.map(restarted)).await;
}

/// The sums of the newest checkpoint differ from those that it states. Until that is detected, the
/// previous checkpoint must not be removed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_a_full_log_a_wrong_checkpoint_does_not_replace_the_previous_one() {
    let full = Full::new(&[OLDER, FULL]).await;
    full.damage(|manifest, _| {
        let sum = manifest.last.sums.get_mut(&ViewId::Posts).expect("posts");
        sum.hash ^= 1;
    })
    .await;

    let life = full.life(full.lives.ground.ports(), Arc::default());
    let ended = tokio::time::timeout(STALLED, life).await.expect("an end");
    assert!(
        matches!(ended, Err(DataflowError::Differs { .. })),
        "{ended:?}"
    );
    assert_eq!(full.listed().await, [FULL, OLDER]);

    // An operator removes the wrong checkpoint.
    full.keep_the_older().await;
    full.restarts().await;
}

/// The checkpoint that makes room has the epoch of the unusable one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_at_the_end_of_a_full_log_is_replaced_at_its_epoch() {
    let full = Full::new(&[OLDER, FULL]).await;
    full.damage(|_, section| section[0] ^= 1).await;
    let metrics = full.restarts().await;
    assert_eq!(metrics.checkpoint_failures.get(), 0);
    assert!(metrics.checkpoints.get() > 0);
}
