//! Tests of single batches on a real server, one rule at a time.

use futures_util::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use skytide_core::config::Mongo as Options;
use skytide_core::view::Key;
use skytide_tests::servers::Mongo;

use super::*;

const VIEW: ViewId = ViewId::Posts;
const LIMITS: BatchLimits = BatchLimits {
    rows_max: 2,
    batches_max: 3,
};

#[test]
fn batches_have_even_sizes_within_the_limits() {
    let limits = BatchLimits {
        rows_max: 1_000,
        batches_max: 4,
    };
    // The number of rows to write, and the number in each batch.
    for (count, rows) in [
        (1, 100),
        (400, 100),
        (1_600, 400),
        (2_400, 300),
        (5_000, 313),
        (16_000, 1_000),
        (17_000, 850),
        (40_000, 1_000),
    ] {
        assert_eq!(limits.rows_per_batch(count), rows, "{count} rows");
    }
    assert_eq!(LIMITS.rows_per_batch(1_000), LIMITS.rows_max);
}

/// A new database whose guards have term 1.
async fn guarded() -> Option<Connection> {
    let mut options = Options::at(&Mongo::shared()?).expect("an address");
    options.database = format!("test-{}", ObjectId::new()).parse().expect("a name");
    let connection = Connection::open(&options)
        .await
        .expect("the server answers");
    assert!(
        guard::raise_term(&connection, Term(1))
            .await
            .expect("the server answers")
    );
    Some(connection)
}

fn change(key: &str, row: Option<&str>) -> Change {
    Change {
        key: Key::from(key.as_bytes()),
        row: row.map(|row| row.as_bytes().into()),
    }
}

/// Writes the changes. Returns whether the server accepted them.
async fn write(connection: &Connection, term: u64, epoch: u64, changes: Vec<Change>) -> bool {
    let mut pending = Pending::default();
    pending.push(VIEW, changes);
    let order = WriteOrder {
        term: Term(term),
        epoch: Epoch(epoch),
        replaces_all: false,
    };
    match pending.write(connection, order, LIMITS).await {
        Ok(()) => true,
        Err(WriteError::Superseded) => false,
        Err(WriteError::Failed(error)) => panic!("{error:?}"),
    }
}

async fn documents(connection: &Connection) -> Vec<Document> {
    let documents = connection.database().collection::<Document>(VIEW.name());
    let found = documents.find(doc! {}).sort(doc! { "_id": 1 }).await;
    let found = found.expect("the server answers").try_collect().await;
    found.expect("the server answers")
}

async fn drop_database(connection: Connection) {
    connection
        .database()
        .drop()
        .await
        .expect("the server answers");
}

#[tokio::test]
async fn neither_a_row_nor_a_removal_is_replaced_by_an_older_epoch() {
    let Some(connection) = guarded().await else {
        return;
    };
    let newer = vec![change("put", Some("6")), change("removed", None)];
    assert!(write(&connection, 1, 6, newer).await);
    let before = documents(&connection).await;
    for key in ["put", "removed"] {
        for row in [Some("5"), None] {
            assert!(
                !write(&connection, 1, 5, vec![change(key, row)]).await,
                "{key} {row:?}"
            );
            assert_eq!(documents(&connection).await, before, "{key} {row:?}");
        }
    }
    for key in ["put", "removed"] {
        for row in [None, Some("6"), None, Some("7")] {
            assert!(
                write(&connection, 1, 6, vec![change(key, row)]).await,
                "{key} {row:?}"
            );
        }
    }
    drop_database(connection).await;
}

#[tokio::test]
async fn a_batch_of_another_term_or_below_the_floor_changes_nothing() {
    let Some(connection) = guarded().await else {
        return;
    };
    guard::raise_floor(&connection, VIEW, Epoch(5))
        .await
        .expect("the server answers");
    let before = documents(&connection).await;
    let rows = || vec![change("a", Some("1")), change("b", None)];
    for (term, epoch) in [(0, 6), (2, 6), (1, 4), (1, 5)] {
        assert!(
            !write(&connection, term, epoch, rows()).await,
            "term {term}, epoch {epoch}"
        );
        assert_eq!(
            documents(&connection).await,
            before,
            "term {term}, epoch {epoch}"
        );
    }
    assert!(write(&connection, 1, 6, rows()).await);
    // The guard, a row, and the tombstone of a removed row.
    assert_eq!(documents(&connection).await.len(), 3);
    drop_database(connection).await;
}

#[tokio::test]
async fn terms_and_floors_only_rise() {
    let Some(connection) = guarded().await else {
        return;
    };
    assert!(
        guard::raise_term(&connection, Term(3))
            .await
            .expect("the server answers")
    );
    assert!(
        !guard::raise_term(&connection, Term(2))
            .await
            .expect("the server answers")
    );
    for floor in [5, 4] {
        guard::raise_floor(&connection, VIEW, Epoch(floor))
            .await
            .expect("the server answers");
    }
    let guard = documents(&connection).await.remove(0);
    assert_eq!(
        guard,
        doc! { "_id": guard::ID, "term": 3_i64, "floor": 5_i64 }
    );
    drop_database(connection).await;
}

#[tokio::test]
async fn rows_of_any_number_and_size_are_written() {
    let Some(connection) = guarded().await else {
        return;
    };
    let large = "x".repeat(3 << 20);
    let mut changes: Vec<Change> = (0..25)
        .map(|number| change(&format!("{number:02}"), Some("y")))
        .collect();
    changes.extend(["l1", "l2", "l3", "l4"].map(|key| change(key, Some(&large))));
    assert!(write(&connection, 1, 1, changes).await);
    let guards = 1;
    assert_eq!(documents(&connection).await.len(), guards + 29);
    drop_database(connection).await;
}

#[tokio::test]
async fn a_row_that_the_server_never_accepts_is_rejected_and_named() {
    let Some(connection) = guarded().await else {
        return;
    };
    let unwanted = doc! { "_id": { "$ne": key::encode(b"unwanted") } };
    let command = doc! { "collMod": VIEW.name(), "validator": unwanted };
    let changed = connection.database().run_command(command).await;
    changed.expect("the server answers");
    let mut pending = Pending::default();
    pending.push(
        VIEW,
        vec![change("a", Some("1")), change("unwanted", Some("2"))],
    );
    let order = WriteOrder {
        term: Term(1),
        epoch: Epoch(1),
        replaces_all: false,
    };
    let refused = pending.write(&connection, order, LIMITS).await;
    let Err(WriteError::Failed(StoreError::Rejected { view, key, .. })) = refused else {
        panic!("the row is rejected");
    };
    assert_eq!((view, &*key), (VIEW.name(), "unwanted"));
    drop_database(connection).await;
}
