//! `/original`: the contract of another API. Expected texts are those of its table
//! (`docs/original.md`) and of FastAPI.

mod accounts;
mod refusals;
mod unready;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use serde_json::{Value, json};
use skytide_api::{AccessOptions, ApiState};
use skytide_core::memory::MemoryKeys;
use skytide_core::port::key::{KeyId, KeyStore, KeyText, Scope, StoredKey};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    ActivityKey, ActivityRow, ActorRow, Change, InteractionKey, InteractionRow, Measure, Span,
    ViewId, Window,
};

use crate::schema::violations;
use crate::world::{ANA, BEA, CAI, World, account, claim, did, list, row, send, text, time};

/// A key for each set of scopes. The number makes it different from all others.
fn key(number: u8, scopes: &[Scope]) -> (String, StoredKey) {
    let id = KeyId::from_random(number.into());
    let text = KeyText::new(&id, [number; 32]);
    let stored = StoredKey {
        id,
        hash: text.hash(),
        label: String::new(),
        scopes: scopes.to_vec(),
        created: Timestamp(1),
        expires: None,
        rate: None,
        burst: None,
        revoked: None,
        last_used: None,
    };
    (text.reveal().to_owned(), stored)
}

/// A state that accepts the key `reader`; the key `streamer` lacks the scope `read`.
async fn with_keys(state: ApiState, options: AccessOptions) -> (ApiState, String, String) {
    let keys = MemoryKeys::default();
    let (reader, stored) = key(1, &[Scope::Read]);
    keys.add(&stored).await.unwrap();
    let (streamer, stored) = key(2, &[Scope::Live]);
    keys.add(&stored).await.unwrap();
    let state = state.with_access(options, Arc::new(keys));
    state.read_keys().await;
    (state, reader, streamer)
}

/// A request with a key, unless it is empty. Every client sends an `Origin`.
fn request(method: Method, uri: &str, key: &str, body: &[u8]) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("origin", "https://client.example");
    if !key.is_empty() {
        request = request.header("x-api-key", key);
    }
    request.body(Body::from(body.to_vec())).unwrap()
}

async fn json_of(response: Response<Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let text = text(response).await;
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    (status, json)
}

/// The answers to requests with a valid key.
struct Client {
    state: ApiState,
    key: String,
}

impl Client {
    async fn of(world: &World) -> Self {
        let (state, key, _) = with_keys(world.state(), AccessOptions::default()).await;
        Self { state, key }
    }

    async fn get(&self, uri: &str) -> (u16, Value) {
        let request = request(Method::GET, uri, &self.key, b"");
        json_of(send(self.state.clone(), request).await).await
    }

    async fn post(&self, body: &[u8]) -> (u16, Value) {
        let uri = "/original/interactions";
        let request = request(Method::POST, uri, &self.key, body);
        json_of(send(self.state.clone(), request).await).await
    }

    async fn interactions(&self, handle: &str) -> (u16, Value) {
        let body = json!({ "handle": handle }).to_string();
        self.post(body.as_bytes()).await
    }
}

fn pair(author: &str, day: &str, subject: &str, counts: [u32; 4], characters: u64) -> Change {
    let key = InteractionKey {
        author: did(author),
        day: time(&format!("{day}T00:00:00Z")).day(),
        subject: did(subject),
    };
    let [likes, reposts, replies, quotes] = counts;
    let counts = InteractionRow {
        likes,
        reposts,
        replies,
        quotes,
        characters,
    };
    row(&key, &counts)
}

fn live(collection: &str, live: u64) -> Change {
    let key = ActivityKey {
        span: Span::All,
        start_minute: 0,
        collection: collection.into(),
    };
    let counts = ActivityRow {
        creates: 1_000,
        live,
        ..ActivityRow::default()
    };
    row(&key, &counts)
}

/// The newest commit is of 2026-07-04. Nothing is known of `CAI` but what others did to it.
async fn world() -> World {
    let mut world = World::empty();
    let day = |measure, entries: &[(&str, u32, u32, u32)]| list(Window::Day, measure, "", entries);
    world
        .commit(&[
            (
                ViewId::TopInteractions,
                vec![
                    day(Measure::LikesToOthers, &[(ANA, 7, 0, 7), (CAI, 2, 0, 2)]),
                    day(Measure::PostsToOthers, &[(BEA, 3, 410, 3)]),
                    day(Measure::PostsFromOthers, &[(ANA, 2, 0, 2)]),
                    day(Measure::BlocksFromOthers, &[(BEA, 5, 0, 5)]),
                ],
            ),
            (
                ViewId::TopActors,
                vec![day(Measure::LikesGiven, &[(BEA, 99, 0, 99)])],
            ),
            (
                ViewId::Accounts,
                vec![
                    row(&did(ANA), &account("ana.test", "Ana")),
                    row(&did(BEA), &account("bea.test", "Bea")),
                ],
            ),
            (
                ViewId::Handles,
                vec![claim("ana.test", ANA, "2026-06-02T00:00:00Z")],
            ),
            (ViewId::Actors, vec![row(&did(ANA), &ActorRow::default())]),
            (
                ViewId::Interactions,
                vec![
                    pair(ANA, "2026-07-04", BEA, [1, 1, 1, 1], 30),
                    pair(ANA, "2026-06-28", BEA, [2, 0, 0, 0], 0),
                    pair(ANA, "2026-06-28", CAI, [0, 0, 4, 2], 80),
                    // Eight days ago, today included.
                    pair(ANA, "2026-06-27", BEA, [100, 0, 0, 0], 0),
                    pair(BEA, "2026-07-03", ANA, [0, 9, 0, 0], 0),
                ],
            ),
            (
                ViewId::Activity,
                vec![
                    live("app.bsky.actor.profile", 1),
                    live("app.bsky.feed.like", 3),
                    live("app.bsky.feed.post", 4),
                    live("app.bsky.feed.repost", 5),
                    live("app.bsky.graph.follow", 6),
                ],
            ),
        ])
        .await;
    world
}

