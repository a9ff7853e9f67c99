//! Answers are read once for all who ask, reused within bounds, and tagged by their data.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use skytide_api::{ApiState, Limits};
use skytide_core::memory::MemoryStore;
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Change, Key, Measure, StoredRow, ViewId, Window};

use crate::world::{World, get_json, list, request, send};

const URI: &str = "/v1/trends/hashtags";

fn tags(count: u32) -> (ViewId, Vec<Change>) {
    let entries = [("rust", count, 0, count)];
    let list = list(Window::Day, Measure::Count, "", &entries);
    (ViewId::TopHashtags, vec![list])
}

/// A store whose lists take a while to read, and that counts these reads.
struct SlowStore {
    store: MemoryStore,
    lists: Arc<AtomicU32>,
    takes: Duration,
}

#[async_trait]
impl ViewReader for SlowStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.store.control().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let rows = self.store.get(view, keys).await;
        if view == ViewId::TopHashtags {
            self.lists.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(self.takes).await;
        }
        rows
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.store.scan(view, range).await
    }
}

struct Case {
    world: World,
    state: ApiState,
    lists: Arc<AtomicU32>,
}

impl Case {
    /// One commit; a list takes `takes_ms` to read, and an answer is reused for `reuse_ms_max`.
    async fn new(takes_ms: u64, reuse_ms_max: u64) -> Self {
        let mut world = World::empty();
        world.commit(&[tags(5)]).await;
        let lists = Arc::new(AtomicU32::new(0));
        let reader = SlowStore {
            store: world.store.clone(),
            lists: lists.clone(),
            takes: Duration::from_millis(takes_ms),
        };
        let limits = Limits {
            reuse_ms_max,
            ..Limits::default()
        };
        let state = world.state_on(Arc::new(reader)).with_limits(limits);
        Self {
            world,
            state,
            lists,
        }
    }

    fn reads(&self) -> u32 {
        self.lists.load(Ordering::SeqCst)
    }

    /// The count and the epoch in the answer.
    async fn ask(&self) -> (u64, u64) {
        let (status, answer) = get_json(self.state.clone(), URI).await;
        assert_eq!(status, StatusCode::OK);
        let number = |value: &serde_json::Value| value.as_u64().expect("a number");
        (
            number(&answer["entries"][0]["value"]),
            number(&answer["epoch"]),
        )
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_ask_at_the_same_time_share_one_read() {
    let case = Case::new(20, 0).await;
    let asking: Vec<_> = (0..50)
        .map(|_| tokio::spawn(send(case.state.clone(), request(URI))))
        .collect();
    for response in asking {
        assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(case.reads(), 1);
    case.ask().await;
    assert_eq!(
        case.reads(),
        2,
        "without reuse, the next question is read again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_interrupt_the_read_for_the_others() {
    let case = Case::new(20, 0).await;
    let first = tokio::spawn(send(case.state.clone(), request(URI)));
    while case.reads() == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(case.ask().await.0, 5);
    assert_eq!(case.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cheap_answer_is_reused_until_the_next_commit() {
    let mut case = Case::new(0, 1_000).await;
    let (_, first) = case.ask().await;
    assert_eq!(case.ask().await, (5, first));
    assert_eq!(case.reads(), 1);
    case.world.commit(&[tags(6)]).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(case.ask().await, (6, first + 1));
    assert_eq!(case.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_demand_is_read_again_within_20_ms_of_a_commit() {
    let mut case = Case::new(0, 1_000).await;
    let (_, first) = case.ask().await;
    for _ in 0..10 {
        assert_eq!(case.ask().await, (5, first));
    }
    case.world.commit(&[tags(6)]).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(case.ask().await, (5, first), "its turn is later");
    tokio::time::advance(Duration::from_millis(20)).await;
    assert_eq!(case.ask().await, (5, first), "it causes the read");
    while case.reads() == 1 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(case.ask().await, (6, first + 1));
    assert_eq!(case.reads(), 2);
    // Nobody has asked for the new answer often yet.
    case.world.commit(&[tags(7)]).await;
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(case.ask().await, (7, first + 2));
}

#[tokio::test(start_paused = true)]
async fn an_expensive_answer_is_reused_for_ten_times_its_cost_and_at_most_the_limit() {
    for (takes, reused, not_reused) in [(20, 199, 201), (500, 999, 1_001), (2_000, 999, 1_001)] {
        let mut case = Case::new(takes, 1_000).await;
        let (_, epoch) = case.ask().await;
        case.world.commit(&[tags(6)]).await;
        // The time counts from the end of the read.
        tokio::time::advance(Duration::from_millis(reused)).await;
        assert_eq!(case.ask().await, (5, epoch), "{takes} ms");
        tokio::time::advance(Duration::from_millis(not_reused - reused)).await;
        assert_eq!(case.ask().await, (6, epoch + 1), "{takes} ms");
        assert_eq!(case.reads(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_an_unchanged_commit_is_read_again_after_the_limit() {
    let case = Case::new(0, 1_000).await;
    case.ask().await;
    tokio::time::advance(Duration::from_millis(1_001)).await;
    case.ask().await;
    assert_eq!(case.reads(), 2, "profiles change without a commit");
}

#[tokio::test(start_paused = true)]
async fn the_previous_answer_is_served_while_a_newer_one_is_read() {
    let mut case = Case::new(20, 1_000).await;
    let (_, epoch) = case.ask().await;
    case.world.commit(&[tags(6)]).await;
    tokio::time::advance(Duration::from_millis(300)).await;
    let newer = tokio::spawn(send(case.state.clone(), request(URI)));
    while case.reads() == 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(case.ask().await, (5, epoch));
    assert_eq!(newer.await.unwrap().status(), StatusCode::OK);
    assert_eq!(case.ask().await, (6, epoch + 1));
    assert_eq!(case.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn different_questions_have_answers_of_their_own() {
    let case = Case::new(0, 1_000).await;
    for (uri, reads) in [
        ("/v1/trends/hashtags", 1),
        ("/v1/trends/hashtags?limit=25", 1),
        ("/v1/trends/hashtags?window=24h&limit=25", 1),
        ("/v1/trends/hashtags?limit=24", 2),
        ("/v1/trends/hashtags?window=1h", 3),
        ("/v1/trends/hashtags?lang=en", 4),
    ] {
        assert_eq!(get_json(case.state.clone(), uri).await.0, StatusCode::OK);
        assert_eq!(case.reads(), reads, "{uri}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tag_of_an_answer_changes_only_when_its_data_change() {
    let mut case = Case::new(0, 0).await;
    let first = send(case.state.clone(), request(URI)).await;
    let tag = first.headers()["etag"].clone();
    let again = async |state: &ApiState| {
        let again = Request::get(URI).header("if-none-match", &tag);
        let response = send(state.clone(), again.body(Body::empty()).unwrap()).await;
        (response.status(), response.headers()["etag"] == tag)
    };
    case.world.commit(&[]).await;
    case.world.advance(60_000);
    assert_eq!(again(&case.state).await, (StatusCode::NOT_MODIFIED, true));
    case.world.commit(&[tags(6)]).await;
    assert_eq!(again(&case.state).await, (StatusCode::OK, false));
    case.world.commit(&[tags(5)]).await;
    assert_eq!(again(&case.state).await, (StatusCode::NOT_MODIFIED, true));
}
