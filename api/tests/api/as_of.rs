//! Lists of the past (`as_of`), and `/v1/snapshots`.

use std::sync::Arc;

use serde_json::{Value, json};
use skytide_api::ApiState;
use skytide_core::id::Epoch;
use skytide_core::memory::MemorySnapshots;
use skytide_core::port::snapshot::{Snapshot, SnapshotList, SnapshotStore};
use skytide_core::time::Timestamp;
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, ViewId, Window};

use crate::schema::violations;
use crate::world::{ANA, World, account, did, get_json, list, post, row, send, time};

fn entries(keys: &[(&str, u32)]) -> ListRow {
    let entry = |(key, value): &(&str, u32)| ListEntry {
        key: (*key).into(),
        value: *value,
        other: 1,
        longer: *value,
    };
    ListRow {
        entries: keys.iter().map(entry).collect(),
    }
}

fn snapshot_list(view: ViewId, epoch: u64, row: ListRow) -> SnapshotList {
    let key = ListKey {
        window: Window::Day,
        measure: Measure::of(view)[0],
        lang: "".into(),
    };
    SnapshotList {
        view,
        key,
        epoch: Epoch(epoch),
        row,
    }
}

fn snapshot(at: &str, epoch: u64, lists: Vec<SnapshotList>) -> Snapshot {
    Snapshot {
        time: time(at),
        epoch: Epoch(epoch),
        since: time("2026-07-04T11:00:00Z"),
        lists,
    }
}

/// A world with snapshots: hashtags at 12:00 and 13:00, posts at 13:00.
async fn with_snapshots() -> (World, MemorySnapshots) {
    let (mut world, store) = (World::empty(), MemorySnapshots::default());
    let tags =
        |epoch, keys: &[(&str, u32)]| snapshot_list(ViewId::TopHashtags, epoch, entries(keys));
    let uri = post(ANA, "self").to_string();
    let posts = snapshot_list(ViewId::TopPosts, 21, entries(&[(&uri, 7)]));
    let noon = vec![tags(9, &[("noon", 9), ("art", 5), ("cats", 3)])];
    let snapshots = [
        snapshot("2026-07-04T12:00:00Z", 10, noon),
        snapshot(
            "2026-07-04T13:00:00Z",
            20,
            vec![tags(20, &[("one", 4)]), posts],
        ),
    ];
    for snapshot in snapshots {
        store.put(&snapshot).await.unwrap();
    }
    let now = list(Window::Day, Measure::Count, "", &[("now", 2, 1, 2)]);
    let ana = row(&did(ANA), &account("ana.test", "Ana"));
    let views = [
        (ViewId::TopHashtags, vec![now]),
        (ViewId::Accounts, vec![ana]),
    ];
    world.commit(&views).await;
    (world, store)
}

fn state(world: &World, store: &MemorySnapshots) -> ApiState {
    world.state().with_snapshots(Arc::new(store.clone()))
}

async fn get(state: &ApiState, uri: &str) -> Value {
    let (status, answer) = get_json(state.clone(), uri).await;
    assert_eq!(status, 200, "{uri}: {answer:#}");
    assert_eq!(violations("Trends", &answer), Vec::<String>::new());
    answer
}

fn keys(answer: &Value) -> Vec<&str> {
    let entries = answer["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["key"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_list_of_the_past_is_that_of_the_newest_snapshot_that_is_not_later() {
    let (world, store) = with_snapshots().await;
    let state = state(&world, &store);
    let cases = [
        ("2026-07-04T12:00:00Z", vec!["noon", "art", "cats"]),
        ("2026-07-04T12:59:59.999Z", vec!["noon", "art", "cats"]),
        ("2026-07-04T15:00:00%2B02:00", vec!["one"]),
        ("2030-01-01T00:00:00Z", vec!["one"]),
    ];
    for (as_of, expected) in cases {
        let answer = get(&state, &format!("/v1/trends/hashtags?as_of={as_of}")).await;
        assert_eq!(keys(&answer), expected, "{as_of}");
    }
    let answer = get(&state, "/v1/trends/hashtags?as_of=2026-07-04T12:30:00Z").await;
    let expected = json!({"epoch": 10, "as_of": "2026-07-04T12:00:00.000Z",
        "since": "2026-07-04T11:00:00.000Z", "consistent": true});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(answer[name], *value, "{name}");
    }
    assert_eq!(answer["window"]["from"], "2026-07-04T11:00:00.000Z");
    assert_eq!(answer["window"]["filled"], false);
    assert_eq!(keys(&get(&state, "/v1/trends/hashtags").await), ["now"]);
    let other = get(
        &state,
        "/v1/trends/hashtags?as_of=2026-07-04T13:00:00Z&window=1h",
    )
    .await;
    assert_eq!(
        keys(&other),
        Vec::<&str>::new(),
        "the snapshot does not have this list"
    );
}

