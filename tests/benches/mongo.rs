//! The view store on a real MongoDB, compared with a bare loop of bulk updates that uses the same
//! client, server, documents, indexes and connections, in turns.
//! `cargo bench -p skytide-tests -- mongo`; it needs `mongod` (`tests/servers install`).
//!
//! The bare loop sends prepared statements, in no order of their keys, without guards, epochs or
//! commits. The store converts rows to documents, checks that they convert back, sorts them by key
//! (which the server prefers), cuts them into batches of a suitable size, and commits every 5,000
//! or every 40,000 rows.

use std::time::Instant;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use mongodb::bson::{Document, RawArrayBuf, RawDocumentBuf, doc, raw::cstr};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use skytide_core::config::Mongo as Options;
use skytide_core::id::{Did, Epoch, PostKey, Tid};
use skytide_core::port::store::{Committed, Order, Range, Term, ViewReader, ViewStore};
use skytide_core::view::{Change, Key, PostRow, PostState, ViewId, encode_row};
use skytide_mongodb::MongoStore;
use skytide_tests::servers::Mongo;

const ROWS: u64 = 200_000;
const BATCH: usize = 1_000;
const CONNECTIONS: usize = 4;
const ROUNDS: u64 = 3;
const VIEW: ViewId = ViewId::Posts;

/// Runs the benchmark and prints rows per second.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let Some(server) = Mongo::start() else { return };
    runtime.expect("a runtime").block_on(measure(&server.uri()));
}

async fn measure(uri: &str) {
    println!(
        "\nmongo: {ROWS} rows of `posts` per round, every other one new, batches of {BATCH}, {CONNECTIONS} connections"
    );
    // Each collection has as many documents as that of the bare loop: updates in a larger
    // collection take longer.
    let mut of_large = Writer::start(uri, "large").await;
    let mut of_small = Writer::start(uri, "small").await;
    let bare = bare_database(uri).await;
    let [mut plain, mut journaled, mut large, mut small] = [(); 4].map(|()| Vec::new());
    for round in 0..ROUNDS {
        journaled.push(bare_loop(&bare, "journaled", round, true).await);
        large.push(of_large.commits(round, 40_000).await);
        plain.push(bare_loop(&bare, "plain", round, false).await);
        small.push(of_small.commits(round, 5_000).await);
    }
    let bar = print("bare loop, journaled as the store", journaled, None);
    print("bare loop, not journaled", plain, Some(bar));
    print("store, commits of 40,000 rows", large, Some(bar));
    print("store, commits of 5,000 rows", small, Some(bar));
    read(&of_large.store).await;
}

/// Prints the median of the rounds.
fn print(what: &str, mut rates: Vec<f64>, bar: Option<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    let rate = rates[rates.len() / 2];
    let share = bar.map(|bar| format!("{:6.0} % of the journaled loop", rate / bar * 100.0));
    println!(
        "  {what:34} {rate:10.0} rows/s {}",
        share.unwrap_or_default()
    );
    rate
}

/// Every other row of a round exists since an earlier round.
fn number(round: u64, row: u64) -> u64 {
    match row.is_multiple_of(2) {
        true => row,
        false => round << 32 | row,
    }
}

