//! What everybody may read of the health, and what only the operator may: the probe and a key with
//! the scope `admin`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use skytide_api::{AccessOptions, ApiState, Health, Part, api_probe_router};
use skytide_core::memory::{MemoryJobs, MemoryKeys};
use skytide_core::port::explanation::Explanation;
use skytide_core::port::graph::{GraphReporter, WorkerReport};
use skytide_core::port::job::{JobStore, RunEnd, RunOutcome, Running};
use skytide_core::port::key::{KeyId, KeyStore, KeyText, Scope, StoredKey};
use skytide_core::port::wait::{Wait, WaitWord};
use skytide_core::time::Timestamp;
use tower::ServiceExt;

use crate::schema::violations;
use crate::world::{World, get_json, request, send, text};

/// A log and a store, of which one fails with details that are not for everybody.
struct Parts;

/// The error of the driver.
const SECRET: &str = "secret.example:27017: connection refused";

impl Health for Parts {
    fn parts(&self) -> Vec<Part> {
        let part = |name: &str, ok, detail| Part {
            name: name.to_owned(),
            ok,
            detail,
        };
        let log = Explanation::with_private("has room", "nats at secret.example:4222");
        let store = Explanation::with_private("does not accept commits", SECRET);
        vec![part("log", true, log), part("store", false, store)]
    }

    fn waits_for(&self) -> Wait {
        let sentence = Explanation::with_private("commits have failed for 12 s", SECRET);
        Wait::new(WaitWord::Store, sentence)
    }

    fn needs_help(&self) -> bool {
        true
    }
}

/// A dataflow of one worker without operators.
struct Graph;

impl GraphReporter for Graph {
    fn reports(&self) -> Vec<Arc<WorkerReport>> {
        vec![Arc::new(WorkerReport::default())]
    }
}

async fn with_failing_parts() -> ApiState {
    let mut world = World::empty();
    world.commit(&[]).await;
    let jobs = MemoryJobs::default();
    let run = Running {
        token: 1,
        began: Timestamp(1),
        deadline: Timestamp(100),
        trigger: None,
    };
    let end = RunEnd {
        began: Timestamp(1),
        ended: Timestamp(2),
        trigger: None,
        outcome: RunOutcome::Failed,
        report: SECRET.to_owned(),
    };
    jobs.begin("snapshot", &run).await.unwrap();
    jobs.end("snapshot", 1, &end).await.unwrap();
    let state = world.state().with_health(Arc::new(Parts));
    state.with_graph(Arc::new(Graph)).with_jobs(Arc::new(jobs))
}

async fn ask_probe(state: ApiState, uri: &str) -> (StatusCode, String) {
    let response = api_probe_router(state).oneshot(request(uri)).await;
    let response = response.unwrap().map(Body::new);
    (response.status(), text(response).await)
}

/// The answer to a key with this scope.
async fn get_as(state: ApiState, scope: Scope, uri: &str) -> Value {
    let id = KeyId::from_random(7);
    let key = KeyText::new(&id, [7; 32]);
    let keys = MemoryKeys::default();
    let stored = StoredKey {
        id,
        hash: key.hash(),
        label: "test".to_owned(),
        scopes: vec![Scope::Read, Scope::Live, scope],
        created: Timestamp(0),
        expires: None,
        rate: None,
        burst: None,
        revoked: None,
        last_used: None,
    };
    keys.add(&stored).await.unwrap();
    let state = state.with_access(AccessOptions::default(), Arc::new(keys));
    state.read_keys().await;
    let request = Request::get(uri).header("x-api-key", key.reveal());
    let response = send(state, request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "{uri}");
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn everybody_learns_the_reason_but_not_the_error_of_the_driver() {
    for is_public in [false, true] {
        let state = with_failing_parts().await;
        let state = match is_public {
            true => state.with_details_on_probe(),
            false => state,
        };
        let (status, ready) = get_json(state.clone(), "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ready["reasons"], json!(["store: does not accept commits"]));
        let (_, network) = get_json(state.clone(), "/v1/network").await;
        let (_, dataflow) = get_json(state.clone(), "/v1/dataflow").await;
        let expected = json!({"word": "store", "sentence": "commits have failed for 12 s"});
        for answer in [&ready, &network, &dataflow] {
            assert_eq!(answer["waits_for"], expected, "{answer:#}");
        }
        let (_, jobs) = get_json(state, "/v1/jobs").await;
        assert_eq!(jobs["jobs"][0]["last"]["ok"], false);
        for (schema, answer) in [
            ("Ready", ready),
            ("Network", network),
            ("Dataflow", dataflow),
            ("Jobs", jobs),
        ] {
            assert_eq!(violations(schema, &answer), Vec::<String>::new());
            assert!(!answer.to_string().contains("secret"), "{answer:#}");
        }
    }
}

#[tokio::test]
async fn before_the_first_commit_the_reasons_have_no_error_of_a_driver() {
    let waiting = World::empty().state().with_health(Arc::new(Parts));
    let (_, unready) = get_json(waiting, "/readyz").await;
    assert!(!unready.to_string().contains("secret"), "{unready:#}");
    let (word, reasons) = (&unready["waits_for"]["word"], &unready["reasons"]);
    assert_eq!(
        (word, reasons[1].as_str()),
        (&json!("store"), Some("store: does not accept commits"))
    );
}

#[tokio::test]
async fn a_key_with_the_scope_admin_gets_the_errors_of_drivers_and_no_other_key_does() {
    for uri in ["/v1/network", "/v1/dataflow", "/v1/jobs"] {
        let state = with_failing_parts().await;
        let operator = get_as(state.clone(), Scope::Admin, uri).await;
        assert!(operator.to_string().contains(SECRET), "{uri}: {operator:#}");
        let reader = get_as(state.clone(), Scope::Read, uri).await;
        assert!(!reader.to_string().contains("secret"), "{uri}: {reader:#}");
        // The answer to the operator is not cached for everybody.
        let (_, everybody) = get_json(state, uri).await;
        assert!(!everybody.to_string().contains("secret"), "{everybody:#}");
    }
}

#[tokio::test]
async fn metrics_of_a_public_api_and_the_errors_of_drivers_are_on_the_probe() {
    let state = with_failing_parts().await.with_details_on_probe();
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
        json!([format!("store: does not accept commits: {SECRET}")])
    );
    assert_eq!(ready["waits_for"]["detail"], SECRET);
    assert_eq!(ask_probe(state.clone(), "/healthz").await.0, StatusCode::OK);
    assert_eq!(
        ask_probe(state, "/v1/network").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_api_on_loopback_shows_its_metrics_itself() {
    let metrics = send(with_failing_parts().await, request("/metrics")).await;
    assert_eq!(metrics.status(), StatusCode::OK);
}
