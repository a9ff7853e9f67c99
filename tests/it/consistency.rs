//! An answer that says `consistent` is right while commits add and remove rows as fast as the store
//! accepts them: on each store, with the API on a socket.
//!
//! Every row of a commit holds the number of its epoch, and the epoch decides which rows exist. So an
//! answer with rows of two commits, or with rows of another commit than it names, is recognized.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use skytide_api::{ApiState, Options, Server};
use skytide_core::id::{Did, PostKey};
use skytide_core::memory::MemoryStore;
use skytide_core::port::clock::ManualClock;
use skytide_core::port::store::ViewStore;
use skytide_core::view::{
    ActivityKey, ActivityRow, Change, CounterRow, InteractionKey, InteractionRow, Key, ListEntry,
    ListKey, ListRow, Measure, PostRow, PostState, Span, ViewId, ViewKey, Window, encode_row,
};
use skytide_embedded::{EmbeddedStore, StoreOptions};
use skytide_mongodb::MongoStore;
use skytide_tests::contract_store::committed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::mongo::own_database;

const AUTHOR: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
/// Tasks that read at the same time, for each route.
const READERS: usize = 2;

/// The row under a key, which exists or not.
fn row<K: ViewKey>(key: &K, row: &impl serde::Serialize, exists: bool) -> Change {
    Change {
        key: Key::of(key),
        row: exists.then(|| encode_row(row)),
    }
}

/// The number of other accounts at an epoch, and of collections.
fn count(epoch: u64, modulus: u64) -> u64 {
    epoch % modulus
}

/// Whether the post exists at an epoch.
fn has_post(epoch: u64) -> bool {
    !epoch.is_multiple_of(3)
}

/// The changes of the commit of an epoch.
fn changes(epoch: u64) -> Vec<(ViewId, Vec<Change>)> {
    let value = u32::try_from(epoch).expect("a small number");
    let author: Did = AUTHOR.parse().expect("a DID");
    let post: PostKey = format!("at://{AUTHOR}/app.bsky.feed.post/3n2xril3jyo2a")
        .parse()
        .expect("the URI of a post");
    let tallies = PostRow {
        likes: value,
        reposts: value,
        state: PostState::Live,
        ..PostRow::default()
    };
    let list = ListKey {
        window: Window::Day,
        measure: Measure::Likes,
        lang: "".into(),
    };
    let entry = ListEntry {
        key: post.to_string().into(),
        value,
        other: 0,
        longer: value,
    };
    let entries = if has_post(epoch) { vec![entry] } else { vec![] };
    let interactions = (0..4).map(|n| {
        let subject = format!("did:plc:{}", "bcde"[n..=n].repeat(24));
        let key = InteractionKey {
            author: author.clone(),
            day: 0,
            subject: subject.parse().expect("a DID"),
        };
        let sums = InteractionRow {
            likes: value,
            ..InteractionRow::default()
        };
        row(&key, &sums, (n as u64) < count(epoch, 5))
    });
    let activity = |collection: &str, exists| {
        let key = ActivityKey {
            span: Span::All,
            start_minute: 0,
            collection: collection.into(),
        };
        let operations = ActivityRow {
            creates: epoch,
            ..ActivityRow::default()
        };
        row(&key, &operations, exists)
    };
    let collections = (0..3).map(|n| activity(&format!("x.y.z{n}"), n < count(epoch, 4)));
    let activity = [activity("", true)].into_iter().chain(collections);
    let counter = row(&"frames".to_owned(), &CounterRow { value: epoch }, true);
    vec![
        (
            ViewId::TopPosts,
            vec![row(&list, &ListRow { entries }, true)],
        ),
        (ViewId::Posts, vec![row(&post, &tallies, has_post(epoch))]),
        (ViewId::Interactions, interactions.collect()),
        (ViewId::Activity, activity.collect()),
        (ViewId::Counters, vec![counter]),
    ]
}

/// A route, and how many rows and which numbers its answer has at an epoch.
#[derive(Clone, Copy)]
struct Route {
    path: &'static str,
    rows: fn(u64) -> u64,
    /// The rows in the answer.
    list: &'static str,
    /// Where each row has the epoch.
    numbers: &'static [&'static str],
    /// Where the answer itself has the epoch.
    totals: &'static [&'static str],
}