fn post(number: u64) -> PostKey {
    let mut did = [7; 15];
    did[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    PostKey::new(
        &Did::from_plc(did),
        &Tid(0x1999_9999_0000_0000 + number).into(),
    )
}

struct Writer {
    store: MongoStore,
    term: Term,
    epoch: u64,
}

impl Writer {
    async fn start(uri: &str, database: &str) -> Self {
        let options = Options {
            writes_max: CONNECTIONS as u32,
            batch_rows_max: BATCH as u32,
            database: database.parse().expect("a name"),
            ..Options::at(uri).expect("an address")
        };
        let store = MongoStore::connect(&options).await.expect("a server");
        Self {
            term: store.lead().await.expect("a term").term,
            store,
            epoch: 0,
        }
    }

    async fn commits(&mut self, round: u64, rows: u64) -> f64 {
        let commits: Vec<Vec<Change>> = (0..ROWS / rows)
            .map(|commit| {
                (commit * rows..(commit + 1) * rows)
                    .map(|row| change(round, row))
                    .collect()
            })
            .collect();
        let start = Instant::now();
        for changes in commits {
            self.epoch += 1;
            let epoch = Epoch(self.epoch);
            self.store
                .begin(self.term, epoch.into())
                .await
                .expect("its turn");
            self.store
                .write(self.term, VIEW, changes)
                .await
                .expect("a term");
            let committed = Committed {
                epoch,
                ..Committed::default()
            };
            self.store
                .commit(self.term, committed)
                .await
                .expect("a term");
        }
        ROWS as f64 / start.elapsed().as_secs_f64()
    }
}

fn change(round: u64, row: u64) -> Change {
    let columns = PostRow {
        likes: round as u32 + row as u32 % 1_000,
        replies: row as u32 % 7,
        state: PostState::Live,
        ..PostRow::default()
    };
    Change {
        key: Key::of(&post(number(round, row))),
        row: Some(encode_row(&columns)),
    }
}

async fn bare_database(uri: &str) -> Database {
    let mut options = ClientOptions::parse(uri).await.expect("an address");
    options.max_pool_size = Some(CONNECTIONS as u32);
    let client = Client::with_options(options).expect("a client");
    let database = client.database("bare");
    for name in ["journaled", "plain"] {
        for keys in [doc! { "uri": 1 }, doc! { "removed": 1 }] {
            let index = doc! { "key": keys, "name": "index", "sparse": true };
            let index = match index
                .get_document("key")
                .is_ok_and(|it| it.contains_key("uri"))
            {
                true => doc! { "key": { "uri": 1 }, "name": "uri" },
                false => index,
            };
            let made = database.run_command(doc! { "createIndexes": name, "indexes": [index] });
            made.await.expect("an index");
        }
    }
    database
}

async fn bare_loop(database: &Database, name: &str, round: u64, journal: bool) -> f64 {
    let statements: Vec<RawDocumentBuf> = (0..ROWS).map(|row| statement(round, row)).collect();
    let start = Instant::now();
    stream::iter(statements.chunks(BATCH))
        .map(|statements| async move {
            let mut updates = RawArrayBuf::new();
            statements.iter().for_each(|it| updates.push(it.as_ref()));
            let head =
                doc! { "update": name, "ordered": false, "writeConcern": { "w": 1, "j": journal } };
            let mut command = RawDocumentBuf::try_from(&head).expect("a document");
            command.append(cstr!("updates"), updates);
            database.run_raw_command(command).await
        })
        .buffer_unordered(CONNECTIONS)
        .try_for_each(|answer: Document| async move {
            assert!(!answer.contains_key("writeErrors"), "{answer}");
            Ok(())
        })
        .await
        .expect("a server");
    ROWS as f64 / start.elapsed().as_secs_f64()
}

/// The document that the store makes of the same row.
fn statement(round: u64, row: u64) -> RawDocumentBuf {
    let post = post(number(round, row));
    let id = format!(
        "{:-<40}",
        format!(
            "{:x}",
            number(round, row).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )
    );
    let likes = (round as u32 + row as u32 % 1_000) as i32;
    let document = doc! {
        "_id": &id, "epoch": round as i64, "uri": post.to_string(), "likes": likes, "reposts": 0,
        "replies": row as i32 % 7, "root_replies": 0, "quotes": 0, "self_likes": 0, "self_reposts": 0,
        "self_replies": 0, "self_root_replies": 0, "self_quotes": 0, "state": "live",
    };
    let statement = doc! { "q": { "_id": id }, "u": document, "upsert": true };
    RawDocumentBuf::try_from(&statement).expect("a document")
}

async fn read(store: &MongoStore) {
    let start = Instant::now();
    let mut range = Range::prefix(Order::First, &[], 1_000);
    let (mut rows, mut keys) = (0_u64, Vec::new());
    loop {
        let page = store.scan(VIEW, range.clone()).await.expect("rows");
        let Some(last) = page.last() else { break };
        range.from = Key::from([last.key.as_bytes(), b"\0"].concat().as_slice());
        rows += page.len() as u64;
        keys.extend(page.into_iter().step_by(10).map(|row| row.key));
    }
    println!(
        "  scan, pages of 1,000               {:10.0} rows/s",
        rows as f64 / start.elapsed().as_secs_f64()
    );
    keys.sort_by_cached_key(|key| {
        key.as_bytes().iter().fold(7_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    });
    for at_once in [1, 100] {
        let some = &keys[..keys.len().min(200 * at_once)];
        let start = Instant::now();
        for keys in some.chunks(at_once) {
            let found = store.get(VIEW, keys).await.expect("rows");
            assert!(found.iter().all(Option::is_some));
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "  lookups of {at_once:3} keys                {:10.0} rows/s, {:.2} ms each",
            some.len() as f64 / seconds,
            seconds * 1e3 * at_once as f64 / some.len() as f64
        );
    }
}
