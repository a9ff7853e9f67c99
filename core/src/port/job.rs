//! The state of the scheduler's jobs: what runs now, and how the last run ended.
//!
//! It is stored durably for three reasons: another process can show it, the scheduler can detect a
//! missed run, and two processes never run the same job at once.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::time::Timestamp;

/// A durable store of the state of each job.
///
/// ```text
/// begin ─▶ running, exclusive until the deadline ─┬─ end ───▶ free, with the result of the run
///                                                 └─ crash ─▶ free after the deadline
/// ```
#[async_trait]
pub trait JobStore: Send + Sync {
    /// The states of all jobs that were ever stored here, ordered by name.
    async fn all(&self) -> Result<Vec<JobState>, JobError>;

    /// Records the schedule of a job and the time of its next run.
    async fn plan(&self, name: &str, plan: &JobPlan) -> Result<(), JobError>;

    /// Starts a run and returns `None`. If another run of the job is active, returns that run and
    /// changes nothing. A run is active until it ends or its deadline passes; `run.began` is the
    /// time of the comparison.
    async fn begin(&self, name: &str, run: &Running) -> Result<Option<Running>, JobError>;

    /// Ends the run with this token, stores its result `ended`, and frees the job. `None` means
    /// that the run was aborted: the previous result stays. Does nothing if the run with this token
    /// is not the active one.
    async fn end(&self, name: &str, token: u64, ended: Option<&RunEnd>) -> Result<(), JobError>;
}

/// The state of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Name of the job, for example `snapshot`.
    pub name: String,
    /// Its schedule.
    pub plan: JobPlan,
    /// The active run. It stays here if its process crashed, until the next run starts.
    pub running: Option<Running>,
    /// The result of the last run that ended.
    pub last: Option<RunEnd>,
}

/// The schedule of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// The cron expression, or `never`.
    pub cron: String,
    /// The time zone in which the cron expression is evaluated.
    pub zone: String,
    /// The time of the next run; `None` if the job is never started by the scheduler.
    pub due: Option<Timestamp>,
}

/// A run that has started and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Unique identifier of the run.
    pub token: u64,
    /// When the run started.
    pub began: Timestamp,
    /// When the run counts as ended, even if its process crashed without ending it.
    pub deadline: Timestamp,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// When the run started.
    pub began: Timestamp,
    /// When the run ended.
    pub ended: Timestamp,
    /// Whether the run succeeded.
    pub ok: bool,
    /// A description of what the run did, or why it failed. It is shown publicly and must not
    /// contain secrets.
    pub report: String,
}

/// Why the state of a job was not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The stored bytes are not the ones that were written. An operator must investigate.
    #[error("the stored state of the jobs is damaged: {0}")]
    Damaged(String),
    /// The operation failed; it may or may not have taken effect. The caller may retry.
    #[error("the job store could not {operation}")]
    Failed {
        /// The operation, for example `write`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}