#[tokio::test]
async fn top_lists_have_all_sets_in_their_order() {
    let client = Client::of(&world().await).await;
    let ana = json!({"handle": "ana.test", "display_name": "Ana", "avatar": null});
    let bea = json!({"handle": "bea.test", "display_name": "Bea", "avatar": null});
    let (status, answer) = client.get("/original/dd/top_interactions").await;
    let expected = json!({
        "_id": "2026-07-04T14:38:06.928+00:00",
        "name": "top_interactions",
        "data": [
            {"key": "like", "subkey": "author", "items": [
                {"_id": ANA, "count": 7, "profile": ana},
                {"_id": CAI, "count": 2, "profile": null},
            ]},
            {"key": "like", "subkey": "subject", "items": []},
            {"key": "repost", "subkey": "author", "items": []},
            {"key": "repost", "subkey": "subject", "items": []},
            {"key": "post", "subkey": "author", "items": [
                {"_id": BEA, "count": 3, "c": 410, "profile": bea},
            ]},
            {"key": "post", "subkey": "subject", "items": [
                {"_id": ANA, "count": 2, "c": 0, "profile": ana},
            ]},
        ],
    });
    assert_eq!((status, &answer), (200, &expected));
    assert_eq!(violations("OriginalTop", &answer), Vec::<String>::new());

    let (status, answer) = client.get("/original/dd/top_blocks").await;
    let expected = json!({
        "_id": "2026-07-04T14:38:06.928+00:00",
        "name": "top_blocks",
        "data": [
            {"key": "author", "items": []},
            {"key": "subject", "items": [{"_id": BEA, "count": 5, "profile": bea}]},
        ],
    });
    assert_eq!((status, &answer), (200, &expected));
    assert_eq!(violations("OriginalTop", &answer), Vec::<String>::new());
}

#[tokio::test]
async fn interactions_are_summed_over_seven_days_and_ordered_by_their_number() {
    let client = Client::of(&world().await).await;
    let interactions = json!({
        "sent": [
            {"_id": BEA, "l": 3, "r": 1, "p": 2, "c": 30, "t": 6},
            {"_id": CAI, "l": 0, "r": 0, "p": 6, "c": 80, "t": 6},
        ],
        "rcvd": [{"_id": BEA, "l": 0, "r": 9, "p": 0, "c": 0, "t": 9}],
    });
    let mut by_characters = interactions.clone();
    by_characters["sent"].as_array_mut().unwrap().reverse();
    for (name, handle) in [
        ("ana.test", "ana.test"),
        ("@ana.test", "ana.test"),
        ("@ANA.test", "ANA.test"),
        (ANA, "ana.test"),
    ] {
        let (status, answer) = client.interactions(name).await;
        let expected = json!({"did": ANA, "handle": handle, "interactions": by_characters});
        assert_eq!((status, &answer), (200, &expected), "{name}");
        assert_eq!(
            violations("OriginalInteractions", &answer),
            Vec::<String>::new()
        );
    }
    // No handle is known, but others acted on it.
    let (status, answer) = client.interactions(CAI).await;
    let rcvd = json!([{"_id": ANA, "l": 0, "r": 0, "p": 6, "c": 80, "t": 6}]);
    let expected = json!({"did": CAI, "handle": CAI, "interactions": {"sent": [], "rcvd": rcvd}});
    assert_eq!((status, answer), (200, expected));
}

#[tokio::test]
async fn an_account_that_nobody_knows_is_not_found() {
    let client = Client::of(&world().await).await;
    let unknown = "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz";
    for (name, shown) in [
        ("nobody.test", "nobody.test"),
        ("@nobody.test", "nobody.test"),
        (unknown, unknown),
        ("no handle", "no handle"),
        ("did:plc", "did:plc"),
        ("handle.invalid", "handle.invalid"),
        ("", ""),
    ] {
        let detail = format!("user not found: {shown}");
        let expected = (400, json!({ "detail": detail }));
        assert_eq!(client.interactions(name).await, expected, "{name:?}");
    }
}

#[tokio::test]
async fn the_numbers_of_live_records_need_no_key() {
    let expected = json!({
        "app.bsky.actor.profile": 1,
        "app.bsky.graph.block": 0,
        "interactions.like": 3,
        "interactions.post": 4,
        "interactions.repost": 5,
    });
    let options = AccessOptions {
        anonymous: false,
        ..AccessOptions::default()
    };
    let (state, ..) = with_keys(world().await.state(), options).await;
    let request = request(Method::GET, "/original/collStats", "", b"");
    let (status, answer) = json_of(send(state, request).await).await;
    assert_eq!((status, &answer), (200, &expected));
    assert_eq!(violations("OriginalCounts", &answer), Vec::<String>::new());
}
