//! Makes checkpoints without stopping the stream.
//!
//! ```text
//! source ── batch ── batch + cut of some shards ── ... ── batch + last cut, accumulators ▶ workers
//!    │ begun                                                                                  │
//!    ▼                                                                                        │
//! keeper ◀────────────────────── parts: what changed in the shards ───────────────────────────┘
//!    └─ writes runs, shares older ones ─▶ waits for a durable commit of the last cut ─▶ manifest
//!       ─▶ trims the log
//! ```
//!
//! Each shard is cut at the end of a batch, the same batch on all workers. A separate task, the
//! keeper, writes the parts to storage. The next cut waits until the previous one is written. So at
//! most one cut is in memory, and the stream only pauses while a worker serializes what changed in a
//! shard since the previous checkpoint. A failure is logged, counted and retried later; it never affects the stream.

mod keeper;
mod plan;
mod runs;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skytide_core::id::Epoch;
use skytide_core::port::checkpoint::Mark;
use skytide_core::port::store::Committed;
use tokio::sync::Notify;

pub(crate) use keeper::Keeper;
pub(crate) use plan::{CutReason, Planner};
pub(crate) use runs::Base;

use crate::records::{CheckpointId, OpenRuns};

/// When checkpoints are made, and how many checkpoints and how much of the log are kept.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    /// Time between two checkpoints; `None` if only the number of events decides.
    pub interval: Option<Duration>,
    /// The number of events after which a checkpoint is made before the interval is over; `None` if
    /// only time decides.
    pub events: Option<u64>,
    /// The number of complete checkpoints that are kept, at least 1.
    pub keep: usize,
    /// How much of the log is kept beyond what the checkpoints need.
    pub log_keep: LogKeep,
    /// The number of shards, of 64, that are cut at the end of one batch. With `None`, it is as
    /// many as hold about 50,000 records, at least one.
    pub shards_per_cut: Option<u16>,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_secs(300)),
            events: None,
            keep: 2,
            log_keep: LogKeep::Nothing,
            shards_per_cut: None,
        }
    }
}

/// How much of the log is kept before the oldest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeep {
    /// Nothing: the log is trimmed up to the checkpoint.
    Nothing,
    /// The messages of this span of network time, as long as the log has room.
    Time(Duration),
    /// Everything: at its size limit the log blocks the writer.
    All,
}

/// What the workers write into a checkpoint at the end of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// The checkpoint, named by the epoch of its first cut.
    pub checkpoint: Epoch,
    /// The number of the attempt. An attempt that failed is repeated and may begin at the same
    /// epoch.
    pub attempt: u64,
    /// The shards to write.
    pub shards: Range<u16>,
    /// The complete checkpoint whose runs are reused: what changed since then is written. With
    /// `None`, everything is written.
    pub base: Option<CheckpointId>,
    /// Whether this is the last cut, which also has the accumulators.
    pub last: bool,
}

/// An event that the keeper handles.
#[derive(Debug)]
pub(crate) enum CheckpointEvent {
    /// A checkpoint was begun.
    Begun {
        /// The tick of its first cut.
        first: Mark,
        /// The number of the attempt.
        attempt: u64,
        /// The checkpoint on which it builds.
        base: Option<CheckpointId>,
    },
    /// A worker wrote its part of a cut.
    Part(Part),
    /// The store has this commit, made now or before the start.
    Committed(Committed),
    /// The restored rows have the checksums that the checkpoint recorded, and the store has no
    /// commit to compare with.
    Restored,
}

/// A worker's part of a cut.
#[derive(Debug)]
pub(crate) struct Part {
    /// The cut.
    pub cut: Cut,
    /// The epoch at whose end the cut was made.
    pub through: Epoch,
    /// Sections with their names.
    pub sections: Vec<(String, Vec<u8>)>,
    /// The entries that changed, by shard.
    pub changes: Vec<(u16, Vec<u8>)>,
    /// How long the worker paused to write them.
    pub pause_seconds: f64,
}

impl Part {
    /// Bytes of its sections and changes.
    pub fn bytes(&self) -> u64 {
        let sections = self.sections.iter().map(|(_, bytes)| bytes);
        let changes = self.changes.iter().map(|(_, bytes)| bytes);
        sections.chain(changes).map(|it| it.len() as u64).sum()
    }
}

/// State that the planner, the workers and the keeper share to decide when a cut may be made.
#[derive(Debug, Default)]
pub(crate) struct CutGate {
    /// A checkpoint was begun and has neither completed nor failed.
    in_progress: AtomicBool,
    /// The checkpoint that was begun has failed.
    failed: AtomicBool,
    /// A checkpoint is due.
    due: AtomicBool,
    /// Parts that the keeper has not written yet.
    pending_parts: AtomicUsize,
    /// Notified when a checkpoint is due because the log is full, or because the source waits for
    /// memory. The planner then makes a cut without waiting for a further batch.
    cut_requested: Notify,
    /// A worker would evict more records if a newer checkpoint contained them.
    wanted_for_memory: AtomicBool,
    /// The epoch of the newest complete and usable checkpoint; 0 if there is none.
    newest_complete: AtomicU64,
    /// The runs of the newest complete checkpoint, if workers may evict records.
    open_runs: Mutex<Option<Arc<OpenRuns>>>,
    /// The complete checkpoint on which the next one builds.
    base: Mutex<Option<CheckpointId>>,
}

impl CutGate {
    /// Requests a checkpoint.
    pub fn request(&self) {
        self.due.store(true, Ordering::Release);
    }

    /// Records that memory is short, and that a checkpoint would allow evicting more records.
    pub fn want_checkpoint(&self) {
        self.wanted_for_memory.store(true, Ordering::Release);
    }

    /// Whether a worker wants a checkpoint, since the last call.
    fn take_wanted(&self) -> bool {
        self.wanted_for_memory.swap(false, Ordering::AcqRel)
    }

    /// Records the newest complete checkpoint.
    pub fn set_newest_complete(&self, checkpoint: Epoch) {
        self.newest_complete.store(checkpoint.0, Ordering::Release);
    }

    /// Records the open runs of the newest complete checkpoint. `None` if they are damaged, so that
    /// no further record may be evicted into them.
    pub fn set_open_runs(&self, open: Option<Arc<OpenRuns>>) {
        *self
            .open_runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// The open runs of the newest complete checkpoint, or of an earlier one if they cannot be
    /// opened. `None` if no record may be evicted.
    pub fn open_runs(&self) -> Option<Arc<OpenRuns>> {
        self.open_runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Records the checkpoint on which the next one builds.
    pub fn set_base(&self, base: Option<CheckpointId>) {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner) = base;
    }

    fn base(&self) -> Option<CheckpointId> {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn newest_complete(&self) -> Epoch {
        Epoch(self.newest_complete.load(Ordering::Acquire))
    }

    /// Records that a part is on its way to the keeper.
    pub fn part_sent(&self) {
        self.pending_parts.fetch_add(1, Ordering::AcqRel);
    }

    fn part_written(&self) {
        self.pending_parts.fetch_sub(1, Ordering::AcqRel);
    }
}
