//! Checks of the servers that hold the log and the views.

use std::time::Duration;

use skytide_core::config::Config;

use super::clock::ClockReading;
use super::finding::Finding;
use crate::cli::doctor::Service;

/// Whether the service uses the log on NATS.
pub fn uses_nats(config: &Config, service: Service) -> bool {
    let uses_log = matches!(service, Service::Up | Service::Ingest | Service::Index);
    cfg!(feature = "nats") && uses_log && !config.nats.url.is_empty() && !config.cluster.follows()
}

/// Whether the service uses the views on MongoDB.
pub fn uses_mongodb(config: &Config, service: Service) -> bool {
    let uses_views = service != Service::Ingest;
    cfg!(feature = "mongodb")
        && uses_views
        && config.mongo.uri.is_some()
        && !config.cluster.follows()
}

/// Checks NATS. Adds a reading of its clock.
#[cfg(feature = "nats")]
pub async fn nats(config: &Config, clocks: &mut Vec<ClockReading>) -> Vec<Finding> {
    nats_checks::check(&config.nats, clocks).await
}

/// This binary was built without NATS.
#[cfg(not(feature = "nats"))]
#[expect(clippy::unused_async, reason = "the other build waits for the server")]
pub async fn nats(_config: &Config, _clocks: &mut Vec<ClockReading>) -> Vec<Finding> {
    Vec::new()
}

/// Checks MongoDB. Adds a reading of its clock.
#[cfg(feature = "mongodb")]
pub async fn mongodb(
    config: &Config,
    service: Service,
    time_max: Duration,
    clocks: &mut Vec<ClockReading>,
) -> Vec<Finding> {
    mongodb_checks::check(config, service, time_max, clocks).await
}

/// This binary was built without MongoDB.
#[cfg(not(feature = "mongodb"))]
#[expect(clippy::unused_async, reason = "the other build waits for the server")]
pub async fn mongodb(
    _config: &Config,
    _service: Service,
    _time_max: Duration,
    _clocks: &mut Vec<ClockReading>,
) -> Vec<Finding> {
    Vec::new()
}

#[cfg(feature = "mongodb")]
mod mongodb_checks;
#[cfg(feature = "nats")]
mod nats_checks;
