//! The guard: one document in each view's collection. It states which term may write there, and
//! after which epoch (the floor).
//!
//! The first statement of every batch of rows requires that the guard has the batch's term and a
//! floor before the batch's epoch. Otherwise that statement fails, and the server runs none of the
//! following ones. So a batch that arrives late changes nothing, whether its writer was frozen or
//! the network was slow.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use mongodb::Collection;
use mongodb::bson::raw::cstr;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use skytide_core::id::Epoch;
use skytide_core::port::store::{StoreError, Term};
use skytide_core::view::ViewId;

use super::connection::Connection;
use super::error::{error_chain, failed, is_duplicate_key};
use super::values::number;

/// The `_id` of the guard. No key is encoded like this.
pub const ID: &str = "#guard";
/// The number of collections that are changed concurrently.
const COLLECTIONS_AT_ONCE: usize = 4;

/// Records `term` in the guards of all views, so that only its writer may write there. Returns
/// `false` if a guard already has a later term.
pub async fn raise_term(connection: &Connection, term: Term) -> Result<bool, StoreError> {
    let term = number(term.0)?;
    let raise = |view: &ViewId| {
        let documents = collection(connection, *view);
        async move {
            let older = doc! { "_id": ID, "term": { "$lte": term } };
            let change = doc! { "$set": { "term": term }, "$setOnInsert": { "floor": -1_i64 } };
            let raised = documents.update_one(older, change).upsert(true);
            match connection.outcome(raised).await {
                Ok(_) => Ok(true),
                Err(why) if is_duplicate_key(&why) => Ok(false),
                Err(why) => Err(failed("take over")(error_chain(&why))),
            }
        }
    };
    let raised: Vec<bool> = stream::iter(ViewId::ALL)
        .map(raise)
        .buffered(COLLECTIONS_AT_ONCE)
        .try_collect()
        .await?;
    Ok(raised.into_iter().all(|it| it))
}

/// Raises the floor of a view: from then on, no batch of epoch `floor` or earlier can start.
pub async fn raise_floor(
    connection: &Connection,
    view: ViewId,
    floor: Epoch,
) -> Result<(), StoreError> {
    let documents = collection(connection, view);
    let change = doc! { "$max": { "floor": number(floor.0)? } };
    let raised = documents.update_one(doc! { "_id": ID }, change);
    connection.within("raise its floor", raised).await.map(drop)
}

/// Lowers the floors of all views, so that batches of this writer can start at any epoch. Used when
/// all stored rows are replaced.
pub async fn lower_floors(connection: &Connection, term: Term) -> Result<(), StoreError> {
    let term = number(term.0)?;
    let lower = |view: &ViewId| {
        let documents = collection(connection, *view);
        async move {
            let ours = doc! { "_id": ID, "term": term };
            let lowered = documents.update_one(ours, doc! { "$set": { "floor": -1_i64 } });
            let lowered = connection.within("lower its floor", lowered).await;
            lowered.map(drop)
        }
    };
    stream::iter(ViewId::ALL)
        .map(lower)
        .buffered(COLLECTIONS_AT_ONCE)
        .try_collect()
        .await
}

/// The first statement of a batch. If it finds the guard, it changes nothing. If not, the server
/// tries to insert a second guard and fails with a duplicate key.
pub fn statement(term: i64, epoch: i64) -> RawDocumentBuf {
    let mut floor = RawDocumentBuf::new();
    floor.append(cstr!("$lt"), epoch);
    let mut wanted = RawDocumentBuf::new();
    wanted.append(cstr!("_id"), ID);
    wanted.append(cstr!("term"), term);
    wanted.append(cstr!("floor"), floor);
    let mut same = RawDocumentBuf::new();
    same.append(cstr!("term"), term);
    let mut change = RawDocumentBuf::new();
    change.append(cstr!("$set"), same);
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), wanted);
    statement.append(cstr!("u"), change);
    statement.append(cstr!("upsert"), true);
    statement
}

fn collection(connection: &Connection, view: ViewId) -> Collection<Document> {
    connection.database().collection(view.name())
}