const ROUTES: [Route; 3] = [
    Route {
        path: "/v1/trends/posts",
        rows: |epoch| u64::from(has_post(epoch)),
        list: "/entries",
        numbers: &["/value", "/post/likes", "/post/reposts"],
        totals: &[],
    },
    Route {
        path: "/v1/actors/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/interactions",
        rows: |epoch| count(epoch, 5),
        list: "/entries",
        numbers: &["/likes", "/total"],
        totals: &[],
    },
    Route {
        path: "/v1/network",
        rows: |epoch| count(epoch, 4),
        list: "/collections",
        numbers: &["/all/creates"],
        totals: &["/total/all/creates", "/counters/frames"],
    },
];

impl Route {
    /// Checks an answer. Returns its epoch if it says that it is consistent.
    fn check(&self, answer: &Value) -> Option<u64> {
        if answer["consistent"] == false {
            return None;
        }
        assert_eq!(answer["consistent"], true, "{}: {answer:#}", self.path);
        let epoch = answer["epoch"].as_u64().expect("an epoch");
        let list = answer.pointer(self.list).and_then(Value::as_array);
        let list = list.expect("a list");
        let found = list.len() as u64;
        assert_eq!(found, (self.rows)(epoch), "rows, {}: {answer}", self.path);
        let of_rows = list
            .iter()
            .flat_map(|row| self.numbers.iter().map(|at| row.pointer(at)));
        let totals = self.totals.iter().map(|at| answer.pointer(at));
        for number in of_rows.chain(totals) {
            assert_eq!(number, Some(&epoch.into()), "{}: {answer}", self.path);
        }
        Some(epoch)
    }
}

/// Requests a path; returns the JSON of the answer.
async fn get(address: std::net::SocketAddr, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    serde_json::from_str(body).expect("JSON")
}

/// Makes `commits` commits while readers check all routes.
async fn read_while_committing(store: Arc<dyn ViewStore>, commits: u64) {
    let term = store.lead().await.expect("a term").term;
    let commit = async |epoch: u64| {
        let mut committed = committed(epoch);
        if let Some(recipe) = &mut committed.recipe {
            // An answer needs its view in the commit.
            recipe.views = ViewId::ALL.iter().map(|it| (*it, it.version())).collect();
        }
        store
            .begin(term, committed.epoch.into())
            .await
            .expect("begun");
        for (view, changes) in changes(epoch) {
            store.write(term, view, changes).await.expect("written");
        }
        store.commit(term, committed).await.expect("committed");
    };
    commit(1).await;
    let state = ApiState::new(
        store.clone(),
        Arc::new(ManualClock::default()),
        Arc::default(),
    );
    let options = Options {
        address: ([127, 0, 0, 1], 0).into(),
        ..Options::default()
    };
    let server = Server::bind(options).await.expect("a port");
    let address = server.address();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.run(state, stop.clone()));
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for route in ROUTES.repeat(READERS) {
        let done = done.clone();
        readers.push(tokio::spawn(async move {
            let mut consistent = 0;
            loop {
                // Read before the answer: the last answer comes when all is committed.
                let is_last = done.load(Ordering::SeqCst);
                let epoch = route.check(&get(address, route.path).await);
                consistent += u64::from(epoch.is_some());
                if is_last {
                    assert_eq!(epoch, Some(commits), "{}", route.path);
                    return (route.path, consistent);
                }
            }
        }));
    }
    for epoch in 2..=commits {
        commit(epoch).await;
    }
    done.store(true, Ordering::SeqCst);
    for reader in readers {
        let (path, consistent) = reader.await.expect("right answers");
        println!("{path}: {consistent} consistent answers during {commits} commits");
    }
    stop.cancel();
    serving.await.expect("no panic").expect("no error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_from_memory_has_the_rows_of_its_commit() {
    read_while_committing(Arc::new(MemoryStore::new()), 15_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_from_a_store_without_snapshots_has_the_rows_of_its_commit() {
    read_while_committing(Arc::new(MemoryStore::torn()), 3_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_from_files_has_the_rows_of_its_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(folder.path(), StoreOptions::default()).expect("opened");
    read_while_committing(Arc::new(store), 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_from_mongodb_has_the_rows_of_its_commit() {
    let Some((options, _own)) = own_database() else {
        return;
    };
    let store = MongoStore::connect(&options).await.expect("a server");
    read_while_committing(Arc::new(store), 300).await;
}
