//! Plans checkpoints: decides at the end of each batch which shards are cut.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use skytide_core::id::Epoch;
use tokio::sync::mpsc;

use super::{CheckpointEvent, Cut, CutGate};
use crate::metrics::Metrics;
use crate::records::{CheckpointId, SHARDS};
use crate::runtime::batch::End;

/// The approximate number of records that one cut writes. That takes a few milliseconds.
const RECORDS_PER_CUT: u64 = 50_000;

/// Decides for each batch what is cut at its end. The source asks it.
pub(crate) struct Planner {
    pub gate: Arc<CutGate>,
    pub checkpoint_events: mpsc::UnboundedSender<CheckpointEvent>,
    /// The number of events after which a checkpoint is due.
    pub events_max: Option<u64>,
    /// The number of shards of one cut. With `None`, it is computed from the number of live
    /// records.
    pub shards_per_cut: Option<u16>,
    /// Where the number of live records is read.
    pub metrics: Arc<Metrics>,
    /// Checkpoints begin after this epoch, because earlier commits are not reported to the keeper.
    /// If the log is full and has no later epoch, a checkpoint may also begin at this one.
    pub after: Epoch,
    /// The number of checkpoints begun so far.
    pub attempts: u64,
    /// The checkpoint that is being cut.
    pub active: Option<ActiveCheckpoint>,
    /// The number of events since a checkpoint was begun.
    pub events: u64,
}

/// A checkpoint of which some shards are not cut yet.
pub(crate) struct ActiveCheckpoint {
    /// The epoch of its first cut.
    epoch: Epoch,
    /// The shards that are not cut yet.
    remaining: Range<u16>,
    /// The checkpoint on which it builds.
    base: Option<CheckpointId>,
}

/// Why a cut may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutReason {
    /// A batch ends.
    Batch,
    /// The log is full, and there may be no further batch until a checkpoint allows trimming it. So
    /// the cut has all remaining shards.
    FullLog,
    /// The source waits for memory: a checkpoint allows evicting more records, or trimming a log that
    /// is also full. The cut has no more shards than that of a batch, and is not made before the
    /// previous one is written, because its parts are in memory meanwhile. The keeper requests the
    /// next one then.
    Memory,
}

impl Planner {
    /// The cut to make at the end of this batch.
    pub fn next_cut(&mut self, end: &End, reason: CutReason) -> Option<Cut> {
        let is_requested = reason != CutReason::Batch;
        let takes_all = reason == CutReason::FullLog;
        let gate = &self.gate;
        if gate.failed.swap(false, Ordering::AcqRel) {
            self.active = None;
            gate.in_progress.store(false, Ordering::Release);
        }
        if self.active.is_none() && self.may_begin(end, is_requested) {
            let base = self.gate.base();
            self.active = Some(ActiveCheckpoint {
                epoch: end.epoch,
                remaining: 0..SHARDS,
                base,
            });
            self.events = 0;
            self.attempts += 1;
            self.gate.due.store(false, Ordering::Release);
            self.gate.in_progress.store(true, Ordering::Release);
            // An error means that the keeper has ended, which it only does when the process ends.
            let _ = self.checkpoint_events.send(CheckpointEvent::Begun {
                first: end.mark(),
                attempt: self.attempts,
                base,
            });
        }
        let count = self.shards_per_cut();
        let active = self.active.as_mut()?;
        let remaining = &mut active.remaining;
        if !takes_all && self.gate.pending_parts.load(Ordering::Acquire) > 0 {
            return None;
        }
        let count = if takes_all { SHARDS } else { count };
        let shards = remaining.start..remaining.end.min(remaining.start + count);
        remaining.start = shards.end;
        let cut = Cut {
            checkpoint: active.epoch,
            attempt: self.attempts,
            shards,
            base: active.base,
            last: active.remaining.is_empty(),
        };
        if cut.last {
            self.active = None;
        }
        Some(cut)
    }

    /// The number of shards of the next cut.
    fn shards_per_cut(&self) -> u16 {
        let by_size = || {
            let records = u64::try_from(self.metrics.live_records.get()).unwrap_or(0);
            (u64::from(SHARDS) * RECORDS_PER_CUT / records.max(1)).min(SHARDS.into()) as u16
        };
        self.shards_per_cut.unwrap_or_else(by_size).clamp(1, SHARDS)
    }

    /// Counts the events of a batch that is sent.
    pub fn count_events(&mut self, end: &End) {
        self.events += end.events as u64;
    }

    /// Waits until a cut is requested that does not wait for a further batch.
    pub async fn cut_requested(&self) {
        self.gate.cut_requested.notified().await;
    }

    fn may_begin(&self, end: &End, is_requested: bool) -> bool {
        let enough = self.events_max.is_some_and(|max| self.events >= max);
        let due = enough || self.gate.due.load(Ordering::Acquire);
        let reported = end.epoch > self.after || is_requested && end.epoch == self.after;
        let free = !self.gate.in_progress.load(Ordering::Acquire);
        due && reported && free && end.epoch > self.gate.newest_complete()
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::id::Seq;
    use skytide_core::time::Timestamp;

    use super::*;

    #[test]
    fn few_shards_are_cut_at_a_time_while_the_source_waits_for_memory() {
        let (checkpoint_events, _events) = mpsc::unbounded_channel();
        let gate = Arc::<CutGate>::default();
        gate.request();
        let mut planner = Planner {
            gate: gate.clone(),
            checkpoint_events,
            events_max: None,
            shards_per_cut: Some(24),
            metrics: Arc::default(),
            after: Epoch(1),
            attempts: 0,
            active: None,
            events: 0,
        };
        let end = End {
            epoch: Epoch(1),
            time: Timestamp(1),
            since: Timestamp(1),
            log_seq: Seq(1),
            hash: 0,
            restored: false,
            events: 1,
            bytes: 1,
            epochs: 1,
        };
        let mut cut = |reason| {
            let cut = planner.next_cut(&end, reason);
            cut.map(|cut| (cut.shards, cut.last))
        };
        assert_eq!(cut(CutReason::Memory), Some((0..24, false)));
        gate.part_sent();
        assert_eq!(cut(CutReason::Memory), None, "a part is in memory");
        gate.part_written();
        assert_eq!(cut(CutReason::Memory), Some((24..48, false)));
        assert_eq!(cut(CutReason::FullLog), Some((48..SHARDS, true)));
    }
}
