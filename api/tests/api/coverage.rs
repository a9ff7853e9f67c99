//! `/v1/coverage`, and the field `coverage` of answers whose window has a gap.

use axum::http::StatusCode;
use serde_json::{Value, json};
use skytide_core::view::{
    Change, CoverageKey, CoverageKind, CoverageRow, Key, Measure, ViewId, Window,
};

use crate::schema::violations;
use crate::world::{World, list, request, row, send, text, time};

fn interval(kind: CoverageKind, label: &str, start: &str, end: &str, count: u64) -> Change {
    let key = CoverageKey {
        kind,
        start: time(start),
        label: label.into(),
    };
    let end = if end.is_empty() {
        Default::default()
    } else {
        time(end)
    };
    row(
        &key,
        &CoverageRow {
            end,
            count,
            merged: 1,
        },
    )
}

fn known(since: &str) -> Change {
    interval(CoverageKind::Known, "", since, "", 0)
}

fn gap() -> Change {
    let (from, to) = ("2026-07-04T10:00:00Z", "2026-07-04T10:01:23Z");
    interval(CoverageKind::Gap, "outdated_cursor", from, to, 83_000)
}

/// A world with lists of the last hour and of the last day. Nothing is missing.
async fn world() -> World {
    let mut world = World::empty();
    let lists = [Window::Hour, Window::Day].map(|window| {
        let entries = [("cats", 5, 3, 10)];
        list(window, Measure::Count, "", &entries)
    });
    let views = [
        (ViewId::TopHashtags, lists.to_vec()),
        (ViewId::Coverage, vec![known("2026-06-01T00:00:00Z")]),
    ];
    world.commit(&views).await;
    world
}

const HOUR: &str = "/v1/trends/hashtags?window=1h";
const DAY: &str = "/v1/trends/hashtags?window=24h";

