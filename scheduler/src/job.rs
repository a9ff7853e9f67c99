//! What a job is, what a run of it did, and why it could not.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::id::Epoch;
use skytide_core::port::BoxError;
use skytide_core::time::Timestamp;

/// Work that is done again and again.
#[async_trait]
pub trait Job: Send + Sync {
    /// The name in options, logs and reports.
    fn name(&self) -> &'static str;

    /// Does a bounded amount of it. Repeating it changes nothing; dropping the future loses
    /// nothing that the next run would not do.
    ///
    /// # Errors
    /// It could not be done now; the next run tries again.
    async fn run(&self) -> Result<Report, BoxError>;
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// There was nothing to do, and why.
    Nothing(&'static str),
    /// Top lists were stored.
    Snapshot {
        /// As of this epoch.
        epoch: Epoch,
        /// So many lists.
        lists: usize,
    },
    /// What is old was removed.
    Retention {
        /// So many snapshots.
        snapshots: usize,
        /// So many snapshots are left.
        snapshots_kept: usize,
        /// So many profiles.
        profiles: usize,
    },
    /// Profiles were fetched.
    Profiles(ProfilesReport),
}

/// What a run of `profiles` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfilesReport {
    /// Accounts in the lists that were looked at.
    pub listed: usize,
    /// The source was asked so often.
    pub calls: usize,
    /// Profiles that were fetched.
    pub fetched: usize,
    /// Accounts that the source does not know, or of which it answered something malformed.
    pub unknown: usize,
    /// Entries of answers that were malformed.
    pub malformed: usize,
    /// Kept profiles of accounts that are hidden now, which were removed.
    pub hidden: usize,
    /// Accounts that are left for the next run.
    pub left: usize,
    /// The source is not asked again before this moment.
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
                "removed {snapshots} old snapshots, {snapshots_kept} are left; removed {profiles} \
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
            "looked at {listed} listed accounts, asked {calls} times: {fetched} profiles, {unknown} \
             unknown accounts, {left} left for the next run"
        )?;
        if self.malformed > 0 {
            write!(f, "; {} entries were malformed", self.malformed)?;
        }
        if self.hidden > 0 {
            write!(f, "; forgot {} of hidden accounts", self.hidden)?;
        }
        match self.not_before {
            Some(moment) => write!(f, "; not asked before {}", moment.rfc3339()),
            None => Ok(()),
        }
    }
}

/// Why a run did not do its work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunFailure {
    /// Another process runs the job: it was not begun here.
    #[error("another process runs it since {}", .began.rfc3339())]
    Busy {
        /// When the other run began.
        began: Timestamp,
        /// It has ended or died by then.
        deadline: Timestamp,
    },
    /// The job said so.
    #[error("{0}")]
    Failed(String),
    /// A bug; the log has its words.
    #[error("it panicked")]
    Panicked,
    /// It did not come to its end.
    #[error("it took longer than {} s and was ended (SCHEDULER_RUN_MAX)", .0.as_secs())]
    TooLong(Duration),
    /// The process ends; the next one does its work.
    #[error("it was cut off by the end of the process")]
    Interrupted,
    /// What the job is doing could not be kept, so it was not begun.
    #[error("the state of the job could not be kept")]
    State,
}
