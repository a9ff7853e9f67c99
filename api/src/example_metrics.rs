//! All metrics of the API and of a probe, each with one time series, for the reference page of
//! metrics.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

use crate::connection_state::Outcome;
use crate::handles;
use crate::metrics::{ConnectionMetrics, Metrics};

/// Registers the metrics of the API and adds one time series to each metric with labels: a metric
/// without a time series is not exported.
pub fn register_api_examples(registry: &Arc<Mutex<Registry>>) {
    Metrics::register(registry).add_examples();
    handles::register_example(registry);
}

/// The same for the metrics of a probe.
pub fn register_probe_examples(registry: &Arc<Mutex<Registry>>) {
    let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    let probe = registry.sub_registry_with_prefix("probe");
    ConnectionMetrics::register(probe).ended(Outcome::Closed);
}
