//! Two writers: the second waits or takes over, and operations of the first one that are still in
//! flight do no harm.

use std::future::Future;
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::doc;
use skytide_core::config::Span;
use skytide_core::id::Epoch;
use skytide_core::port::store::{Control, Order, StoreError, Term, ViewReader, ViewStore};
use skytide_core::view::ViewId;
use skytide_tests::contract_store::{commit, committed, key, put, remove, rows};
use skytide_tests::servers::{Link, Mongo};

use super::{by_port, connect, database_at, hasty, own_database, purged};

const VIEW: ViewId = ViewId::Posts;

/// Whether the future is still pending after a number of polls.
async fn waits(work: &mut (impl Future + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(500), work)
        .await
        .is_err()
}

#[tokio::test]
async fn a_second_writer_waits_until_the_first_one_ends() {
    let Some((options, _own)) = own_database() else {
        return;
    };
    let (first, second) = (connect(&options).await, connect(&options).await);
    let term = first.lead().await.unwrap().term;
    let mut waiting = Box::pin(second.lead());
    assert!(waits(&mut waiting).await);
    commit(&first, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    first.close().await.unwrap();
    let found = waiting.await.unwrap();
    assert_eq!(found.term, Term(term.0 + 1));
    assert_eq!(found.committed, Some(committed(1)));
    let fenced = first.begin(term, Epoch(2).into()).await;
    assert!(
        matches!(fenced, Err(StoreError::Fenced { .. })),
        "{fenced:?}"
    );
    commit(&second, found.term, 2, vec![]).await;
}

/// The first writer is dropped without releasing the lease, as if its process were killed.
#[tokio::test]
async fn the_lease_of_a_dead_writer_expires() {
    let Some((options, _own)) = own_database() else {
        return;
    };
    let options = hasty(options);
    let first = connect(&options).await;
    let term = first.lead().await.unwrap().term;
    first.begin(term, Epoch(7).into()).await.unwrap();
    drop(first);
    let second = connect(&options).await;
    let found = second.lead().await.unwrap();
    let wanted = Control {
        term: Term(term.0 + 1),
        committed: None,
        intent: Some(Epoch(7)),
        ..Control::default()
    };
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_renewed_lease_does_not_expire() {
    let Some((options, _own)) = own_database() else {
        return;
    };
    let options = hasty(options);
    let (first, second) = (connect(&options).await, connect(&options).await);
    let term = first.lead().await.unwrap().term;
    let mut waiting = Box::pin(second.lead());
    for epoch in 1..=6 {
        assert!(waits(&mut waiting).await);
        commit(&first, term, epoch, vec![]).await;
    }
}

/// A write of the first writer is held in transit until the second one has removed the row and
/// purged it.
#[tokio::test]
async fn late_rows_do_not_restore_removed_rows() {
    let Some(server) = Mongo::start() else { return };
    let (options, own) = database_at(&server.uri());
    let options = hasty(options);
    let link = Link::to(server.port());
    let mut slow = by_port(&options, link.port());
    slow.lease_ttl = options.lease_ttl;
    slow.operation_max = Span(Duration::from_secs(120));

    let first = connect(&slow).await;
    let old = first.lead().await.unwrap().term;
    commit(&first, old, 1, vec![(VIEW, vec![put("kept", "1")])]).await;
    first.begin(old, Epoch(2).into()).await.unwrap();
    let changes = vec![put("kept", "2"), put("removed", "2")];
    first.write(old, VIEW, changes.clone()).await.unwrap();
    link.hold();
    let late = tokio::spawn(async move { first.commit(old, committed(2)).await });

    let second = connect(&options).await;
    let found = second.lead().await.unwrap();
    assert_eq!(found.intent, Some(Epoch(2)));
    commit(&second, found.term, 2, vec![(VIEW, changes)]).await;
    let changes = vec![put("kept", "3"), remove("removed")];
    commit(&second, found.term, 3, vec![(VIEW, changes)]).await;
    purged(&own, VIEW).await;
    let documents = own.documents(VIEW).await;
    let before: Vec<_> = all(&documents).await;

    link.mend();
    let refused = late.await.unwrap();
    let is = matches!(&refused, Err(StoreError::Fenced { current, ours })
        if (*current, *ours) == (found.term, old));
    assert!(is, "{refused:?}");
    assert_eq!(all(&documents).await, before);
    assert_eq!(
        rows(&second, VIEW, Order::First).await,
        [(key("kept"), 3, b"3".to_vec())]
    );
}

async fn all(
    documents: &mongodb::Collection<mongodb::bson::Document>,
) -> Vec<mongodb::bson::Document> {
    use futures_util::TryStreamExt;
    let found = documents.find(doc! {}).sort(doc! { "_id": 1 }).await;
    found.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn removed_rows_below_the_floor_are_purged() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&hasty(options)).await;
    let term = store.lead().await.unwrap().term;
    commit(
        &store,
        term,
        1,
        vec![(VIEW, vec![put("a", "1"), put("b", "1")])],
    )
    .await;
    commit(&store, term, 2, vec![(VIEW, vec![remove("a")])]).await;
    purged(&own, VIEW).await;
    let guard = own
        .documents(VIEW)
        .await
        .find_one(doc! { "_id": "#guard" })
        .await;
    assert_eq!(guard.unwrap().unwrap().get_i64("floor").unwrap(), 2);
    commit(&store, term, 3, vec![(VIEW, vec![put("a", "3")])]).await;
    let wanted = [(key("a"), 3, b"3".to_vec()), (key("b"), 1, b"1".into())];
    assert_eq!(rows(&store, VIEW, Order::First).await, wanted);
}

/// Deleting takes three times as long on the server as the lease lasts.
#[tokio::test]
async fn a_slow_purge_does_not_lose_the_lease() {
    let Some(server) = Mongo::with_failpoints() else {
        return;
    };
    let (options, own) = database_at(&server.uri());
    let options = hasty(options);
    let (first, second) = (connect(&options).await, connect(&options).await);
    let term = first.lead().await.unwrap().term;
    commit(&first, term, 1, vec![(VIEW, vec![put("a", "1")])]).await;
    commit(&first, term, 2, vec![(VIEW, vec![remove("a")])]).await;
    let database = own.database().await;
    let admin = database.client().database("admin");
    let slow = doc! {
        "failCommands": ["delete"], "namespace": format!("{}.{}", database.name(), VIEW.name()),
        "blockConnection": true, "blockTimeMS": 3_000,
    };
    let slow = doc! { "configureFailPoint": "failCommand", "mode": "alwaysOn", "data": slow };
    admin.run_command(slow).await.unwrap();

    let mut waiting = Box::pin(second.lead());
    while deleting(&admin).await == 0 {
        assert!(waits(&mut waiting).await, "before anything was purged");
    }
    for _ in 0..6 {
        assert!(waits(&mut waiting).await, "while rows are purged");
    }
    commit(&first, term, 3, vec![]).await;
    let fast = doc! { "configureFailPoint": "failCommand", "mode": "off" };
    admin.run_command(fast).await.unwrap();
    purged(&own, VIEW).await;
}

/// The number of deletes of rows in progress on the server.
async fn deleting(admin: &Database) -> usize {
    let ask = doc! { "currentOp": 1, "command.delete": VIEW.name() };
    let operations = admin.run_command(ask).await.unwrap();
    operations.get_array("inprog").unwrap().len()
}

/// A purge in several portions is complete.
#[tokio::test]
async fn many_removed_rows_are_purged() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&hasty(options)).await;
    let term = store.lead().await.unwrap().term;
    let names = || (0..12_345).map(|n| format!("{n:05}"));
    let puts = names().map(|name| put(&name, "1")).collect();
    commit(&store, term, 1, vec![(VIEW, puts)]).await;
    let mut removes: Vec<_> = names().map(remove).collect();
    let remaining = removes.split_off(12_000);
    commit(&store, term, 2, vec![(VIEW, removes)]).await;
    purged(&own, VIEW).await;
    let left = own.documents(VIEW).await.count_documents(doc! {}).await;
    assert_eq!(left.unwrap(), remaining.len() as u64 + 1, "and the guard");
}