#[tokio::test]
async fn posts_of_the_past_have_the_authors_of_now_and_no_tallies() {
    let (world, store) = with_snapshots().await;
    let answer = get(
        &state(&world, &store),
        "/v1/trends/posts?as_of=2026-07-04T14:00:00Z",
    )
    .await;
    let entry = &answer["entries"][0];
    assert_eq!((&entry["value"], &entry["post"]), (&json!(7), &Value::Null));
    assert_eq!(entry["account"]["profile"]["handle"], "ana.test");
    assert!(
        entry["url"]
            .as_str()
            .unwrap()
            .starts_with("https://bsky.app/")
    );
    assert_eq!(
        answer["consistent"], false,
        "the list was written by a later commit"
    );
}

#[tokio::test]
async fn a_time_before_the_oldest_snapshot_and_an_invalid_time_are_refused() {
    let (world, store) = with_snapshots().await;
    let uri = "/v1/trends/hashtags?as_of=2026-07-04T11:59:59.999Z";
    let (status, problem) = get_json(state(&world, &store), uri).await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (404, &json!("not_found"))
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("the oldest is of 2026-07-04T12:00:00.000Z"),
        "{detail}"
    );
    let (status, problem) = world
        .refused("/v1/trends/hashtags?as_of=2026-07-04T12:00:00Z")
        .await;
    assert_eq!(
        (status, &problem["detail"]),
        (404, &json!("there is no snapshot yet"))
    );
    for text in ["noon", "2026-07-04", "1783166400", "2026-02-30T00:00:00Z"] {
        let uri = format!("/v1/trends/hashtags?as_of={text}");
        let (status, problem) = get_json(state(&world, &store), &uri).await;
        assert_eq!(
            (status.as_u16(), &problem["parameter"]),
            (400, &json!("as_of")),
            "{text}"
        );
    }
    let (status, _) = world
        .refused("/v1/network?as_of=2026-07-04T12:00:00Z")
        .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn further_pages_come_from_the_same_snapshot_or_are_not_found() {
    let (world, store) = with_snapshots().await;
    let state = state(&world, &store);
    let first = get(
        &state,
        "/v1/trends/hashtags?as_of=2026-07-04T12:30:00Z&limit=2",
    )
    .await;
    assert_eq!(keys(&first), ["noon", "art"]);
    // A newer snapshot that is also not later than the requested time.
    let newer = snapshot("2026-07-04T12:20:00Z", 12, Vec::new());
    store.put(&newer).await.unwrap();
    let uri = format!(
        "/v1/trends/hashtags?cursor={}",
        first["cursor"].as_str().unwrap()
    );
    let second = get(&state, &uri).await;
    assert_eq!(
        (keys(&second), &second["epoch"]),
        (vec!["cats"], &json!(10))
    );
    assert_eq!(second["entries"][0]["rank"], 3);
    let same = get(&state, &format!("{uri}&as_of=2026-07-04T12:30:00Z")).await;
    assert_eq!(keys(&same), ["cats"]);
    let (status, problem) =
        get_json(state.clone(), &format!("{uri}&as_of=2026-07-04T11:00:00Z")).await;
    assert_eq!(
        (status.as_u16(), &problem["parameter"]),
        (400, &json!("as_of"))
    );
    store
        .remove_before(Timestamp(newer.time.0), 9)
        .await
        .unwrap();
    // An older snapshot must not answer for the removed one.
    let older = snapshot("2026-07-04T11:30:00Z", 8, Vec::new());
    store.put(&older).await.unwrap();
    let (status, problem) = get_json(state, &uri).await;
    assert_eq!(status, 404);
    assert_eq!(
        problem["detail"],
        "the snapshot of this cursor is no longer stored"
    );
}

