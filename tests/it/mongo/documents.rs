//! Rows of every view are read back byte by byte, in the order of their keys, from documents with
//! named columns.

use mongodb::bson::{Bson, doc};
use skytide_core::id::Epoch;
use skytide_core::port::store::{Order, Range, StoreError, ViewReader, ViewStore};
use skytide_core::view::{ActivityRow, Change, CounterRow, Key, ViewId, encode_row};
use skytide_tests::contract_store::{commit, committed};
use skytide_tests::world::Random;

use super::rows::{full_row, random_change};
use super::{connect, own_database};

#[tokio::test]
async fn rows_of_every_view_are_read_back_in_the_order_of_their_keys() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let seed = 23;
    let mut random = Random::new(seed);
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    for (epoch, &view) in (1..).zip(ViewId::ALL) {
        let mut changes: Vec<Change> = (0..400).map(|_| random_change(&mut random, view)).collect();
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        changes.dedup_by(|a, b| a.key == b.key);
        let mut mixed = changes.clone();
        mixed.sort_by_cached_key(|_| random.bits());
        commit(&store, term, epoch, vec![(view, mixed)]).await;

        let range = Range::prefix(Order::First, &[], usize::MAX);
        let scanned = store.scan(view, range).await.unwrap();
        let keys: Vec<Key> = changes.iter().map(|it| it.key.clone()).collect();
        let got = store.get(view, &keys).await.unwrap();
        assert_eq!(scanned.len(), changes.len(), "seed {seed}, {view:?}");
        for ((scanned, got), change) in scanned.into_iter().zip(got).zip(changes) {
            assert_eq!(scanned.key, change.key, "seed {seed}, {view:?}");
            assert_eq!(
                Some(&scanned.row),
                change.row.as_ref(),
                "seed {seed}, {view:?} {:?}",
                change.key
            );
            assert_eq!(scanned.epoch, Epoch(epoch));
            assert_eq!(got, Some(scanned));
        }
        let without_names = doc! { "raw": { "$exists": true } };
        let count = own
            .documents(view)
            .await
            .count_documents(without_names)
            .await;
        assert_eq!(count.unwrap(), 0, "seed {seed}, {view:?}");
    }
}

#[tokio::test]
async fn a_row_that_does_not_fit_columns_is_stored_as_bytes() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let beyond = CounterRow {
        value: 1 + i64::MAX as u64,
    };
    let most = CounterRow {
        value: i64::MAX as u64,
    };
    let at = |name: &str| Key::of(&name.to_owned());
    // The second row is 0, encoded in more bytes than it needs.
    let rows: [(Key, Box<[u8]>); 3] = [
        (at("beyond"), encode_row(&beyond)),
        (at("long"), [0x80, 0].into()),
        (at("most"), encode_row(&most)),
    ];
    let changes = rows.clone().map(|(key, row)| Change {
        key,
        row: Some(row),
    });
    commit(&store, term, 1, vec![(ViewId::Counters, changes.into())]).await;
    let range = Range::prefix(Order::First, &[], 10);
    let found = store.scan(ViewId::Counters, range).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|it| (it.key, it.row)).collect();
    assert_eq!(found, rows);
    let named = doc! { "name": "most", "value": i64::MAX };
    let documents = own.documents(ViewId::Counters).await;
    assert_eq!(documents.count_documents(named).await.unwrap(), 1);
}

#[tokio::test]
async fn small_and_large_counts_are_exact_numbers() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let row = ActivityRow {
        creates: 7,
        updates: 1 << 31,
        bytes: (1 << 53) + 1,
        ..ActivityRow::default()
    };
    let (key, _) = full_row(ViewId::Activity);
    let change = Change {
        key,
        row: Some(encode_row(&row)),
    };
    commit(&store, term, 1, vec![(ViewId::Activity, vec![change])]).await;
    let documents = own.documents(ViewId::Activity).await;
    let document = documents
        .find_one(doc! { "creates": 7 })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(document.get("creates"), Some(&Bson::Int32(7)));
    assert_eq!(document.get("updates"), Some(&Bson::Int64(1 << 31)));
    assert_eq!(document.get("bytes"), Some(&Bson::Int64((1 << 53) + 1)));
}

