//! Consistency of answers while commits come between their reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use skytide_core::id::Epoch;
use skytide_core::memory::MemoryStore;
use skytide_core::port::store::{
    Committed, Control, Range, StoreError, Term, ViewReader, ViewStore,
};
use skytide_core::view::{Change, Key, Measure, PostRow, PostState, StoredRow, ViewId, Window};

use crate::world::{ANA, World, account, did, get_json, list, post, row};

/// A store that commits after each of the first `commits_left` reads of a list. In every commit,
/// the list and the post that it names have the same number.
struct BusyStore {
    store: MemoryStore,
    term: Term,
    commits_left: AtomicU32,
    epoch: AtomicU32,
    template: Committed,
    /// The rows of the commit with this number.
    rows: fn(u32) -> Rows,
}

type Rows = [(ViewId, Vec<Change>); 3];

/// A list that names one post, the post, and its author.
fn rows_of(value: u32) -> Rows {
    let post = post(ANA, "3n2xril3jyo2a");
    let tallies = PostRow {
        likes: value,
        state: PostState::Live,
        ..PostRow::default()
    };
    let entries = [(&*post.to_string(), value, 0, value)];
    [
        (
            ViewId::TopPosts,
            vec![list(Window::Day, Measure::Likes, "", &entries)],
        ),
        (ViewId::Posts, vec![row(&post, &tallies)]),
        (
            ViewId::Accounts,
            vec![row(&did(ANA), &account("ana.test", "Ana"))],
        ),
    ]
}

/// Like [`rows_of`], but the post exists at epoch 100 only.
fn rows_of_a_deleted_post(value: u32) -> Rows {
    let [list_of_one, posts, accounts] = rows_of(value);
    if value == 100 {
        return [list_of_one, posts, accounts];
    }
    let gone = Change {
        key: Key::of(&post(ANA, "3n2xril3jyo2a")),
        row: None,
    };
    let empty = list(Window::Day, Measure::Likes, "", &[]);
    [
        (ViewId::TopPosts, vec![empty]),
        (ViewId::Posts, vec![gone]),
        (ViewId::Accounts, vec![]),
    ]
}

impl BusyStore {
    async fn new(world: &World, commits_left: u32, rows: fn(u32) -> Rows) -> Self {
        let term = world.store.lead().await.unwrap().term;
        let busy = Self {
            store: world.store.clone(),
            term,
            commits_left: AtomicU32::new(commits_left),
            epoch: AtomicU32::new(100),
            template: world.committed(),
            rows,
        };
        busy.commit().await;
        busy
    }

    async fn commit(&self) {
        let value = self.epoch.fetch_add(1, Ordering::SeqCst);
        let epoch = Epoch(u64::from(value));
        self.store.begin(self.term, epoch.into()).await.unwrap();
        for (view, changes) in (self.rows)(value) {
            self.store.write(self.term, view, changes).await.unwrap();
        }
        let committed = Committed {
            epoch,
            ..self.template.clone()
        };
        self.store.commit(self.term, committed).await.unwrap();
    }
}

#[async_trait]
impl ViewReader for BusyStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.store.control().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        let rows = self.store.get(view, keys).await;
        let left = self.commits_left.load(Ordering::SeqCst);
        if view == ViewId::TopPosts && left > 0 {
            self.commits_left.store(left - 1, Ordering::SeqCst);
            self.commit().await;
        }
        rows
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.store.scan(view, range).await
    }
}

fn numbers(answer: &Value) -> [&Value; 3] {
    let entry = &answer["entries"][0];
    [&answer["epoch"], &entry["value"], &entry["post"]["likes"]]
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_read_again_until_all_its_rows_belong_to_one_commit() {
    for store in [MemoryStore::new(), MemoryStore::torn()] {
        let world = World::on(store);
        let busy = BusyStore::new(&world, 3, rows_of).await;
        let (_, answer) = get_json(world.state_on(Arc::new(busy)), "/v1/trends/posts").await;
        assert_eq!(answer["consistent"], true);
        assert_eq!(numbers(&answer), [103, 103, 103]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_a_commit_removed_between_the_reads_causes_a_reread() {
    let world = World::empty();
    let busy = BusyStore::new(&world, 1, rows_of_a_deleted_post).await;
    let (_, answer) = get_json(world.state_on(Arc::new(busy)), "/v1/trends/posts").await;
    assert_eq!(
        (&answer["epoch"], &answer["entries"]),
        (&json!(101), &json!([]))
    );
    assert_eq!(answer["consistent"], true);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stays_inconsistent_says_so_and_is_not_cached() {
    let world = World::empty();
    let busy = BusyStore::new(&world, u32::MAX, rows_of).await;
    let state = world.state_on(Arc::new(busy));
    let (_, answer) = get_json(state.clone(), "/v1/trends/posts").await;
    assert_eq!(answer["consistent"], false);
    let [_, value, likes] = numbers(&answer);
    assert_ne!(value, likes, "a commit of the test came between the reads");
    let response = crate::world::send(state, crate::world::request("/v1/trends/posts")).await;
    assert!(response.headers().get("etag").is_none());
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_rows_of_a_commit_in_progress_is_inconsistent() {
    let mut world = World::on(MemoryStore::torn());
    world.commit(&rows_of(7)).await;
    let term = world.store.lead().await.unwrap().term;
    world.store.begin(term, Epoch(50).into()).await.unwrap();
    let [_, (posts, changes), _] = rows_of(8);
    world.store.write(term, posts, changes).await.unwrap();
    let answer = world.get("/v1/trends/posts").await;
    assert_eq!(
        (numbers(&answer), &answer["consistent"]),
        ([&json!(41), &json!(7), &json!(8)], &json!(false))
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_row_during_a_commit_is_inconsistent_unless_commits_are_atomic() {
    let mut world = World::on(MemoryStore::torn());
    world.commit(&rows_of(7)).await;
    let term = world.store.lead().await.unwrap().term;
    world.store.begin(term, Epoch(50).into()).await.unwrap();
    let removed = Change {
        key: Key::of(&post(ANA, "3n2xril3jyo2a")),
        row: None,
    };
    world
        .store
        .write(term, ViewId::Posts, vec![removed])
        .await
        .unwrap();
    let uri = "/v1/trends/posts";
    assert_eq!(get_json(world.state(), uri).await.1["consistent"], false);
    assert_eq!(
        get_json(world.state().with_atomic_commits(), uri).await.1["consistent"],
        true
    );
}
