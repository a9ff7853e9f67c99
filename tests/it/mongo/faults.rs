//! A server that dies, freezes, is disconnected or is away for long; and the loss of a primary.

use std::collections::BTreeMap;
use std::time::Duration;

use mongodb::bson::doc;
use skytide_core::config::{Mongo as Options, Span};
use skytide_core::id::Epoch;
use skytide_core::port::store::{Order, StoreError, ViewReader, ViewStore};
use skytide_core::view::{Change, Key, ViewId};
use skytide_tests::contract_store::{commit, committed, key, put, remove, rows};
use skytide_tests::servers::{Link, Mongo, ReplicaSet};
use skytide_tests::world::Random;

use super::{by_port, commit_with_retries, connect, database_at, hasty};

const VIEW: ViewId = ViewId::Actors;

type Model = BTreeMap<Key, (u64, Vec<u8>)>;

/// The changes of one commit; `model` receives what they leave.
fn changes(random: &mut Random, epoch: u64, model: &mut Model) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..300 {
        let at = format!("{:04}", random.below(2_000));
        match random.chance(25) {
            true => {
                model.remove(&key(&at));
                changes.push(remove(at));
            }
            false => {
                let row = format!("{epoch}:{}", random.bits());
                model.insert(key(&at), (epoch, row.clone().into()));
                changes.push(put(at, row));
            }
        }
    }
    changes
}

async fn compare(store: &dyn ViewStore, model: Model, what: &str) {
    let wanted: Vec<_> = model
        .into_iter()
        .map(|(key, (epoch, row))| (key, epoch, row))
        .collect();
    assert!(rows(store, VIEW, Order::First).await == wanted, "{what}");
}

/// The server is killed between any two steps of continuous commits and started again: acknowledged
/// data is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing_of_a_commit() {
    let Some(mut server) = Mongo::start() else {
        return;
    };
    let (mut options, _own) = database_at(&server.uri());
    (options.batch_rows_max, options.operation_max) = (20, Span(Duration::from_secs(10)));
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let seed = 31;
    let mut random = Random::new(seed);
    let mut model = Model::new();
    let (mut epoch, mut failures) = (0, 0);
    for kill in 0..5 {
        let killed_ms = 5 + random.below(150);
        let killing = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(killed_ms));
            server.kill();
            server.restart();
            server
        });
        while !killing.is_finished() {
            epoch += 1;
            let changes = changes(&mut random, epoch, &mut model);
            failures += commit_with_retries(&store, term, epoch, &[(VIEW, changes)]).await;
        }
        server = killing.await.unwrap();
        compare(&store, model.clone(), &format!("seed {seed}, kill {kill}")).await;
        assert_eq!(
            store.control().await.unwrap().committed,
            Some(committed(epoch))
        );
    }
    assert!(failures > 0, "no kill interrupted a commit");
}

