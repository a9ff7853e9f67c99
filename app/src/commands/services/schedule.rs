//! `skytide schedule`: runs the jobs by their schedules.

use std::sync::Arc;

use skytide_core::config::Config;
use tokio_util::sync::CancellationToken;

use super::open::open_unless_stopped;
use super::probe::start_probe;
use super::shared::Shared;
use super::store_tasks::{serve_requests, watch_store};
use crate::data::{Data, Role};
use crate::failure::Failure;
use crate::jobs::{Jobs, scheduler};
use crate::supervisor::Supervisor;

/// Runs the jobs until `stop` is cancelled.
///
/// # Errors
///
/// The views cannot be used, or a schedule is not valid.
pub async fn schedule(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    let opening = Data::open(&config.store.dir, None, Role::Views, config, true);
    let Some(data) = open_unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let job_stores = data.views().job_stores()?;
    let Jobs {
        scheduler: jobs,
        on_demand,
    } = scheduler(config, data.store(), &job_stores)?;
    let shared = Shared::default();
    shared.data_metrics(&data);
    let health = shared.health().with_store(data.store());
    let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
    let health = Arc::new(health);
    let record = shared.keep_flight_record(config, Some(health.clone()), None, stop.clone());
    start_probe(config, &shared, health, &mut supervisor, &stop).await?;
    supervisor.start("the flight record", record);
    let requests = serve_requests(&data, Some(jobs.clone()), stop.clone());
    supervisor.start("exports", requests);
    supervisor.start("the view store", watch_store(&data, stop.clone()));
    let fetching = Jobs::fetch_on_demand(on_demand, stop.clone());
    supervisor.start("profiles on demand", fetching);
    supervisor.start("the scheduler", jobs.run(stop));
    supervisor.run_until_one_exits().await
}
