//! Counts of requests, and the route that shows all metrics of the process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::exposition::page;
use crate::problem::Problem;
use crate::server::Outcome;
use crate::state::ApiState;

/// The API's own metrics.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram>,
    pub(crate) rereads: Counter,
    pub(crate) stream_clients: Gauge,
    pub(crate) streams_replaced: Counter,
    pub(crate) connections: Connections,
}

/// The connections of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    pub(crate) open: Gauge,
    ended: Family<Ended, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

impl Connections {
    /// Adds them to a registry.
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

    /// One ended.
    pub(crate) fn ended(&self, outcome: Outcome) {
        let outcome = outcome.name();
        self.ended.get_or_create(&Ended { outcome }).inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

impl Metrics {
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
            connections: Connections::register(api),
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
            "Answers read again as a commit came between",
            rereads,
        );
        api.register("stream_clients", "Open event streams", stream_clients);
        api.register(
            "streams_replaced",
            "Event streams closed because another client wanted one",
            streams_replaced,
        );
        metrics
    }
}

/// Counts and times every request under its route, never under its path.
pub(crate) async fn measure(
    State(state): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let seconds = state.metrics.seconds.get_or_create(&Route {
        route: route.clone(),
    });
    seconds.observe(begun.elapsed().as_secs_f64());
    drop(seconds);
    state
        .metrics
        .requests
        .get_or_create(&Answered { route, status })
        .inc();
    response
}

/// `GET /metrics`: all metrics of the process.
pub(crate) async fn show(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registry = state.registry.lock();
    page(&registry.unwrap_or_else(PoisonError::into_inner), &headers)
}
