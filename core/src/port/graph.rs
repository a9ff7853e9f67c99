//! What a running dataflow does: its operators, the channels between them, and its workers. The
//! dataflow reports it, and the API and `/metrics` show it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::port::size::StateSize;

/// Reports what the dataflow does.
pub trait GraphReporter: Send + Sync {
    /// The newest report of each worker, in the order of their numbers. Empty if no dataflow runs
    /// in this process.
    fn reports(&self) -> Vec<Arc<WorkerReport>>;
}

/// What one worker did since it started. All counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its number among the workers of all processes.
    pub worker: usize,
    /// Seconds since the worker started, when the report was made.
    pub running_seconds: f64,
    /// Seconds in which it ran operators or propagated progress.
    pub busy_seconds: f64,
    /// Seconds in which it waited for other workers within a batch. In the rest of
    /// `running_seconds` it fed batches and consolidated their rows, made cuts of checkpoints, and
    /// waited for the committer and for the next batch.
    pub parked_seconds: f64,
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
