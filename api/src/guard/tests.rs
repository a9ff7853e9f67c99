//! Keys and limits as a client sees them. Requests go through the router; two clocks are set by
//! hand: one for keys that expire, one for the buckets.

mod limits;
mod streams;

use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use axum::http::{Method, StatusCode};
use governor::clock::FakeRelativeClock;
use serde_json::Value;
use skytide_core::memory::{MemoryKeys, MemoryStore};
use skytide_core::port::clock::ManualClock;
use skytide_core::port::key::{KeyError, KeyId, KeyText, StoredKey};
use skytide_core::time::Timestamp;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::routing::{ApiState, router};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A server with keys in memory and its clocks.
struct Rig {
    state: ApiState,
    keys: MemoryKeys,
    clock: Arc<ManualClock>,
    time: FakeRelativeClock,
    is_broken: Arc<AtomicBool>,
}

/// Keys that can be made unreadable.
struct Breakable(MemoryKeys, Arc<AtomicBool>);

#[async_trait]
impl KeyStore for Breakable {
    async fn all(&self) -> Result<Vec<StoredKey>, KeyError> {
        match self.1.load(Ordering::SeqCst) {
            true => Err(KeyError::Damaged("a test damaged it".to_owned())),
            false => self.0.all().await,
        }
    }

    async fn add(&self, key: &StoredKey) -> Result<(), KeyError> {
        self.0.add(key).await
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Option<StoredKey>, KeyError> {
        self.0.revoke(id, now).await
    }

    async fn note_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        self.0.note_used(used).await
    }
}

impl Rig {
    fn new(options: AccessOptions) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.set(NOW);
        let (keys, time) = (MemoryKeys::default(), FakeRelativeClock::default());
        let store = Arc::new(MemoryStore::new());
        let state = ApiState::new(store, clock.clone(), Arc::default());
        let is_broken = Arc::new(AtomicBool::new(false));
        let guard = Guard::new(
            options,
            Arc::new(Breakable(keys.clone(), is_broken.clone())),
            clock.clone(),
            LimitClock::Manual(time.clone()),
            state.access_metrics(),
        );
        Self {
            state: state.with_guard(guard),
            keys,
            clock,
            time,
            is_broken,
        }
    }

    /// A server that answers nobody without a key, and sets no limits.
    fn closed() -> Self {
        Self::new(AccessOptions {
            anonymous: false,
            hosts: vec!["api.example.org".to_owned()],
            ..AccessOptions::default()
        })
    }

    /// Adds a key and returns its text.
    async fn add(&self, number: u8, change: impl FnOnce(&mut StoredKey)) -> String {
        let id = KeyId::from_random(number.into());
        let text = KeyText::new(&id, [number; 32]);
        let mut key = StoredKey {
            id,
            hash: text.hash(),
            label: "a test".to_owned(),
            scopes: vec![Scope::Read],
            created: Timestamp(0),
            expires: None,
            rate: None,
            burst: None,
            revoked: None,
            last_used: None,
        };
        change(&mut key);
        self.keys.add(&key).await.expect("added");
        self.state.read_keys().await;
        text.reveal().to_owned()
    }

    async fn send(&self, request: Request) -> Response {
        router(self.state.clone())
            .oneshot(request)
            .await
            .expect("infallible")
    }

    /// Sends a GET request with these headers.
    async fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Response {
        self.send(request(Method::GET, uri, headers)).await
    }

    async fn status(&self, uri: &str, headers: &[(&str, &str)]) -> u16 {
        self.get(uri, headers).await.status().as_u16()
    }

    fn count(&self, outcome: AccessOutcome) -> u64 {
        self.state.access_metrics().get(outcome)
    }
}

fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

