//! The binary of Skytide as a library: command line, services, tools. It is the only crate that
//! knows all backends, the environment, signals and the system clock.
//!
//! ```text
//! main ─▶ cli, environment ─▶ commands ─▶ services under a supervisor (ingest, dataflow, scheduler, api)
//!                                  │        on data: embedded, NATS, MongoDB
//!                                  └─▶ tools: replay (progress, report), record, export, audit, simnet, keys, probe,
//!                                      doctor, top, config
//! ```

pub mod audit;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod data;
pub mod dataflow_log;
pub mod doctor;
pub mod environment;
pub mod export;
pub mod export_server;
pub mod failure;
pub mod files;
pub mod flight;
pub mod health;
pub mod http_body;
pub mod identity;
pub mod jobs;
pub mod keys;
pub mod listen;
pub mod log_queue;
pub mod log_tee;
pub mod memory;
pub mod memory_limit;
pub mod memory_report;
pub mod metrics;
pub mod notify;
pub mod options;
pub mod profiles;
pub mod progress;
pub mod relays;
pub mod secrets;
pub mod shutdown;
pub mod supervisor;
pub mod telemetry;
pub mod terminal;

use std::process::ExitCode;

/// Reads the command line and the environment, and runs the command. Prints the error of a command
/// that fails, and returns the exit code.
pub fn main() -> ExitCode {
    metrics::started();
    let outcome = cli::read().and_then(|invocation| {
        telemetry::start(&invocation)?;
        commands::run(invocation)
    });
    log_queue::flush();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            let code = failure::report(&failure);
            flight::on_failure(&failure);
            code
        }
    }
}
