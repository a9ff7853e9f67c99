//! The command line of `skytide doctor`.

use std::path::PathBuf;

use clap::Args;
use skytide_core::config::{Config, Span};

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The service whose needs are checked.
    #[arg(long, value_name = "SERVICE", value_enum, default_value_t = Service::Up)]
    pub service: Service,

    /// Print the findings as one JSON object.
    #[arg(long)]
    pub json: bool,

    /// Also write the findings, and the flight records of the running and failed services, to this
    /// file: a `.tar.gz` of at most 5 MB, without secrets. `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,

    /// How long one check may take.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    pub timeout: Span,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// A service, as `doctor` checks its needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Service {
    /// All services in one process.
    Up,
    /// Reads the relay, writes the log.
    Ingest,
    /// Reads the log, writes the views.
    Index,
    /// Runs the jobs.
    Schedule,
    /// Serves the API.
    Serve,
}

impl Service {
    /// The name of its command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Ingest => "ingest",
            Self::Index => "index",
            Self::Schedule => "schedule",
            Self::Serve => "serve",
        }
    }
}
