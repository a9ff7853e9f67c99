//! Rows by their keys, and in the order of their keys.

use std::collections::BTreeMap;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use skytide_core::port::store::{Order, Range, StoreError};
use skytide_core::view::{Key, StoredRow, ViewId};

use crate::mongo::connection::Connection;
use crate::mongo::key::{self, LOWEST};
use crate::mongo::row::{self, BY_SUBJECT, REMOVED};

/// Keys asked for in one query.
const KEYS_MAX: usize = 1_000;

/// See `ViewReader::get`.
pub async fn get(
    connection: &Connection,
    view: ViewId,
    keys: &[Key],
) -> Result<Vec<Option<StoredRow>>, StoreError> {
    let mut found = BTreeMap::new();
    for keys in keys.chunks(KEYS_MAX) {
        let ids: Vec<String> = keys.iter().map(|key| key::encode(key.as_bytes())).collect();
        let by_id = doc! { "_id": { "$in": ids } };
        let rows = find(
            connection,
            view,
            Order::First,
            by_id,
            FindOptions::default(),
        )
        .await?;
        found.extend(rows.into_iter().map(|row| (row.key.clone(), row)));
    }
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

/// See `ViewReader::scan`.
pub async fn scan(
    connection: &Connection,
    view: ViewId,
    range: Range,
) -> Result<Vec<StoredRow>, StoreError> {
    let empty = range.to.as_ref().is_some_and(|to| *to <= range.from);
    let no_such_order = range.order == Order::Second && !view.has_second_order();
    if empty || no_such_order || range.limit == 0 {
        return Ok(Vec::new());
    }
    let field = match range.order {
        Order::First => "_id",
        Order::Second => BY_SUBJECT,
    };
    let from = key::encode(range.from.as_bytes());
    let mut between = doc! { "$gte": from.max(LOWEST.to_owned()) };
    if let Some(to) = &range.to {
        between.insert("$lt", key::encode(to.as_bytes()));
    }
    let mut options = FindOptions::default();
    options.sort = Some(doc! { field: 1 });
    options.limit = i64::try_from(range.limit).ok();
    let rows = doc! { field: between, REMOVED: { "$exists": false } };
    find(connection, view, range.order, rows, options).await
}

async fn find(
    connection: &Connection,
    view: ViewId,
    order: Order,
    filter: Document,
    mut options: FindOptions,
) -> Result<Vec<StoredRow>, StoreError> {
    options.max_time = Some(connection.operation_max());
    let documents = connection
        .database()
        .collection::<RawDocumentBuf>(view.name());
    let found = documents.find(filter).with_options(options);
    let mut found = connection.within("read rows", found).await?;
    let mut rows = Vec::new();
    while connection.within("read rows", found.advance()).await? {
        let document = found.current();
        rows.extend(row::read(view, order, document)?);
    }
    Ok(rows)
}
