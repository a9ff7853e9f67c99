//! Log lines on standard error: those of a service through a queue, those of a tool at once.

use std::io::IsTerminal;

use skytide_core::config::LogFormat;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::cli::Invocation;
use crate::dataflow_log;
use crate::failure::Failure;
use crate::flight::masks::Masks;
use crate::flight::{self, FlightRecorder};
use crate::log_queue::{self, LogLine};

/// The default log filter of commands that are not services: they show their progress themselves.
const TOOL_FILTER: &str = "warn";

/// Starts logging with the configured filter and format.
///
/// # Errors
///
/// The filter is not valid.
pub fn start(invocation: &Invocation) -> Result<(), Failure> {
    let process = &invocation.config().process;
    let use_default = invocation.command.is_tool() && !invocation.is_set("SKYTIDE_LOG");
    let filter = if use_default {
        TOOL_FILTER
    } else {
        &process.log
    };
    let filter: EnvFilter = filter.parse().map_err(|why| {
        let what =
            format!("SKYTIDE_LOG={filter:?} is not a filter such as info or info,skytide=debug");
        Failure::because(what, why)
    })?;
    if !invocation.command.is_tool() {
        let started = log_queue::start();
        started.map_err(|why| Failure::because("cannot start the thread of the log", why))?;
        start_flight_record(invocation);
    }
    // Lines about the dataflow have a filter and a format of their own.
    let filter = filter.and(filter_fn(|event| !dataflow_log::is_target(event.target())));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(StderrWriter)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match process.log_format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let output = match invocation.command.runs_dataflow() {
        true => dataflow_log::open(&invocation.config().indexer.dataflow_log)?,
        false => None,
    };
    let registry = tracing_subscriber::registry().with(lines);
    match output {
        Some(output) => registry.with(dataflow_log::layer(output)).init(),
        None => registry.init(),
    }
    Ok(())
}

/// Keeps a flight record of the service, unless the options turn it off.
fn start_flight_record(invocation: &Invocation) {
    let config = invocation.config();
    let bytes_max = usize::try_from(config.process.flight_bytes_max.0).unwrap_or(usize::MAX);
    if bytes_max == 0 {
        return;
    }
    let masks = Masks::of(&invocation.matches, config);
    let (service, settings) = (invocation.command.name(), invocation.settings_table());
    let dir = &config.store.dir;
    flight::start(FlightRecorder::new(
        service, settings, masks, dir, bytes_max,
    ));
}

/// Writes to standard error, above the progress bar if one is shown.
struct StderrWriter;

impl<'a> MakeWriter<'a> for StderrWriter {
    type Writer = LogLine;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine::default()
    }
}
