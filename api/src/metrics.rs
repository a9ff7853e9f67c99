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
    pub(crate) interactions_left_out: Counter,
    pub(crate) cache: CacheMetrics,
    pub(crate) stream_clients: Gauge,
    pub(crate) streams_replaced: Counter,
    pub(crate) connections: ConnectionMetrics,
    pub(crate) access: AccessMetrics,
}

/// The result of the check of a request's key and rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessOutcome {
    /// Passed without a key.
    Anonymous,
    /// Passed with a valid key.
    Key,
    /// Refused: a key is needed.
    Missing,
    /// Refused: the key is not valid.
    Invalid,
    /// Refused: the key lacks the scope.
    Scope,
    /// Refused: the keys cannot be read.
    Unavailable,
    /// Refused: an admin route under a foreign name or from a foreign page.
    Foreign,
    /// Refused: too many requests.
    Limited,
}

impl AccessOutcome {
    const NAMES: [&'static str; 8] = [
        "anonymous",
        "key",
        "missing",
        "invalid",
        "scope",
        "unavailable",
        "foreign",
        "limited",
    ];
}

/// Checked requests, by outcome. A request costs one atomic increment.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessMetrics([Counter; AccessOutcome::NAMES.len()]);

impl AccessMetrics {
    fn register(registry: &mut Registry) -> Self {
        let family = Family::<OutcomeLabel, Counter>::default();
        let of = |outcome| family.get_or_create(&OutcomeLabel { outcome }).clone();
        let counters = AccessOutcome::NAMES.map(of);
        let help = "Requests by the outcome of the check of key and rate limit";
        registry.register("access", help, family);
        Self(counters)
    }

    /// The number of requests with an outcome.
    #[cfg(test)]
    pub(crate) fn get(&self, outcome: AccessOutcome) -> u64 {
        self.0[outcome as usize].get()
    }

    /// Counts a request.
    pub(crate) fn count(&self, outcome: AccessOutcome) {
        self.0[outcome as usize].inc();
    }
}

/// How answers were obtained, in numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheMetrics {
    /// A current answer was cached.
    pub(crate) hits: Counter,
    /// The previous answer was served while a newer one was read.
    pub(crate) stale: Counter,
    /// The client waited for a read that another client had started.
    pub(crate) joined: Counter,
    /// The answer was read from the store.
    pub(crate) reads: Counter,
    /// Refused because too many questions were being answered.
    pub(crate) refused: Counter,
    /// Bytes of the cached answers, as of the newest read.
    pub(crate) bytes: Gauge,
}

impl CacheMetrics {
    /// Creates the metrics and adds them to a registry.
    fn register(registry: &mut Registry) -> Self {
        let cache = Self::default();
        let Self {
            hits,
            stale,
            joined,
            reads,
            refused,
            bytes,
        } = cache.clone();
        let help = "Bytes of cached answers and their questions, when the newest was added";
        registry.register("cache_bytes", help, bytes);
        let mut add = |name: &str, help: &str, counter: Counter| {
            registry.register(name, help, counter);
        };
        add(
            "cache_hits",
            "Answers from the cache, read at the newest commit or recently",
            hits,
        );
        add(
            "cache_stale",
            "Previous answers served while a newer one was read",
            stale,
        );
        add(
            "cache_joined",
            "Answers that waited for the read of another request",
            joined,
        );
        add("cache_reads", "Answers read from the store", reads);
        add(
            "cache_refused",
            "Requests refused because too many answers were being read",
            refused,
        );
        cache
    }
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
    /// Adds one time series to each metric with labels.
    pub(crate) fn add_examples(&self) {
        self.answered(String::new(), 200, Duration::ZERO);
        self.connections.ended(Outcome::Closed);
    }

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
            interactions_left_out: Counter::default(),
            cache: CacheMetrics::register(api),
            stream_clients: Gauge::default(),
            streams_replaced: Counter::default(),
            connections: ConnectionMetrics::register(api),
            access: AccessMetrics::register(api),
        };
        let Self {
            requests,
            seconds,
            rereads,
            interactions_left_out,
            stream_clients,
            streams_replaced,
            cache: _,
            connections: _,
            access: _,
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
        api.register(
            "interactions_left_out",
            "Rows that answers of /original/interactions left out: too many other accounts",
            interactions_left_out,
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
