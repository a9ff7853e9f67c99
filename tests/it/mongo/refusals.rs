//! A server that responds but refuses to write: nothing is lost, errors give the reason, and
//! commits succeed when the server accepts writes again.

use mongodb::bson::{Document, doc};
use skytide_core::id::Epoch;
use skytide_core::port::store::{Order, StoreError, ViewReader, ViewStore};
use skytide_core::view::ViewId;
use skytide_tests::contract_store::{commit, committed, key, put, rows};
use skytide_tests::servers::Mongo;

use super::{commit_with_retries, connect, database_at, own_database, try_commit};

const VIEW: ViewId = ViewId::Actors;

/// The errors of a server whose disk is full, that is a secondary, that is shutting down, and that
/// denies permission.
const CODES: [(i32, &str); 4] = [
    (14_031, "OutOfDiskSpace"),
    (10_107, "NotWritablePrimary"),
    (91, "ShutdownInProgress"),
    (13, "Unauthorized"),
];

/// The operation fails with an error that permits a retry and gives the reason.
#[track_caller]
fn fails(done: Result<(), StoreError>, why: &str) {
    let Err(StoreError::Failed { source, .. }) = &done else {
        panic!("{done:?}");
    };
    let text = source.to_string();
    assert!(text.contains(why), "{why:?} is not in {text:?}");
}

#[tokio::test]
async fn refused_writes_report_why_and_are_repeated() {
    let Some(server) = Mongo::with_failpoints() else {
        return;
    };
    // A client trusts a server that says it is not the primary, until its next heartbeat.
    let uri = server.uri() + "&heartbeatFrequencyMS=500";
    let (options, own) = database_at(&uri);
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let database = own.database().await;
    let mut epoch = 0;
    for (code, name) in CODES {
        for collection in [VIEW.name(), "control"] {
            epoch += 1;
            let change = vec![(VIEW, vec![put("a", epoch.to_string())])];
            let refuse = doc! {
                "failCommands": ["update"], "namespace": format!("{}.{collection}", database.name()),
                "errorCode": code,
            };
            let before = server.fail_point("failCommand", "alwaysOn", refuse).await;
            for _ in 0..2 {
                fails(try_commit(&store, term, epoch, &change).await, name);
            }
            let control = store.control().await.unwrap();
            assert_ne!(control.committed.map(|it| it.epoch), Some(Epoch(epoch)));
            let after = server.fail_point("failCommand", "off", doc! {}).await;
            assert!(
                after >= before + 2,
                "{name} in {collection}: {before} to {after}"
            );
            commit_with_retries(&store, term, epoch, &change).await;
            let wanted = [(key("a"), epoch, epoch.to_string().into_bytes())];
            assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
        }
    }
}

/// The command is executed, and its response says that the write concern was not met.
#[tokio::test]
async fn unacknowledged_writes_are_repeated() {
    let Some(server) = Mongo::with_failpoints() else {
        return;
    };
    let (options, own) = database_at(&server.uri());
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let database = own.database().await;
    for (epoch, collection) in (1..).zip([VIEW.name(), "control"]) {
        let change = vec![(VIEW, vec![put("a", epoch.to_string())])];
        let concern = doc! { "code": 64, "errmsg": "waiting for replication timed out" };
        let unsure = doc! {
            "failCommands": ["update"], "namespace": format!("{}.{collection}", database.name()),
            "writeConcernError": concern,
        };
        let before = server.fail_point("failCommand", "alwaysOn", unsure).await;
        let why = "waiting for replication";
        fails(try_commit(&store, term, epoch, &change).await, why);
        let after = server.fail_point("failCommand", "off", doc! {}).await;
        assert!(after > before);
        commit_with_retries(&store, term, epoch, &change).await;
        let wanted = [(key("a"), epoch, epoch.to_string().into_bytes())];
        assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
    }
}

/// Somebody added a validation rule that every row violates: the row is rejected permanently and
/// named, and the commit does not count.
#[tokio::test]
async fn rows_that_a_validation_rule_forbids_are_rejected() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let database = own.database().await;
    let rule = async |rule: Document| {
        let set = doc! { "collMod": VIEW.name(), "validator": rule };
        database.run_command(set).await.unwrap();
    };
    commit(&store, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    rule(doc! { "nobody_has_this": { "$exists": true } }).await;
    let change = vec![(VIEW, vec![put("a", "2"), put("b", "2")])];
    for _ in 0..2 {
        let done = try_commit(&store, term, 2, &change).await;
        let Err(StoreError::Rejected { key, why, .. }) = &done else {
            panic!("{done:?}");
        };
        assert_eq!(
            (&**key, why.starts_with("error code 121")),
            ("a", true),
            "{why}"
        );
    }
    let control = store.control().await.unwrap();
    assert_eq!(
        (control.committed, control.intent),
        (Some(committed(1)), Some(Epoch(2)))
    );
    assert_eq!(
        rows(&store, VIEW, Order::First).await,
        [(key("a"), 1, b"1".to_vec())]
    );
    rule(doc! {}).await;
    assert_eq!(commit_with_retries(&store, term, 2, &change).await, 0);
    let wanted = [(key("a"), 2, b"2".to_vec()), (key("b"), 2, b"2".into())];
    assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
}
