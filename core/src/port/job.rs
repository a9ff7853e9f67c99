//! The state of the scheduler's jobs: what runs now, and how the last runs ended. Also the request
//! for a run.
//!
//! The state is stored durably for three reasons: another process can show it, the scheduler can
//! detect a missed run, and two processes never run the same job at once.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::time::Timestamp;

/// Number of runs that the history of a job holds. An older run is removed.
pub const RUNS_KEPT: usize = 20;
/// Maximum length of the report of a run, in bytes.
pub const REPORT_BYTES_MAX: usize = 1_000;

/// A durable store of the state of each job.
///
/// ```text
/// begin ─▶ running, exclusive until the deadline ─┬─ end ───▶ free, with the result of the run
///                                                 └─ crash ─▶ free after the deadline
/// ```
///
/// Every run that has started enters the history once: at its end, or, if its process died, when
/// the next run starts. The history holds the newest [`RUNS_KEPT`] runs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// The states of all jobs that were ever stored here, ordered by name.
    async fn all(&self) -> Result<Vec<JobState>, JobError>;

    /// Records the schedule of a job and the time of its next run.
    async fn plan(&self, name: &str, plan: &JobPlan) -> Result<(), JobError>;

    /// Starts a run and returns `None`. If another run of the job is active, returns that run and
    /// changes nothing. A run is active until it ends or its deadline passes
    /// ([`Running::is_active`]); `run.began` is the time of the comparison. A run that is replaced
    /// after its deadline enters the history as [`RunOutcome::Interrupted`], with `run.began` as its
    /// end.
    async fn begin(&self, name: &str, run: &Running) -> Result<Option<Running>, JobError>;

    /// Ends the run with this token, stores its result `ended`, and frees the job. The result
    /// becomes the last result of the job, unless the run was interrupted. Does nothing if the run
    /// with this token is not the active one.
    async fn end(&self, name: &str, token: u64, ended: &RunEnd) -> Result<(), JobError>;
}

/// Runs jobs on request, in the process whose scheduler has them.
#[async_trait]
pub trait JobRunner: Send + Sync {
    /// Runs a job now and waits for its end. The run continues if the future is dropped.
    ///
    /// # Errors
    /// The run was not started, or its end is not known.
    async fn run_now(&self, name: &str) -> Result<RunEnd, RunRefusal>;

    /// The state of each job of the scheduler, ordered by name. A job that was never stored has no
    /// runs.
    ///
    /// # Errors
    /// The job store cannot be read.
    async fn states(&self) -> Result<Vec<JobState>, JobError>;
}

/// Why a requested run was not started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RunRefusal {
    /// There is no job of this name.
    #[error("there is no job {name:?}; there are: {}", .known.join(", "))]
    Unknown {
        /// The requested name.
        name: String,
        /// The names of all jobs.
        known: Vec<String>,
    },
    /// The job already runs, in this process or in another one.
    #[error("it has been running since {}; retry after it has ended", .since.rfc3339())]
    Running {
        /// When the other run started.
        since: Timestamp,
    },
    /// The start of the run could not be stored. The log of the process has the cause.
    #[error("the job store could not record the start of the run; retry later")]
    NotStored,
    /// The scheduler has stopped.
    #[error("the scheduler is stopping; retry after the process has restarted")]
    Stopping,
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
    /// The result of the last run that ended and was not interrupted.
    pub last: Option<RunEnd>,
    /// The newest [`RUNS_KEPT`] runs that ended or died, newest first. Empty in states that were
    /// stored before there was a history.
    #[serde(default)]
    pub history: Vec<RunEnd>,
}

/// The schedule of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// The cron expression, or `never`.
    pub cron: String,
    /// The time zone in which the cron expression is evaluated.
    pub zone: String,
    /// The time of the next run, including its random delay; `None` if the job is never started by
    /// the scheduler.
    pub due: Option<Timestamp>,
    /// The time limit of a run in ms; `None` in plans that were stored before it was part of them.
    #[serde(default)]
    pub run_ms_max: Option<u64>,
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
    /// What started the run; `None` if an earlier version stored it without.
    #[serde(default)]
    pub trigger: Option<Trigger>,
}

