//! The part of the answer of `/v1/dataflow` that `top` shows. Fields that another version of the
//! server does not have are zero or absent.

use serde::Deserialize;

/// The answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// The interval of the rates.
    pub recent: Interval,
    /// What the whole pipeline waits for.
    pub waits_for: Option<WaitsFor>,
    /// What holds the dataflow up.
    pub findings: Vec<Finding>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// The operators.
    pub operators: Vec<Operator>,
    /// The structures in memory.
    pub state: Vec<StateSize>,
    /// The memory of the process.
    pub memory: Option<Memory>,
}

/// The interval of the rates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Interval {
    /// Its length.
    pub seconds: f64,
    /// Whether it began with the process.
    pub is_whole_run: bool,
}

/// What the pipeline waits for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WaitsFor {
    /// One word.
    pub word: String,
    /// One sentence.
    pub sentence: String,
    /// What only the operator may read.
    pub detail: Option<String>,
}

impl WaitsFor {
    /// Whether the pipeline waits for something.
    pub fn is_wait(&self) -> bool {
        !matches!(self.word.as_str(), "" | "nothing")
    }

    /// The word, the sentence and the detail.
    pub fn text(&self) -> String {
        let detail = self.detail.as_ref();
        let detail = detail.map_or_else(String::new, |detail| format!(" ({detail})"));
        format!("waits for {}: {}{detail}", self.word, self.sentence)
    }
}

/// What holds the dataflow up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// The kind, one word.
    pub kind: String,
    /// The worker that is the cause.
    pub worker: Option<usize>,
    /// The address of the operator that is the cause.
    pub operator: Option<Vec<usize>>,
    /// The same for people.
    pub sentence: String,
}

/// How far the dataflow is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// The newest committed epoch.
    pub epoch: u64,
    /// The age of its network time.
    pub lag_ms: Option<u64>,
    /// Batches that are not committed.
    pub batches_pending: u64,
    /// The rates.
    pub recent: ProgressRates,
}

/// The rates of the whole dataflow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProgressRates {
    /// Events.
    pub events_per_second: f64,
    /// Rows written.
    pub rows_per_second: f64,
    /// Commits.
    pub commits_per_second: f64,
    /// The share of the time in which a commit was in progress.
    pub commit_share: f64,
}

/// A worker.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Its number.
    pub worker: usize,
    /// The shares of its time.
    pub recent: Shares,
}

/// The shares of a worker's time, from 0 to 1.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shares {
    pub busy: f64,
    pub parked: f64,
    pub step: f64,
    pub feed: f64,
    pub consolidate: f64,
    pub commit_wait: f64,
    pub batch_wait: f64,
    pub cut: f64,
    pub other: f64,
}

/// An operator.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Operator {
    /// Its address.
    pub address: Vec<usize>,
    /// Its name.
    pub name: String,
    /// Its arrangement, if it has one.
    pub arrangement: Option<Arrangement>,
    /// Its rates.
    pub recent: OperatorRates,
}

/// The sizes of an arrangement.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Arrangement {
    /// Its updates.
    pub records: i64,
}

/// What an operator did in the interval.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OperatorRates {
    /// Its share of the time of all workers.
    pub share: f64,
    /// Its share of the time of each worker.
    pub share_by_worker: Vec<f64>,
    /// How often it was scheduled.
    pub activations_per_second: f64,
    /// What it received.
    pub input_records_per_second: f64,
    /// What it sent.
    pub output_records_per_second: f64,
}

/// The size of a structure in memory.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StateSize {
    /// Its name.
    pub name: String,
    /// Its entries.
    pub entries: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The option that changes its size.
    pub option: Option<String>,
}

/// The memory of the process.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What the operating system holds in RAM for it.
    pub resident_bytes: Option<u64>,
    /// The sum of the structures.
    pub accounted_bytes: u64,
    /// The rest.
    pub unaccounted_bytes: Option<i64>,
    /// Above it, the dataflow takes no further batch.
    pub limit_bytes: Option<u64>,
}

impl Operator {
    /// The time of the slowest worker divided by the mean of all. `None` if it took no time.
    pub fn skew(&self) -> Option<f64> {
        let shares = &self.recent.share_by_worker;
        let sum: f64 = shares.iter().sum();
        let most = shares.iter().copied().fold(0.0, f64::max);
        (sum > 0.0).then(|| most * shares.len() as f64 / sum)
    }
}
