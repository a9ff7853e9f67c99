//! Requests that are refused: keys, paths, bodies, methods, limits.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use skytide_api::{AccessOptions, RateLimit};

use super::{Client, json_of, request, with_keys, world};
use crate::schema::violations;
use crate::world::{World, send};

#[tokio::test]
async fn only_the_key_in_the_contracts_header_counts() {
    let (state, reader, streamer) =
        with_keys(world().await.state(), AccessOptions::default()).await;
    let missing = json!({"detail": "Not authenticated"});
    let invalid = json!({"detail": "Missing or invalid API key"});
    let calls = [
        (Method::GET, "/original/dd/top_interactions"),
        (Method::GET, "/original/dd/top_blocks"),
        // The key is checked before the path and the body.
        (Method::GET, "/original/dd/anything"),
        (Method::POST, "/original/interactions"),
    ];
    for (method, uri) in calls {
        let send = |name: &'static str, value: &str| {
            let request = Request::builder()
                .method(method.clone())
                .uri(uri)
                .header(name, value)
                .body(Body::from("{"));
            send(state.clone(), request.unwrap())
        };
        for (name, value) in [
            ("origin", "https://client.example"),
            ("x-api-key", ""),
            ("authorization", &*format!("Bearer {reader}")),
        ] {
            let answer = json_of(send(name, value).await).await;
            assert_eq!(answer, (403, missing.clone()), "{uri} {name}");
        }
        for value in ["sky_", "abc", &*streamer, &*reader.replace("sky", "SKY")] {
            let answer = json_of(send("x-api-key", value).await).await;
            assert_eq!(answer, (401, invalid.clone()), "{uri} {value}");
        }
        let (status, _) = json_of(send("x-api-key", &reader).await).await;
        assert!(status == 200 || status == 422, "{uri}: {status}");
    }
}

