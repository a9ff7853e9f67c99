//! `/v1/network`, the catalogue of views, health and metrics.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use skytide_api::{Health, Limits, Part};
use skytide_core::id::Epoch;
use skytide_core::port::explanation::Explanation;
use skytide_core::port::store::{Committed, Sum, ViewStore};
use skytide_core::view::{CounterRow, Span, TrendKey, TrendRow, ViewId};

use crate::world::{World, activity, get_json, request, row, send, text, time};

const POST: &str = "app.bsky.feed.post";

async fn active_world() -> World {
    let mut world = World::empty();
    let operations = vec![
        activity(Span::All, "", "", 1_000, 50),
        activity(Span::All, "", POST, 700, 30),
        activity(Span::All, "", "#identity", 9, 0),
        activity(Span::Hour, "2026-07-04T14:00:00Z", "", 90, 10),
        activity(Span::Hour, "2026-07-04T13:00:00Z", "", 60, 0),
        activity(Span::Hour, "2026-07-04T14:00:00Z", POST, 20, 0),
        activity(Span::Minute, "2026-07-04T14:38:00Z", "", 10, 0),
        activity(Span::Minute, "2026-07-04T14:37:00Z", "", 119, 5),
        activity(Span::Minute, "2026-07-04T13:39:00Z", "", 7, 0),
        activity(Span::Minute, "2026-07-04T13:38:00Z", "", 1_000_000, 0), // 61 minutes ago
    ];
    let lang = |lang: &str, day: u32| {
        let key = TrendKey {
            key: lang.into(),
            lang: "".into(),
        };
        row(
            &key,
            &TrendRow {
                counts: [0, day, day, 99],
                authors: [1; 4],
            },
        )
    };
    let counter = |name: &str, value| row(&name.to_owned(), &CounterRow { value });
    world
        .commit(&[
            (ViewId::Activity, operations),
            (
                ViewId::Languages,
                vec![
                    lang("en", 61),
                    lang("ja", 11),
                    lang("pt-BR", 80),
                    lang("xx", 0),
                ],
            ),
            (
                ViewId::Counters,
                vec![
                    counter("frames", 77),
                    counter("dropped/record_cbor", 3),
                    counter("dropped/car", 0),
                ],
            ),
        ])
        .await;
    world
}

#[tokio::test]
async fn activity_is_summed_over_its_buckets() {
    let answer = active_world().await.get("/v1/network?hours=2").await;
    let total = &answer["total"];
    assert_eq!(total["all"]["operations"], 1_050);
    assert_eq!(total["all"]["live"], 2);
    assert_eq!(total["last_24h"]["operations"], 160);
    assert_eq!(total["last_hour"]["operations"], 141);
    assert_eq!(total["last_2m"]["operations"], 134);
    // 134 operations since 14:37:00.000, at 14:38:06.928.
    assert_eq!(
        answer["rates"],
        json!({"operations_per_second": 2.0, "over_seconds": 66})
    );
    let names: Vec<&Value> = answer["collections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["collection"])
        .collect();
    assert_eq!(names, [POST, "#identity"]);
    let hours: Vec<&Value> = answer["hours"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| &h["operations"])
        .collect();
    assert_eq!(hours, [60, 100]);
    assert_eq!(answer["hours"][1]["start"], "2026-07-04T14:00:00.000Z");
    let minutes = answer["minutes"].as_array().unwrap();
    assert_eq!(
        (
            minutes.len(),
            &minutes[0]["operations"],
            &minutes[59]["operations"]
        ),
        (60, &json!(7), &json!(10))
    );
}

#[tokio::test]
async fn languages_and_drops_are_reported() {
    let answer = active_world().await.get("/v1/network?limit=2").await;
    let langs: Vec<&Value> = answer["languages"]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| &l["lang"])
        .collect();
    assert_eq!(langs, ["pt-BR", "en"]);
    assert_eq!(answer["drops"], json!({"record_cbor": 3}));
    assert_eq!(answer["counters"]["frames"], 77);
}

