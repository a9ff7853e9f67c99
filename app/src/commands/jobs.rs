//! `skytide schedule --run`, `--list`, `--history`: runs a job once, or shows what the jobs did.
//!
//! ```text
//! embedded store, another process has it open ─▶ that process runs the job and has the states
//! otherwise, and on MongoDB ───────────────────▶ this process opens the views
//! ```
//!
//! Without these options, `skytide schedule` is the service that runs the jobs.

use std::process::ExitCode;

use skytide_core::config::Config;
use skytide_core::port::clock::Clock;
use skytide_core::port::job::{JobRunner, JobState, RunEnd, RunOutcome, RunRefusal, Trigger};
use skytide_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::holder::{self, Holder};
use super::services;
use crate::cli::Schedule;
use crate::clock::SystemClock;
use crate::data::{Data, Role};
use crate::export_server::{self, JobAnswer, JobRequest, Message};
use crate::failure::Failure;
use crate::jobs::{Jobs, scheduler};
use crate::terminal::{note, say};

/// The exit code of `--run` if the job already runs.
const ALREADY_RUNS: u8 = 3;

/// Runs the service, one job, or shows the states of the jobs.
///
/// # Errors
///
/// The views cannot be used, there is no such job, or the job failed.
pub async fn run(schedule: &Schedule, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let config = &schedule.config;
    let name = schedule.run.as_deref();
    if name.is_none() && !schedule.list && schedule.history.is_none() {
        services::schedule(config, stop).await?;
        return Ok(ExitCode::SUCCESS);
    }
    match answer(config, name, &stop).await? {
        JobAnswer::Run(ended) => report(name.unwrap_or_default(), ended),
        JobAnswer::States(states) => {
            match &schedule.history {
                Some(name) => show_history(name, &states)?,
                None => show_all(&states),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs this job, or reads the states of all jobs.
async fn answer(
    config: &Config,
    run: Option<&str>,
    stop: &CancellationToken,
) -> Result<JobAnswer, Failure> {
    let stopped = || Failure::new("stopped before the job started");
    let connecting = stop.run_until_cancelled(holder::connect(config)).await;
    if let Some(holder) = connecting.ok_or_else(stopped)?? {
        return from_other_process(holder, run, stop).await;
    }
    let opening = Data::open(&config.store.dir, None, Role::Views, config, true);
    let data = stop
        .run_until_cancelled(opening)
        .await
        .ok_or_else(stopped)??;
    let stores = data.views().job_stores()?;
    let Jobs {
        scheduler: jobs, ..
    } = scheduler(config, data.store(), &stores)?;
    if let Some(name) = run {
        return Ok(JobAnswer::Run(jobs.run_once(name, stop).await));
    }
    let states = jobs.states().await;
    let states = states.map_err(|why| Failure::because("cannot read the state of the jobs", why));
    states.map(JobAnswer::States)
}

/// Requests a run or the states from the process that has the store open.
async fn from_other_process(
    holder: Holder,
    run: Option<&str>,
    stop: &CancellationToken,
) -> Result<JobAnswer, Failure> {
    let Holder { name, mut stream } = holder;
    if run.is_some() {
        note(&format!("{name} has the store open and runs the job"));
    }
    let request = Message::JobRequest(JobRequest {
        version: export_server::VERSION,
        run: run.map(str::to_owned),
    });
    let exchange = async {
        export_server::send(&mut stream, &request).await?;
        export_server::receive(&mut stream).await
    };
    let Some(received) = stop.run_until_cancelled(exchange).await else {
        let what = format!(
            "stopped waiting: {name} continues the run; `skytide schedule --list` shows its result"
        );
        return Err(Failure::new(what));
    };
    match received {
        Ok(Message::JobAnswer(answer)) => Ok(answer),
        Ok(Message::Failed(why)) => {
            let what = format!("{name} has the store open and cannot serve the request");
            Err(Failure::because(what, why))
        }
        Ok(other) => {
            let what = format!("{name} sent an unexpected message: {}", other.kind());
            Err(Failure::new(what))
        }
        Err(why) => {
            let what = format!(
                "{name} has the store open and disconnected without an answer: it has exited, or \
                 is an earlier version of skytide, which runs no jobs for other processes"
            );
            Err(Failure::because(what, why))
        }
    }
}

/// Prints the result of a run.
fn report(name: &str, ended: Result<RunEnd, RunRefusal>) -> Result<ExitCode, Failure> {
    match ended {
        Ok(end) if end.ok() => {
            say(&format!("{name}: {}", end.report));
            Ok(ExitCode::SUCCESS)
        }
        Ok(end) => Err(Failure::because(format!("job {name:?} failed"), end.report)),
        Err(RunRefusal::Running { .. }) => {
            let why = ended.err().map(|why| why.to_string()).unwrap_or_default();
            note(&format!("error: job {name:?} was not started: {why}"));
            Ok(ExitCode::from(ALREADY_RUNS))
        }
        Err(why @ RunRefusal::Unknown { .. }) => Err(Failure::new(why.to_string())),
        Err(why) => {
            let what = format!("job {name:?} was not started");
            Err(Failure::because(what, why))
        }
    }
}

/// Prints one line for each job: when it is due, and the result of its last run.
fn show_all(states: &[JobState]) {
    let now = SystemClock.now();
    for JobState {
        name,
        plan,
        running,
        last,
        ..
    } in states
    {
        let due = plan.due.map_or("never".to_owned(), Timestamp::rfc3339);
        // The process of a run that is past its deadline has died.
        let running = running.filter(|run| run.is_active(now));
        let running = running.map_or(String::new(), |run| {
            format!(", running since {}", run.began.rfc3339())
        });
        let last = last.as_ref().map_or("never ran".to_owned(), |last| {
            let ended = last.ended.rfc3339();
            let how = if last.ok() { "did" } else { "failed" };
            format!("{how} at {ended}: {}", last.report)
        });
        say(&format!("{name:<10} due {due}{running}, {last}"));
    }
}

/// Prints one line for each stored run of a job.
fn show_history(name: &str, states: &[JobState]) -> Result<(), Failure> {
    let unknown = || {
        let known: Vec<_> = states.iter().map(|state| state.name.as_str()).collect();
        let known = known.join(", ");
        Failure::new(format!("there is no job {name:?}; there are: {known}"))
    };
    let state = states.iter().find(|state| state.name == name);
    let state = state.ok_or_else(unknown)?;
    if state.history.is_empty() {
        note(&format!("no run of {name:?} is recorded"));
    }
    for run in &state.history {
        let RunEnd { began, ended, .. } = run;
        let trigger = match run.trigger {
            Some(Trigger::Schedule) => "schedule",
            Some(Trigger::Command) => "command",
            Some(Trigger::CatchUp) => "catch_up",
            None => "-",
        };
        let outcome = match run.outcome {
            RunOutcome::Ok => "ok",
            RunOutcome::Failed => "failed",
            RunOutcome::TimedOut => "timed_out",
            RunOutcome::Interrupted => "interrupted",
            RunOutcome::Panicked => "panicked",
        };
        let seconds = ended.0.saturating_sub(began.0) as f64 / 1_000.0;
        say(&format!(
            "{}  {trigger:<8}  {outcome:<11}  {seconds:>8.3} s  {}",
            began.rfc3339(),
            run.report
        ));
    }
    Ok(())
}
