//! Checkpoints while the stream goes on.
//!
//! ```text
//! source ── batch ── batch + cut of some shards ── batch + cut ── ... ── batch + last cut, with the sums ──▶ workers
//!    │ begun                        │ bytes of shards                                                          │
//!    ▼                              ▼                                                                          ▼
//! keeper: writes sections ... waits until the store has committed the last cut, and durably ─▶ manifest ─▶ trims the log
//! ```
//!
//! Each shard is cut at the end of a batch, the same one on all workers, and written by a task of its own. The next cut
//! waits until the one before is written, so at most one cut is in memory, and the stream only waits while a
//! worker writes a shard into memory. Whatever fails is told, counted, and tried again later; the stream never minds.

mod keeper;
mod plan;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use skytide_core::id::Epoch;
use skytide_core::port::checkpoint::Mark;
use skytide_core::port::store::Committed;
use tokio::sync::Notify;

pub(crate) use keeper::Keeper;
pub(crate) use plan::Planner;

/// When checkpoints are made and what is kept.
#[derive(Clone, Copy, Debug)]
pub struct CheckpointOptions {
    /// Time between two checkpoints; `None`: only events decide.
    pub interval: Option<Duration>,
    /// Events after which one is made before its time; `None`: only time decides.
    pub events: Option<u64>,
    /// Complete checkpoints that are kept, at least 1.
    pub keep: usize,
    /// What is kept of the log beyond what the checkpoints need.
    pub log_keep: LogKeep,
    /// Shards of 64 that are cut at the end of one batch; `None`: as many as hold about 50,000 records, at least one.
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

/// What is kept of the log below the oldest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeep {
    /// Nothing: it is trimmed.
    Nothing,
    /// Messages of so much network time, as long as the log has room.
    Time(Duration),
    /// Everything: at its size limit the log waits.
    All,
}

/// What workers write at the end of a batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cut {
    /// Of which checkpoint: the epoch of its first cut.
    pub checkpoint: Epoch,
    /// Which attempt it is: one that failed is made again, and may begin with the same epoch.
    pub attempt: u64,
    /// Which shards.
    pub shards: Range<u16>,
    /// Whether these are the last ones: the sums belong to it.
    pub last: bool,
}

/// What the keeper is told.
#[derive(Debug)]
pub(crate) enum News {
    /// A checkpoint begins with a cut at this tick, in this attempt.
    Begun(Mark, u64),
    /// A worker's part of a cut.
    Part(Part),
    /// The store has committed this, or had done so before.
    Committed(Committed),
    /// What was taken in adds up to what the checkpoint says, and the store has no commit that could be compared.
    Restored,
}

/// A worker's part of a cut.
#[derive(Debug)]
pub(crate) struct Part {
    /// What was cut.
    pub cut: Cut,
    /// The epoch at whose end it was cut.
    pub through: Epoch,
    /// Sections by name.
    pub sections: Vec<(String, Vec<u8>)>,
}

/// What source, workers and keeper know of each other.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// A checkpoint was begun and is neither complete nor given up.
    busy: AtomicBool,
    /// The keeper gave up the one that was begun.
    failed: AtomicBool,
    /// One is to be made.
    due: AtomicBool,
    /// Parts that are not written yet.
    pending: AtomicUsize,
    /// One is to be made although no batch comes: the log is full.
    at_once: Notify,
    /// The epoch of the newest complete one that is of use; 0: there is none.
    complete: AtomicU64,
}

impl Gate {
    /// A checkpoint is to be made.
    pub fn want(&self) {
        self.due.store(true, Ordering::Release);
    }

    /// This is the newest complete one.
    pub fn completed(&self, checkpoint: Epoch) {
        self.complete.store(checkpoint.0, Ordering::Release);
    }

    fn newest(&self) -> Epoch {
        Epoch(self.complete.load(Ordering::Acquire))
    }

    /// A part is on its way to the keeper.
    pub fn sent(&self) {
        self.pending.fetch_add(1, Ordering::AcqRel);
    }

    fn written(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }
}
