//! Runs the command that the command line names.

mod audit;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod export;
mod holder;
mod jobs;
mod keys;
mod probe;
mod record;
mod replay;
mod services;
#[cfg(feature = "demo")]
mod simnet;
mod top;

use std::process::ExitCode;
use std::time::Duration;

use skytide_core::config::UnknownOption;
use tokio_util::sync::CancellationToken;

use crate::cli::{Command, Invocation};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::notify;
use crate::shutdown;

/// How long blocking threads may continue after the services have stopped. Then the process exits,
/// which interrupts their writes.
const THREADS_MAX: Duration = Duration::from_secs(1);
/// These threads may use at most this part of the shutdown time: a tenth.
const THREADS_FRACTION: u32 = 10;

/// Runs a command and returns the exit code.
///
/// # Errors
///
/// The command failed.
pub fn run(invocation: Invocation) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::because("cannot start the threads of the runtime", why))?;
    warn_about(&invocation.environment);
    let shutdown_max = invocation.config().process.shutdown_max.0;
    let stop = shutdown::on_signal(shutdown_max);
    let code = runtime.block_on(dispatch(invocation, stop));
    // The shutdown drops what the remaining tasks hold, so that the store is closed in order. It
    // cancels the tasks of the drivers in the middle, and one that then polls a timer panics
    // (https://github.com/tokio-rs/tokio/issues/5776), which is no failure of the command.
    std::panic::set_hook(Box::new(|panic| {
        tracing::debug!("while the runtime shuts down: {panic}");
    }));
    runtime.shutdown_timeout(THREADS_MAX.min(shutdown_max / THREADS_FRACTION));
    code
}

/// Warns about variables that may not have the effect that their author expects.
fn warn_about(environment: &Environment) {
    for UnknownOption { name, nearest } in &environment.unknown {
        let what = "a variable has a prefix of Skytide's options and is not an option";
        match nearest {
            Some(nearest) => tracing::warn!(name, nearest, "{what}; did you mean {nearest}?"),
            None => tracing::warn!(name, "{what}"),
        }
    }
    for warning in &environment.warnings {
        tracing::warn!("{warning}");
    }
}

async fn dispatch(invocation: Invocation, stop: CancellationToken) -> Result<ExitCode, Failure> {
    if !invocation.command.is_tool() {
        notify::starting();
    }
    match &invocation.command {
        #[cfg(feature = "demo")]
        Command::Up(up) if up.demo.demo => {
            let dir_is_chosen = invocation.is_set("STORE_DIR");
            demo::run(&up.demo, &up.config, dir_is_chosen, stop).await?;
        }
        Command::Up(up) => services::up(&up.config, stop).await?,
        Command::Ingest(config) => services::ingest(config, stop).await?,
        Command::Index(config) => services::index(config, stop).await?,
        Command::Serve(config) => services::serve(config, stop).await?,
        Command::Schedule(schedule) => return jobs::run(schedule, stop).await,
        Command::Replay(replay) => return replay::run(replay, stop).await,
        Command::Record(record) => return record::run(record, stop).await,
        Command::Export(export) => export::run(export, stop).await?,
        Command::Audit(args) => return Ok(audit::run(args, stop).await),
        #[cfg(feature = "demo")]
        Command::Simnet(args) => return simnet::run(args, stop).await,
        Command::Keys(args) => keys::run(args, stop).await?,
        Command::Probe(probe) => return probe::run(probe).await,
        Command::Doctor(args) => return doctor::run(args, &invocation, stop).await,
        Command::Top(top) => return top::run(top, stop).await,
        Command::Config(show) => config::show(show, &invocation)?,
    }
    Ok(ExitCode::SUCCESS)
}
