//! Why a command did not do what it was asked, for the person who asked.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use skytide_core::port::BoxError;

use crate::terminal::note;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line, the environment or `.env` are not right. Clap says what and how, with the
    /// text to print.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// What was tried, and why it did not work.
    #[error("{what}")]
    Failed {
        /// What could not be done, and what to do about it.
        what: String,
        /// Why.
        #[source]
        source: Option<BoxError>,
    },
}

impl Failure {
    /// A failure with nothing behind it.
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

/// Prints a failure with all its causes; answers the code to end with: 2 for usage, else 1.
pub fn report(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Usage(error) => {
            // What cannot be printed cannot be complained about, either.
            let _closed = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Failure::Failed { .. } => {
            note(&format!("error: {}", chain(failure)));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each on a line of its own.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, "\n  because: {error}");
        cause = error.source();
    }
    text
}
