//! Jobs, the reports of their runs, and the failures of their runs.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::id::Epoch;
use skytide_core::port::BoxError;
use skytide_core::port::job::{RunOutcome, Running};
use skytide_core::time::Timestamp;

/// Periodic work.
#[async_trait]
pub trait Job: Send + Sync {
    /// The name of the job in options, logs and reports.
    fn name(&self) -> &'static str;

    /// Whether runs send requests to servers of other operators. Such runs start with a random
    /// delay, so that not all installations send requests at the same second.
    fn uses_foreign_servers(&self) -> bool {
        false
    }

    /// Does a bounded amount of work. Must be idempotent. If the future is dropped, the next run
    /// does the remaining work.
    ///
    /// # Errors
    /// The work failed. The next run retries it.
    async fn run(&self) -> Result<Report, BoxError>;
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// There was nothing to do, for this reason.
    Nothing(&'static str),
    /// Top lists were stored.
    Snapshot {
        /// The epoch of the lists.
        epoch: Epoch,
        /// The number of lists.
        lists: usize,
    },
    /// Old snapshots and profiles were removed.
    Retention {
        /// The number of removed snapshots.
        snapshots: usize,
        /// The number of remaining snapshots.
        snapshots_kept: usize,
        /// The number of removed profiles.
        profiles: usize,
    },
    /// Profiles were fetched.
    Profiles(ProfilesReport),
}

/// The result of a run of `profiles`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfilesReport {
    /// Accounts in the lists that were read.
    pub listed: usize,
    /// Requests to the source.
    pub calls: usize,
    /// Fetched profiles.
    pub fetched: usize,
    /// Accounts that the source does not know, or for which its answer was malformed.
    pub unknown: usize,
    /// Malformed entries of answers.
    pub malformed: usize,
    /// Stored profiles that were removed because their accounts are hidden now.
    pub hidden: usize,
    /// Accounts that remain for the next run.
    pub left: usize,
    /// The source is not queried again before this time.
    pub not_before: Option<Timestamp>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(why) => write!(f, "nothing to do: {why}"),
            Self::Snapshot { epoch, lists } => {
                write!(f, "stored {lists} top lists as of epoch {epoch}")
            }
            Self::Retention {
                snapshots,
                snapshots_kept,
                profiles,
            } => write!(
                f,
                "removed {snapshots} old snapshots, {snapshots_kept} remain; removed {profiles} \
                 old profiles"
            ),
            Self::Profiles(report) => report.fmt(f),
        }
    }
}

impl fmt::Display for ProfilesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            listed,
            calls,
            fetched,
            unknown,
            left,
            ..
        } = self;
        write!(
            f,
            "read {listed} listed accounts, sent {calls} requests: {fetched} profiles, {unknown} \
             unknown accounts, {left} remain for the next run"
        )?;
        if self.malformed > 0 {
            write!(f, "; {} entries were malformed", self.malformed)?;
        }
        if self.hidden > 0 {
            write!(f, "; removed {} profiles of hidden accounts", self.hidden)?;
        }
        match self.not_before {
            Some(moment) => write!(f, "; the source is paused until {}", moment.rfc3339()),
            None => Ok(()),
        }
    }
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFailure {
    /// Another process runs the job, so it was not started here.
    #[error("another process has been running it since {}", .0.began.rfc3339())]
    Busy(Running),
    /// The job returned an error.
    #[error("{0}")]
    Failed(String),
    /// The job panicked, which is a bug. The log has the message.
    #[error("it panicked")]
    Panicked,
    /// The run exceeded its time limit.
    #[error(
        "it took longer than {} s and was stopped (SCHEDULER_<JOB>_RUN_MAX, else SCHEDULER_RUN_MAX)",
        .0.as_secs()
    )]
    TooLong(Duration),
    /// The process shut down during the run. The next process repeats the run when it starts.
    #[error("it was interrupted by the shutdown of the process")]
    Interrupted,
    /// The start of the run could not be stored, so the run was not started.
    #[error("could not store the state of the job")]
    State,
}

impl RunFailure {
    /// How the run ended; `None` if it was not started.
    pub fn outcome(&self) -> Option<RunOutcome> {
        match self {
            Self::Busy(_) | Self::State => None,
            Self::Failed(_) => Some(RunOutcome::Failed),
            Self::Panicked => Some(RunOutcome::Panicked),
            Self::TooLong(_) => Some(RunOutcome::TimedOut),
            Self::Interrupted => Some(RunOutcome::Interrupted),
        }
    }
}
