//! What crosses between the source, the workers and the committer.
//!
//! ```text
//! source ── Command ─▶ worker ── BatchOutput ─▶ committer
//! ```

use serde::{Deserialize, Serialize};

use crate::graph::GraphConfig;
use crate::records::{AccountPolicy, Drops, Gauges};
use crate::runtime::batch::{End, Segment};
use crate::runtime::checkpoint::Cut;
use crate::runtime::consolidate::RowChanges;
use crate::types::Time;

/// A command to a worker.
#[derive(Debug)]
pub enum Command {
    /// Build the graph. Each worker receives this command first, and once.
    Build(Box<BuildCommand>),
    /// Process this worker's part of a batch.
    Feed(BatchInput),
    /// The source waits for memory: return the free memory of this thread, then report the memory of
    /// the process. Workers of the leading process report nothing: the source measures their memory
    /// itself.
    Report,
}

/// What the graph computes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildCommand {
    /// The views and their options.
    pub graph: GraphConfig,
    /// How an account's status affects its records.
    pub policy: AccountPolicy,
    /// The last time whose counts of events come from the restored checkpoint; 0 without one.
    pub counted_through: Time,
    /// Whether a checkpoint with runs is restored, on which the next one builds.
    pub restores_runs: bool,
}

/// A worker's part of a batch.
#[derive(Debug)]
pub struct BatchInput {
    /// The inputs, in order of time. Without segments, only the cut is made.
    pub segments: Vec<Segment>,
    /// The end of the batch.
    pub end: End,
    /// What the worker writes into a checkpoint after the segments.
    pub(crate) cut: Option<Cut>,
}

/// A worker's part of the result of a batch.
#[derive(Debug)]
pub struct BatchOutput {
    /// The end of the batch.
    pub end: End,
    /// The changes of this worker's rows.
    pub changes: RowChanges,
}

/// Statistics that a worker reports.
#[derive(Debug)]
pub struct WorkerStats {
    /// Current sizes of its live records.
    pub gauges: Gauges,
    /// Inputs that it dropped since its previous report.
    pub drops: Drops,
}
