//! Failures on the server's side: no commit yet, a store that fails, hangs or is damaged.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use skytide_api::Limits;
use skytide_core::memory::MemoryStore;
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Key, ListKey, Measure, StoredRow, ViewId, Window};

use crate::world::{ANA, World, get_json, request, row, send, text};

#[tokio::test]
async fn before_the_first_commit_clients_should_retry() {
    let world = World::empty();
    for uri in [
        "/v1/trends/posts",
        "/v1/network",
        "/v1/views",
        &format!("/v1/actors/{ANA}"),
    ] {
        let response = send(world.state(), request(uri)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{uri}");
        assert_eq!(response.headers()["retry-after"], "1");
        assert!(
            text(response).await.contains("nothing_counted_yet"),
            "{uri}"
        );
    }
}

/// A store that hangs, or fails with a secret in its error.
struct FailingStore {
    hangs: bool,
}

impl FailingStore {
    async fn fail<T>(&self) -> Result<T, StoreError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let source = "mongodb://user:secret@db".into();
        Err(StoreError::Failed {
            operation: "read rows",
            source,
        })
    }
}

#[async_trait]
impl ViewReader for FailingStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.fail().await
    }

    async fn get(&self, _: ViewId, _: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.fail().await
    }

    async fn scan(&self, _: ViewId, _: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.fail().await
    }
}

#[tokio::test]
async fn the_error_of_a_store_is_not_shown_to_clients() {
    let mut world = World::empty();
    world.commit(&[]).await;
    for uri in ["/v1/network", "/readyz"] {
        let state = world.state_on(Arc::new(FailingStore { hangs: false }));
        let (status, json) = get_json(state, uri).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{uri}");
        assert!(!json.to_string().contains("mongodb"), "{json}");
    }
    let state = world.state_on(Arc::new(FailingStore { hangs: false }));
    assert!(get_json(state, "/v1/network").await.1["request"].is_string());
}

/// A store with a defect.
struct PanickingStore(MemoryStore);

#[async_trait]
impl ViewReader for PanickingStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.0.control().await
    }

    async fn get(&self, _: ViewId, _: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        panic!("a defect with a secret");
    }

    async fn scan(&self, _: ViewId, _: Range) -> Result<Vec<StoredRow>, StoreError> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_panic_fails_one_request_and_is_counted() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let state = world.state_on(Arc::new(PanickingStore(world.store.clone())));
    for _ in 0..2 {
        let (status, problem) = get_json(state.clone(), "/v1/trends/posts").await;
        assert_eq!(
            (status.as_u16(), problem["code"].as_str()),
            (500, Some("internal"))
        );
        assert!(!problem.to_string().contains("secret"), "{problem}");
    }
    let metrics = text(send(state, request("/metrics")).await).await;
    let counted = "api_requests_total{route=\"/v1/trends/{view}\",status=\"500\"} 2";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_damaged_row_is_an_internal_error() {
    let mut world = World::empty();
    let key = ListKey {
        window: Window::Day,
        measure: Measure::Likes,
        lang: "".into(),
    };
    let damaged = row(&key, &"not a list");
    world.commit(&[(ViewId::TopPosts, vec![damaged])]).await;
    let (status, problem) = world.refused("/v1/trends/posts").await;
    assert_eq!((status, problem["code"].as_str()), (500, Some("internal")));
}

#[tokio::test(start_paused = true)]
async fn a_request_to_a_hanging_store_times_out() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let limits = Limits {
        request_ms_max: 500,
        ..Limits::default()
    };
    let state = world
        .state_on(Arc::new(FailingStore { hangs: true }))
        .with_limits(limits);
    let (status, problem) = get_json(state, "/v1/network").await;
    assert_eq!(
        (status.as_u16(), problem["code"].as_str()),
        (503, Some("too_slow"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_makes_the_service_unready_within_seconds() {
    let state = World::empty().state_on(Arc::new(FailingStore { hangs: true }));
    let started = tokio::time::Instant::now();
    let (status, ready) = get_json(state, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let reasons = serde_json::json!(["the view store does not answer"]);
    assert_eq!(ready["reasons"], reasons);
    assert!(started.elapsed() < std::time::Duration::from_secs(3));
}
