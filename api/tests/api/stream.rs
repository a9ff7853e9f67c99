//! `/v1/stream`: server-sent events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use axum::body::{Body, BodyDataStream};
use axum::http::Response;
use futures_util::StreamExt;
use serde_json::{Value, json};
use skytide_api::Limits;
use skytide_core::memory::MemoryStore;
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Change, Key, Measure, Span, StoredRow, ViewId, Window};
use tokio_util::sync::CancellationToken;

use crate::world::{World, activity, list, request, send};

/// The events of an open stream.
struct Events {
    body: BodyDataStream,
}

impl Events {
    fn of(response: Response<Body>) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            body: response.into_body().into_data_stream(),
        }
    }

    /// Type, id and data of the next event; comments are skipped.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            let bytes = self.body.next().await?.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.unwrap_or("").trim().to_owned()
            };
            if !text.starts_with(':') {
                let data = serde_json::from_str(&field("data:")).unwrap();
                return Some((field("event:"), field("id:"), data));
            }
        }
    }
}

fn tags(value: u32) -> (ViewId, Vec<Change>) {
    let entries = [("art", value, 1, value), ("cats", 1, 1, 1)];
    (
        ViewId::TopHashtags,
        vec![list(Window::Hour, Measure::Count, "", &entries)],
    )
}

#[tokio::test(start_paused = true)]
async fn every_event_has_a_complete_answer() {
    let mut world = World::empty();
    let minute = activity(Span::Minute, "2026-07-04T14:38:00Z", "", 669, 0);
    world
        .commit(&[tags(5), (ViewId::Activity, vec![minute])])
        .await;
    let uri = "/v1/stream?lists=hashtags,actors&window=1h&limit=1";
    let mut events = Events::of(send(world.state(), request(uri)).await);
    let (kind, id, data) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), id.as_str()), ("commit", "41"));
    assert_eq!(data["lists"]["hashtags"]["entries"][0]["value"], 5);
    assert_eq!(
        data["lists"]["hashtags"]["entries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(data["lists"]["actors"]["window"]["name"], "24h");
    assert_eq!(
        data["rates"],
        json!({"operations_per_second": 10.0, "over_seconds": 66})
    );
    assert_eq!(
        (&data["epoch"], &data["consistent"]),
        (&json!(41), &json!(true))
    );

    world.commit(&[tags(6)]).await;
    world.commit(&[tags(7)]).await;
    let (_, id, data) = events.next().await.unwrap();
    assert_eq!(id, "43", "a commit between two events is skipped");
    assert_eq!(data["lists"]["hashtags"]["entries"][0]["value"], 7);
}

#[tokio::test(start_paused = true)]
async fn clients_share_an_answer_only_if_they_selected_the_same_lists() {
    let mut world = World::empty();
    world.commit(&[tags(5)]).await;
    let state = world.state();
    for (uri, expected) in [
        ("/v1/stream?lists=hashtags&window=1h", 2),
        ("/v1/stream?lists=hashtags&window=1h", 2),
        ("/v1/stream?lists=hashtags&window=24h", 0),
        ("/v1/stream?lists=hashtags&window=1h&limit=1", 1),
    ] {
        let mut events = Events::of(send(state.clone(), request(uri)).await);
        let (_, _, data) = events.next().await.unwrap();
        let entries = data["lists"]["hashtags"]["entries"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(entries, expected, "{uri}");
    }
}

/// A store that counts the lists that are read.
struct CountingStore {
    store: MemoryStore,
    lists: Arc<AtomicU32>,
}

#[async_trait]
impl ViewReader for CountingStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.store.control().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.lists
            .fetch_add(u32::from(view == ViewId::TopHashtags), Ordering::SeqCst);
        self.store.get(view, keys).await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.store.scan(view, range).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_many_clients_watch_is_read_once_per_commit() {
    let mut world = World::empty();
    world.commit(&[tags(5)]).await;
    let lists = Arc::new(AtomicU32::new(0));
    let reader = CountingStore {
        store: world.store.clone(),
        lists: lists.clone(),
    };
    let state = world.state_on(Arc::new(reader));
    for commits in 1..=3 {
        for _ in 0..5 {
            let response = send(state.clone(), request("/v1/stream?lists=hashtags")).await;
            Events::of(response).next().await.unwrap();
        }
        assert_eq!(lists.load(Ordering::SeqCst), commits);
        world.commit(&[tags(6)]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_commit_the_stream_sends_the_reasons() {
    let mut world = World::empty();
    let mut events = Events::of(send(world.state(), request("/v1/stream")).await);
    let (kind, _, data) = events.next().await.unwrap();
    assert_eq!((kind.as_str(), &data["ready"]), ("waiting", &json!(false)));
    world.commit(&[]).await;
    assert_eq!(events.next().await.unwrap().0, "commit");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_the_service_stops() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let stop = CancellationToken::new();
    let state = world.state().with_stop(stop.clone());
    let mut events = Events::of(send(state, request("/v1/stream")).await);
    events.next().await.unwrap();
    stop.cancel();
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_and_release_their_slots() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let limits = Limits {
        stream_clients_max: 2,
        ..Limits::default()
    };
    let state = world.state().with_limits(limits);
    let open = || send(state.clone(), request("/v1/stream"));
    let (first, second) = (open().await, open().await);
    assert_eq!(open().await.status(), 503);
    drop(first);
    assert_eq!(open().await.status(), 200);
    drop(second);
}
