//! The guard: in each view's collection one document that says who may write there, and from which epoch on.
//!
//! Every batch of rows begins with a statement that wants the guard to have the batch's term and a floor below its
//! epoch. If it has not, the statement fails, and the server does none of those behind it. So a batch that arrives late,
//! from a writer that was frozen or over a slow network, changes nothing.

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

/// Its `_id`: no key's.
pub const ID: &str = "#guard";
/// Collections that are looked after at the same time.
const COLLECTIONS_AT_ONCE: usize = 4;

/// Makes `term` the one that may write, everywhere. Answers `false` if a later one did so already.
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

/// From now on no batch of `floor` or an earlier epoch begins in this view.
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

/// From now on batches of this writer may begin at any epoch, everywhere: what is there belongs to another history.
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

/// The statement at the head of a batch. It finds the guard and changes nothing; or it finds none, tries to make a second
/// one, and fails with a duplicate key.
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
