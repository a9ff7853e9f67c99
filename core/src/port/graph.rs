//! What a running dataflow does: its operators, the channels between them, and its workers. The
//! dataflow reports it, and the API and `/metrics` show it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::port::memory::{MemoryExcess, MemoryUse};
use crate::port::size::StateSize;
use crate::time::Timestamp;

/// Reports what the dataflow does.
pub trait GraphReporter: Send + Sync {
    /// The newest report of each worker, in the order of their numbers. Empty if no dataflow runs
    /// in this process.
    fn reports(&self) -> Vec<Arc<WorkerReport>>;

    /// How far the whole dataflow is, and what its committer did. `None` if it is not known.
    fn progress(&self) -> Option<Progress> {
        None
    }
}

/// How far the dataflow of this process is. The counters count from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Seconds since the process began to measure.
    pub running_seconds: f64,
    /// The newest committed epoch; 0 before the first commit.
    pub epoch: u64,
    /// Its network time; not [`known`](Timestamp::known) before the first commit.
    #[serde(skip)]
    pub network_time: Timestamp,
    /// Events of committed epochs.
    pub events: u64,
    /// Rows written.
    pub rows: u64,
    /// Commits that succeeded.
    pub commits: u64,
    /// Seconds spent in commits, with those of the commit in progress.
    pub commit_seconds: f64,
    /// Seconds that the commit in progress has taken; 0 if there is none.
    pub committing_seconds: f64,
    /// Attempts of commits that failed and were repeated.
    pub commit_retries: u64,
    /// Events that were read from the log and are not fed to the workers yet.
    pub events_pending: u64,
    /// Batches that were fed to the workers and are not committed yet.
    pub batches_pending: u64,
    /// A process that uses more memory than its limit allows, if there is one.
    #[serde(skip)]
    pub memory_excess: Option<MemoryExcess>,
}

/// What one worker did since it started. All counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its number among the workers of all processes.
    pub worker: usize,
    /// Whether it is a worker of another process. Such a worker sends its report with its part of a
    /// batch, so the report ages while the batch waits.
    #[serde(skip)]
    pub is_remote: bool,
    /// Seconds since the worker started, when the report was made.
    pub running_seconds: f64,
    /// Seconds in which it ran operators or propagated progress.
    pub busy_seconds: f64,
    /// Seconds in which it waited for other workers within a batch.
    pub parked_seconds: f64,
    /// Seconds in which it stepped the graph outside of operators: it exchanged messages with other
    /// workers and added up its log.
    pub step_seconds: f64,
    /// Seconds in which it fed its parts of batches into the graph.
    pub feed_seconds: f64,
    /// Seconds in which it consolidated changed rows.
    pub consolidate_seconds: f64,
    /// Seconds in which it waited until the committer accepted its rows.
    pub commit_wait_seconds: f64,
    /// Seconds in which it waited for the next batch.
    pub batch_wait_seconds: f64,
    /// Seconds in which it serialized its parts of checkpoints.
    pub cut_seconds: f64,
    /// Seconds in which it did something else, such as building the graph. `running_seconds` is the
    /// sum of all other times.
    pub other_seconds: f64,
    /// Seconds in which a processor ran its thread; `None` if the system does not report that.
    pub cpu_seconds: Option<f64>,
    /// The newest epoch that all workers have completed, as far as this worker knows; 0 if there is
    /// none yet. While a checkpoint is restored, it counts up to the first cut.
    pub epoch: u64,
    /// Epochs that this worker was fed beyond `epoch`, and that some worker has not completed. 0
    /// between batches.
    pub frontier_lag_epochs: u64,
    /// The same in seconds of network time: from the end of `epoch` to the end of the newest epoch
    /// that it was fed.
    pub frontier_lag_seconds: f64,
    /// Its operators and scopes, in the order of their addresses.
    pub operators: Vec<OperatorReport>,
    /// The channels between its operators, in the order of their numbers.
    pub channels: Vec<ChannelReport>,
    /// The sizes of its state, in the order of their names. Each name occurs once.
    pub state: Vec<StateSize>,
    /// The memory of its process beside the limit of that process. `None` without a limit, and for
    /// a worker of the leading process.
    pub memory: Option<MemoryUse>,
}

/// What one operator, or one scope of operators, did on one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorReport {
    /// The path from the root of the worker: the number of the dataflow, then the number of the
    /// operator or scope in each enclosing scope.
    pub address: Vec<usize>,
    /// Its name. Several operators may have the same name.
    pub name: Box<str>,
    /// Whether it contains other operators.
    pub is_scope: bool,
    /// Seconds in which it ran itself. The time of operators that it contains is not included.
    pub busy_seconds: f64,
    /// How often it was scheduled.
    pub activations: u64,
    /// Data that it received.
    pub input: Traffic,
    /// Data that it produced. What it sends to several operators counts once.
    pub output: Traffic,
    /// Its arrangement, if it has one.
    pub arrangement: Option<ArrangementReport>,
}

/// An amount of data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Messages. A message is a container of records that are sent together.
    pub messages: u64,
    /// Records. A container that all receivers share counts as the records in it
    /// (timely's [`Accountable`](https://docs.rs/timely_container/latest/timely_container/trait.Accountable.html)).
    pub records: u64,
}

/// A channel from an output of an operator to an input of another operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelReport {
    /// The number of the channel, the same on all workers.
    pub number: usize,
    /// The address of the scope that contains the channel.
    pub scope: Vec<usize>,
    /// The operator in that scope, and its output.
    pub source: (usize, usize),
    /// The operator in that scope, and its input.
    pub target: (usize, usize),
    /// What this worker sent, to itself or to others.
    pub sent: Traffic,
    /// What this worker received.
    pub received: Traffic,
}

/// The sizes of an arrangement: an index that differential dataflow maintains in sorted batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrangementReport {
    /// Updates in all its batches.
    pub records: i64,
    /// Its batches.
    pub batches: i64,
    /// Merges of batches that were completed.
    pub merges: u64,
    /// Updates that are not in a batch yet, because their time is not complete.
    pub pending_records: i64,
}
