//! Collections and indexes, in one list. `docs/mongodb.md` explains it.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use skytide_core::port::store::StoreError;
use skytide_core::view::{RowKind, ViewId};

use super::connection::Connection;
use super::row::{BY_SUBJECT, REMOVED};

/// The number of collections that are prepared concurrently.
const COLLECTIONS_AT_ONCE: usize = 4;

/// Creates the collections and indexes that do not exist yet.
pub async fn prepare(connection: &Connection) -> Result<(), StoreError> {
    let create = |view: &ViewId| {
        let (view, documents) = (
            *view,
            connection.database().collection::<Document>(view.name()),
        );
        async move {
            let created = documents.create_indexes(indexes(view));
            connection
                .within("create its indexes", created)
                .await
                .map(drop)
        }
    };
    stream::iter(ViewId::ALL)
        .map(create)
        .buffered(COLLECTIONS_AT_ONCE)
        .try_collect()
        .await
}

/// The secondary indexes of a view.
fn indexes(view: ViewId) -> Vec<IndexModel> {
    let by_columns = match view.row_kind() {
        RowKind::Post => vec![doc! { "uri": 1 }],
        RowKind::List => vec![doc! { "window": 1, "measure": 1, "lang": 1 }],
        RowKind::Trend => vec![doc! { "key": 1, "lang": 1 }],
        RowKind::Interaction => vec![
            doc! { "author": 1, "day": 1 },
            doc! { "subject": 1, "day": 1 },
        ],
        RowKind::Actor | RowKind::Account => vec![doc! { "did": 1 }],
        RowKind::Activity => vec![doc! { "span": 1, "collection": 1, "start": 1 }],
        RowKind::Handle => vec![doc! { "handle": 1 }, doc! { "did": 1 }],
        RowKind::Counter => vec![doc! { "name": 1 }],
        RowKind::Coverage => vec![doc! { "kind": 1, "start": 1 }],
    };
    let mut indexes: Vec<IndexModel> = by_columns
        .into_iter()
        .map(|keys| index(keys, false))
        .collect();
    indexes.push(index(doc! { REMOVED: 1 }, true));
    if view.has_second_order() {
        indexes.push(index(doc! { BY_SUBJECT: 1 }, true));
    }
    indexes
}

/// An index on these keys. A sparse index contains only documents that have the field.
fn index(keys: Document, sparse: bool) -> IndexModel {
    let options = IndexOptions::builder()
        .sparse(sparse.then_some(true))
        .build();
    IndexModel::builder().keys(keys).options(options).build()
}
