//! Health and metrics on `SKYTIDE_PROBE_ADDRESS`: of a service without an API, and beside an API.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use skytide_api::{Probe, ProbeState, ServeError};
use skytide_core::config::Config;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::failure::Failure;
use crate::health::ServiceHealth;
use crate::listen::resolve;
use crate::supervisor::Supervisor;
use crate::terminal::say;

/// Where health and metrics are if the API is public and `SKYTIDE_PROBE_ADDRESS` is unset. The units
/// in `deploy/systemd` use the ports before it for the other services.
const BESIDE_PUBLIC_API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7784);

/// Starts the health check, and the server of health and metrics if an address is set for it.
///
/// # Errors
///
/// The address cannot be resolved, or its port is not available.
pub async fn start_probe(
    config: &Config,
    shared: &Shared,
    health: Arc<ServiceHealth>,
    supervisor: &mut Supervisor,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    supervisor.report_health(health.clone());
    let Some(address) = &config.process.probe_address else {
        supervisor.start("the health check", check_health(health, stop.clone()));
        return Ok(());
    };
    let address = resolve(address, "SKYTIDE_PROBE_ADDRESS").await?;
    let probe = bind(address).await?;
    say_where(&probe);
    let state = ProbeState {
        registry: shared.registry.clone(),
        health: health.clone(),
    };
    supervisor.start("the health check", check_health(health, stop.clone()));
    supervisor.start("the probe", probe.run(state, stop.clone()));
    Ok(())
}

/// Listens for health and metrics beside an API that listens on `api`: on `SKYTIDE_PROBE_ADDRESS`. If
/// that is unset, the API serves them itself if only this machine can reach it; otherwise they are on
/// [`BESIDE_PUBLIC_API`], or nowhere if another process listens there.
///
/// # Errors
///
/// The address cannot be resolved, or its port is not available.
pub async fn bind_beside_api(config: &Config, api: SocketAddr) -> Result<Option<Probe>, Failure> {
    let address = match &config.process.probe_address {
        Some(address) => resolve(address, "SKYTIDE_PROBE_ADDRESS").await?,
        None if is_public(api) => return bind_if_free(BESIDE_PUBLIC_API).await,
        None => return Ok(None),
    };
    bind(address).await.map(Some)
}

/// Listens on an address that nobody chose. So it is no failure that another process has it, such as
/// a second public API on this machine.
async fn bind_if_free(default: SocketAddr) -> Result<Option<Probe>, Failure> {
    match Probe::bind(default).await {
        Err(ServeError::Bind { address, source }) if source.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(
                %address,
                "another process listens on the default address of health and metrics: this \
                 process serves no metrics; choose an address with SKYTIDE_PROBE_ADDRESS"
            );
            Ok(None)
        }
        bound => or_failure(default, bound).map(Some),
    }
}

/// Whether other machines may reach an address.
pub fn is_public(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

async fn bind(address: SocketAddr) -> Result<Probe, Failure> {
    or_failure(address, Probe::bind(address).await)
}

fn or_failure(address: SocketAddr, bound: Result<Probe, ServeError>) -> Result<Probe, Failure> {
    bound.map_err(|why| {
        let what = format!(
            "cannot listen on {address} for health and metrics: choose another address with \
             SKYTIDE_PROBE_ADDRESS"
        );
        Failure::because(what, why)
    })
}

/// Prints where the probe is.
pub fn say_where(probe: &Probe) {
    let address = probe.address();
    say(&format!("Health and metrics: http://{address}/readyz"));
}

/// Checks the log and the store every second until `stop` is cancelled.
pub async fn check_health(
    health: Arc<ServiceHealth>,
    stop: CancellationToken,
) -> Result<(), io::Error> {
    stop.run_until_cancelled(health.run_checks()).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    /// An address that another process has.
    async fn taken() -> (tokio::net::TcpListener, SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    #[tokio::test]
    async fn a_default_address_that_is_taken_is_no_failure() {
        let (_listener, address) = taken().await;
        let bound = bind_if_free(address).await.expect("no failure");
        assert!(bound.is_none());
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        assert!(bind_if_free(free).await.expect("no failure").is_some());
    }

    #[tokio::test]
    async fn a_chosen_address_that_is_taken_is_a_failure_that_names_the_option() {
        let (_listener, address) = taken().await;
        let command = Config::augment_args(Command::new("skytide").no_binary_name(true));
        let arg = format!("--skytide-probe-address={address}");
        let matches = command.try_get_matches_from([arg]).expect("an option");
        let config = Config::from_arg_matches(&matches).expect("an address");
        let Err(failure) = bind_beside_api(&config, address).await else {
            panic!("two servers listen on {address}");
        };
        let text = failure.to_string();
        assert!(text.contains("SKYTIDE_PROBE_ADDRESS"), "{text}");
    }
}