/// The last step of a commit may have been done although no response arrived.
#[tokio::test]
async fn operations_that_fail_on_a_frozen_server_may_be_repeated() {
    let Some(server) = Mongo::start() else { return };
    let (options, _own) = database_at(&server.uri());
    let store = connect(&hasty(options)).await;
    let term = store.lead().await.unwrap().term;
    commit(&store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    store.begin(term, Epoch(2).into()).await.unwrap();
    server.freeze();
    let failed = store.commit(term, committed(2)).await;
    assert!(
        matches!(failed, Err(StoreError::Failed { .. })),
        "{failed:?}"
    );
    server.thaw();
    commit_with_retries(&store, term, 2, &[(VIEW, vec![])]).await;

    store.begin(term, Epoch(3).into()).await.unwrap();
    store
        .write(term, VIEW, vec![put("a", "3"), put("b", "3")])
        .await
        .unwrap();
    server.freeze();
    let failed = store.commit(term, committed(3)).await;
    assert!(
        matches!(failed, Err(StoreError::Failed { .. })),
        "{failed:?}"
    );
    server.thaw();
    let changes = vec![put("a", "3"), put("b", "3")];
    commit_with_retries(&store, term, 3, &[(VIEW, changes)]).await;
    let wanted = [(key("a"), 3, b"3".to_vec()), (key("b"), 3, b"3".into())];
    assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
}

/// No other writer took the expired lease, so the writer continues with its term.
#[tokio::test]
async fn a_writer_continues_if_its_server_returns_after_the_lease_expired() {
    let Some(server) = Mongo::start() else { return };
    let (options, _own) = database_at(&server.uri());
    let link = Link::to(server.port());
    let store = connect(&hasty(by_port(&options, link.port()))).await;
    let term = store.lead().await.unwrap().term;
    commit(&store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    link.cut();
    let mut failures = 0;
    // Each attempt takes as long as the time limit of an operation, which is as long as the lease.
    while failures < 3 {
        let failed = store.begin(term, Epoch(2).into()).await;
        assert!(
            matches!(failed, Err(StoreError::Failed { .. })),
            "{failed:?}"
        );
        failures += 1;
    }
    link.mend();
    commit_with_retries(&store, term, 2, &[(VIEW, vec![put("a", "2")])]).await;
    assert_eq!(
        rows(&store, VIEW, Order::First).await,
        [(key("a"), 2, b"2".to_vec())]
    );
}

/// An operation that takes long, but less than its time limit, is done once.
#[tokio::test]
async fn a_slow_operation_is_done_once() {
    let Some(server) = Mongo::start() else { return };
    let (options, _own) = database_at(&server.uri());
    let link = Link::to(server.port());
    let store = connect(&by_port(&options, link.port())).await;
    let term = store.lead().await.unwrap().term;
    for epoch in 1..=3 {
        store.begin(term, Epoch(epoch).into()).await.unwrap();
        let row = epoch.to_string();
        store.write(term, VIEW, vec![put("a", &row)]).await.unwrap();
        link.hold();
        let mend = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            link.mend();
        };
        let (done, ()) = tokio::join!(store.commit(term, committed(epoch)), mend);
        done.unwrap();
    }
    assert_eq!(
        rows(&store, VIEW, Order::First).await,
        [(key("a"), 3, b"3".to_vec())]
    );
}

/// Somebody replaced the database by an older copy: no later commit may succeed as if nothing had
/// happened.
#[tokio::test]
async fn a_database_that_was_reverted_is_damage() {
    let Some((options, own)) = super::own_database() else {
        return;
    };
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    commit(&store, term, 1, vec![]).await;
    let records = own.control_records().await;
    let of_id = mongodb::bson::doc! { "_id": "control" };
    let older = records.find_one(of_id.clone()).await.unwrap().unwrap();
    commit(&store, term, 2, vec![]).await;
    records.replace_one(of_id, older).await.unwrap();
    let damaged = store.begin(term, Epoch(3).into()).await;
    assert!(
        matches!(damaged, Err(StoreError::Damaged(_))),
        "{damaged:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_set_that_loses_its_primary_loses_no_commit() {
    let Some(mut set): Option<ReplicaSet> = Mongo::replica_set() else {
        return;
    };
    let (mut options, _own) = database_at(&set.uri());
    options.batch_rows_max = 50;
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let seed = 37;
    let mut random = Random::new(seed);
    let mut model = Model::new();
    for epoch in 1..=30 {
        let changes = changes(&mut random, epoch, &mut model);
        if epoch == 10 {
            let primary = set.primary().await.expect("a primary");
            set.nodes[primary].kill();
        }
        commit_with_retries(&store, term, epoch, &[(VIEW, changes)]).await;
    }
    compare(&store, model, &format!("seed {seed}")).await;
    assert_eq!(
        store.control().await.unwrap().committed,
        Some(committed(30))
    );
}

/// A majority has the commit only after both the commit and its repetition have failed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_reaches_a_majority_late_is_recognised() {
    let Some(set) = Mongo::replica_set_with_failpoints() else {
        return;
    };
    let (options, _own) = database_at(&set.uri());
    let mut options = at_once(options);
    options.operation_max = Span(Duration::from_secs(2));
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    commit(&store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    store.begin(term, Epoch(2).into()).await.unwrap();
    store.write(term, VIEW, vec![put("a", "2")]).await.unwrap();
    let primary = set.primary().await.expect("a primary");
    let secondaries = || {
        let nodes = set.nodes.iter().enumerate();
        nodes.filter(move |(place, _)| *place != primary)
    };
    for (_, node) in secondaries() {
        node.fail_point("stopReplProducer", "alwaysOn", doc! {})
            .await;
    }
    fails(store.commit(term, committed(2)).await);
    assert_eq!(store.control().await.unwrap().committed, Some(committed(1)));
    fails(store.begin(term, Epoch(2).into()).await);
    for (_, node) in secondaries() {
        node.fail_point("stopReplProducer", "off", doc! {}).await;
    }
    while store.control().await.unwrap().committed != Some(committed(2)) {
        tokio::task::yield_now().await;
    }
    commit(&store, term, 2, vec![(VIEW, vec![put("a", "2")])]).await;
    commit(&store, term, 3, vec![(VIEW, vec![put("b", "3")])]).await;
    let wanted = [(key("a"), 2, b"2".to_vec()), (key("b"), 3, b"3".into())];
    assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
}

/// A request may arrive at any later time: here after its repetition has begun.
#[tokio::test]
async fn a_commit_that_arrives_during_its_repetition_is_recognised() {
    let Some(server) = Mongo::with_failpoints() else {
        return;
    };
    let first = || vec![(VIEW, vec![put("a", "1")])];
    let second = || vec![(VIEW, vec![put("a", "2")])];
    let (options, twin) = database_at(&server.uri());
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    commit(&store, term, 1, first()).await;
    commit(&store, term, 2, second()).await;
    let of_id = doc! { "_id": "control" };
    let records = twin.control_records().await;
    let arriving = records.find_one(of_id.clone()).await.unwrap().unwrap();

    let (options, own) = database_at(&server.uri());
    let store = connect(&at_once(options)).await;
    assert_eq!(store.lead().await.unwrap().term, term);
    commit(&store, term, 1, first()).await;
    store.begin(term, Epoch(2).into()).await.unwrap();
    store.write(term, VIEW, vec![put("a", "2")]).await.unwrap();
    let database = own.database().await;
    let refuse = doc! {
        "failCommands": ["update"], "namespace": format!("{}.control", database.name()), "errorCode": 91,
    };
    server.fail_point("failCommand", "alwaysOn", refuse).await;
    fails(store.commit(term, committed(2)).await);
    server.fail_point("failCommand", "off", doc! {}).await;

    store.begin(term, Epoch(2).into()).await.unwrap();
    let records = own.control_records().await;
    records.replace_one(of_id, arriving).await.unwrap();
    fails(store.rebuild(term, &[VIEW].into()).await);
    // The task that purges removed rows has seen the commit, too.
    let floor = doc! { "$max": { "floor": 2_i64 } };
    let documents = own.documents(VIEW).await;
    documents
        .update_one(doc! { "_id": "#guard" }, floor)
        .await
        .unwrap();
    fails(store.write(term, VIEW, vec![put("a", "2")]).await);
    commit(&store, term, 2, second()).await;
    commit(&store, term, 3, vec![(VIEW, vec![put("b", "3")])]).await;
    let wanted = [(key("a"), 2, b"2".to_vec()), (key("b"), 3, b"3".into())];
    assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
}

/// Options that send each row when it is written.
fn at_once(mut options: Options) -> Options {
    (options.batch_rows_max, options.writes_max) = (1, 1);
    options
}

/// The operation fails with an error that permits a retry.
#[track_caller]
fn fails(done: Result<(), StoreError>) {
    assert!(matches!(done, Err(StoreError::Failed { .. })), "{done:?}");
}
