//! The metric of lookups: `api_handle_lookups` by outcome.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// How a lookup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum Outcome {
    /// Both directions agree.
    Verified,
    /// The handle names an account that does not name the handle, or could not be asked.
    Unverified,
    /// The handle names no account.
    Nobody,
    /// The network could not be asked.
    Failed,
    /// Not started, because of too many lookups.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

/// Counts lookups.
#[derive(Clone, Debug, Default)]
pub(super) struct LookupMetrics(Family<OutcomeLabel, Counter>);

impl LookupMetrics {
    /// Creates the metric and adds it to a registry with the prefix `api`.
    pub(super) fn register(registry: &Arc<Mutex<Registry>>) -> Self {
        let metrics = Self::default();
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Lookups of handles in the network, by outcome";
        let api = registry.sub_registry_with_prefix("api");
        api.register("handle_lookups", help, metrics.0.clone());
        metrics
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.0.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}
