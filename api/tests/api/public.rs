//! An API that other machines can reach: what its parts report is only on the probe.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use skytide_api::{ApiState, Health, Part, api_probe_router};
use tower::ServiceExt;

use crate::world::{World, get_json, request, send, text};

/// A log and a relay, of which one fails with details that are not for everybody.
struct Parts;

impl Health for Parts {
    fn parts(&self) -> Vec<Part> {
        let part = |name: &str, ok, detail: &str| Part {
            name: name.to_owned(),
            ok,
            detail: detail.to_owned(),
        };
        vec![
            part("log", true, "nats at secret.example:4222"),
            part("store", false, "secret.example:27017: connection refused"),
        ]
    }

    fn needs_help(&self) -> bool {
        true
    }
}

async fn public() -> ApiState {
    let mut world = World::empty();
    world.commit(&[]).await;
    let state = world.state().with_health(Arc::new(Parts));
    state.with_details_on_probe()
}

async fn ask_probe(state: ApiState, uri: &str) -> (StatusCode, String) {
    let response = api_probe_router(state).oneshot(request(uri)).await;
    let response = response.unwrap().map(Body::new);
    (response.status(), text(response).await)
}

#[tokio::test]
async fn a_public_api_says_which_part_fails_but_not_why() {
    let state = public().await;
    let (status, ready) = get_json(state.clone(), "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready["reasons"], json!(["store: does not work"]));
    let (_, network) = get_json(state, "/v1/network").await;
    for answer in [ready, network] {
        assert!(answer.to_string().contains("does not work"), "{answer:#}");
        assert!(!answer.to_string().contains("secret"), "{answer:#}");
    }
    let mut waiting = World::empty().state().with_health(Arc::new(Parts));
    waiting = waiting.with_details_on_probe();
    let (_, unready) = get_json(waiting, "/readyz").await;
    assert!(!unready.to_string().contains("secret"), "{unready:#}");
}

#[tokio::test]
async fn metrics_and_reasons_of_a_public_api_are_on_the_probe() {
    let state = public().await;
    let (status, problem) = get_json(state.clone(), "/metrics").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("SKYTIDE_PROBE_ADDRESS"), "{detail}");

    let (status, metrics) = ask_probe(state.clone(), "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(metrics.contains("api_requests_total"), "{metrics}");
    let (status, ready) = ask_probe(state.clone(), "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(
        ready["reasons"],
        json!(["store: secret.example:27017: connection refused"])
    );
    assert_eq!(ask_probe(state.clone(), "/healthz").await.0, StatusCode::OK);
    assert_eq!(
        ask_probe(state, "/v1/network").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_api_on_loopback_shows_everything_itself() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let state = world.state().with_health(Arc::new(Parts));
    let (_, ready) = get_json(state.clone(), "/readyz").await;
    assert!(ready.to_string().contains("secret"), "{ready:#}");
    let metrics = send(state, request("/metrics")).await;
    assert_eq!(metrics.status(), StatusCode::OK);
}
