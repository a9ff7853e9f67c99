//! `skytide`: reads what it is told, does it, and prints why it could not.

use std::process::ExitCode;

use skytide::{cli, commands, failure, telemetry};

fn main() -> ExitCode {
    let outcome = cli::read().and_then(|invocation| {
        telemetry::start(&invocation)?;
        commands::run(invocation)
    });
    match outcome {
        Ok(code) => code,
        Err(failure) => failure::report(&failure),
    }
}