#[tokio::test]
async fn an_answer_says_what_is_missing_from_its_window_and_only_from_that() {
    let mut world = world().await;
    for uri in [HOUR, DAY, "/v1/network"] {
        assert_eq!(world.get(uri).await.get("coverage"), None, "{uri}");
    }
    world.commit(&[(ViewId::Coverage, vec![gap()])]).await;
    assert_eq!(world.get(HOUR).await.get("coverage"), None);
    let missing = json!({"complete": false, "gaps": 1, "gap_ms": 83_000, "open_gap": false,
        "filtered": false});
    for (schema, uri) in [("Trends", DAY), ("Network", "/v1/network")] {
        let answer = world.get(uri).await;
        assert_eq!(answer["coverage"], missing, "{uri}");
        assert_eq!(violations(schema, &answer), Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_entity_tag_changes_when_something_is_missing_and_not_with_a_further_commit() {
    let mut world = world().await;
    let mut tags = Vec::new();
    for changes in [vec![], vec![], vec![gap()], vec![]] {
        world.commit(&[(ViewId::Coverage, changes)]).await;
        // Each state of the API has a cache of its own.
        let response = send(world.state(), request(DAY)).await;
        tags.push(response.headers()["etag"].clone());
    }
    assert_eq!(tags[0], tags[1]);
    assert_ne!(tags[1], tags[2]);
    assert_eq!(tags[2], tags[3]);
}

#[tokio::test]
async fn the_route_lists_gaps_filters_and_counts_of_the_hours_that_are_asked_for() {
    let mut world = world().await;
    let hour = |label, start, end, count| interval(CoverageKind::Hour, label, start, end, count);
    let changes = vec![
        gap(),
        interval(
            CoverageKind::OpenGap,
            "new_source",
            "2026-07-04T14:38:00Z",
            "",
            0,
        ),
        interval(
            CoverageKind::Filter,
            "filter_did",
            "2026-07-04T12:00:00Z",
            "2026-07-04T15:00:00Z",
            70,
        ),
        hour(
            "missing_seqs",
            "2026-07-04T14:00:00Z",
            "2026-07-04T15:00:00Z",
            7,
        ),
        hour(
            "dropped/did",
            "2026-07-04T14:00:00Z",
            "2026-07-04T15:00:00Z",
            2,
        ),
        hour(
            "dropped/did",
            "2026-07-04T12:00:00Z",
            "2026-07-04T13:00:00Z",
            9,
        ),
        interval(
            CoverageKind::Day,
            "dropped/car",
            "2026-06-20T00:00:00Z",
            "2026-06-21T00:00:00Z",
            11,
        ),
        interval(
            CoverageKind::Earlier,
            "missing_seqs",
            "1970-01-01T00:00:00Z",
            "2026-06-03T00:00:00Z",
            13,
        ),
    ];
    world.commit(&[(ViewId::Coverage, changes)]).await;
    let answer = world.get("/v1/coverage?hours=2&days=30").await;
    assert_eq!(violations("Coverage", &answer), Vec::<String>::new());
    assert_eq!(answer["known_since"], "2026-06-01T00:00:00.000Z");
    assert_eq!(
        answer["gaps"],
        json!([{"from": "2026-07-04T10:00:00.000Z", "to": "2026-07-04T10:01:23.000Z",
            "cause": "outdated_cursor", "ms": 83_000, "merged": 1}])
    );
    assert_eq!(
        answer["open_gap"],
        json!({"from": "2026-07-04T14:38:00.000Z", "cause": "new_source"})
    );
    assert_eq!(answer["filters"][0]["excluded"], 70);
    let counts = json!([{"start": "2026-07-04T14:00:00.000Z", "missing_seqs": 7,
        "dropped": {"did": 2}}]);
    assert_eq!(answer["hours"], counts, "the hour 12 was not asked for");
    assert_eq!(answer["days"][0]["dropped"], json!({"car": 11}));
    assert_eq!(
        answer["earlier"],
        json!({"until": "2026-06-03T00:00:00.000Z", "missing_seqs": 13, "dropped": {}})
    );
    let (all, none) = (
        world.get("/v1/coverage?hours=192").await,
        world.get("/v1/coverage?hours=0").await,
    );
    assert_eq!(all["hours"].as_array().map(Vec::len), Some(2));
    assert_eq!((&none["hours"], &all["days"]), (&json!([]), &json!([])));
    let hour = world.get(HOUR).await;
    assert_eq!(
        hour["coverage"],
        json!({"complete": false, "gaps": 1, "gap_ms": 6_928, "open_gap": true, "filtered": true})
    );
}

#[tokio::test]
async fn a_store_of_an_earlier_version_says_from_when_on_gaps_are_recorded() {
    let mut world = world().await;
    let removed = Change {
        key: Key::of(&CoverageKey {
            kind: CoverageKind::Known,
            start: time("2026-06-01T00:00:00Z"),
            label: "".into(),
        }),
        row: None,
    };
    let changes = vec![removed, known("2026-07-04T00:00:00Z")];
    world.commit(&[(ViewId::Coverage, changes)]).await;
    assert_eq!(world.get(HOUR).await.get("coverage"), None);
    let week = world.get("/v1/network").await;
    assert_eq!(week["coverage"]["known_since"], "2026-07-04T00:00:00.000Z");
}

#[tokio::test]
async fn a_store_whose_commit_has_no_such_view_says_that_nothing_is_recorded() {
    use skytide_core::port::store::ViewStore as _;
    let mut world = World::empty();
    world.epoch += 1;
    let term = world.store.lead().await.unwrap().term;
    world.left_out = vec![ViewId::Coverage];
    let committed = world.committed();
    world
        .store
        .begin(term, committed.epoch.into())
        .await
        .unwrap();
    world.store.commit(term, committed).await.unwrap();
    let response = send(world.state(), request("/v1/coverage")).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(problem["code"], "view_missing");
    let network = world.get("/v1/network").await;
    assert_eq!(network["coverage"].get("known_since"), Some(&Value::Null));
}
