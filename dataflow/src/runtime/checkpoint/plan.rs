//! Which batch ends with which cut.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use skytide_core::id::Epoch;
use tokio::sync::mpsc;

use super::{Cut, Gate, News};
use crate::metrics::Metrics;
use crate::records::SHARDS;
use crate::runtime::batch::End;

/// Records that one cut writes, about: some milliseconds.
const RECORDS_PER_CUT: u64 = 50_000;

/// Decides, batch by batch; the source asks it.
pub(crate) struct Planner {
    pub gate: Arc<Gate>,
    pub news: mpsc::UnboundedSender<News>,
    /// Events after which a checkpoint is due.
    pub events_max: Option<u64>,
    /// Shards of one cut; `None`: by the number of live records.
    pub shards_per_cut: Option<u16>,
    /// Knows how many records are live.
    pub metrics: Arc<Metrics>,
    /// Checkpoints begin behind this epoch, for no commit before it is told. If nothing comes behind it, one begins there.
    pub behind: Epoch,
    /// Checkpoints that were begun.
    pub attempts: u64,
    /// The one in progress: its epoch and the shards that are to be cut.
    pub active: Option<(Epoch, Range<u16>)>,
    /// Events since one was begun.
    pub events: u64,
}

impl Planner {
    /// What is to be cut at the end of this batch. `at_once`: all that is left, for no further batch may come.
    pub fn cut(&mut self, end: &End, at_once: bool) -> Option<Cut> {
        let gate = &self.gate;
        if gate.failed.swap(false, Ordering::AcqRel) {
            self.active = None;
            gate.busy.store(false, Ordering::Release);
        }
        if self.active.is_none() && self.may_begin(end, at_once) {
            self.active = Some((end.epoch, 0..SHARDS));
            self.events = 0;
            self.attempts += 1;
            self.gate.due.store(false, Ordering::Release);
            self.gate.busy.store(true, Ordering::Release);
            // A keeper that is gone takes nothing: the process ends.
            let _ = self.news.send(News::Begun(end.mark(), self.attempts));
        }
        let count = self.shards();
        let (checkpoint, left) = self.active.as_mut()?;
        if !at_once && self.gate.pending.load(Ordering::Acquire) > 0 {
            return None;
        }
        let count = if at_once { SHARDS } else { count };
        let shards = left.start..left.end.min(left.start + count);
        left.start = shards.end;
        let cut = Cut {
            checkpoint: *checkpoint,
            attempt: self.attempts,
            shards,
            last: left.start == left.end,
        };
        if cut.last {
            self.active = None;
        }
        Some(cut)
    }

    /// Shards of the next cut.
    fn shards(&self) -> u16 {
        let by_size = || {
            let records = u64::try_from(self.metrics.live_records.get()).unwrap_or(0);
            (u64::from(SHARDS) * RECORDS_PER_CUT / records.max(1)).min(SHARDS.into()) as u16
        };
        self.shards_per_cut.unwrap_or_else(by_size).clamp(1, SHARDS)
    }

    /// Counts the events of a batch that is sent.
    pub fn count(&mut self, end: &End) {
        self.events += end.events as u64;
    }

    /// Waits until a checkpoint is wanted although no batch may come.
    pub async fn at_once(&self) {
        self.gate.at_once.notified().await;
    }

    fn may_begin(&self, end: &End, at_once: bool) -> bool {
        let enough = self.events_max.is_some_and(|max| self.events >= max);
        let due = enough || self.gate.due.load(Ordering::Acquire);
        let told = end.epoch > self.behind || at_once && end.epoch == self.behind;
        let free = !self.gate.busy.load(Ordering::Acquire);
        due && told && free && end.epoch > self.gate.newest()
    }
}
