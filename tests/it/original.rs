//! The contract of `/original` from the stream to a client: a random stream is counted by the
//! dataflow and served on a socket, and a client that knows only the contract reads it. Its answers
//! must equal those computed from the naive recount.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use skytide_api::{AccessOptions, ApiState, Options, Server};
use skytide_core::id::Did;
use skytide_core::memory::{MemoryKeys, MemoryStore};
use skytide_core::port::clock::ManualClock;
use skytide_core::port::key::{KeyId, KeyStore, KeyText, Scope, StoredKey};
use skytide_core::port::store::ViewStore;
use skytide_core::time::Timestamp;
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, Change, InteractionKey, InteractionRow, ListKey, ListRow,
    Measure, Span, ViewId, decode_row,
};
use skytide_tests::checkers::Commit;
use skytide_tests::model::{Rows, recount};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::recount::harness::{Case, seeds};

/// A client of the contract. Fields that the contract does not have are errors.
struct Client {
    address: SocketAddr,
    key: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    _id: String,
    name: String,
    data: Vec<Set>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    key: String,
    subkey: Option<String>,
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    _id: String,
    count: u64,
    c: Option<u64>,
    profile: Option<Profile>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    handle: String,
    display_name: Option<String>,
    avatar: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Interactions {
    did: String,
    handle: String,
    interactions: Both,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Both {
    sent: Vec<Sum>,
    rcvd: Vec<Sum>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    _id: String,
    l: u64,
    r: u64,
    p: u64,
    c: u64,
    t: u64,
}

impl Client {
    /// Sends a request on a connection of its own; returns the status and the body.
    async fn send(&self, head: &str, body: &str) -> (u16, String) {
        let text = format!(
            "{head} HTTP/1.1\r\nhost: api\r\nx-api-key: {}\r\norigin: https://client.example\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.key,
            body.len()
        );
        let mut socket = TcpStream::connect(self.address).await.expect("the server");
        socket.write_all(text.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    async fn read<T: DeserializeOwned>(&self, head: &str, body: &str) -> T {
        let (status, text) = self.send(head, body).await;
        assert_eq!(status, 200, "{head}: {text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{head}: {error}: {text}"))
    }

    async fn top(&self, name: &str) -> Top {
        self.read(&format!("GET /original/dd/{name}"), "").await
    }

    async fn interactions(&self, handle: &str) -> Interactions {
        let body = json!({ "handle": handle }).to_string();
        self.read("POST /original/interactions", &body).await
    }
}

/// What the recount says about a commit.
struct Expected<'a> {
    rows: &'a Rows,
    now: Timestamp,
}

impl Expected<'_> {
    fn account(&self, did: &Did) -> Option<AccountRow> {
        let rows = self.rows[&ViewId::Accounts].iter();
        let mut rows = rows.filter(|(key, _)| key.decode::<Did>() == Ok(did.clone()));
        rows.next().map(|(_, row)| decode_row(row).expect("a row"))
    }

    /// Nothing was fetched, so a profile is what the stream reported of an active account.
    fn profile(&self, did: &str) -> Option<Profile> {
        let account = self.account(&did.parse().expect("a DID"))?;
        let handle = account.handle.filter(|_| account.active)?;
        Some(Profile {
            handle: handle.into(),
            display_name: account.display_name.map(Into::into),
            avatar: None,
        })
    }

    fn set(&self, key: &str, subkey: Option<&str>, measure: Measure) -> Set {
        let lists = self.rows[&ViewId::TopInteractions].iter();
        let mut lists = lists.filter(|(key, _)| {
            let key: ListKey = key.decode().expect("a key of a list");
            key.measure == measure
        });
        let list = lists
            .next()
            .map(|(_, row)| decode_row(row).expect("a list"));
        let entries = list.map_or_else(Vec::new, |list: ListRow| list.entries);
        let item = |entry: skytide_core::view::ListEntry| Item {
            profile: self.profile(&entry.key),
            _id: entry.key.into(),
            count: entry.value.into(),
            c: (key == "post").then_some(entry.other.into()),
        };
        Set {
            key: key.to_owned(),
            subkey: subkey.map(str::to_owned),
            items: entries.into_iter().map(item).collect(),
        }
    }

    fn id(&self) -> String {
        self.now.rfc3339().trim_end_matches('Z').to_owned() + "+00:00"
    }

    fn top_interactions(&self) -> Top {
        let author = Some("author");
        let subject = Some("subject");
        Top {
            _id: self.id(),
            name: "top_interactions".to_owned(),
            data: vec![
                self.set("like", author, Measure::LikesToOthers),
                self.set("like", subject, Measure::LikesFromOthers),
                self.set("repost", author, Measure::RepostsToOthers),
                self.set("repost", subject, Measure::RepostsFromOthers),
                self.set("post", author, Measure::PostsToOthers),
                self.set("post", subject, Measure::PostsFromOthers),
            ],
        }
    }

    fn top_blocks(&self) -> Top {
        Top {
            _id: self.id(),
            name: "top_blocks".to_owned(),
            data: vec![
                self.set("author", None, Measure::BlocksToOthers),
                self.set("subject", None, Measure::BlocksFromOthers),
            ],
        }
    }

    fn sums(&self, did: &Did, received: bool) -> Vec<Sum> {
        let mut sums = BTreeMap::<String, Sum>::new();
        for (key, row) in &self.rows[&ViewId::Interactions] {
            let key: InteractionKey = key.decode().expect("a key");
            let row: InteractionRow = decode_row(row).expect("a row");
            let (own, other) = match received {
                true => (&key.subject, &key.author),
                false => (&key.author, &key.subject),
            };
            if own != did || key.day + 7 <= self.now.day() {
                continue;
            }
            let name = other.to_string();
            let sum = sums.entry(name.clone()).or_insert(Sum {
                _id: name,
                l: 0,
                r: 0,
                p: 0,
                c: 0,
                t: 0,
            });
            sum.l += u64::from(row.likes);
            sum.r += u64::from(row.reposts);
            sum.p += u64::from(row.replies) + u64::from(row.quotes);
            sum.c += row.characters;
            sum.t = sum.l + sum.r + sum.p;
        }
        let mut sums: Vec<Sum> = sums.into_values().collect();
        sums.sort_by(|a, b| (b.t, b.c).cmp(&(a.t, a.c)).then(a._id.cmp(&b._id)));
        sums
    }

    fn interactions(&self, did: &Did) -> Interactions {
        let account = self.account(did).filter(|account| account.active);
        let handle = account.and_then(|account| account.handle);
        Interactions {
            did: did.to_string(),
            handle: handle.map_or_else(|| did.to_string(), Into::into),
            interactions: Both {
                sent: self.sums(did, false),
                rcvd: self.sums(did, true),
            },
        }
    }

    fn live(&self, collection: &str) -> u64 {
        let rows = self.rows[&ViewId::Activity].iter();
        let live = rows.map(|(key, row)| {
            let key: ActivityKey = key.decode().expect("a key");
            let row: ActivityRow = decode_row(row).expect("a row");
            let counts = key.span == Span::All && *key.collection == *collection;
            if counts { row.live } else { 0 }
        });
        live.sum()
    }
}

/// A store with the rows of one commit.
async fn store_of(commit: &Commit) -> MemoryStore {
    let store = MemoryStore::new();
    let term = store.lead().await.expect("no other writer").term;
    let epoch = commit.committed.epoch.into();
    store.begin(term, epoch).await.expect("memory never fails");
    for (view, rows) in &commit.rows {
        let rows = rows
            .iter()
            .map(|(key, row)| (key.clone(), Some(row.clone())));
        let changes = rows.map(|(key, row)| Change { key, row }).collect();
        let written = store.write(term, *view, changes).await;
        written.expect("memory never fails");
    }
    let committed = store.commit(term, commit.committed.clone()).await;
    committed.expect("memory never fails");
    store
}

/// Serves a commit until `stop` is cancelled.
async fn serve(commit: &Commit, stop: &CancellationToken) -> Client {
    let id = KeyId::from_random(1);
    let text = KeyText::new(&id, [7; 32]);
    let stored = StoredKey {
        id,
        hash: text.hash(),
        label: "client".to_owned(),
        scopes: vec![Scope::Read],
        created: Timestamp(1),
        expires: None,
        rate: None,
        burst: None,
        revoked: None,
        last_used: None,
    };
    let keys = MemoryKeys::default();
    keys.add(&stored).await.expect("memory never fails");
    let (reader, clock) = (store_of(commit).await, ManualClock::default());
    clock.set(commit.committed.time);
    let state = ApiState::new(Arc::new(reader), Arc::new(clock), Arc::default());
    let state = state.with_access(AccessOptions::default(), Arc::new(keys));
    state.read_keys().await;
    let options = Options {
        address: "127.0.0.1:0".parse().expect("an address"),
        ..Options::default()
    };
    let server = Server::bind(options).await.expect("a free port");
    let address = server.address();
    tokio::spawn(server.run(state, stop.clone()));
    Client {
        address,
        key: text.reveal().to_owned(),
    }
}

/// Compares all answers to one commit. Returns the number of items in each set of the lists.
async fn compare(client: &Client, expected: &Expected<'_>, dids: &[Did]) -> Vec<usize> {
    let top = client.top("top_interactions").await;
    assert_eq!(top, expected.top_interactions());
    let blocks = client.top("top_blocks").await;
    assert_eq!(blocks, expected.top_blocks());
    let sets = top.data.iter().chain(&blocks.data);
    let sizes = sets.map(|set| set.items.len()).collect();

    for did in dids {
        let answer = client.interactions(&did.to_string()).await;
        assert_eq!(answer, expected.interactions(did));
    }
    let counts: serde_json::Value = client.read("GET /original/collStats", "").await;
    let live = |collection| expected.live(collection);
    let expected = json!({
        "app.bsky.actor.profile": live("app.bsky.actor.profile"),
        "app.bsky.graph.block": live("app.bsky.graph.block"),
        "interactions.like": live("app.bsky.feed.like"),
        "interactions.post": live("app.bsky.feed.post"),
        "interactions.repost": live("app.bsky.feed.repost"),
    });
    assert_eq!(counts, expected);
    sizes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_contract_reads_what_the_recount_says() {
    let mut filled = [0; 8];
    for seed in seeds(70_000) {
        let mut case = Case::of(seed).with(2, 1);
        case.options.interactions_days = Some(8);
        let messages = case.world();
        let expected: BTreeMap<_, _> = recount(&messages, case.options).into_iter().collect();
        for commit in case.run(&messages).await.iter().skip(9).step_by(10) {
            let stop = CancellationToken::new();
            let client = serve(commit, &stop).await;
            let expected = Expected {
                rows: &expected[&commit.committed.epoch],
                now: commit.committed.time,
            };
            let keys = expected.rows[&ViewId::Actors].keys();
            let dids: Vec<Did> = keys.map(|key| key.decode().expect("a DID")).collect();
            let sizes = compare(&client, &expected, &dids).await;
            for (filled, size) in filled.iter_mut().zip(sizes) {
                *filled += size;
            }
            stop.cancel();
        }
    }
    assert!(filled.iter().all(|size| *size > 0), "{filled:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_contract_reads_its_errors() {
    let case = Case::of(70_000).with(1, usize::MAX);
    let commits = case.run(&case.world()).await;
    let stop = CancellationToken::new();
    let client = serve(commits.last().expect("a commit"), &stop).await;
    let with_key = |key: &str| Client {
        address: client.address,
        key: key.to_owned(),
    };
    let (wrong, missing) = (with_key("sky_wrong"), with_key(""));
    let post = "POST /original/interactions";
    for head in [
        "GET /original/dd/top_interactions",
        "GET /original/dd/x",
        post,
    ] {
        let answer = missing.send(head, "").await;
        assert_eq!(
            answer,
            (403, r#"{"detail":"Not authenticated"}"#.to_owned())
        );
        let answer = wrong.send(head, "").await;
        let detail = r#"{"detail":"Missing or invalid API key"}"#;
        assert_eq!(answer, (401, detail.to_owned()));
    }
    let answer = client.send(post, r#"{"handle":"@nobody.example"}"#).await;
    let detail = r#"{"detail":"user not found: nobody.example"}"#;
    assert_eq!(answer, (400, detail.to_owned()));
    for (head, body) in [("GET /original/dd/x", ""), (post, "{}"), (post, "{")] {
        let (status, text) = client.send(head, body).await;
        assert!(
            status == 422 && text.starts_with(r#"{"detail":[{"type":"#),
            "{text}"
        );
    }
    stop.cancel();
}
