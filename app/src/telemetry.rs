//! What the process tells of itself while it runs: lines on standard error.

use std::io::IsTerminal;

use skytide_core::config::LogFormat;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::Invocation;
use crate::failure::Failure;
use crate::progress;

/// What tools log unless something is set: they show their progress themselves.
const QUIET: &str = "warn";

/// Begins to log as the configuration says.
///
/// # Errors
/// The filter is not one.
pub fn start(invocation: &Invocation) -> Result<(), Failure> {
    let process = &invocation.config().process;
    let quiet = invocation.command.is_tool() && !invocation.is_set("SKYTIDE_LOG");
    let filter = if quiet { QUIET } else { &process.log };
    let filter: EnvFilter = filter.parse().map_err(|why| {
        let what =
            format!("SKYTIDE_LOG={filter:?} is no filter such as info or info,skytide=debug");
        Failure::because(what, why)
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines)
        .with_ansi(std::io::stderr().is_terminal());
    match process.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Standard error, above a progress bar if one is shown.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = progress::AboveBar;

    fn make_writer(&'a self) -> Self::Writer {
        progress::AboveBar::default()
    }
}
