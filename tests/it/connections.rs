//! Connections to servers, as the clients report them for `/metrics`.

use std::time::Duration;

use skytide_tests::servers::{Mongo, Nats};

/// Waits for a state that stays until the next step of the test.
async fn until(is_reached: impl Fn() -> bool) {
    let waiting = async {
        while !is_reached() {
            tokio::task::yield_now().await;
        }
    };
    // Otherwise a client that misses the state would hang the test.
    let reached = tokio::time::timeout(Duration::from_secs(300), waiting).await;
    reached.expect("the client notices it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_nats_that_was_lost_and_established_again_is_counted() {
    let Some(mut nats) = Nats::start() else {
        return;
    };
    let config = skytide_core::config::Nats::at(&nats.url()).expect("an address");
    let log = skytide_nats::NatsLog::connect(&config).await;
    let log = log.expect("a log");
    assert_eq!((log.is_connected(), log.reconnects()), (true, 0));
    nats.kill();
    until(|| !log.is_connected()).await;
    assert_eq!(log.reconnects(), 0);
    let nats = tokio::task::spawn_blocking(move || {
        nats.restart();
        nats
    });
    let _nats = nats.await.expect("it starts again");
    until(|| log.is_connected() && log.reconnects() > 0).await;
    assert_eq!(log.reconnects(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_mongodb_that_was_lost_and_established_again_is_counted() {
    let Some(mut mongo) = Mongo::start() else {
        return;
    };
    let options = skytide_core::config::Mongo::at(&mongo.uri()).expect("an address");
    let store = skytide_mongodb::MongoStore::connect(&options).await;
    let connection = store.expect("a store").connection().clone();
    // The driver reports the first connection a moment after it has used it.
    until(|| connection.is_connected()).await;
    assert_eq!(connection.reconnects(), 0);
    mongo.kill();
    until(|| !connection.is_connected()).await;
    assert_eq!(connection.reconnects(), 0);
    let mongo = tokio::task::spawn_blocking(move || {
        mongo.restart();
        mongo
    });
    let _mongo = mongo.await.expect("it starts again");
    until(|| connection.is_connected() && connection.reconnects() > 0).await;
    assert_eq!(connection.reconnects(), 1);
}
