//! The metrics that the API counts itself. `exposition` writes all metrics of the process as text.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::connection_state::Outcome;

/// The API's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabel, Histogram>,
    pub(crate) rereads: Counter,
    pub(crate) stream_clients: Gauge,
    pub(crate) streams_replaced: Counter,
    pub(crate) connections: ConnectionMetrics,
}

/// The metrics of one server's connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionMetrics {
    pub(crate) open: Gauge,
    ended: Family<OutcomeLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl ConnectionMetrics {
    /// Creates the metrics and adds them to a registry.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let connections = Self::default();
        let Self { open, ended } = connections.clone();
        registry.register("connections", "Open connections", open);
        registry.register(
            "connections_ended",
            "Connections that ended, by outcome",
            ended,
        );
        connections
    }

    /// Counts a connection that ended.
    pub(crate) fn ended(&self, outcome: Outcome) {
        let outcome = outcome.name();
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

impl Metrics {
    /// Creates the metrics and adds them to a registry with the prefix `api`.
    pub(crate) fn register(registry: &Arc<Mutex<Registry>>) -> Self {
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let api = registry.sub_registry_with_prefix("api");
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_5, 2.0, 14))
            }),
            rereads: Counter::default(),
            stream_clients: Gauge::default(),
            streams_replaced: Counter::default(),
            connections: ConnectionMetrics::register(api),
        };
        let Self {
            requests,
            seconds,
            rereads,
            stream_clients,
            streams_replaced,
            connections: _,
        } = metrics.clone();
        api.register(
            "requests",
            "Requests answered, by route and status",
            requests,
        );
        api.register(
            "request_seconds",
            "Time until the head of an answer",
            seconds,
        );
        api.register(
            "rereads",
            "Answers read again because a commit came between their reads",
            rereads,
        );
        api.register("stream_clients", "Open event streams", stream_clients);
        api.register(
            "streams_replaced",
            "Event streams closed to admit another client",
            streams_replaced,
        );
        metrics
    }

    /// Counts and times an answered request.
    pub(crate) fn answered(&self, route: String, status: u16, duration: Duration) {
        let label = RouteLabel {
            route: route.clone(),
        };
        let seconds = self.seconds.get_or_create(&label);
        seconds.observe(duration.as_secs_f64());
        drop(seconds);
        let labels = RequestLabels { route, status };
        self.requests.get_or_create(&labels).inc();
    }
}
