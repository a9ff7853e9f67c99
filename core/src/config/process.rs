//! Options of the process itself.

use std::time::Duration;

use super::{ListenAddress, Span, between};

/// How the process speaks and ends.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct Process {
    /// What is logged: a level (error, warn, info, debug, trace), or levels by target as
    /// `info,skytide::dataflow=debug`.
    #[arg(id = "SKYTIDE_LOG", long = "skytide-log", env = "SKYTIDE_LOG")]
    #[arg(value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How it is logged: lines for people, or one JSON object a line.
    #[arg(
        id = "SKYTIDE_LOG_FORMAT",
        long = "skytide-log-format",
        env = "SKYTIDE_LOG_FORMAT"
    )]
    #[arg(value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Address or name, and port, on which `ingest`, `index` and `schedule`, run apart, show `/healthz`, `/readyz` and
    /// `/metrics`; port 0: any free one, which is printed. Unset: nowhere. `up` and `serve` show them on `API_ADDRESS`.
    #[arg(
        id = "SKYTIDE_PROBE_ADDRESS",
        long = "skytide-probe-address",
        env = "SKYTIDE_PROBE_ADDRESS"
    )]
    #[arg(value_name = "HOST:PORT")]
    pub probe_address: Option<ListenAddress>,

    /// How long the process may take to end after a signal, or after one of its services failed, whatever server is away. The
    /// services get three quarters of it. Then it exits with code 1; nothing that was acknowledged is lost.
    #[arg(
        id = "SKYTIDE_SHUTDOWN_MAX",
        long = "skytide-shutdown-max",
        env = "SKYTIDE_SHUTDOWN_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = between(Span(Duration::from_secs(1))..=Span(Duration::from_secs(300))))]
    pub shutdown_max: Span,
}

/// How lines are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}