/// Its rows have a later epoch than the committed one, and the intent exists as long as they may.
#[tokio::test]
async fn a_commit_in_progress_is_recognisable() {
    let Some((mut options, _own)) = own_database() else {
        return;
    };
    (options.batch_rows_max, options.writes_max) = (1, 1);
    let (writer, reader) = (connect(&options).await, connect(&options).await);
    let term = writer.lead().await.unwrap().term;
    commit(
        &writer,
        term,
        1,
        vec![(VIEW, vec![put("a", "1"), put("b", "1")])],
    )
    .await;
    writer.begin(term, Epoch(2).into()).await.unwrap();
    writer.write(term, VIEW, vec![put("a", "2")]).await.unwrap();
    let control = reader.control().await.unwrap();
    assert_eq!(control.intent, Some(Epoch(2)));
    assert_eq!(control.committed, Some(committed(1)));
    let wanted = [(key("a"), 2, b"2".to_vec()), (key("b"), 1, b"1".into())];
    assert_eq!(rows(&reader, VIEW, Order::First).await, wanted);
}

/// The previous writer may have other options than ours. Whatever it writes arrives before we
/// replace the view.
#[tokio::test]
async fn views_are_not_replaced_while_batches_of_the_previous_writer_may_be_in_flight() {
    let Some((options, _own)) = own_database() else {
        return;
    };
    let options = hasty(options);
    let first = connect(&options).await;
    let old = first.lead().await.unwrap().term;
    commit(&first, old, 1, vec![]).await;
    let views = [VIEW].into();
    first.begin(old, Epoch(2).into()).await.unwrap();
    first.rebuild(old, &views).await.unwrap();
    first.close().await.unwrap();

    let second = connect(&options).await;
    let term = second.lead().await.unwrap().term;
    second.begin(term, Epoch(2).into()).await.unwrap();
    let mut replacing = Box::pin(second.rebuild(term, &views));
    assert!(waits(&mut replacing).await);
    replacing.await.unwrap();
    second.rebuild(term, &views).await.unwrap();
    let changes = vec![(VIEW, vec![put("a", "2")])];
    commit(&second, term, 2, changes).await;
    drop(second);

    // After a complete commit there is nothing to wait for.
    let third = connect(&options).await;
    let term = third.lead().await.unwrap().term;
    third.begin(term, Epoch(3).into()).await.unwrap();
    let mut replacing = Box::pin(third.rebuild(term, &views));
    assert!(!waits(&mut replacing).await);
}
