//! Snapshots: one document for each list, and a header document that is written last.
//!
//! A document is limited to 16 MiB, and all lists of a snapshot together may be larger. So an
//! attempt to store a snapshot writes its lists first, and then the header, which makes that
//! attempt the snapshot. Lists whose attempt is not in a header are ignored.

use async_trait::async_trait;
use futures_util::stream::TryStreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::Error;
use mongodb::{Collection, IndexModel};
use serde::{Deserialize, Serialize};
use skytide_core::id::Epoch;
use skytide_core::port::BoxError;
use skytide_core::port::snapshot::{Snapshot, SnapshotError, SnapshotList, SnapshotStore};
use skytide_core::port::store::StoreError;
use skytide_core::time::Timestamp;
use skytide_core::view::ViewId;

use super::connection::Connection;
use super::documents::ListDocument;
use super::values::{date, timestamp};

/// The number of lists in one command.
const LISTS_AT_ONCE: usize = 200;
/// The maximum number of attempts to read a snapshot that is replaced during the read.
const READS_MAX: usize = 5;

/// A [`SnapshotStore`] in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoSnapshots {
    connection: Connection,
    headers: Collection<HeaderDocument>,
    lists: Collection<SnapshotListDocument>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct HeaderDocument {
    /// The network time of the snapshot.
    #[serde(rename = "_id")]
    time: DateTime,
    epoch: i64,
    since: DateTime,
    lists: i64,
    attempt: ObjectId,
}

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotListDocument {
    time: DateTime,
    attempt: ObjectId,
    /// Its index in the snapshot.
    number: i64,
    view: String,
    epoch: i64,
    list: ListDocument,
}

impl MongoSnapshots {
    /// The snapshots in this database.
    pub fn new(connection: &Connection) -> Self {
        Self {
            headers: connection.database().collection("snapshots"),
            lists: connection.database().collection("snapshot_lists"),
            connection: connection.clone(),
        }
    }

    async fn put_lists(
        &self,
        snapshot: &Snapshot,
        header: &HeaderDocument,
    ) -> Result<(), SnapshotError> {
        let by_attempt = doc! { "time": 1, "attempt": 1, "number": 1 };
        let index = IndexModel::builder().keys(by_attempt).build();
        self.within("create its index", self.lists.create_index(index))
            .await?;
        let document = |(number, list): (i64, &SnapshotList)| {
            Ok(SnapshotListDocument {
                time: header.time,
                attempt: header.attempt,
                number,
                view: list.view.name().to_owned(),
                epoch: list.epoch.0.try_into().map_err(failed("write"))?,
                list: ListDocument::new(&list.key, list.row.clone()),
            })
        };
        let documents = (0..).zip(&snapshot.lists).map(document);
        let documents: Vec<_> = documents.collect::<Result<_, SnapshotError>>()?;
        for documents in documents.chunks(LISTS_AT_ONCE) {
            self.within("write", self.lists.insert_many(documents))
                .await?;
        }
        Ok(())
    }

    async fn header_at(&self, time: DateTime) -> Result<Option<HeaderDocument>, SnapshotError> {
        let newest = self.headers.find_one(doc! { "_id": { "$lte": time } });
        self.within("read", newest.sort(doc! { "_id": -1 })).await
    }

    /// The lists of an attempt. Returns `None` if their number differs from that in its header.
    async fn lists(
        &self,
        header: &HeaderDocument,
    ) -> Result<Option<Vec<SnapshotListDocument>>, SnapshotError> {
        let of_attempt = doc! { "time": header.time, "attempt": header.attempt };
        let found = self.lists.find(of_attempt).sort(doc! { "number": 1 });
        let found = self.within("read", found).await?;
        let lists: Vec<_> = self.within("read", found.try_collect::<Vec<_>>()).await?;
        Ok((lists.len() as i64 == header.lists).then_some(lists))
    }

    async fn within<T>(
        &self,
        operation: &'static str,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, SnapshotError> {
        let done = self.connection.within(operation, work).await;
        done.map_err(|why| match why {
            StoreError::Failed { source, .. } => SnapshotError::Failed { operation, source },
            other => failed(operation)(other),
        })
    }
}

