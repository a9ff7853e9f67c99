//! Client errors, limits, methods, CORS, caching.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use skytide_core::view::{Measure, ViewId, Window};

use crate::world::{World, list, request, send, text};

async fn world() -> World {
    let mut world = World::empty();
    world.commit(&[]).await;
    world
}

#[tokio::test]
async fn every_client_error_names_the_parameter_and_the_nearest_allowed_value() {
    let world = world().await;
    let cases = [
        ("/v1/trends/hashtag", "view", json!("hashtags")),
        ("/v1/trends/hashtags?window=1d", "window", json!("1h")),
        ("/v1/trends/actors?window=7d", "window", Value::Null),
        ("/v1/trends/actors?lang=en", "lang", Value::Null),
        ("/v1/trends/hashtags?lang=3n", "lang", Value::Null),
        ("/v1/trends/hashtags?windw=1h", "windw", json!("window")),
        (
            "/v1/trends/hashtags?measure=counts",
            "measure",
            json!("count"),
        ),
        ("/v1/trends/posts?measure=velocity", "measure", Value::Null),
        (
            "/v1/trends/links?measure=velocity&window=all",
            "window",
            Value::Null,
        ),
        ("/v1/trends/hashtags?limit=0", "limit", Value::Null),
        ("/v1/trends/hashtags?limit=101", "limit", Value::Null),
        ("/v1/trends/hashtags?limit=-1", "limit", Value::Null),
        ("/v1/trends/hashtags?limit=1&limit=2", "limit", Value::Null),
        ("/v1/trends/hashtags?cursor=abc", "cursor", Value::Null),
        ("/v1/trends/posts/at:%2F%2Fx", "view", Value::Null),
        ("/v1/trends/actors/x", "view", Value::Null),
        ("/v1/trends/tags/x", "view", Value::Null),
        ("/v1/trends/mentions/nobody", "actor", Value::Null),
        ("/v1/trends/hashtags/x?window=1h", "window", Value::Null),
        ("/v1/trends/links/%ff", "path", Value::Null),
        ("/v1/posts/hello", "uri", Value::Null),
        (
            "/v1/posts/at://did:plc:a/app.bsky.feed.like/3n2xril3jyo2a",
            "uri",
            Value::Null,
        ),
        ("/v1/actors/ana", "actor", Value::Null),
        ("/v1/actors/did:plc", "actor", Value::Null),
        (
            "/v1/actors/ana.test/interactions?direction=send",
            "direction",
            json!("sent"),
        ),
        (
            "/v1/actors/ana.test/interactions?days=8",
            "days",
            Value::Null,
        ),
        ("/v1/network?hours=1441", "hours", Value::Null),
        ("/v1/views?x=1", "x", Value::Null),
        (
            "/v1/stream?lists=posts,links,hashtags,domains,mentions",
            "lists",
            Value::Null,
        ),
        ("/v1/stream?lists=postz", "view", json!("posts")),
    ];
    for (uri, parameter, nearest) in cases {
        let (status, problem) = world.refused(uri).await;
        assert_eq!(status, 400, "{uri}: {problem:#}");
        assert_eq!(problem["parameter"], parameter, "{uri}: {problem:#}");
        assert_eq!(problem["nearest"], nearest, "{uri}: {problem:#}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_allowed_values_are_listed() {
    let world = world().await;
    let (_, problem) = world.refused("/v1/trends/blocks?window=1h").await;
    assert_eq!(problem["allowed"], json!(["24h"]));
    let (_, problem) = world.refused("/v1/trends/domains?measure=likes").await;
    assert_eq!(problem["allowed"], json!(["count", "authors", "velocity"]));
    let (_, problem) = world.refused("/v1/network?windows=1h").await;
    assert_eq!(problem["allowed"], json!(["limit", "window", "hours"]));
    assert_eq!(problem["code"], "unknown_parameter");
}

#[tokio::test]
async fn a_cursor_is_valid_only_for_its_own_list() {
    let mut world = World::empty();
    let entries = [("a", 2, 1, 2), ("b", 1, 1, 1)];
    let list = list(Window::Day, Measure::Count, "", &entries);
    world.commit(&[(ViewId::TopLinks, vec![list])]).await;
    let page = world.get("/v1/trends/links?limit=1").await;
    let cursor = page["cursor"].as_str().unwrap();
    let same = format!("/v1/trends/links?cursor={cursor}&window=24h&limit=100");
    assert_eq!(world.get(&same).await["entries"][0]["key"], "b");
    for (uri, parameter) in [
        (
            format!("/v1/trends/links?cursor={cursor}&window=1h"),
            "window",
        ),
        (format!("/v1/trends/links?cursor={cursor}&lang=en"), "lang"),
        (format!("/v1/trends/domains?cursor={cursor}"), "cursor"),
    ] {
        let (status, problem) = world.refused(&uri).await;
        assert_eq!(
            (status, problem["parameter"].as_str()),
            (400, Some(parameter)),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn an_unknown_path_is_answered_with_a_problem() {
    let world = world().await;
    for uri in [
        "/v2",
        "/v1",
        "/v1/",
        "/v1/trends",
        "/favicon.ico",
        "/assets/../Cargo.toml",
    ] {
        let (status, problem) = world.refused(uri).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (404, Some("not_found")),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn only_get_and_head_are_allowed() {
    let world = world().await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
        let request = Request::builder()
            .method(method)
            .uri("/v1/network")
            .body(Body::empty());
        let response = send(world.state(), request.unwrap()).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        let allow: Vec<_> = response.headers().get_all("allow").iter().collect();
        assert_eq!(allow.len(), 1, "{allow:?}");
        assert!(allow[0].to_str().unwrap().starts_with("GET"), "{allow:?}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    let head = Request::head("/v1/network").body(Body::empty()).unwrap();
    let response = send(world.state(), head).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn a_long_uri_is_refused_before_it_is_parsed() {
    let world = world().await;
    let (status, problem) = world
        .refused(&format!("/v1/actors/{}", "a".repeat(20_000)))
        .await;
    assert_eq!(
        (status, problem["code"].as_str()),
        (414, Some("uri_too_long"))
    );
    let (status, problem) = world
        .refused(&format!("/v1/actors/{}", "a".repeat(9_000)))
        .await;
    assert_eq!(status, 400);
    assert_eq!(
        problem["value"].as_str().unwrap().len(),
        100,
        "long values are truncated"
    );
}

#[tokio::test]
async fn pages_of_any_origin_may_read() {
    let world = world().await;
    for uri in ["/v1/network", "/v1/nothing", "/openapi.json"] {
        let response = send(world.state(), request(uri)).await;
        assert_eq!(
            response.headers()["access-control-allow-origin"],
            "*",
            "{uri}"
        );
        assert_eq!(
            response.headers()["x-content-type-options"],
            "nosniff",
            "{uri}"
        );
    }
    let preflight = Request::options("/v1/network").body(Body::empty()).unwrap();
    let response = send(world.state(), preflight).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(
        response.headers()["access-control-allow-methods"],
        "GET, HEAD"
    );
}

#[tokio::test]
async fn a_refused_request_is_counted_under_its_status() {
    let state = world().await.state();
    let long = format!("/v1/network?{}", "x".repeat(20_000));
    assert_eq!(send(state.clone(), request(&long)).await.status(), 414);
    let metrics = text(send(state, request("/metrics")).await).await;
    let counted = "api_requests_total{route=\"/v1/network\",status=\"414\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_text_is_compressed_for_a_client_that_accepts_it_and_a_stream_never() {
    let state = world().await.state();
    for (uri, encoding) in [("/openapi.json", Some("gzip")), ("/v1/stream", None)] {
        let request = Request::get(uri).header("accept-encoding", "gzip");
        let response = send(state.clone(), request.body(Body::empty()).unwrap()).await;
        let sent = response.headers().get("content-encoding");
        assert_eq!(sent.map(|it| it.to_str().unwrap()), encoding, "{uri}");
    }
    let plain = send(state, request("/openapi.json")).await;
    assert!(plain.headers().get("content-encoding").is_none());
}

#[tokio::test]
async fn an_answer_that_the_client_has_is_not_sent_again() {
    let world = world().await;
    let first = send(world.state(), request("/v1/network")).await;
    let tag = first.headers()["etag"].clone();
    assert_eq!(first.headers()["cache-control"], "no-cache");
    let again = Request::get("/v1/network").header("if-none-match", &tag);
    let same = send(world.state(), again.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (same.status(), &same.headers()["etag"]),
        (StatusCode::NOT_MODIFIED, &tag)
    );
    assert_eq!(text(same).await, "");
}

#[tokio::test]
async fn every_form_of_if_none_match_is_understood() {
    let world = world().await;
    let first = send(world.state(), request("/v1/network")).await;
    let weak = first.headers()["etag"].to_str().unwrap().to_owned();
    let strong = weak.trim_start_matches("W/").to_owned();
    let get = |uri: &'static str, tags: Vec<String>| {
        let state = world.state();
        async move {
            let request = tags.iter().fold(Request::get(uri), |request, tag| {
                request.header("if-none-match", tag)
            });
            let response = send(state, request.body(Body::empty()).unwrap()).await;
            response.status().as_u16()
        }
    };
    let other = "\"other, \"".to_owned();
    for (tags, status) in [
        (vec![weak.clone()], 304),
        (vec![strong.clone()], 304),
        (vec!["*".to_owned()], 304),
        (vec![format!("{other}, {weak}")], 304),
        (vec![format!("W/\"x\",{strong} , {other}")], 304),
        (vec![other.clone(), weak.clone()], 304),
        (vec![other.clone()], 200),
        (vec![format!("W/{other}, \"y\"")], 200),
        (vec![strong.trim_matches('"').to_owned()], 200),
        (vec![String::new()], 200),
        (vec!["\"\u{e9}\", \"open".to_owned(), weak.clone()], 304),
        (vec!["\"\u{e9}\u{1f600}".to_owned()], 200),
    ] {
        assert_eq!(get("/v1/network", tags.clone()).await, status, "{tags:?}");
    }
    // `*` matches only an answer that exists.
    let unknown = "/v1/actors/did:plc:zzzzzzzzzzzzzzzzzzzzzzzz";
    assert_eq!(get(unknown, vec!["*".to_owned()]).await, 404);
}
