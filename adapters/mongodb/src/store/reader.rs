//! Reads rows by key, and in key order.

use std::collections::BTreeMap;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::FindOptions;
use mongodb::{ClientSession, Database};
use skytide_core::port::store::{Order, Range, StoreError};
use skytide_core::view::{Key, StoredRow, ViewId};
use tokio::sync::Mutex;

use crate::connection::Connection;
use crate::key::{self, LOWEST};
use crate::row::{self, BY_SUBJECT, REMOVED};

const OPERATION: &str = "read rows";
/// The number of keys in one query.
const KEYS_MAX: usize = 1_000;

/// Where and how rows are read.
#[derive(Clone, Copy)]
pub struct ReadSource<'a> {
    /// The connection, for its time limits.
    pub connection: &'a Connection,
    /// The database, with the read concern to use.
    pub database: &'a Database,
    /// The session of a snapshot; `None` to read the current rows.
    pub session: Option<&'a Mutex<ClientSession>>,
}

impl<'a> ReadSource<'a> {
    /// Reads the current rows.
    pub fn latest(connection: &'a Connection) -> Self {
        Self {
            connection,
            database: connection.database(),
            session: None,
        }
    }
}

/// Implements `ViewReader::get`.
pub async fn get(
    source: ReadSource<'_>,
    view: ViewId,
    keys: &[Key],
) -> Result<Vec<Option<StoredRow>>, StoreError> {
    let mut found = BTreeMap::new();
    for keys in keys.chunks(KEYS_MAX) {
        let ids: Vec<String> = keys.iter().map(|key| key::encode(key.as_bytes())).collect();
        let by_id = doc! { "_id": { "$in": ids } };
        let rows = find(source, view, Order::First, by_id, FindOptions::default()).await?;
        found.extend(rows.into_iter().map(|row| (row.key.clone(), row)));
    }
    Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
}

/// Implements `ViewReader::scan`.
pub async fn scan(
    source: ReadSource<'_>,
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
    find(source, view, range.order, rows, options).await
}

async fn find(
    source: ReadSource<'_>,
    view: ViewId,
    order: Order,
    filter: Document,
    mut options: FindOptions,
) -> Result<Vec<StoredRow>, StoreError> {
    let connection = source.connection;
    options.max_time = Some(connection.operation_timeout());
    let documents = source.database.collection::<RawDocumentBuf>(view.name());
    let found = documents.find(filter).with_options(options);
    let mut rows = Vec::new();
    match source.session {
        None => {
            let mut found = connection.within(OPERATION, found).await?;
            while connection.within(OPERATION, found.advance()).await? {
                rows.extend(row::read(view, order, found.current())?);
            }
        }
        Some(session) => {
            let session = &mut *session.lock().await;
            let found = found.session(&mut *session).into_future();
            let mut found = connection.within(OPERATION, found).await?;
            while connection
                .within(OPERATION, found.advance(&mut *session))
                .await?
            {
                rows.extend(row::read(view, order, found.current())?);
            }
        }
    }
    Ok(rows)
}
