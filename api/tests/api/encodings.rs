//! Compressed answers: any client can decode them, and they are compressed once.

use std::io::Read;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use flate2::bufread::GzDecoder;
use serde_json::Value;
use skytide_api::{ApiState, Limits};
use skytide_core::view::{Change, Measure, ViewId, Window};

use crate::world::{World, list, request, send, text};

const LONG: &str = "/v1/trends/hashtags?limit=100";
const SHORT: &str = "/v1/trends/links";

/// A list of 100 hashtags with this value.
fn hundred_tags(value: u32) -> (ViewId, Vec<Change>) {
    let names: Vec<String> = (0..100).map(|it| format!("tag-{it}")).collect();
    let entries: Vec<_> = names
        .iter()
        .map(|name| (&**name, value, 1, value))
        .collect();
    let list = list(Window::Day, Measure::Count, "", &entries);
    (ViewId::TopHashtags, vec![list])
}

async fn world() -> World {
    let mut world = World::empty();
    world.commit(&[hundred_tags(7)]).await;
    world
}

/// Requests an answer with this `Accept-Encoding`; returns its headers and bytes.
async fn get(state: &ApiState, uri: &str, accepted: &str) -> (HeaderMap, Vec<u8>) {
    let request = Request::get(uri).header("accept-encoding", accepted);
    let response = send(state.clone(), request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK, "{uri}");
    let headers = response.headers().clone();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (headers, bytes.to_vec())
}

/// Decodes one gzip member, as curl and browsers do; nothing may follow it.
fn decode(gzip: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder = GzDecoder::new(gzip);
    decoder.read_to_string(&mut text).unwrap();
    assert!(decoder.into_inner().is_empty());
    text
}

#[tokio::test]
async fn a_compressed_answer_has_the_same_text() {
    let mut world = world().await;
    let limits = Limits {
        reuse_ms_max: 1_000,
        ..Limits::default()
    };
    let state = world.state().with_limits(limits);
    for commit in 0..3 {
        // From the second request on, the compressed data are those of the first.
        for age in [0, 17, 100_000] {
            world.advance(age);
            let plain = text(send(state.clone(), request(LONG)).await).await;
            let (headers, gzip) = get(&state, LONG, "gzip").await;
            assert_eq!(headers["content-encoding"], "gzip");
            assert_eq!(headers["content-type"], "application/json");
            assert!(gzip.len() < plain.len() / 2);
            assert_eq!(decode(&gzip), plain, "commit {commit}, age {age}");
            let json: Value = serde_json::from_str(&plain).unwrap();
            assert_eq!(json["entries"].as_array().unwrap().len(), 100);
        }
        world.commit(&[hundred_tags(8 + commit)]).await;
    }
}

#[tokio::test]
async fn the_encoding_is_the_one_that_the_client_accepts() {
    let state = world().await.state();
    for (accepted, uri, encoding) in [
        ("gzip", LONG, Some("gzip")),
        ("br;q=1, gzip;q=0.2", LONG, Some("gzip")),
        ("gzip;q=0", LONG, None),
        ("identity", LONG, None),
        ("gzip;q=0.1, identity", LONG, None),
        // A short answer fits into one packet.
        ("gzip", SHORT, None),
    ] {
        let (headers, _) = get(&state, uri, accepted).await;
        let sent = headers.get("content-encoding");
        assert_eq!(sent.map(|it| it.to_str().unwrap()), encoding, "{accepted}");
        assert_eq!(headers["vary"], "accept-encoding", "{accepted} {uri}");
        assert_eq!(headers.get_all("vary").iter().count(), 1, "{accepted}");
    }
    let (headers, _) = get(&state, LONG, "gzip").await;
    let again = Request::get(LONG)
        .header("accept-encoding", "gzip")
        .header("if-none-match", &headers["etag"]);
    let same = send(state, again.body(Body::empty()).unwrap()).await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(same.headers()["vary"], "accept-encoding");
    assert!(same.headers().get("content-encoding").is_none());
}

/// The bytes of the cached answers, by the metric.
async fn cached_bytes(state: &ApiState) -> u64 {
    let metrics = text(send(state.clone(), request("/metrics")).await).await;
    let mut lines = metrics.lines();
    let bytes = lines.find_map(|line| line.strip_prefix("api_cache_bytes "));
    bytes.unwrap().parse().unwrap()
}

#[tokio::test]
async fn many_different_questions_use_bounded_memory() {
    const BYTES_MAX: u64 = 100_000;
    let limits = Limits {
        reuse_ms_max: 60_000,
        cache_bytes_max: BYTES_MAX,
        ..Limits::default()
    };
    let state = world().await.state().with_limits(limits);
    for n in 0..5_000 {
        let uri = format!("/v1/trends/hashtags/tag{n}");
        get(&state, &uri, "gzip").await;
        let limit = n % 100 + 1;
        get(
            &state,
            &format!("/v1/trends/hashtags?limit={limit}"),
            "gzip",
        )
        .await;
        if n % 100 == 0 {
            let bytes = cached_bytes(&state).await;
            assert!(bytes <= BYTES_MAX, "{bytes} bytes after {n} questions");
        }
    }
    assert!(cached_bytes(&state).await > BYTES_MAX / 2);
}
