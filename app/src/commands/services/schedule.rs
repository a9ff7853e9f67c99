//! `skytide schedule`: runs the jobs by their schedules, runs one of them now, or lists them.

use std::process::ExitCode;
use std::sync::Arc;

use skytide_core::time::Timestamp;
use skytide_scheduler::Scheduler;
use tokio_util::sync::CancellationToken;

use super::open::open_unless_stopped;
use super::probe::start_probe;
use super::shared::Shared;
use super::store_tasks::{serve_exports, watch_store};
use crate::cli::Schedule;
use crate::clock::SystemClock;
use crate::data::{Data, JobStores, Role};
use crate::failure::Failure;
use crate::health::ServiceHealth;
use crate::jobs::{Jobs, scheduler};
use crate::supervisor::Supervisor;
use crate::terminal::say;

/// Runs the jobs until `stop` is cancelled; with `--run` one job once; with `--list` none.
///
/// # Errors
///
/// The views cannot be used, there is no such job, or the job failed.
pub async fn schedule(schedule: &Schedule, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let config = &schedule.config;
    let opening = Data::open(&config.store.dir, None, Role::Views, config, true);
    let Some(data) = open_unless_stopped(opening, &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let job_stores = data.views().job_stores()?;
    let Jobs {
        scheduler: jobs,
        on_demand,
    } = scheduler(config, data.store(), &job_stores)?;
    if schedule.list {
        list(&jobs, &job_stores).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(name) = &schedule.run else {
        let health = ServiceHealth::new(Arc::new(SystemClock)).with_store(data.store());
        let shared = Shared::default();
        let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
        start_probe(config, &shared, Arc::new(health), &mut supervisor, &stop).await?;
        supervisor.start("exports", serve_exports(&data, stop.clone()));
        supervisor.start("the view store", watch_store(&data, stop.clone()));
        let fetching = Jobs::fetch_on_demand(on_demand, stop.clone());
        supervisor.start("profiles on demand", fetching);
        supervisor.start("the scheduler", jobs.run(stop));
        supervisor.run_until_one_exits().await?;
        return Ok(ExitCode::SUCCESS);
    };
    let outcome = jobs.run_once(name, &stop).await;
    let outcome = outcome.map_err(|why| Failure::new(why.to_string()))?;
    match outcome.result {
        Ok(report) => say(&format!("{name}: {report}")),
        Err(why) => return Err(Failure::because(format!("job {name:?} failed"), why)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints one line for each job: when it is due, and the result of its last run.
async fn list(jobs: &Scheduler, job_stores: &JobStores) -> Result<(), Failure> {
    let states = job_stores.jobs.all().await;
    let states =
        states.map_err(|why| Failure::because("cannot read the state of the jobs", why))?;
    for job in jobs.status() {
        let due = job.due.map_or("never".to_owned(), Timestamp::rfc3339);
        let last = states.iter().find(|state| state.name == job.name);
        let last = last.and_then(|state| state.last.as_ref());
        let last = last.map_or("never ran".to_owned(), |last| {
            let ended = last.ended.rfc3339();
            let how = if last.ok { "did" } else { "failed" };
            format!("{how} at {ended}: {}", last.report)
        });
        say(&format!("{:<10} due {due}, {last}", job.name));
    }
    Ok(())
}
