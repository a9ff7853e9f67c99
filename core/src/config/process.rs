//! Options of the process.

use std::time::Duration;

use super::{ByteSize, ListenAddress, Span, between};

const GIB: u64 = 1 << 30;

/// How the process logs, reports its health and stops.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct Process {
    /// Which log messages are written: a level (error, warn, info, debug, trace), or levels by
    /// target, for example `info,skytide::dataflow=debug`.
    #[arg(id = "SKYTIDE_LOG", long = "skytide-log", env = "SKYTIDE_LOG")]
    #[arg(value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// Format of the log: readable text, or one JSON object per line.
    #[arg(
        id = "SKYTIDE_LOG_FORMAT",
        long = "skytide-log-format",
        env = "SKYTIDE_LOG_FORMAT"
    )]
    #[arg(value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Address or name, and port, on which a process serves `/healthz`, `/readyz` and `/metrics`, with
    /// connections of its own. Port 0 selects a free port and prints it. Unset: `ingest`, `index` and
    /// `schedule` do not serve them; `up` and `serve` serve them on `API_ADDRESS` if that is loopback,
    /// otherwise on `127.0.0.1:7784`, or nowhere if that port is taken. If `API_ADDRESS` is not
    /// loopback, `/metrics`, and the reasons in `/readyz`, are only on the address of this option.
    #[arg(
        id = "SKYTIDE_PROBE_ADDRESS",
        long = "skytide-probe-address",
        env = "SKYTIDE_PROBE_ADDRESS"
    )]
    #[arg(value_name = "HOST:PORT")]
    pub probe_address: Option<ListenAddress>,

    /// Maximum memory for the flight record of a service: its newest log lines, and its metrics, graph
    /// and health of the last ten minutes. `skytide doctor --bundle` reads it, and a service that fails
    /// writes it to `STORE_DIR/flight`. 0 turns it off.
    #[arg(
        id = "SKYTIDE_FLIGHT_BYTES_MAX",
        long = "skytide-flight-bytes-max",
        env = "SKYTIDE_FLIGHT_BYTES_MAX"
    )]
    #[arg(value_name = "BYTES", default_value = "4MiB")]
    #[arg(value_parser = between(ByteSize(0)..=ByteSize(GIB)))]
    pub flight_bytes_max: ByteSize,

    /// Maximum time to exit after a signal or after the failure of a service, even if a server is
    /// unreachable. The services have three quarters of it to stop. When the time has passed, the
    /// process exits with code 1; nothing that was acknowledged is lost.
    #[arg(
        id = "SKYTIDE_SHUTDOWN_MAX",
        long = "skytide-shutdown-max",
        env = "SKYTIDE_SHUTDOWN_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = between(Span(Duration::from_secs(1))..=Span(Duration::from_secs(300))))]
    pub shutdown_max: Span,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Readable text.
    Text,
    /// One JSON object per line.
    Json,
}
