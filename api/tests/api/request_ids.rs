//! The id of a request: in the answer's header, and in the answer if the request failed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response};
use futures_util::StreamExt;
use serde_json::Value;
use skytide_api::ApiState;
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Key, StoredRow, ViewId};
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

use crate::world::{World, request, send, text};

fn id(response: &Response<Body>) -> String {
    let id = response.headers()["x-request-id"].to_str().unwrap();
    id.to_owned()
}

/// Sends a request with this id; returns the id of the answer.
async fn id_for(state: &ApiState, chosen: HeaderValue) -> String {
    let request = Request::get("/healthz").header("x-request-id", chosen);
    id(&send(state.clone(), request.body(Body::empty()).unwrap()).await)
}

#[tokio::test]
async fn every_answer_has_an_id_of_its_own() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let state = world.state();
    let mut ids = Vec::new();
    for uri in [
        "/v1/network",
        "/v1/network",
        "/v1/network?windw=1h",
        "/no/such/path",
        &format!("/healthz?{}", "x".repeat(20_000)),
    ] {
        ids.push(id(&send(state.clone(), request(uri)).await));
    }
    let preflight = Request::options("/v1/network").body(Body::empty()).unwrap();
    ids.push(id(&send(state, preflight).await));
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "{ids:?}");
}

#[tokio::test]
async fn a_client_may_choose_the_id_within_limits() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let state = world.state();
    for valid in ["x", "7f9c-ab:{\"}", &"i".repeat(64)] {
        assert_eq!(id_for(&state, valid.parse().unwrap()).await, valid);
    }
    for invalid in ["", "two words", &"i".repeat(65), "tab\t"] {
        let given = id_for(&state, invalid.parse().unwrap()).await;
        assert_ne!(given, invalid);
        assert!(!given.is_empty());
    }
    let bytes = HeaderValue::from_bytes(b"\xe9\xff").unwrap();
    assert!(id_for(&state, bytes).await.is_ascii());
}

/// A store that cannot be read.
struct FailingStore;

#[async_trait]
impl ViewReader for FailingStore {
    async fn control(&self) -> Result<Control, StoreError> {
        let source = "no route to host".into();
        let operation = "read the control record";
        Err(StoreError::Failed { operation, source })
    }

    async fn get(&self, _: ViewId, _: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        unreachable!("the control record is read first")
    }

    async fn scan(&self, _: ViewId, _: Range) -> Result<Vec<StoredRow>, StoreError> {
        unreachable!("the control record is read first")
    }
}

/// A store whose rows cannot be read. They are read in a task of the cache.
struct FailingRows(World);

#[async_trait]
impl ViewReader for FailingRows {
    async fn control(&self) -> Result<Control, StoreError> {
        self.0.store.control().await
    }

    async fn get(&self, _: ViewId, _: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        FailingStore.control().await.map(|_| Vec::new())
    }

    async fn scan(&self, _: ViewId, _: Range) -> Result<Vec<StoredRow>, StoreError> {
        FailingStore.control().await.map(|_| Vec::new())
    }
}

#[tokio::test]
async fn a_failure_is_logged_under_the_id_of_its_request() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let before = world.state_on(Arc::new(FailingStore));
    let after = World::empty().state_on(Arc::new(FailingRows(world)));
    for state in [before, after] {
        let request = Request::get("/v1/network").header("x-request-id", "from-the-client");
        let response = send(state, request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), 503);
        assert_eq!(id(&response), "from-the-client");
        let problem: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["request"], "from-the-client");
    }
}

/// Collects the field `request` of log lines.
#[derive(Clone, Default)]
struct LoggedIds(Arc<Mutex<Vec<String>>>);

impl Subscriber for LoggedIds {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for LoggedIds {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "request" {
            self.0.lock().unwrap().push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// The rows of an event are read after the handler returned.
#[tokio::test(start_paused = true)]
async fn a_failure_in_a_stream_is_logged_under_the_id_of_its_request() {
    let logged = LoggedIds::default();
    let _logging = tracing::subscriber::set_default(logged.clone());
    let mut world = World::empty();
    world.commit(&[]).await;
    let state = World::empty().state_on(Arc::new(FailingRows(world)));
    let request = Request::get("/v1/stream").header("x-request-id", "from-the-client");
    let response = send(state, request.body(Body::empty()).unwrap()).await;
    assert_eq!(id(&response), "from-the-client");
    let mut events = response.into_body().into_data_stream();
    // No event can be sent. The time is virtual: it passes once the stream only waits.
    let waited = timeout(Duration::from_secs(2), events.next()).await;
    assert!(waited.is_err(), "an event without rows");
    let ids = logged.0.lock().unwrap();
    assert!(!ids.is_empty(), "nothing was logged");
    assert!(ids.iter().all(|id| id == "from-the-client"), "{ids:?}");
}
