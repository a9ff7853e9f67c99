//! A server that answers, and refuses to write: nothing is lost, it is said why, and all goes on when it takes writes again.

use mongodb::bson::{Document, doc};
use skytide_core::id::Epoch;
use skytide_core::port::store::{Order, StoreError, ViewReader, ViewStore};
use skytide_core::view::ViewId;
use skytide_tests::contract_store::{commit, committed, key, put, rows};
use skytide_tests::servers::Mongo;

use super::{commit_at_last, connect, database_at, own_database, try_commit};

const VIEW: ViewId = ViewId::Actors;

/// What a server says when its disk is full, when it is a secondary, when it ends, and when we may not write.
const CODES: [(i32, &str); 4] = [
    (14_031, "OutOfDiskSpace"),
    (10_107, "NotWritablePrimary"),
    (91, "ShutdownInProgress"),
    (13, "Unauthorized"),
];

/// It failed, may be repeated, and says why.
#[track_caller]
fn fails(done: Result<(), StoreError>, why: &str) {
    let Err(StoreError::Failed { source, .. }) = &done else {
        panic!("{done:?}");
    };
    let told = source.to_string();
    assert!(told.contains(why), "{why:?} is not in {told:?}");
}

#[tokio::test]
async fn writes_that_are_refused_say_why_and_are_repeated() {
    let Some(server) = Mongo::with_failpoints() else {
        return;
    };
    // A client believes a server that says it is no primary, until it has asked again.
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
            commit_at_last(&store, term, epoch, &change).await;
            let wanted = [(key("a"), epoch, epoch.to_string().into_bytes())];
            assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
        }
    }
}

/// The command is done, and its answer says that the write concern was not met.
#[tokio::test]
async fn writes_that_are_done_and_not_acknowledged_are_repeated() {
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
        commit_at_last(&store, term, epoch, &change).await;
        let wanted = [(key("a"), epoch, epoch.to_string().into_bytes())];
        assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
    }
}

/// Somebody made a rule for a collection that no row meets: the statement fails, and the commit does not count.
#[tokio::test]
async fn rows_that_a_rule_of_the_database_forbids_are_told_with_their_error() {
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
        fails(try_commit(&store, term, 2, &change).await, "error code 121");
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
    assert_eq!(commit_at_last(&store, term, 2, &change).await, 0);
    let wanted = [(key("a"), 2, b"2".to_vec()), (key("b"), 2, b"2".into())];
    assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
}
