//! What a job is.

use std::fmt;

use async_trait::async_trait;
use skytide_core::id::Epoch;
use skytide_core::port::BoxError;

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
    /// Old snapshots were removed.
    Retention {
        /// So many.
        removed: usize,
        /// So many are left.
        kept: usize,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(why) => write!(f, "nothing to do: {why}"),
            Self::Snapshot { epoch, lists } => {
                write!(f, "stored {lists} top lists as of epoch {epoch}")
            }
            Self::Retention { removed, kept } => {
                write!(f, "removed {removed} old snapshots, {kept} are left")
            }
        }
    }
}
