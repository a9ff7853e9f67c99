//! Which checkpoint an audit starts from, and what bounds its work and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use skytide_audit::{AuditError, Request, Scope, Sources};
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryCheckpoints;
use skytide_core::port::checkpoint::{
    CheckpointError, CheckpointReader, CheckpointStore, Listed, Manifest, OpenCheckpoint,
};
use skytide_core::port::log::Log as _;

use super::{Run, SAMPLE, run_on};
use crate::recount::harness::Case;

/// Checkpoints whose manifests are altered, from the newest one on.
struct Altered {
    checkpoints: MemoryCheckpoints,
    alter: fn(&mut Manifest),
    /// How many are altered.
    count: usize,
}

#[async_trait]
impl CheckpointReader for Altered {
    async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        let mut listed = CheckpointStore::list(&self.checkpoints).await?;
        let manifests = listed.iter_mut().filter_map(|it| it.manifest.as_mut().ok());
        manifests.take(self.count).for_each(self.alter);
        Ok(listed)
    }

    async fn open(&self, manifest: Manifest) -> Result<Box<dyn OpenCheckpoint>, CheckpointError> {
        CheckpointReader::open(&self.checkpoints, manifest).await
    }
}

/// The checkpoint counts another last epoch than the log has: the log lost its end after the first
/// cut, and other messages followed.
fn with_other_last_tick(manifest: &mut Manifest) {
    manifest.last.tick_hash = Some(1);
}

/// The checkpoint counts from another event on: the rows were rebuilt from a trimmed log.
fn with_other_since(manifest: &mut Manifest) {
    manifest.last.since.0 += 1;
}

/// One of its sections was removed.
fn without_section(manifest: &mut Manifest) {
    manifest.sections[0].name = "removed".into();
}

/// The first run of some seeds whose log is trimmed up to the older one of two checkpoints. When
/// checkpoints are complete depends on the scheduler.
async fn two_checkpoints() -> (Run, [Epoch; 2]) {
    for seed in 24_000..24_100 {
        let run = Run::new(Case::of(seed));
        run.live(0, 30, 2).await;
        run.live(30, 60, 1).await;
        let listed = CheckpointStore::list(&run.checkpoints).await;
        let listed = listed.expect("memory never fails");
        let bounds = run.ground.log.bounds().await.expect("memory never fails");
        if let [newest, older] = &listed[..]
            && bounds.first.0 > 1
        {
            let epochs = [newest.checkpoint, older.checkpoint];
            return (run, epochs);
        }
    }
    panic!("no run had two checkpoints");
}

#[tokio::test]
async fn a_checkpoint_of_another_history_is_skipped() {
    let (run, [newest, older]) = two_checkpoints().await;
    let stored = run.stored().await;
    let healthy = run_on(&run.sources(), &stored).await.expect("an audit");
    assert_eq!(healthy.checkpoint, Some(newest));
    let alterations = [with_other_last_tick, with_other_since, without_section];
    for (index, alter) in alterations.into_iter().enumerate() {
        let sources = |count| Sources {
            checkpoints: Some(Arc::new(Altered {
                checkpoints: run.checkpoints.clone(),
                alter,
                count,
            })),
            ..run.sources()
        };
        let report = run_on(&sources(1), &stored).await.expect("an audit");
        assert_eq!(report.checkpoint, Some(older), "alteration {index}");
        assert_eq!(report.differing, 0, "{:#?}", report.differences);
        let failed = run_on(&sources(2), &stored).await;
        let failed = failed.expect_err("the log was trimmed");
        let is_named = match index {
            0 => {
                matches!(failed, AuditError::OtherHistory { checkpoint, .. } if checkpoint == newest.0)
            }
            1 => matches!(failed, AuditError::NoBase { .. }),
            _ => matches!(failed, AuditError::Checkpoint(_)),
        };
        assert!(is_named, "alteration {index}: {failed}");
    }
}

#[tokio::test]
async fn an_audit_does_not_wait_for_messages_that_the_log_lost() {
    let (run, _) = two_checkpoints().await;
    let mut stored = run.stored().await;
    let bounds = run.ground.log.bounds().await.expect("memory never fails");
    let committed = stored.control.committed.as_mut().expect("a commit");
    committed.log_seq = bounds.next;
    committed.epoch.0 += 1;
    let audited = run_on(&run.sources(), &stored).await;
    assert!(
        matches!(audited, Err(AuditError::LogEnds { .. })),
        "{audited:?}"
    );
}

#[tokio::test]
async fn little_memory_makes_more_passes_with_the_same_result() {
    let (run, _) = two_checkpoints().await;
    let stored = run.stored().await;
    let at_once = run_on(&run.sources(), &stored).await.expect("an audit");
    for memory_bytes in [400_000, 20_000] {
        for scope in [Scope::All, SAMPLE] {
            let request = Request {
                memory_bytes,
                ..Request::new(scope, 1)
            };
            let audited = skytide_audit::run(&run.sources(), &stored, &request).await;
            let report = audited.expect("an audit");
            assert_eq!(report.differing, 0, "{:#?}", report.differences);
            assert_eq!(report.events, at_once.events);
            assert_eq!(report.live_records, at_once.live_records);
            if scope == Scope::All {
                assert_eq!(report.views, at_once.views);
            }
        }
    }
}

#[tokio::test]
async fn a_long_log_is_refused_and_a_cancelled_audit_ends() {
    let (run, _) = two_checkpoints().await;
    let stored = run.stored().await;
    let request = Request {
        log_bytes_max: Some(1),
        ..Request::new(SAMPLE, 1)
    };
    let audited = skytide_audit::run(&run.sources(), &stored, &request).await;
    assert!(
        matches!(audited, Err(AuditError::LongLog { max: 1, .. })),
        "{audited:?}"
    );
    let request = Request::new(Scope::All, 1);
    let cancelled: &AtomicBool = &request.cancelled;
    cancelled.store(true, Ordering::Relaxed);
    let audited = skytide_audit::run(&run.sources(), &stored, &request).await;
    assert!(matches!(audited, Err(AuditError::Cancelled)), "{audited:?}");
}
