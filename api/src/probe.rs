//! What a service that runs apart shows of itself: `/healthz`, `/readyz`, `/metrics`, and no views.
//!
//! Ready means here that every part of the service does its work: an ingest that cannot reach its log is not.

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

use crate::exposition::page;
use crate::metrics::Connections;
use crate::problem::Problem;
use crate::routes::health::alive;
use crate::server::{Options, ServeError, Server};
use crate::state::{Health, Part};

/// What the probe shows; clones are handles of the same.
#[derive(Clone)]
pub struct ProbeState {
    /// All metrics of the process.
    pub registry: Arc<Mutex<Registry>>,
    /// How its parts do.
    pub health: Arc<dyn Health>,
}

/// A bound probe.
#[derive(Debug)]
pub struct Probe(Server);

/// Probes are for a few monitors.
const CONNECTIONS_MAX: usize = 32;
const STOP_MS_MAX: u64 = 500;

impl Probe {
    /// Binds the address; port 0 takes a free one.
    ///
    /// # Errors
    /// `Bind` if the address cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServeError> {
        let options = Options {
            address,
            connections_max: CONNECTIONS_MAX,
            stop_ms_max: STOP_MS_MAX,
            ..Options::default()
        };
        Server::bind(options).await.map(Self)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Answers until `stop` is cancelled.
    ///
    /// # Errors
    /// `Socket` if the system takes the socket away.
    pub async fn run(self, state: ProbeState, stop: CancellationToken) -> Result<(), ServeError> {
        let counts = {
            let mut registry = state
                .registry
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Connections::register(registry.sub_registry_with_prefix("probe"))
        };
        self.0.run_router(probe_router(state), counts, stop).await
    }
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
    /// Why not; empty if ready.
    reasons: Vec<String>,
    parts: Vec<Part>,
}

async fn ready(State(state): State<ProbeState>) -> Response {
    let parts = state.health.parts();
    let wrong = parts.iter().filter(|part| !part.ok);
    let reasons: Vec<_> = wrong
        .map(|part| format!("{}: {}", part.name, part.detail))
        .collect();
    let ready = reasons.is_empty();
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let answer = Ready {
        ready,
        reasons,
        parts,
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

async fn metrics(State(state): State<ProbeState>, headers: HeaderMap) -> Result<Response, Problem> {
    let registry = state.registry.lock();
    page(&registry.unwrap_or_else(PoisonError::into_inner), &headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    struct Log(bool);

    impl Health for Log {
        fn parts(&self) -> Vec<Part> {
            vec![Part {
                name: "log".to_owned(),
                ok: self.0,
                detail: "no answer for 3 s".to_owned(),
            }]
        }
    }

    async fn asked(ok: bool, path: &str) -> (StatusCode, String) {
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
    async fn a_service_whose_log_is_away_is_not_ready_and_says_why() {
        let (status, body) = asked(false, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains("log: no answer for 3 s"), "{body}");
        let (status, body) = asked(true, "/readyz").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains(r#""ready":true"#), "{body}");
    }

    #[tokio::test]
    async fn it_lives_and_shows_its_metrics_whatever_its_parts_do() {
        assert_eq!(asked(false, "/healthz").await.0, StatusCode::OK);
        assert_eq!(asked(false, "/metrics").await.0, StatusCode::OK);
    }
}
