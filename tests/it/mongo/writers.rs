//! Two writers: one waits, one takes over, and what the first one still has under way does no harm.

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

/// Whether it is not done at once, nor after a number of turns.
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

/// The first one is not asked: its handle goes, and with it what renews the lease, as when its process is killed.
#[tokio::test]
async fn the_lease_of_a_writer_that_died_runs_out() {
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
async fn a_lease_that_is_renewed_does_not_run_out() {
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

/// What the first one sent is held on its way until the second one has removed the row and every trace of it.
#[tokio::test]
async fn rows_that_arrive_late_bring_nothing_back() {
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
async fn removed_rows_are_purged_behind_a_floor() {
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

/// The server takes three times as long over deleting as the lease lasts.
#[tokio::test]
async fn a_purge_that_takes_long_does_not_cost_the_lease() {
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

/// How many deletes of rows the server has under way.
async fn deleting(admin: &Database) -> usize {
    let ask = doc! { "currentOp": 1, "command.delete": VIEW.name() };
    let told = admin.run_command(ask).await.unwrap();
    told.get_array("inprog").unwrap().len()
}

/// What goes in portions goes whole.
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
    let kept = removes.split_off(12_000);
    commit(&store, term, 2, vec![(VIEW, removes)]).await;
    purged(&own, VIEW).await;
    let left = own.documents(VIEW).await.count_documents(doc! {}).await;
    assert_eq!(left.unwrap(), kept.len() as u64 + 1, "and the guard");
}

/// Its rows are of a later epoch than the committed one, and the intent is there as long as they may be.
#[tokio::test]
async fn a_commit_in_progress_shows_and_can_be_told() {
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

/// They may be of other options than ours: whatever they write, it is there before we replace it.
#[tokio::test]
async fn views_are_not_replaced_while_batches_of_the_writer_before_may_be_under_way() {
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

    // Behind a commit that is whole there is nothing to wait for.
    let third = connect(&options).await;
    let term = third.lead().await.unwrap().term;
    third.begin(term, Epoch(3).into()).await.unwrap();
    let mut replacing = Box::pin(third.rebuild(term, &views));
    assert!(!waits(&mut replacing).await);
}