#[async_trait]
impl SnapshotStore for MongoSnapshots {
    async fn put(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let header = HeaderDocument {
            time: date(snapshot.time)
                .ok_or_else(|| failed("write")("its time is too large for a date"))?,
            epoch: snapshot.epoch.0.try_into().map_err(failed("write"))?,
            since: date(snapshot.since)
                .ok_or_else(|| failed("write")("its time is too large for a date"))?,
            lists: snapshot.lists.len() as i64,
            attempt: ObjectId::new(),
        };
        self.put_lists(snapshot, &header).await?;
        let of_time = doc! { "_id": header.time };
        let written = self.headers.replace_one(of_time, &header).upsert(true);
        self.within("write", written).await?;
        let others = doc! { "time": header.time, "attempt": { "$ne": header.attempt } };
        self.within("remove", self.lists.delete_many(others))
            .await?;
        Ok(())
    }

    async fn at(&self, time: Timestamp) -> Result<Option<Snapshot>, SnapshotError> {
        let newest_date = DateTime::from_millis(i64::MAX);
        let mut previous = None;
        for _ in 0..READS_MAX {
            let Some(header) = self.header_at(date(time).unwrap_or(newest_date)).await? else {
                return Ok(None);
            };
            if let Some(lists) = self.lists(&header).await? {
                return read(&header, lists).map(Some);
            }
            // The header is unchanged since the last attempt, so no other process replaced the
            // lists during the read: they are incomplete.
            if previous.as_ref() == Some(&header) {
                break;
            }
            previous = Some(header);
        }
        Err(SnapshotError::Damaged(
            previous.map_or(time, |it| time_of(&it)),
        ))
    }

    async fn times(&self) -> Result<Vec<Timestamp>, SnapshotError> {
        let headers = self.headers.find(doc! {}).sort(doc! { "_id": 1 });
        let headers = self.within("list", headers).await?;
        let headers: Vec<_> = self.within("list", headers.try_collect::<Vec<_>>()).await?;
        Ok(headers.iter().map(time_of).collect())
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, SnapshotError> {
        let Some(before) = date(time).filter(|_| limit > 0) else {
            return Ok(0);
        };
        let old = self.headers.find(doc! { "_id": { "$lt": before } });
        let old = old
            .sort(doc! { "_id": 1 })
            .limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let old = self.within("list", old).await?;
        let old: Vec<_> = self.within("list", old.try_collect::<Vec<_>>()).await?;
        for header in &old {
            let header_of_time = self.headers.delete_one(doc! { "_id": header.time });
            self.within("remove", header_of_time).await?;
            let lists = self.lists.delete_many(doc! { "time": header.time });
            self.within("remove", lists).await?;
        }
        if old.len() < limit {
            // These are the lists of attempts that never wrote a header.
            let left: Document = doc! { "time": { "$lt": before } };
            self.within("remove", self.lists.delete_many(left)).await?;
        }
        Ok(old.len())
    }
}

fn read(
    header: &HeaderDocument,
    lists: Vec<SnapshotListDocument>,
) -> Result<Snapshot, SnapshotError> {
    let list = |document: SnapshotListDocument| {
        let (key, row) = document.list.list()?;
        Some(SnapshotList {
            view: ViewId::from_name(&document.view)?,
            key,
            epoch: Epoch(document.epoch.try_into().ok()?),
            row,
        })
    };
    let time = time_of(header);
    let snapshot = || {
        Some(Snapshot {
            time,
            epoch: Epoch(header.epoch.try_into().ok()?),
            since: timestamp(header.since)?,
            lists: lists.into_iter().map(list).collect::<Option<_>>()?,
        })
    };
    snapshot().ok_or(SnapshotError::Damaged(time))
}

fn time_of(header: &HeaderDocument) -> Timestamp {
    timestamp(header.time).unwrap_or_default()
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> SnapshotError {
    move |source| SnapshotError::Failed {
        operation,
        source: source.into(),
    }
}