#[tokio::test]
async fn a_changed_document_is_damage() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let (key, row) = full_row(ViewId::Posts);
    let change = Change {
        key: key.clone(),
        row: Some(row),
    };
    commit(&store, term, 1, vec![(ViewId::Posts, vec![change])]).await;
    let documents = own.documents(ViewId::Posts).await;
    for wrong in [
        Bson::Int32(-1),
        Bson::Int64(1 << 40),
        Bson::from("5"),
        Bson::Double(0.5),
    ] {
        let change = doc! { "$set": { "likes": wrong.clone() } };
        documents
            .update_many(doc! { "uri": { "$exists": true } }, change)
            .await
            .unwrap();
        let read = store.get(ViewId::Posts, std::slice::from_ref(&key)).await;
        assert!(
            matches!(read, Err(StoreError::Damaged(_))),
            "{wrong:?}: {read:?}"
        );
    }
}

#[tokio::test]
async fn the_first_writer_creates_the_indexes() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&options).await;
    let names = own.database().await.list_collection_names().await.unwrap();
    assert_eq!(names, [""; 0], "connecting changes nothing");
    store.lead().await.unwrap();
    let indexes = own
        .documents(ViewId::Interactions)
        .await
        .list_index_names()
        .await;
    let mut indexes = indexes.unwrap();
    indexes.sort();
    let wanted = [
        "_id_",
        "author_1_day_1",
        "by_subject_1",
        "removed_1",
        "subject_1_day_1",
    ];
    assert_eq!(indexes, wanted);
    store.lead().await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_format_is_refused() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    commit(&store, term, 1, vec![]).await;
    let records = own.control_records().await;
    let newer = doc! { "$set": { "format": 2 } };
    records
        .update_one(doc! { "_id": "control" }, newer)
        .await
        .unwrap();
    let refused = skytide_mongodb::MongoStore::connect(&options).await;
    let Err(StoreError::Failed { source, .. }) = refused else {
        panic!("a newer format is not refused");
    };
    assert!(source.to_string().contains("format 2"), "{source}");
    assert_eq!(store.control().await.unwrap().committed, Some(committed(1)));
}

#[tokio::test]
async fn an_error_about_an_address_contains_no_secret() {
    for uri in [
        "mongodb://me:hunter2@localhost/?authMechanism=hunter2",
        "mongodb://me:hunter2@localhost:hunter2",
        "mongodb://me:hunter2@/",
    ] {
        let Ok(options) = skytide_core::config::Mongo::at(uri) else {
            continue;
        };
        let refused = skytide_mongodb::MongoStore::connect(&options).await;
        let shown = format!("{:?}", refused.err().expect("an invalid address"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// The other version records fewer fields, or knows more views.
#[tokio::test]
async fn a_control_record_of_another_version_is_read() {
    let Some((options, own)) = own_database() else {
        return;
    };
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    commit(&store, term, 1, vec![]).await;
    let records = own.control_records().await;
    let set = async |change| {
        let found = records.update_one(doc! { "_id": "control" }, change).await;
        assert_eq!(found.unwrap().matched_count, 1);
        let control = store.control().await.unwrap();
        (control.intent.map(|it| it.0), control.rebuilding)
    };
    let older = set(doc! { "$set": { "intent": 5_i64 } }).await;
    assert_eq!(older, (Some(5), [].into()));
    let names = ["posts", "a_view_of_tomorrow"].map(Bson::from).to_vec();
    let newer = set(doc! { "$set": { "rebuilding": names } }).await;
    assert_eq!(newer, (Some(5), [ViewId::Posts].into()));
    let without_intent = set(doc! { "$unset": { "intent": "" } }).await;
    assert_eq!(without_intent, (None, [].into()));
}
