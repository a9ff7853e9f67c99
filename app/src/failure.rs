//! The error of a command, for the person who ran it.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use skytide_core::port::BoxError;

use crate::log_queue::last_line;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line, the environment or `.env` is not valid. Clap formats the text to print.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// An operation failed.
    #[error("{what}")]
    Failed {
        /// Which operation failed, and the remedy.
        what: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
}

impl Failure {
    /// A failure without a cause.
    pub fn new(what: impl Into<String>) -> Self {
        Self::Failed {
            what: what.into(),
            source: None,
        }
    }

    /// A failure with its cause.
    pub fn because(what: impl Into<String>, source: impl Into<BoxError>) -> Self {
        Self::Failed {
            what: what.into(),
            source: Some(source.into()),
        }
    }
}

/// Prints a failure with all its causes. Returns the exit code: 2 for usage, else 1.
pub fn report(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Usage(error) => {
            // If standard error is closed, there is no place to report that.
            let _closed = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Failure::Failed { .. } => {
            last_line(&format!("error: {}", chain(failure)));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, one per line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, "\n  because: {error}");
        cause = error.source();
    }
    text
}