/// A run that began this many ms in the future was recorded by a process whose clock was wrong. It
/// does not count as active, because its deadline would block the job until that time.
pub const BEGAN_AHEAD_MS_MAX: u64 = 86_400_000;

impl Running {
    /// Whether the run counts as active: its deadline has not passed, and it did not begin more
    /// than a day after `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        let began_ahead = self.began.0.saturating_sub(now.0);
        self.deadline > now && began_ahead <= BEGAN_AHEAD_MS_MAX
    }
}

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The job was due.
    Schedule,
    /// A person or a program requested the run.
    Command,
    /// A run was missed, or a process died during it.
    CatchUp,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredRunEnd", into = "StoredRunEnd")]
pub struct RunEnd {
    /// When the run started.
    pub began: Timestamp,
    /// When the run ended. For a run whose process died: when the next run started.
    pub ended: Timestamp,
    /// What started the run; `None` if an earlier version stored it without.
    pub trigger: Option<Trigger>,
    /// How the run ended.
    pub outcome: RunOutcome,
    /// A description of what the run did, or why it failed, of at most [`REPORT_BYTES_MAX`] bytes.
    /// If the run failed, it has the error texts of drivers and servers, which are for the operator
    /// only: everybody else gets [`RunEnd::public_report`].
    pub report: String,
}

impl RunEnd {
    /// Whether the run succeeded.
    pub fn ok(&self) -> bool {
        self.outcome == RunOutcome::Ok
    }

    /// The report as everybody may read it: without the texts of errors.
    pub fn public_report(&self) -> &str {
        match self.outcome {
            RunOutcome::Failed => FAILED_REPORT,
            _ => &self.report,
        }
    }

    /// The run `died`, whose process exited without ending it, as the run that starts at `noticed`
    /// records it.
    pub fn died(died: &Running, noticed: Timestamp) -> Self {
        Self {
            began: died.began,
            ended: noticed,
            trigger: died.trigger,
            outcome: RunOutcome::Interrupted,
            report: DIED_REPORT.to_owned(),
        }
    }
}

/// The public report of a run whose job returned an error.
pub const FAILED_REPORT: &str = "it failed; the log, and a key with the scope admin, show why";

/// The report of a run whose process died.
pub const DIED_REPORT: &str = "its process exited without recording the end of the run";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// It did its work.
    Ok,
    /// The job returned an error.
    Failed,
    /// It exceeded its time limit and was stopped.
    TimedOut,
    /// Its process stopped or died.
    Interrupted,
    /// The job panicked, which is a bug.
    Panicked,
}

/// The stored form of a [`RunEnd`]. The first versions stored no outcome, only `ok`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredRunEnd {
    began: Timestamp,
    ended: Timestamp,
    ok: bool,
    report: String,
    #[serde(default)]
    trigger: Option<Trigger>,
    #[serde(default)]
    outcome: Option<RunOutcome>,
}

impl From<StoredRunEnd> for RunEnd {
    fn from(stored: StoredRunEnd) -> Self {
        Self {
            began: stored.began,
            ended: stored.ended,
            trigger: stored.trigger,
            outcome: RunOutcome::stored(stored.outcome, stored.ok),
            report: stored.report,
        }
    }
}

impl From<RunEnd> for StoredRunEnd {
    fn from(end: RunEnd) -> Self {
        Self {
            began: end.began,
            ended: end.ended,
            ok: end.ok(),
            trigger: end.trigger,
            outcome: Some(end.outcome),
            report: end.report,
        }
    }
}

impl RunOutcome {
    /// The outcome of a stored run. `outcome` is `None` if an earlier version stored only `ok`.
    pub fn stored(outcome: Option<Self>, ok: bool) -> Self {
        let default = if ok { Self::Ok } else { Self::Failed };
        outcome.unwrap_or(default)
    }
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
