//! The one binary of Skytide as a library: the only place that knows the embedded database, the
//! environment, signals and the clock.
//!
//! ```text
//! main ─▶ cli, environment ─▶ commands ─▶ services side by side (ingest, dataflow, scheduler, api)
//!                                  │        on data: embedded log and store
//!                                  └─▶ tools: replay (progress, report), record, export, config
//! ```

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod data;
pub mod environment;
pub mod export;
pub mod export_server;
pub mod failure;
pub mod files;
pub mod health;
pub mod jobs;
pub mod listen;
pub mod memory;
pub mod notify;
pub mod options;
pub mod profiles;
pub mod progress;
pub mod secrets;
pub mod services;
pub mod shutdown;
pub mod telemetry;
pub mod terminal;

use std::process::ExitCode;

/// What the binary does: reads arguments and environment, does it, and prints why it could not.
pub fn main() -> ExitCode {
    let outcome = cli::read().and_then(|invocation| {
        telemetry::start(&invocation)?;
        commands::run(invocation)
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => failure::report(&failure),
    }
}