async fn json(response: Response) -> Value {
    let bytes = to_bytes(response.into_body(), 1 << 20)
        .await
        .expect("a body");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn number(response: &Response, name: &str) -> u64 {
    let text = response.headers()[name].to_str().expect("digits");
    text.parse().expect("a number")
}

#[tokio::test]
async fn without_a_key_a_closed_server_says_how_to_get_one_and_shows_only_public_routes() {
    let rig = Rig::closed();
    rig.state.read_keys().await;
    for uri in [
        "/v1/jobs",
        "/v1/network",
        "/v1/stream",
        "/v1/trends/posts?as_of=x",
    ] {
        let response = rig.get(uri, &[]).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{uri}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let problem = json(response).await;
        assert_eq!(problem["code"], "key_required");
        let detail = problem["detail"].as_str().expect("a text");
        assert!(
            detail.contains("X-API-Key") && detail.contains("skytide keys add"),
            "{detail}"
        );
    }
    assert_eq!(rig.count(AccessOutcome::Missing), 4);
    for uri in [
        "/",
        "/healthz",
        "/openapi.json",
        "/metrics",
        "/assets/app.js",
    ] {
        assert_eq!(rig.status(uri, &[]).await, 200, "{uri}");
    }
    let key = rig.add(1, |_| {}).await;
    let bearer = format!("Bearer {key}");
    assert_eq!(rig.status("/v1/jobs", &[("x-api-key", &key)]).await, 200);
    assert_eq!(
        rig.status("/v1/jobs", &[("authorization", &bearer)]).await,
        200
    );
    let refused = rig.get("/v1/stream", &[("x-api-key", &key)]).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let problem = json(refused).await;
    assert_eq!(problem["code"], "scope_missing");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.contains("`live`"))
    );
    let live = rig.add(2, |key| key.scopes = vec![Scope::Live]).await;
    assert_eq!(rig.status("/v1/stream", &[("x-api-key", &live)]).await, 200);
    assert_eq!(rig.status("/v1/jobs", &[("x-api-key", &live)]).await, 403);
    // A key in the address would be in logs and histories.
    for name in ["key", "api_key", "x-api-key"] {
        let uri = format!("/v1/jobs?{name}={key}");
        assert_eq!(rig.status(&uri, &[]).await, 401);
        assert_eq!(rig.status(&uri, &[("x-api-key", &key)]).await, 400);
    }
}

