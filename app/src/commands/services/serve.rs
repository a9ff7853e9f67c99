//! `skytide serve`: the views over HTTP.

use std::sync::Arc;

use skytide_api::{ApiState, Probe, ServeError, Server};
use skytide_core::config::Config;
use tokio_util::sync::CancellationToken;

use super::open::open_unless_stopped;
use super::probe::{bind_beside_api, check_health, is_public, say_where};
use super::shared::Shared;
use super::store_tasks::{serve_requests, watch_store};
use crate::data::{Data, Role};
use crate::failure::Failure;
use crate::files;
use crate::listen::resolve;
use crate::options;
use crate::supervisor::Supervisor;
use crate::terminal::say;

/// Serves the views over HTTP.
///
/// # Errors
///
/// The views or the port are not available, or the API failed.
pub async fn serve(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    let opening = Data::open(&config.store.dir, None, Role::Views, config, true);
    let Some(data) = open_unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let api = ListeningApi::bind(config).await?;
    say(&format!("The API listens: {}", api.url()));
    api.say_where_the_probe_is();
    let job_stores = data.views().job_stores()?;
    let shared = Shared::default();
    shared.add_store_sizes(&data);
    shared.data_metrics(&data);
    let health = Arc::new(shared.health().with_store(data.store()));
    let state = shared.api_state(config, &data, &job_stores)?;
    let state = state.with_health(health.clone());
    let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
    let record = shared.keep_flight_record(config, Some(health.clone()), None, stop.clone());
    supervisor.start("the flight record", record);
    supervisor.report_health(health.clone());
    supervisor.start("the health check", check_health(health, stop.clone()));
    supervisor.start("exports", serve_requests(&data, None, stop.clone()));
    supervisor.start("the view store", watch_store(&data, stop.clone()));
    api.start(state, &mut supervisor, &stop);
    supervisor.run_until_one_exits().await
}

/// The API, and the probe beside it, on their addresses.
pub struct ListeningApi {
    server: Server,
    probe: Option<Probe>,
}

impl ListeningApi {
    /// Listens on `API_ADDRESS`, and on the address of the probe if it has one of its own.
    ///
    /// # Errors
    ///
    /// An address cannot be resolved, or its port is not available.
    pub async fn bind(config: &Config) -> Result<Self, Failure> {
        let server = bind_api(config).await?;
        let probe = bind_beside_api(config, server.address()).await?;
        Ok(Self { server, probe })
    }

    /// The URL of the start page.
    pub fn url(&self) -> String {
        format!("http://{}/", self.server.address())
    }

    /// Prints where the probe is, if it has an address of its own.
    pub fn say_where_the_probe_is(&self) {
        if let Some(probe) = &self.probe {
            say_where(probe);
        }
    }

    /// Starts the tasks that answer requests until `stop` is cancelled.
    pub fn start(self, state: ApiState, supervisor: &mut Supervisor, stop: &CancellationToken) {
        let state = match is_public(self.server.address()) {
            true => state.with_details_on_probe(),
            false => state,
        };
        if let Some(probe) = self.probe {
            let beside = probe.run_beside_api(state.clone(), stop.clone());
            supervisor.start("the probe", beside);
        }
        supervisor.start("the API", self.server.run(state, stop.clone()));
    }
}

/// Listens on `API_ADDRESS`. Allows as many connections as the limit of open files permits.
///
/// # Errors
///
/// The address cannot be resolved, or its port is not available.
async fn bind_api(config: &Config) -> Result<Server, Failure> {
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
            ServeError::Socket(_) | ServeError::Keys(_) => "cannot listen for the API".to_owned(),
        };
        Failure::because(what, why)
    })
}
