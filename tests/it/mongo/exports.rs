//! Exports from a database that is written concurrently: they show one moment if the server
//! supports it; otherwise they report that the data is moving.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use skytide::data::mongodb::export_live;
use skytide::export::{ExportError, Format};
use skytide_core::config::Mongo as Options;
use skytide_core::id::Epoch;
use skytide_core::port::store::{Committed, Sum, Term, ViewStore};
use skytide_core::view::{Change, CounterRow, Key, ViewId, encode_row, row_hash};
use skytide_mongodb::MongoStore;
use skytide_tests::contract_store::committed;
use skytide_tests::servers::Mongo;
use skytide_tests::world::Random;
use tempfile::TempDir;

use super::{connect, database_at, own_database};

const VIEW: ViewId = ViewId::Counters;
/// More rows than are read at a time, in several batches of the server.
const ROWS: u64 = 5_000;

/// A writer that commits continuously and records what each commit left.
struct Counting {
    store: MongoStore,
    term: Term,
    random: Random,
    rows: BTreeMap<Key, u64>,
    sum: Sum,
    /// Number of rows and their total, by epoch.
    left: Arc<Mutex<BTreeMap<u64, (usize, u64)>>>,
    epoch: u64,
}

impl Counting {
    async fn new(options: &Options) -> Self {
        let store = connect(options).await;
        let term = store.lead().await.unwrap().term;
        let mut counting = Self {
            store,
            term,
            random: Random::new(41),
            rows: BTreeMap::new(),
            sum: Sum::default(),
            left: Arc::default(),
            epoch: 0,
        };
        let all = (0..ROWS).map(|n| (key(n), Some(n))).collect();
        counting.commit(all).await;
        counting
    }

    /// Changes some rows, removes some and adds some.
    async fn step(&mut self) {
        let changes = (0..100).map(|_| {
            let at = key(self.random.below(2 * ROWS));
            (at, self.random.chance(50).then(|| self.random.below(1_000)))
        });
        let changes: BTreeMap<Key, Option<u64>> = changes.collect();
        self.commit(changes.into_iter().collect()).await;
    }

    async fn commit(&mut self, changes: Vec<(Key, Option<u64>)>) {
        self.epoch += 1;
        let hash = |key: &Key, value| {
            let row = encode_row(&CounterRow { value });
            row_hash(VIEW, key.as_bytes(), &row)
        };
        let mut rows = Vec::new();
        for (key, value) in changes {
            let before = match value {
                Some(value) => self.rows.insert(key.clone(), value),
                None => self.rows.remove(&key),
            };
            if let Some(before) = before {
                self.sum.rows -= 1;
                self.sum.hash = self.sum.hash.wrapping_sub(hash(&key, before));
            }
            if let Some(value) = value {
                self.sum.rows += 1;
                self.sum.hash = self.sum.hash.wrapping_add(hash(&key, value));
            }
            let row = value.map(|value| encode_row(&CounterRow { value }));
            rows.push(Change { key, row });
        }
        let left = (self.rows.len(), self.rows.values().sum());
        self.left.lock().unwrap().insert(self.epoch, left);
        let (store, term) = (&self.store, self.term);
        store.begin(term, Epoch(self.epoch).into()).await.unwrap();
        store.write(term, VIEW, rows).await.unwrap();
        let committed = Committed {
            sums: [(VIEW, self.sum)].into(),
            ..committed(self.epoch)
        };
        store.commit(term, committed).await.unwrap();
    }

    /// Commits continuously until the flag is set.
    fn spawn(mut self) -> (Arc<AtomicBool>, tokio::task::JoinHandle<Self>) {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                self.step().await;
            }
            self
        });
        (stop, task)
    }
}

fn key(n: u64) -> Key {
    Key::of(&format!("{n:05}"))
}

/// Compares an export with what the commit that it names left. Returns the commit's epoch.
fn compare(folder: &Path, left: &Mutex<BTreeMap<u64, (usize, u64)>>) -> u64 {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let epoch = json(&read("summary.json"))["epoch"].as_u64().unwrap();
    let rows = read("counters.ndjson");
    let values = rows
        .lines()
        .map(|line| json(line)["value"].as_u64().unwrap());
    let found = (rows.lines().count(), values.sum());
    assert_eq!(found, left.lock().unwrap()[&epoch], "epoch {epoch}");
    assert!(!folder.join(".partial").exists());
    epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_from_a_replica_set_shows_one_moment() {
    let Some(set) = Mongo::replica_set() else {
        return;
    };
    let (options, _own) = database_at(&set.uri());
    let counting = Counting::new(&options).await;
    let left = counting.left.clone();
    let reader = connect(&options).await;
    let (stop, task) = counting.spawn();
    let folder = TempDir::new().unwrap();
    let mut epochs = Vec::new();
    for _ in 0..3 {
        let exported = export_live(&reader, folder.path(), Format::Ndjson).await;
        exported.expect("an export of one moment");
        epochs.push(compare(folder.path(), &left));
    }
    stop.store(true, Ordering::Relaxed);
    let counting = task.await.unwrap();
    assert!(
        epochs.is_sorted() && epochs[0] < epochs[2] && epochs[2] <= counting.epoch,
        "no commit happened between exports: {epochs:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_from_a_single_server_reports_movement_and_never_damage() {
    let Some((options, _own)) = own_database() else {
        return;
    };
    let counting = Counting::new(&options).await;
    let left = counting.left.clone();
    let reader = connect(&options).await;
    let (stop, task) = counting.spawn();
    let folder = TempDir::new().unwrap();
    for _ in 0..3 {
        match export_live(&reader, folder.path(), Format::Ndjson).await {
            Err(ExportError::Moved { .. }) => assert!(!folder.path().join(".partial").exists()),
            exported => {
                exported.expect("a complete or a moving export");
                compare(folder.path(), &left);
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let counting = task.await.unwrap();
    let exported = export_live(&reader, folder.path(), Format::Ndjson).await;
    exported.expect("an export without a writer");
    assert_eq!(compare(folder.path(), &left), counting.epoch);
}