#[tokio::test]
async fn an_invalid_key_is_refused_with_one_answer_even_where_none_is_needed() {
    let rig = Rig::new(AccessOptions::default());
    let valid = rig.add(1, |_| {}).await;
    let expiring = rig
        .add(2, |key| key.expires = Some(Timestamp(NOW.0 + 1_000)))
        .await;
    let revoked = rig.add(3, |key| key.revoked = Some(Timestamp(1))).await;
    let unknown = KeyText::new(&KeyId::from_random(9), [9; 32]);
    let wrong_secret = KeyText::new(&KeyId::from_random(1), [2; 32]);
    assert_eq!(rig.status("/v1/jobs", &[]).await, 200);
    assert_eq!(rig.status("/v1/jobs", &[("x-api-key", "")]).await, 200);
    assert_eq!(rig.status("/v1/jobs", &[("x-api-key", &valid)]).await, 200);
    assert_eq!(
        rig.status("/v1/jobs", &[("x-api-key", &expiring)]).await,
        200
    );
    rig.clock.set(Timestamp(NOW.0 + 1_000));
    let invalid: [&[(&str, &str)]; 7] = [
        &[("x-api-key", &expiring)],
        &[("x-api-key", &revoked)],
        &[("x-api-key", unknown.reveal())],
        &[("x-api-key", wrong_secret.reveal())],
        &[("x-api-key", "secret")],
        &[("x-api-key", &valid), ("authorization", "Bearer other")],
        &[("x-api-key", &valid[..valid.len() - 1])],
    ];
    let mut bodies = Vec::new();
    for headers in invalid {
        let response = rig.get("/v1/jobs", headers).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{headers:?}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        bodies.push(json(response).await);
    }
    assert_eq!(bodies[0]["code"], "invalid_key");
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:#?}");
    assert_eq!(rig.count(AccessOutcome::Invalid), 7);
    // Public routes look at no key, so that the start page can say what is wrong.
    assert_eq!(rig.status("/", &[("x-api-key", &revoked)]).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_keys_has_effect_within_seconds_and_unreadable_keys_let_nobody_in() {
    let rig = Rig::new(AccessOptions::default());
    let key = rig.add(1, |_| {}).await;
    let stop = CancellationToken::new();
    let refreshing = tokio::spawn(rig.state.refresh_keys(stop.clone()));
    // Time is paused: it advances only to the next timer when nothing else can run.
    let second = Duration::from_secs(1);
    let status = async || rig.status("/v1/jobs", &[("x-api-key", &key)]).await;
    tokio::time::sleep(second * 100).await;
    assert_eq!(status().await, 200);
    rig.is_broken.store(true, Ordering::SeqCst);
    tokio::time::sleep(second * 2).await;
    assert_eq!(status().await, 200, "one failed read changes nothing");
    tokio::time::sleep(second * 4).await;
    let response = rig.get("/v1/jobs", &[("x-api-key", &key)]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(json(response).await["code"], "keys_unavailable");
    assert_eq!(rig.status("/v1/jobs", &[]).await, 200);
    rig.is_broken.store(false, Ordering::SeqCst);
    tokio::time::sleep(second * 2).await;
    assert_eq!(status().await, 200);
    rig.keys
        .revoke(&KeyId::from_random(1), NOW)
        .await
        .expect("revoked");
    tokio::time::sleep(second * 2).await;
    assert_eq!(status().await, 401);
    stop.cancel();
    refreshing.await.expect("no panic");
    let used = rig.keys.all().await.expect("read")[0].last_used;
    assert_eq!(used, Some(NOW), "the last use is recorded");
}

#[tokio::test]
async fn before_the_keys_were_read_no_key_is_valid() {
    let rig = Rig::closed();
    let text = KeyText::new(&KeyId::from_random(1), [1; 32]);
    let response = rig.get("/v1/jobs", &[("x-api-key", text.reveal())]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(rig.count(AccessOutcome::Unavailable), 1);
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_costs_nothing() {
    let rig = Rig::new(AccessOptions {
        anonymous: false,
        ..AccessOptions::default()
    });
    let asked = [
        ("origin", "https://page.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "x-api-key"),
    ];
    let response = rig
        .send(request(Method::OPTIONS, "/v1/network", &asked))
        .await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(!response.headers().contains_key("ratelimit-limit"));
    let allowed = response.headers()["access-control-allow-headers"]
        .to_str()
        .expect("text");
    for name in [
        "authorization",
        "x-api-key",
        "if-none-match",
        "last-event-id",
        "content-type",
    ] {
        assert!(allowed.split(", ").any(|it| it == name), "{allowed}");
    }
}

#[tokio::test]
async fn admin_routes_need_an_admin_key_and_our_own_host_and_origin() {
    let rig = Rig::new(AccessOptions {
        hosts: vec!["api.example.org".to_owned()],
        ..AccessOptions::default()
    });
    let admin = rig.add(1, |key| key.scopes = vec![Scope::Admin]).await;
    let reader = rig
        .add(2, |key| key.scopes = vec![Scope::Read, Scope::Live])
        .await;
    let host = ("host", "api.example.org");
    let key = ("x-api-key", admin.as_str());
    let uri = "/v1/admin/keys";
    assert_eq!(rig.status(uri, &[host]).await, 401);
    assert_eq!(rig.status(uri, &[host, ("x-api-key", &reader)]).await, 403);
    let foreign: [&[(&str, &str)]; 4] = [
        &[key],
        &[key, ("host", "evil.example")],
        &[key, host, ("origin", "https://evil.example")],
        &[key, host, ("origin", "null")],
    ];
    for headers in foreign {
        let response = rig.get(uri, headers).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(json(response).await["code"], "foreign_host", "{headers:?}");
    }
    assert_eq!(rig.count(AccessOutcome::Foreign), 4);
    let own = [key, host, ("origin", "https://api.example.org")];
    let response = rig.get(uri, &own).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let cors = |response: &Response| {
        let names = response
            .headers()
            .keys()
            .map(|name| name.as_str().to_owned());
        names
            .filter(|name| name.starts_with("access-control"))
            .collect::<Vec<_>>()
    };
    assert_eq!(cors(&response), Vec::<String>::new());
    let preflight = rig
        .send(request(Method::OPTIONS, uri, &[host, own[2]]))
        .await;
    assert!(preflight.status().is_client_error());
    assert_eq!(cors(&preflight), Vec::<String>::new());
    let answer = json(response).await;
    assert_eq!(answer["keys"].as_array().map(Vec::len), Some(2));
    let text = answer.to_string();
    assert!(
        !text.contains("hash") && !text.contains(&reader[15..]),
        "{text}"
    );
}

#[tokio::test]
async fn an_admin_revokes_a_key() {
    let rig = Rig::closed();
    let admin = rig.add(1, |key| key.scopes = vec![Scope::Admin]).await;
    let reader = rig.add(2, |_| {}).await;
    let headers = [("host", "api.example.org"), ("x-api-key", admin.as_str())];
    let delete = |id: &str| {
        let uri = format!("/v1/admin/keys/{id}");
        rig.send(request(Method::DELETE, &uri, &headers))
    };
    assert_eq!(rig.status("/v1/jobs", &[("x-api-key", &reader)]).await, 200);
    let id = KeyId::from_random(2);
    for _ in 0..2 {
        let response = delete(id.as_str()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let key = json(response).await;
        assert_eq!(key["id"], id.as_str());
        assert_eq!(
            (&key["valid"], &key["revoked"]),
            (&false.into(), &NOW.rfc3339().into())
        );
    }
    assert_eq!(rig.status("/v1/jobs", &[("x-api-key", &reader)]).await, 401);
    let statuses = [("zzzzzzzzzz", 404), ("short", 400), ("admin", 400)];
    for (id, status) in statuses {
        assert_eq!(delete(id).await.status().as_u16(), status, "{id}");
    }
    let get = rig
        .send(request(Method::GET, "/v1/admin/keys/zzzzzzzzzz", &headers))
        .await;
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get.headers()["allow"], "DELETE");
}
