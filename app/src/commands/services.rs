//! `skytide up`, and each service by itself.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;
use skytide_api::{ApiState, Probe, ProbeState, ServeError, Server};
use skytide_core::config::Config;
use skytide_core::port::BoxError;
use skytide_core::port::store::StoreError;
use skytide_core::time::Timestamp;
use skytide_dataflow::{self as dataflow, Links};
use skytide_ingest::{self as ingest, Context, Progress, RelaySource, Source};
use skytide_scheduler::Scheduler;
use tokio_util::sync::CancellationToken;

use crate::cli::Schedule;
use crate::clock::SystemClock;
use crate::cluster::Place;
use crate::data::{Data, Use, Views};
use crate::export_server;
use crate::failure::Failure;
use crate::files;
use crate::health::ServiceHealth;
use crate::jobs::{Kept, scheduler};
use crate::listen::resolve;
use crate::memory;
use crate::options;
use crate::services::Services;
use crate::terminal::say;

/// All services in one process.
///
/// # Errors
/// The data folder or the port cannot be had, or a service failed.
pub async fn up(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    if config.cluster.follows() {
        let what = "`up` runs all services, so it must lead: INDEXER_PROCESS is to be 0. \
                    A process that lends its workers is a `skytide index`";
        return Err(Failure::new(what));
    }
    let sources = relays(config)?;
    let dir = &config.store.dir;
    let opening = Data::open(dir, Some(sources[0].host()), Use::All, config, true);
    let Some(data) = unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let kept_in = match (config.nats.url.is_empty(), config.mongo.uri.is_none()) {
        (true, true) => format!("keeps its data in {}", dir.display()),
        (false, true) => format!("keeps its log on NATS, its views in {}", dir.display()),
        (true, false) => format!("keeps its log in {}, its views on MongoDB", dir.display()),
        (false, false) => "keeps its log on NATS, its views on MongoDB".to_owned(),
    };
    let urls: Vec<String> = config
        .firehose
        .url
        .iter()
        .map(ToString::to_string)
        .collect();
    let urls = urls.join(", else ");
    let what = format!("It reads {urls} and {kept_in}. Ctrl-C ends it.");
    all(config, data, sources, &what, stop).await
}

/// All services on open data and relays; `what` says which, for the person at the terminal.
///
/// # Errors
/// The port cannot be had, or a service failed.
pub async fn all(
    config: &Config,
    data: Data,
    sources: Vec<RelaySource>,
    what: &str,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let server = bind(config).await?;
    let shared = Shared::default();
    let flow = options::dataflow(config);
    let place = Place::of(&config.cluster, flow.workers)?;
    let counted = shared.dataflow_metrics(&flow, place.as_ref());
    let health = ServiceHealth::new(Arc::new(SystemClock))
        .with_relay(config.firehose.read_timeout.0, shared.status.clone())
        .with_log(data.log())
        .with_trouble(data.trouble())
        .with_cluster(place.as_ref().map(|place| place.state.clone()))
        .with_dataflow(counted.clone())
        .with_store(data.store());
    let health = Arc::new(health);
    let heard = health.clone();
    let context = shared.context(&data, stop.clone(), move |it| heard.heard(it));
    let kept = Kept::open(&data)?;
    let state = shared.api_state(config, &data, &kept);
    let state = state.with_health(health.clone());
    let jobs = scheduler(config, data.store(), &kept)?;

    say(&format!("Skytide is up: http://{}/", server.address()));
    say(what);
    let mut services = Services::new(stop.clone(), config.process.shutdown_max.0);
    services.show(health.clone());
    services.start("ingest", read(config, &data, sources, context));
    let counting = count((flow, place), data.ports(), counted, stop.clone());
    services.start("the dataflow", counting);
    services.start("the scheduler", jobs.run(stop.clone()));
    services.start("exports", exports(&data, stop.clone()));
    services.start("the view store", sound(&data, stop.clone()));
    services.start("the watch", watch(health, stop.clone()));
    services.start("the API", server.run(state, stop));
    let ended = services.until_one_ends().await;
    data.close(config.process.shutdown_max.0).await;
    ended
}