#[tokio::test]
async fn a_view_that_the_snapshot_does_not_have_is_not_found() {
    let (world, store) = with_snapshots().await;
    let uri = "/v1/trends/interactions?as_of=2026-07-04T13:00:00Z";
    let (status, problem) = get_json(state(&world, &store), uri).await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (404, &json!("not_found"))
    );
    assert_eq!(
        problem["detail"],
        "the snapshot of 2026-07-04T13:00:00.000Z has no list of \"interactions\": the view was \
         empty, was left out by INDEXER_VIEWS, or did not exist yet"
    );
}

#[tokio::test]
async fn a_cursor_of_now_cannot_be_combined_with_as_of() {
    let (mut world, store) = with_snapshots().await;
    let entries = [("x", 9, 1, 9), ("y", 8, 1, 8)];
    let now = list(Window::Day, Measure::Count, "", &entries);
    world.commit(&[(ViewId::TopHashtags, vec![now])]).await;
    let state = state(&world, &store);
    let first = get(&state, "/v1/trends/hashtags?limit=1").await;
    let cursor = first["cursor"].as_str().unwrap();
    let uri = format!("/v1/trends/hashtags?cursor={cursor}&as_of=2026-07-04T12:30:00Z");
    let (status, problem) = get_json(state, &uri).await;
    assert_eq!(
        (status.as_u16(), &problem["parameter"]),
        (400, &json!("as_of"))
    );
}

#[tokio::test]
async fn a_removed_snapshot_is_no_longer_answered_from_the_cache() {
    let (world, store) = with_snapshots().await;
    let state = state(&world, &store);
    let at = |hour: u32| format!("/v1/trends/hashtags?as_of=2026-07-04T{hour}:00:00Z");
    for _ in 0..2 {
        assert_eq!(keys(&get(&state, &at(12)).await)[0], "noon");
        assert_eq!(keys(&get(&state, &at(13)).await)[0], "one");
    }
    store
        .remove_before(time("2026-07-04T13:00:00Z"), 9)
        .await
        .unwrap();
    let (status, _) = get_json(state.clone(), &at(12)).await;
    assert_eq!(status, 404);
    assert_eq!(keys(&get(&state, &at(13)).await)[0], "one");
}

#[tokio::test]
async fn snapshots_are_paged_newest_first() {
    let (world, store) = (World::empty(), MemorySnapshots::default());
    assert_eq!(
        world.get("/v1/snapshots").await,
        json!({"kept": 0, "snapshots": [], "cursor": null})
    );
    for hour in 0..5 {
        let time = Timestamp(time("2026-07-04T00:00:00Z").0 + hour * 3_600_000);
        let snapshot = Snapshot {
            time,
            ..Snapshot::default()
        };
        store.put(&snapshot).await.unwrap();
    }
    let mut uri = "/v1/snapshots?limit=2".to_owned();
    let mut hours = Vec::new();
    loop {
        let (_, page) = get_json(state(&world, &store), &uri).await;
        assert_eq!(violations("Snapshots", &page), Vec::<String>::new());
        assert_eq!(page["kept"], 5);
        let moments = page["snapshots"].as_array().unwrap().iter();
        hours.extend(moments.map(|it| it["as_of"].as_str().unwrap()[11..13].to_owned()));
        let Some(cursor) = page["cursor"].as_str() else {
            break;
        };
        uri = format!("/v1/snapshots?limit=2&cursor={cursor}");
    }
    assert_eq!(hours, ["04", "03", "02", "01", "00"]);
    let (status, problem) = world.refused("/v1/snapshots?cursor=x").await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("cursor")));
    let response = send(world.state(), crate::world::request("/v1/snapshots")).await;
    assert_eq!(response.headers()["cache-control"], "no-cache");
}
