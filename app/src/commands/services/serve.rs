//! `skytide serve`: the views over HTTP.

use skytide_api::{ServeError, Server};
use skytide_core::config::Config;
use tokio_util::sync::CancellationToken;

use super::open::open_unless_stopped;
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
    let server = bind_api(config).await?;
    say(&format!("The API listens: http://{}/", server.address()));
    let job_stores = data.views().job_stores()?;
    let state = Shared::default().api_state(config, &data, &job_stores)?;
    let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
    supervisor.start("exports", serve_requests(&data, None, stop.clone()));
    supervisor.start("the view store", watch_store(&data, stop.clone()));
    supervisor.start("the API", server.run(state, stop));
    supervisor.run_until_one_exits().await
}

/// Listens on `API_ADDRESS`. Allows as many connections as the limit of open files permits.
///
/// # Errors
///
/// The address cannot be resolved, or its port is not available.
pub async fn bind_api(config: &Config) -> Result<Server, Failure> {
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
            ServeError::Socket(_) => "cannot listen for the API".to_owned(),
        };
        Failure::because(what, why)
    })
}