/// The relay to the log.
///
/// # Errors
/// The log cannot be used, or ingest failed.
pub async fn ingest(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    let sources = relays(config)?;
    let dir = &config.store.dir;
    let opening = Data::open(dir, Some(sources[0].host()), Use::Ingest, config, true);
    let Some(data) = unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let shared = Shared::default();
    let health = ServiceHealth::new(Arc::new(SystemClock))
        .with_relay(config.firehose.read_timeout.0, shared.status.clone())
        .with_log(data.log())
        .with_trouble(data.trouble());
    let health = Arc::new(health);
    let heard = health.clone();
    let context = shared.context(&data, stop.clone(), move |it| heard.heard(it));
    let mut services = Services::new(stop.clone(), config.process.shutdown_max.0);
    probe(config, &shared, health, (&mut services, &stop)).await?;
    services.start("ingest", read(config, &data, sources, context));
    services.until_one_ends().await
}

/// The log to the views.
///
/// # Errors
/// Log or views cannot be used, or the dataflow failed.
pub async fn index(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    let flow = options::dataflow(config);
    let place = Place::of(&config.cluster, flow.workers)?;
    let place = match place {
        Some(place) if config.cluster.follows() => {
            return lend(config, flow, place, stop).await;
        }
        place => place,
    };
    let opening = Data::open(&config.store.dir, None, Use::Index, config, true);
    let Some(data) = unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let shared = Shared::default();
    let counted = shared.dataflow_metrics(&flow, place.as_ref());
    let health = ServiceHealth::new(Arc::new(SystemClock))
        .with_log(data.log())
        .with_trouble(data.trouble())
        .with_cluster(place.as_ref().map(|place| place.state.clone()))
        .with_dataflow(counted.clone())
        .with_store(data.store());
    let mut services = Services::new(stop.clone(), config.process.shutdown_max.0);
    probe(config, &shared, Arc::new(health), (&mut services, &stop)).await?;
    let counting = count((flow, place), data.ports(), counted, stop.clone());
    services.start("the dataflow", counting);
    services.start("the view store", sound(&data, stop.clone()));
    services.start("exports", exports(&data, stop));
    let ended = services.until_one_ends().await;
    data.close(config.process.shutdown_max.0).await;
    ended
}

/// Workers for another process, which leads: neither log nor views are needed.
async fn lend(
    config: &Config,
    flow: dataflow::Options,
    place: Place,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let shared = Shared::default();
    let counted = shared.dataflow_metrics(&flow, Some(&place));
    let health = ServiceHealth::new(Arc::new(SystemClock));
    let health = Arc::new(health.with_cluster(Some(place.state.clone())));
    let mut services = Services::new(stop.clone(), config.process.shutdown_max.0);
    probe(config, &shared, health, (&mut services, &stop)).await?;
    services.start("the dataflow", async move {
        let Some(links) = stop.run_until_cancelled(place.connect()).await else {
            return Ok(());
        };
        dataflow::follow(links?, flow.workers, counted, stop).await?;
        Ok::<_, BoxError>(())
    });
    services.until_one_ends().await
}

/// Counts, alone or with the other processes of a cluster once they are there.
async fn count(
    (flow, place): (dataflow::Options, Option<Place>),
    ports: dataflow::Ports,
    counted: Arc<dataflow::Metrics>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let links = match place {
        None => Links::alone(),
        Some(place) => match stop.run_until_cancelled(place.connect()).await {
            None => return Ok(()),
            Some(links) => links?,
        },
    };
    let keeping = memory::keep_until_caught_up(&counted);
    let counting = dataflow::lead(flow, ports, links, counted.clone(), stop);
    tokio::pin!(counting);
    tokio::select! {
        counted = &mut counting => counted?,
        () = keeping => counting.await?,
    }
    Ok(())
}

/// The views over HTTP.
///
/// # Errors
/// The views or the port cannot be had, or the API failed.
pub async fn serve(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    let opening = Data::open(&config.store.dir, None, Use::Views, config, true);
    let Some(data) = unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let server = bind(config).await?;
    say(&format!("The API listens: http://{}/", server.address()));
    let kept = Kept::open(&data)?;
    let state = Shared::default().api_state(config, &data, &kept);
    let mut services = Services::new(stop.clone(), config.process.shutdown_max.0);
    services.start("exports", exports(&data, stop.clone()));
    services.start("the view store", sound(&data, stop.clone()));
    services.start("the API", server.run(state, stop));
    services.until_one_ends().await
}

