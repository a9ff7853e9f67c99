//! Health and metrics of a service that runs in a process of its own, on `SKYTIDE_PROBE_ADDRESS`.

use std::io;
use std::sync::Arc;

use skytide_api::{Probe, ProbeState};
use skytide_core::config::Config;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::failure::Failure;
use crate::health::ServiceHealth;
use crate::listen::resolve;
use crate::supervisor::Supervisor;
use crate::terminal::say;

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
    let probe = Probe::bind(address).await.map_err(|why| {
        let what = format!(
            "cannot listen on {address} for health and metrics: choose another address with \
             SKYTIDE_PROBE_ADDRESS"
        );
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
    supervisor.start("the health check", check_health(health, stop.clone()));
    supervisor.start("the probe", probe.run(state, stop.clone()));
    Ok(())
}

/// Checks the log and the store every second until `stop` is cancelled.
pub async fn check_health(
    health: Arc<ServiceHealth>,
    stop: CancellationToken,
) -> Result<(), io::Error> {
    stop.run_until_cancelled(health.run_checks()).await;
    Ok(())
}
