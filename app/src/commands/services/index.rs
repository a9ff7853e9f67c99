//! `skytide index`: the log to the views, alone or as one process of a cluster.

use std::sync::Arc;

use skytide_core::config::Config;
use skytide_core::port::BoxError;
use skytide_dataflow::{self as dataflow, Links};
use tokio_util::sync::CancellationToken;

use super::open::open_unless_stopped;
use super::probe::start_probe;
use super::shared::Shared;
use super::store_tasks::{audit_views, serve_requests, watch_store};
use crate::clock::SystemClock;
use crate::cluster::ClusterMember;
use crate::data::{Data, Role};
use crate::dataflow_log::{DataflowLog, beside};
use crate::failure::Failure;
use crate::files;
use crate::memory;
use crate::supervisor::Supervisor;

/// Computes the views from the log.
///
/// # Errors
///
/// The log or the views cannot be used, or the dataflow failed.
pub async fn index(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    // The runs of a checkpoint are many files.
    files::raise_limit();
    let shared = Shared::default();
    let mut options = shared.dataflow_options(config);
    let member = ClusterMember::from_options(&config.cluster, &options)?;
    let member = match member {
        Some(member) if config.cluster.follows() => {
            return follow(config, shared, options, member, stop).await;
        }
        member => member,
    };
    let opening = Data::open(&config.store.dir, None, Role::Index, config, true);
    let Some(data) = open_unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    options.scratch = data.open_scratch()?;
    shared.add_store_sizes(&data);
    shared.data_metrics(&data);
    let metrics = shared.dataflow_metrics(&options, member.as_ref());
    metrics.measure_latency(Arc::new(SystemClock), None);
    let health = shared
        .health()
        .with_log(shared.measured_log(&data), data.log_problem())
        .with_cluster(member.as_ref().map(|member| member.state.clone()))
        .with_dataflow(metrics.clone(), config.indexer.checkpoint_interval.0)
        .with_store(data.store());
    let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
    let (health, graph) = (Arc::new(health), metrics.clone());
    let record = shared.keep_flight_record(config, Some(health.clone()), Some(graph), stop.clone());
    start_probe(config, &shared, health, &mut supervisor, &stop).await?;
    supervisor.start("the flight record", record);
    let log = DataflowLog::of(config, &metrics, None);
    let dataflow = run_dataflow(options, member, data.ports(), metrics.clone(), stop.clone());
    let dataflow = beside(log, dataflow);
    supervisor.start("the dataflow", dataflow);
    supervisor.start("the view store", watch_store(&data, stop.clone()));
    let audits = shared.audits(&data);
    supervisor.start("audits", audit_views(audits, config, metrics, stop.clone()));
    supervisor.start("exports", serve_requests(&data, None, stop));
    let ended = supervisor.run_until_one_exits().await;
    data.close(config.process.shutdown_max.0).await;
    ended
}

/// Runs workers for the leading process of the cluster. Needs neither the log nor the views.
async fn follow(
    config: &Config,
    shared: Shared,
    options: dataflow::Options,
    member: ClusterMember,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let metrics = shared.dataflow_metrics(&options, Some(&member));
    let health = shared
        .health()
        .with_cluster(Some(member.state.clone()))
        .with_follower(metrics.clone());
    let health = Arc::new(health);
    let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
    let graph = metrics.clone();
    let record = shared.keep_flight_record(config, Some(health.clone()), Some(graph), stop.clone());
    start_probe(config, &shared, health, &mut supervisor, &stop).await?;
    supervisor.start("the flight record", record);
    let log = DataflowLog::of(config, &metrics, None);
    let counting = async move {
        let Some(links) = stop.run_until_cancelled(member.connect()).await else {
            return Ok(());
        };
        dataflow::follow(links?, &options, metrics, stop).await?;
        Ok::<_, BoxError>(())
    };
    supervisor.start("the dataflow", beside(log, counting));
    supervisor.run_until_one_exits().await
}

/// Runs the dataflow, alone or after all other processes of the cluster have connected.
pub async fn run_dataflow(
    options: dataflow::Options,
    member: Option<ClusterMember>,
    ports: dataflow::Ports,
    metrics: Arc<dataflow::Metrics>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let links = match member {
        None => Links::alone(),
        Some(member) => match stop.run_until_cancelled(member.connect()).await {
            None => return Ok(()),
            Some(links) => links?,
        },
    };
    let retention = memory::retain_until_caught_up(&metrics);
    let counting = dataflow::lead(options, ports, links, metrics.clone(), stop);
    tokio::pin!(counting);
    tokio::select! {
        counted = &mut counting => counted?,
        () = retention => counting.await?,
    }
    Ok(())
}
