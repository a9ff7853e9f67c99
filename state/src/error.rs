//! Why a run cannot be read.

use std::io;

/// An error of a run.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system could not read the run. The caller may retry.
    #[error("cannot read {run} at byte {offset}")]
    Read {
        /// The name of the run.
        run: String,
        /// Where the part begins that could not be read, in bytes.
        offset: u64,
        /// The error of the system.
        source: io::Error,
    },
    /// The bytes of the run are not the ones that were written.
    #[error("{run} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The name of the run.
        run: String,
        /// Where the damaged part begins, in bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
}

impl StateError {
    pub(crate) fn damaged(run: &str, offset: u64, what: &'static str) -> Self {
        Self::Damaged {
            run: run.to_owned(),
            offset,
            what,
        }
    }
}
