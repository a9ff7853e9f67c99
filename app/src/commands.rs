//! What each command does.

mod config;
mod demo;
mod export;
mod probe;
mod record;
mod replay;
mod services;
mod simnet;

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::{Command, Invocation};
use crate::failure::Failure;
use crate::notify;
use crate::shutdown;

/// How long threads may go on after the services have ended: whatever they write may be cut off.
const THREADS_MAX: Duration = Duration::from_secs(1);

/// Does what was asked.
///
/// # Errors
/// It could not be done.
pub fn run(invocation: Invocation) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::because("threads could not be started", why))?;
    for name in &invocation.environment.unknown {
        tracing::warn!(name, "a variable that begins as ours do is none of ours");
    }
    let code = runtime.block_on(dispatch(invocation));
    runtime.shutdown_timeout(THREADS_MAX);
    code
}

async fn dispatch(invocation: Invocation) -> Result<ExitCode, Failure> {
    let stop = shutdown::on_signal();
    if !invocation.command.is_tool() {
        notify::starting();
    }
    match &invocation.command {
        Command::Up(up) if up.demo.demo => {
            let dir_is_chosen = invocation.is_set("STORE_DIR");
            demo::run(&up.demo, &up.config, dir_is_chosen, stop).await?;
        }
        Command::Up(up) => services::up(&up.config, stop).await?,
        Command::Ingest(config) => services::ingest(config, stop).await?,
        Command::Index(config) => services::index(config, stop).await?,
        Command::Serve(config) => services::serve(config, stop).await?,
        Command::Schedule(schedule) => return services::schedule(schedule, stop).await,
        Command::Replay(replay) => return replay::run(replay, stop).await,
        Command::Record(record) => return record::run(record, stop).await,
        Command::Export(export) => export::run(export, stop).await?,
        Command::Simnet(asked) => return simnet::run(asked, stop).await,
        Command::Probe(probe) => return probe::run(probe).await,
        Command::Config(show) => config::show(show, &invocation)?,
    }
    Ok(ExitCode::SUCCESS)
}