#[tokio::test]
async fn a_series_does_not_start_before_counting_began() {
    let mut world = World::empty();
    world.since = time("2026-07-04T14:30:30Z");
    world.commit(&[]).await;
    let answer = world.get("/v1/network").await;
    assert_eq!(answer["minutes"].as_array().unwrap().len(), 9);
    assert_eq!(answer["hours"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_catalogue_names_every_view_with_its_rows() {
    let world = World::empty();
    let term = world.store.lead().await.unwrap().term;
    world.store.begin(term, Epoch(1).into()).await.unwrap();
    let sums = [(ViewId::Posts, Sum { rows: 12, hash: 0 })].into();
    let committed = Committed {
        epoch: Epoch(1),
        sums,
        ..world.committed()
    };
    world.store.commit(term, committed).await.unwrap();
    let answer = world.get("/v1/views").await;
    let views = answer["views"].as_array().unwrap();
    assert_eq!(views.len(), ViewId::ALL.len());
    assert_eq!(
        (&views[0]["name"], &views[0]["rows"]),
        (&json!("posts"), &json!(12))
    );
    let trends = views
        .iter()
        .find(|view| view["name"] == "top_hashtags")
        .unwrap();
    assert_eq!(trends["measures"], json!(["count", "authors", "velocity"]));
    assert_eq!(trends["windows"], json!(["1h", "24h", "7d", "all"]));
    assert!(
        views.iter().all(|view| view["route"].is_string()),
        "{views:#?}"
    );
    assert!(
        views
            .iter()
            .all(|view| !view["doc"].as_str().unwrap().contains('`')),
        "{views:#?}"
    );
}

/// A relay that is not connected.
struct FailingRelay;

impl Health for FailingRelay {
    fn parts(&self) -> Vec<Part> {
        vec![Part {
            name: "relay".into(),
            ok: false,
            detail: Explanation::new("retrying"),
        }]
    }
}

#[tokio::test]
async fn an_unready_service_gives_its_reasons() {
    let mut world = World::empty();
    let (status, alive) = get_json(world.state(), "/healthz").await;
    assert_eq!(
        (status, alive),
        (StatusCode::OK, json!({"status": "alive"}))
    );
    let (status, waiting) =
        get_json(world.state().with_health(Arc::new(FailingRelay)), "/readyz").await;
    assert_eq!(
        (status, &waiting["ready"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!(false))
    );
    assert!(
        waiting["reasons"][0]
            .as_str()
            .unwrap()
            .contains("nothing is counted yet")
    );
    assert_eq!(waiting["parts"][0]["name"], "relay");

    world.commit(&[]).await;
    let (status, ready) =
        get_json(world.state().with_health(Arc::new(FailingRelay)), "/readyz").await;
    assert_eq!(
        (status, &ready["ready"]),
        (StatusCode::OK, &json!(true)),
        "stored rows can be read"
    );
    assert_eq!(ready["freshness_ms"], 250);
    let limits = Limits {
        ready_age_ms_max: Some(200),
        ..Limits::default()
    };
    let state = world.state().with_limits(limits);
    let ready = async || get_json(state.clone(), "/readyz").await;
    assert_eq!(
        ready().await.0,
        StatusCode::OK,
        "network time may stay the same"
    );
    world.advance(200);
    assert_eq!(ready().await.0, StatusCode::OK);
    world.advance(1);
    let (status, stale) = ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let reasons = json!(["nothing has been committed for 201 ms"]);
    assert_eq!(stale["reasons"], reasons);
    let (_, stale) = get_json(state.clone().with_health(Arc::new(FailingRelay)), "/readyz").await;
    assert_eq!(stale["reasons"][1], "relay: retrying");
    world.commit(&[]).await;
    assert_eq!(ready().await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_requests_by_route_never_by_path() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let state = world.state();
    for uri in [
        "/v1/trends/hashtags",
        "/v1/trends/links",
        "/v1/actors/x",
        "/secret",
    ] {
        send(state.clone(), request(uri)).await;
    }
    let response = send(state, request("/metrics")).await;
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(response.headers()["content-type"], media_type);
    assert_eq!(response.headers()["vary"], "accept");
    assert!(
        response
            .headers()
            .get("access-control-allow-origin")
            .is_none()
    );
    let text = text(response).await;
    for line in [
        "api_requests_total{route=\"/v1/trends/{view}\",status=\"200\"} 2",
        "api_requests_total{route=\"/v1/actors/{actor}\",status=\"400\"} 1",
        "api_requests_total{route=\"none\",status=\"404\"} 1",
        "# TYPE api_requests_total counter",
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    assert!(!text.contains("secret") && !text.contains("# EOF"));
}

#[tokio::test]
async fn metrics_are_open_metrics_for_clients_that_prefer_it() {
    let state = World::empty().state();
    let get = |accept: &'static str| {
        let state = state.clone();
        async move {
            let request = Request::get("/metrics").header("accept", accept);
            let response = send(state, request.body(Body::empty()).unwrap()).await;
            let media_type = response.headers()["content-type"].to_str().unwrap();
            let media_type = media_type.split(';').next().unwrap().to_owned();
            (media_type, text(response).await.ends_with("# EOF\n"))
        }
    };
    for (accept, media_type, ends) in [
        (
            "application/openmetrics-text",
            "application/openmetrics-text",
            true,
        ),
        (
            "application/openmetrics-text;q=0.5, */*;q=0.1",
            "application/openmetrics-text",
            true,
        ),
        ("text/plain", "text/plain", false),
        (
            "text/plain, application/openmetrics-text;q=0.9",
            "text/plain",
            false,
        ),
        ("*/*", "text/plain", false),
    ] {
        assert_eq!(get(accept).await, (media_type.to_owned(), ends), "{accept}");
    }
}
