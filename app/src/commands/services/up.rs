//! `skytide up`: all services in one process.

use std::sync::Arc;

use skytide_core::config::Config;
use skytide_ingest::{RelaySource, Source};
use tokio_util::sync::CancellationToken;

use super::index::run_dataflow;
use super::ingest::read_relays;
use super::open::open_unless_stopped;
use super::probe::check_health;
use super::serve::ListeningApi;
use super::shared::Shared;
use super::store_tasks::{audit_views, serve_requests, watch_store};
use crate::clock::SystemClock;
use crate::cluster::ClusterMember;
use crate::data::{Data, Role};
use crate::dataflow_log::{DataflowLog, beside};
use crate::failure::Failure;
use crate::files;
use crate::jobs::{Jobs, scheduler};
use crate::relays::relays;
use crate::supervisor::Supervisor;
use crate::terminal::say;

/// Runs all services in one process.
///
/// # Errors
///
/// The data or the port is not available, or a service failed.
pub async fn up(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    if config.cluster.follows() {
        let what = "`skytide up` runs all services, so it must lead the cluster: set \
                    INDEXER_PROCESS to 0, or run `skytide index` to follow the leading process";
        return Err(Failure::new(what));
    }
    // The runs of a checkpoint are many files.
    files::raise_limit();
    let sources = relays(config)?;
    let dir = &config.store.dir;
    let opening = Data::open(dir, Some(sources[0].host()), Role::All, config, true);
    let Some(data) = open_unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let urls = config.firehose.url.iter().map(ToString::to_string);
    let urls = urls.collect::<Vec<_>>().join(", else ");
    let what = format!("It reads {urls} and {}. Ctrl-C stops it.", storage(&data));
    run_all(config, data, sources, &what, stop).await
}

/// Where the data are stored, as part of a sentence.
fn storage(data: &Data) -> String {
    let (log, views) = (data.log_backend().location(), data.views().location());
    if log == views {
        return format!("stores its data {log}");
    }
    format!("stores its log {log}, its views {views}")
}

/// Runs all services on open data and relays. Prints `what`, which describes both.
///
/// # Errors
///
/// The port is not available, or a service failed.
pub async fn run_all(
    config: &Config,
    data: Data,
    sources: Vec<RelaySource>,
    what: &str,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let api = ListeningApi::bind(config).await?;
    let shared = Shared::default();
    shared.add_store_sizes(&data);
    shared.data_metrics(&data);
    let mut dataflow_options = shared.dataflow_options(config);
    dataflow_options.scratch = data.open_scratch()?;
    let member = ClusterMember::from_options(&config.cluster, &dataflow_options)?;
    let metrics = shared.dataflow_metrics(&dataflow_options, member.as_ref());
    let health = shared
        .health()
        .with_relay(config.firehose.read_timeout.0, shared.ingest_status.clone())
        .with_log(shared.measured_log(&data), data.log_problem())
        .with_cluster(member.as_ref().map(|member| member.state.clone()))
        .with_dataflow(metrics.clone(), config.indexer.checkpoint_interval.0)
        .with_store(data.store());
    let health = Arc::new(health);
    let observer = health.clone();
    let context = shared.ingest_context(&data, stop.clone(), move |it| observer.on_progress(it));
    metrics.measure_latency(Arc::new(SystemClock), Some(context.metrics.arrivals()));
    let job_stores = data.views().job_stores()?;
    let api_state = shared.api_state(config, &data, &job_stores)?;
    let api_state = api_state.with_health(health.clone());
    let api_state = api_state.with_graph(metrics.clone());
    let audits = shared.audits(&data);
    let api_state = api_state.with_audits(audits.clone());
    let Jobs {
        scheduler: jobs,
        on_demand,
    } = scheduler(config, data.store(), &job_stores)?;
    let api_state = api_state.with_job_runner(jobs.clone());
    let record = shared.keep_flight_record(
        config,
        Some(health.clone()),
        Some(metrics.clone()),
        stop.clone(),
    );
    let log = DataflowLog::of(config, &metrics, None);
    let dataflow = run_dataflow(
        dataflow_options,
        member,
        data.ports(),
        metrics.clone(),
        stop.clone(),
    );
    let dataflow = beside(log, dataflow);

    say(&format!("Skytide is up: {}", api.url()));
    say(what);
    api.say_where_the_probe_is();
    let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
    supervisor.report_health(health.clone());
    supervisor.start("ingest", read_relays(config, &data, sources, context));
    supervisor.start("the dataflow", dataflow);
    let requests = serve_requests(&data, Some(jobs.clone()), stop.clone());
    supervisor.start("the scheduler", jobs.run(stop.clone()));
    let fetching = Jobs::fetch_on_demand(on_demand, stop.clone());
    supervisor.start("profiles on demand", fetching);
    let audits = audit_views(audits, config, metrics, stop.clone());
    supervisor.start("audits", audits);
    supervisor.start("exports", requests);
    supervisor.start("the view store", watch_store(&data, stop.clone()));
    supervisor.start("the health check", check_health(health, stop.clone()));
    supervisor.start("the flight record", record);
    api.start(api_state, &mut supervisor, &stop);
    let ended = supervisor.run_until_one_exits().await;
    data.close(config.process.shutdown_max.0).await;
    ended
}