#[tokio::test]
async fn an_invalid_path_is_described_as_fastapi_does() {
    let client = Client::of(&world().await).await;
    for (path, input) in [
        ("top", "top"),
        ("TOP_BLOCKS", "TOP_BLOCKS"),
        ("a%20%C3%A9%2F", "a é/"),
        ("%ff", ""),
    ] {
        let (status, answer) = client.get(&format!("/original/dd/{path}")).await;
        let expected = json!({"detail": [{
            "type": "enum",
            "loc": ["path", "name"],
            "msg": "Input should be 'top_interactions' or 'top_blocks'",
            "input": input,
            "ctx": {"expected": "'top_interactions' or 'top_blocks'"},
        }]});
        assert_eq!((status, &answer), (422, &expected), "{path}");
        assert_eq!(violations("OriginalError", &answer), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_invalid_body_is_described_as_fastapi_does() {
    let client = Client::of(&world().await).await;
    let missing = |loc: &[&str], input: Value| json!({"type": "missing", "loc": loc, "msg": "Field required", "input": input});
    let no_object = |input: Value| {
        let msg = "Input should be a valid dictionary or object to extract fields from";
        json!({"type": "model_attributes_type", "loc": ["body"], "msg": msg, "input": input})
    };
    let no_text = |input: Value| {
        let msg = "Input should be a valid string";
        json!({"type": "string_type", "loc": ["body", "handle"], "msg": msg, "input": input})
    };
    let no_json = |at: usize, error: &str| {
        json!({
            "type": "json_invalid", "loc": ["body", at], "msg": "JSON decode error",
            "input": {}, "ctx": {"error": error},
        })
    };
    let cases = [
        ("", missing(&["body"], Value::Null)),
        ("null", missing(&["body"], Value::Null)),
        ("{}", missing(&["body", "handle"], json!({}))),
        (
            r#"{"did": 1}"#,
            missing(&["body", "handle"], json!({"did": 1})),
        ),
        (r#"{"handle": null}"#, no_text(Value::Null)),
        (r#"{"handle": 5}"#, no_text(json!(5))),
        (r#"{"handle": ["a"]}"#, no_text(json!(["a"]))),
        ("[]", no_object(json!([]))),
        (r#""ana.test""#, no_object(json!("ana.test"))),
        ("{'handle': 1}", no_json(1, "key must be a string")),
        ("{\n\"é\": x}", no_json(7, "expected value")),
    ];
    for (body, entry) in cases {
        let expected = (422, json!({ "detail": [entry] }));
        assert_eq!(client.post(body.as_bytes()).await, expected, "{body}");
    }
    let no_text = no_json(13, "the body is not UTF-8");
    assert_eq!(
        client.post(b"{\"handle\": \"\xc3\xa9\xff\"}").await,
        (422, json!({ "detail": [no_text] }))
    );
    let parts = [Ok(b"{\"ha".to_vec()), Err(std::io::Error::other("reset"))];
    let cut = Request::post("/original/interactions")
        .header("x-api-key", &client.key)
        .header("origin", "https://client.example")
        .body(Body::from_stream(futures_util::stream::iter(parts)));
    let answer = json_of(send(client.state.clone(), cut.unwrap()).await).await;
    let ended = no_json(4, "the body ended early");
    assert_eq!(answer, (422, json!({ "detail": [ended] })));
    // Deep nesting is refused instead of followed.
    let (status, _) = client.post("[".repeat(60_000).as_bytes()).await;
    assert_eq!(status, 422);

    let form = Request::post("/original/interactions")
        .header("x-api-key", &client.key)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("origin", "https://client.example")
        .body(Body::from("handle=ana.test"));
    let answer = json_of(send(client.state.clone(), form.unwrap()).await).await;
    let expected = json!({"detail": [no_object(json!("handle=ana.test"))]});
    assert_eq!(answer, (422, expected));
}

#[tokio::test]
async fn a_body_of_64_kib_is_read_and_a_longer_one_is_not() {
    let client = Client::of(&world().await).await;
    let body = |bytes: usize| {
        let empty = r#"{"handle": "ana.test", "x": ""}"#;
        let filled = format!(r#""x": "{}""#, "x".repeat(bytes - empty.len()));
        empty.replace(r#""x": """#, &filled).into_bytes()
    };
    assert_eq!(body(65_536).len(), 65_536);
    let (status, _) = client.post(&body(65_536)).await;
    assert_eq!(status, 200);
    let expected = json!({"detail": "the body has more than 65536 bytes"});
    assert_eq!(client.post(&body(65_537)).await, (413, expected.clone()));

    // The same without a stated length, in many parts.
    let parts = (0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    let request = Request::post("/original/interactions")
        .header("x-api-key", &client.key)
        .body(Body::from_stream(futures_util::stream::iter(parts)));
    let response = send(client.state.clone(), request.unwrap()).await;
    assert_eq!(json_of(response).await, (413, expected));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_the_contracts_form() {
    let client = Client::of(&world().await).await;
    let not_found = json!({"detail": "Not Found"});
    for uri in [
        "/original",
        "/original/",
        "/original/dd",
        "/original/collstats",
        "/original/a/b",
    ] {
        assert_eq!(client.get(uri).await, (404, not_found.clone()), "{uri}");
    }
    let not_allowed = json!({"detail": "Method Not Allowed"});
    for (method, uri, allow) in [
        (Method::POST, "/original/dd/top_blocks", "GET, HEAD"),
        (Method::GET, "/original/interactions", "POST"),
        (Method::DELETE, "/original/collStats", "GET, HEAD"),
    ] {
        let request = request(method, uri, &client.key, b"");
        let response = send(client.state.clone(), request).await;
        assert_eq!(response.headers()["allow"], allow, "{uri}");
        assert_eq!(json_of(response).await, (405, not_allowed.clone()), "{uri}");
    }
    // Paths that only start with the same letters have problems as elsewhere.
    let elsewhere = send(
        client.state.clone(),
        request(Method::GET, "/originals", "", b""),
    );
    let elsewhere = elsewhere.await;
    assert_eq!(
        elsewhere.headers()["content-type"],
        "application/problem+json"
    );
}

#[tokio::test]
async fn refusals_of_all_layers_have_a_detail() {
    let long = format!("/original/dd/{}", "a".repeat(20_000));
    let client = Client::of(&world().await).await;
    let (status, answer) = client.get(&long).await;
    assert_eq!(status, 414);
    assert!(answer["detail"].is_string(), "{answer}");

    // Before the first commit there is nothing to answer.
    let client = Client::of(&World::empty()).await;
    for (status, answer) in [
        client.get("/original/dd/top_interactions").await,
        client.get("/original/dd/top_blocks").await,
        client.get("/original/collStats").await,
        client.interactions("ana.test").await,
    ] {
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("nothing is counted yet"), "{answer}");
        assert_eq!((status, answer.as_object().unwrap().len()), (503, 1));
    }

    let limit = RateLimit {
        per_second: 1,
        burst: 10,
    };
    let options = AccessOptions {
        address_limit: limit,
        key_limit: limit,
        ..AccessOptions::default()
    };
    let (state, reader, _) = with_keys(world().await.state(), options).await;
    let uri = "/original/interactions";
    let body = br#"{"handle": "ana.test"}"#;
    let first = send(state.clone(), request(Method::POST, uri, &reader, body)).await;
    assert_eq!(first.status(), 200);
    let second = send(state, request(Method::POST, uri, &reader, body)).await;
    assert!(second.headers().contains_key("retry-after"));
    let (status, answer) = json_of(second).await;
    assert_eq!(status, 429);
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .starts_with("too many requests")
    );
}

#[tokio::test]
async fn a_refusal_is_readable_for_a_client_that_accepts_compression() {
    let (state, reader, _) = with_keys(World::empty().state(), AccessOptions::default()).await;
    let request = Request::get("/original/dd/top_blocks")
        .header("x-api-key", reader)
        .header("accept-encoding", "gzip")
        .body(Body::empty());
    let response = send(state, request.unwrap()).await;
    assert!(!response.headers().contains_key("content-encoding"));
    let (status, answer) = json_of(response).await;
    assert_eq!(status, 503);
    assert!(answer["detail"].is_string());
}

#[tokio::test]
async fn pages_of_other_origins_may_post() {
    let (state, ..) = with_keys(world().await.state(), AccessOptions::default()).await;
    let preflight = Request::options("/original/interactions")
        .header("origin", "https://client.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-api-key, content-type")
        .body(Body::empty());
    let response = send(state, preflight.unwrap()).await;
    assert_eq!(response.status(), 204);
    let header = |name| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("access-control-allow-methods"), "GET, HEAD, POST");
    let allowed = header("access-control-allow-headers");
    for name in ["x-api-key", "content-type"] {
        assert!(allowed.split(", ").any(|it| it == name), "{allowed}");
    }
}