/// The jobs, or one run of one of them, or a word on each.
///
/// # Errors
/// The views cannot be used, there is no such job, or it failed.
pub async fn schedule(schedule: &Schedule, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let config = &schedule.config;
    let opening = Data::open(&config.store.dir, None, Use::Views, config, true);
    let Some(data) = unless_stopped(opening, &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let kept = Kept::open(&data)?;
    let jobs = scheduler(config, data.store(), &kept)?;
    if schedule.list {
        list(&jobs, &kept).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(name) = &schedule.run else {
        let health = ServiceHealth::new(Arc::new(SystemClock)).with_store(data.store());
        let shared = Shared::default();
        let mut services = Services::new(stop.clone(), config.process.shutdown_max.0);
        probe(config, &shared, Arc::new(health), (&mut services, &stop)).await?;
        services.start("exports", exports(&data, stop.clone()));
        services.start("the view store", sound(&data, stop.clone()));
        services.start("the scheduler", jobs.run(stop));
        services.until_one_ends().await?;
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

/// Starts what shows health and metrics of a service that runs apart, if an address is set for it.
async fn probe(
    config: &Config,
    shared: &Shared,
    health: Arc<ServiceHealth>,
    (services, stop): (&mut Services, &CancellationToken),
) -> Result<(), Failure> {
    services.show(health.clone());
    let Some(address) = &config.process.probe_address else {
        services.start("the watch", watch(health, stop.clone()));
        return Ok(());
    };
    let address = resolve(address, "SKYTIDE_PROBE_ADDRESS").await?;
    let probe = Probe::bind(address).await.map_err(|why| {
        let what =
            format!("cannot listen on {address} for health and metrics (SKYTIDE_PROBE_ADDRESS)");
        Failure::because(what, why)
    })?;
    say(&format!(
        "Health and metrics: http://{}/readyz",
        probe.address()
    ));
    let state = ProbeState {
        registry: shared.registry.clone(),
        health: health.clone(),
    };
    services.start("the watch", watch(health, stop.clone()));
    services.start("the probe", probe.run(state, stop.clone()));
    Ok(())
}

/// Keeps an eye on log and store.
async fn watch(health: Arc<ServiceHealth>, stop: CancellationToken) -> Result<(), io::Error> {
    stop.run_until_cancelled(health.watch()).await;
    Ok(())
}

/// What each job did last and when it is due, a line each.
async fn list(jobs: &Scheduler, kept: &Kept) -> Result<(), Failure> {
    let states = kept.jobs.all().await;
    let states = states.map_err(|why| Failure::because("the jobs cannot be listed", why))?;
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

/// The relays that were configured, at least one and each once; nobody has called them yet.
///
/// # Errors
/// One has no usable address, or is given twice.
pub fn relays(config: &Config) -> Result<Vec<RelaySource>, Failure> {
    let mut sources: Vec<RelaySource> = Vec::new();
    for options in options::relays(config) {
        let source = RelaySource::new(options, Arc::new(SystemClock));
        let source = source
            .map_err(|why| Failure::because("the relay cannot be read (FIREHOSE_URL)", why))?;
        if sources.iter().any(|other| other.host() == source.host()) {
            let host = source.host();
            let what = format!("FIREHOSE_URL names the relay {host} twice");
            return Err(Failure::new(what));
        }
        sources.push(source);
    }
    if sources.is_empty() {
        return Err(Failure::new("FIREHOSE_URL names no relay"));
    }
    Ok(sources)
}

/// Reads the relays until the stop token is cancelled; stores samples of the dropped frames.
fn read(
    config: &Config,
    data: &Data,
    sources: Vec<RelaySource>,
    context: Context,
) -> impl Future<Output = Result<(), ingest::IngestError>> + use<> {
    let samples = data.dir.as_ref().map(|dir| dir.path().join("dropped"));
    let options = options::ingest(config, samples);
    let boxed = |source| Box::new(source) as Box<dyn Source>;
    let sources = sources.into_iter().map(boxed).collect();
    async {
        let read = ingest::run(options, sources, context).await;
        read.map(drop)
    }
}

/// Sends exports that other processes ask for, if the views are this process's alone.
fn exports(data: &Data, stop: CancellationToken) -> impl Future<Output = io::Result<()>> + use<> {
    let serving = match (data.views(), &data.dir) {
        (Views::Embedded(store), Some(dir)) => {
            Some(export_server::serve(dir.path().to_owned(), store.clone()))
        }
        _ => None,
    };
    async move {
        match serving {
            Some(serving) => drop(stop.run_until_cancelled(serving).await),
            None => stop.cancelled().await,
        }
        Ok(())
    }
}

/// Ends, with the reason, when the embedded store takes no writes any more: only another process can open it again.
fn sound(
    data: &Data,
    stop: CancellationToken,
) -> impl Future<Output = Result<(), StoreError>> + use<> {
    let store = match data.views() {
        Views::Embedded(store) => Some(store.clone()),
        Views::Mongo(_) => None,
    };
    async move {
        let spent = async {
            match store {
                Some(store) => store.poisoned().await,
                None => std::future::pending().await,
            }
        };
        stop.run_until_cancelled(spent).await.map_or(Ok(()), Err)
    }
}

/// Opens data; `None`: it is to stop first. A server that is away may take its time.
async fn unless_stopped(
    opening: impl Future<Output = Result<Data, Failure>>,
    stop: &CancellationToken,
) -> Result<Option<Data>, Failure> {
    stop.run_until_cancelled(opening).await.transpose()
}

async fn bind(config: &Config) -> Result<Server, Failure> {
    let address = resolve(&config.api.address, "API_ADDRESS").await?;
    let mut options = options::api(config, address);
    let (wanted, limit) = (options.connections_max, files::raise_limit());
    options.connections_max = files::connections(wanted, limit);
    if options.connections_max < wanted {
        let connections = options.connections_max;
        tracing::warn!(
            limit,
            connections,
            "the limit of open files (ulimit -n) allows fewer connections than API_CONNECTIONS_MAX"
        );
    }
    Server::bind(options).await.map_err(|why| {
        let what = match &why {
            ServeError::Bind { address, .. } => format!(
                "cannot listen on {address} for the API: choose another address with API_ADDRESS or \
                 --api-address (port 0 takes any free one)"
            ),
            ServeError::Socket(_) => "the API cannot listen".to_owned(),
        };
        Failure::because(what, why)
    })
}

/// What the services of a process share.
#[derive(Default)]
struct Shared {
    registry: Arc<Mutex<Registry>>,
    status: ingest::Status,
}

impl Shared {
    fn dataflow_metrics(
        &self,
        options: &dataflow::Options,
        place: Option<&Place>,
    ) -> Arc<dataflow::Metrics> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let processes = place.map_or(1, Place::processes);
        dataflow::Metrics::register(&mut registry, options.workers * processes)
    }

    fn context(
        &self,
        data: &Data,
        stop: CancellationToken,
        progress: impl Fn(&Progress) + Send + Sync + 'static,
    ) -> Context {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        Context {
            log: data.log(),
            clock: Arc::new(SystemClock),
            metrics: ingest::Metrics::register(&mut registry),
            progress: Arc::new(progress),
            status: self.status.clone(),
            stop,
        }
    }

    /// The embedded store shows a commit wholly or not at all.
    fn api_state(&self, config: &Config, data: &Data, kept: &Kept) -> ApiState {
        let clock = Arc::new(SystemClock);
        let state = ApiState::new(data.store(), clock, self.registry.clone());
        let state = match data.views() {
            Views::Embedded(_) => state.with_atomic_commits(),
            Views::Mongo(_) => state,
        };
        state
            .with_limits(options::api_limits(config))
            .with_snapshots(kept.snapshots.clone())
            .with_profiles(kept.profiles.clone())
            .with_jobs(kept.jobs.clone())
    }
}
