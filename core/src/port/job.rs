//! What the jobs are doing and what they did last, kept so that another process can show it, that a run which was
//! missed is found, and that no two processes run a job at once.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::time::Timestamp;

/// Where the state of each job is kept, durably.
///
/// ```text
/// begin ─▶ running, its own until the deadline ─┬─ end ──────────────▶ free, with how it ended
///                                               └─ nothing (a crash) ─▶ free behind the deadline
/// ```
#[async_trait]
pub trait JobStore: Send + Sync {
    /// The state of every job that was ever seen here, by name.
    async fn all(&self) -> Result<Vec<JobState>, JobError>;

    /// Notes when a job is due next and how that is decided.
    async fn plan(&self, name: &str, plan: &JobPlan) -> Result<(), JobError>;

    /// Begins a run, unless another one that began has neither ended nor passed its deadline at `run.began`: that
    /// one is answered then and nothing changes. `None`: the run has begun.
    async fn begin(&self, name: &str, run: &Running) -> Result<Option<Running>, JobError>;

    /// Ends the run of this token: keeps how it ended, and the job is free. `None`: it was cut off, as if it had not
    /// begun. Does nothing if that run does not go on.
    async fn end(&self, name: &str, token: u64, ended: Option<&RunEnd>) -> Result<(), JobError>;
}

/// The state of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Its name, as `snapshot`.
    pub name: String,
    /// When it runs.
    pub plan: JobPlan,
    /// The run that goes on, or went on when its process died.
    pub running: Option<Running>,
    /// The newest run that ended.
    pub last: Option<RunEnd>,
}

/// When a job runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// The cron expression, or `never`.
    pub cron: String,
    /// The time zone in which it is read.
    pub zone: String,
    /// The next moment of it; `None`: never by itself.
    pub due: Option<Timestamp>,
}

/// A run that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Which run: no two have the same.
    pub token: u64,
    /// When it began.
    pub began: Timestamp,
    /// It has ended, been ended or died by then.
    pub deadline: Timestamp,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether it did its work.
    pub ok: bool,
    /// What it did, or why it could not, in words for people. Public: no secrets.
    pub report: String,
}

/// Why the state of a job was not kept or read.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// What is kept is not what was written: a person must look.
    #[error("the state of the jobs is damaged: {0}")]
    Damaged(String),
    /// The operation failed and may have been done or not; it may be repeated.
    #[error("the job store could not {operation}")]
    Failed {
        /// What was tried, as `write`.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}
