//! A probe serves `/healthz`, `/readyz` and `/metrics` without views, on an address and with
//! connections of its own.
//!
//! A service without an API is ready while all its parts work: an ingest that cannot reach its log is
//! not ready. Beside an API, `/readyz` answers as that of the API does, always in detail. So health
//! checks are answered while all connections of the API are in use. Only the probe shows the errors
//! of the parts without a key.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::exposition::render;
use crate::health::{Audience, Health, ShownPart, ShownWait};
use crate::metrics::ConnectionMetrics;
use crate::options::Options;
use crate::problem::Problem;
use crate::routes::health::{alive, ready_in_detail};
use crate::routes::metrics::show_on_probe;
use crate::routing::ApiState;
use crate::server::{ServeError, Server};

/// What the probe shows. Clones share the same metrics and the same health.
#[derive(Clone)]
pub struct ProbeState {
    /// All metrics of the process.
    pub registry: Arc<Mutex<Registry>>,
    /// The health of its parts.
    pub health: Arc<dyn Health>,
}

/// A probe that is bound to its address.
#[derive(Debug)]
pub struct Probe(Server);

/// Maximum number of connections: only a few monitors use a probe.
const CONNECTIONS_MAX: usize = 32;
/// Time that requests in progress get to finish when the service stops.
const STOP_MS_MAX: u64 = 500;

impl Probe {
    /// Binds the address; port 0 selects a free port.
    ///
    /// # Errors
    /// `Bind` if the address is not available.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let options = Options {
            address,
            connections_max: CONNECTIONS_MAX,
            stop_ms_max: STOP_MS_MAX,
            ..Options::default()
        };
        Server::bind(options).await.map(Self)
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Answers requests until `stop` is cancelled.
    ///
    /// # Errors
    /// `Socket` if the listening socket fails.
    pub async fn run(self, state: ProbeState, stop: CancellationToken) -> Result<(), ServeError> {
        let metrics = connection_metrics(&state.registry);
        self.0.run_router(probe_router(state), metrics, stop).await
    }

    /// Answers requests about the service that has this API until `stop` is cancelled.
    ///
    /// # Errors
    /// `Socket` if the listening socket fails.
    pub async fn run_beside_api(
        self,
        api: ApiState,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let metrics = connection_metrics(&api.registry());
        let app = api_probe_router(api.with_stop(stop.clone()));
        self.0.run_router(app, metrics, stop).await
    }
}

/// The metrics of a probe's connections, with the prefix `probe`.
fn connection_metrics(registry: &Mutex<Registry>) -> ConnectionMetrics {
    let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    ConnectionMetrics::register(registry.sub_registry_with_prefix("probe"))
}

/// The routes of a probe beside an API.
pub fn api_probe_router(api: ApiState) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready_in_detail))
        .route("/metrics", get(show_on_probe))
        .with_state(api)
}

/// The routes of a probe.
pub fn probe_router(state: ProbeState) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    /// Why it is not ready; empty if it is.
    reasons: Vec<String>,
    /// What the pipeline waits for.
    waits_for: ShownWait,
    parts: Vec<ShownPart>,
}

async fn ready(State(state): State<ProbeState>) -> Response {
    let parts = ShownPart::all(&*state.health, Audience::Operator);
    let failing = parts.iter().filter(|part| !part.ok);
    let reasons: Vec<_> = failing.map(ShownPart::reason).collect();
    let ready = reasons.is_empty();
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let answer = Ready {
        ready,
        reasons,
        waits_for: ShownWait::of(&*state.health, Audience::Operator),
        parts,
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

async fn metrics(State(state): State<ProbeState>, headers: HeaderMap) -> Result<Response, Problem> {
    let registry = state.registry.lock();
    render(&registry.unwrap_or_else(PoisonError::into_inner), &headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use skytide_core::port::explanation::Explanation;
    use tower::ServiceExt;

    use crate::health::Part;

    /// A service whose log works, or does not.
    struct Log(bool);

    impl Health for Log {
        fn parts(&self) -> Vec<Part> {
            vec![Part {
                name: "log".to_owned(),
                ok: self.0,
                detail: Explanation::new("no answer for 3 s"),
            }]
        }
    }

    async fn get_path(ok: bool, path: &str) -> (StatusCode, String) {
        let state = ProbeState {
            registry: Arc::default(),
            health: Arc::new(Log(ok)),
        };
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let answer = probe_router(state)
            .oneshot(request)
            .await
            .expect("an answer");
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 10_000).await.expect("a body");
        (status, String::from_utf8(body.into()).expect("text"))
    }

    #[tokio::test]
    async fn a_service_without_its_log_is_not_ready_and_gives_the_reason() {
        let (status, body) = get_path(false, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("log: no answer for 3 s"), "{body}");
        let (status, body) = get_path(true, "/readyz").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(r#""ready":true"#), "{body}");
    }

    #[tokio::test]
    async fn health_and_metrics_are_answered_while_a_part_fails() {
        assert_eq!(get_path(false, "/healthz").await.0, StatusCode::OK);
        assert_eq!(get_path(false, "/metrics").await.0, StatusCode::OK);
    }
}
