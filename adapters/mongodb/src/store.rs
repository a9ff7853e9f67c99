//! The view store: reading rows, and the steps of a commit.

mod maintenance;
mod reader;
mod snapshot_reader;
mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::config::Mongo;
use skytide_core::port::store::{
    Committed, Control, Intent, Range, StoreError, Term, ViewReader, ViewStore,
};
use skytide_core::view::{Change, Key, StoredRow, ViewId};
use tokio::sync::Mutex;

use super::batch::BatchLimits;
use super::connection::Connection;
use super::control::ControlRecord;
use super::lease::Lease;
use super::purge::Purge;
use super::schema;
use maintenance::Maintenance;
use reader::ReadSource;
pub use snapshot_reader::SnapshotReader;
use writer::Writer;

/// A [`ViewStore`] in a MongoDB database. Clones share one writer.
///
/// The rows of a commit in progress are visible: their epoch is later than the committed one.
#[derive(Clone)]
pub struct MongoStore(Arc<Shared>);

struct Shared {
    connection: Connection,
    record: ControlRecord,
    lease: Lease,
    limits: BatchLimits,
    purge: Arc<Purge>,
    writer: Mutex<Writer>,
    maintenance: Maintenance,
}

impl MongoStore {
    /// Connects to the server that the options name. Changes nothing there: the collections
    /// and indexes are created when a writer takes the lead.
    ///
    /// # Errors
    /// See [`Connection::open`].
    pub async fn connect(options: &Mongo) -> Result<Self, StoreError> {
        Ok(Self::new(Connection::open(options).await?, options))
    }

    /// The store in the database of this connection.
    pub fn new(connection: Connection, options: &Mongo) -> Self {
        Self(Arc::new(Shared {
            record: ControlRecord::new(&connection),
            lease: Lease::new(&connection, options.lease_ttl.0),
            limits: BatchLimits {
                rows_max: options.batch_rows_max as usize,
                batches_max: options.writes_max as usize,
            },
            purge: Arc::default(),
            writer: Mutex::default(),
            maintenance: Maintenance::default(),
            connection,
        }))
    }

    /// The connection, for the other stores in the same database.
    pub fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// A reader of the store as it is now, for readers that need longer than the time between two
    /// commits. `None` if the server does not support snapshot reads.
    ///
    /// # Errors
    /// `Failed` if no session can be started.
    pub async fn snapshot_reader(&self) -> Result<Option<SnapshotReader>, StoreError> {
        match self.0.connection.supports_snapshots() {
            true => SnapshotReader::open(&self.0.connection).await.map(Some),
            false => Ok(None),
        }
    }

    /// Releases the lease, so that the next writer need not wait until it expires. Call this at the
    /// end of the process; in a store that does not lead it does nothing.
    ///
    /// # Errors
    /// `Failed`; the next writer then waits until the lease expires.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.maintenance.stop();
        let _lock = self.0.writer.lock().await;
        match self.0.lease.was_held() {
            true => self.0.lease.release().await,
            false => Ok(()),
        }
    }
}

#[async_trait]
impl ViewReader for MongoStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.0.record.read().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        reader::get(ReadSource::latest(&self.0.connection), view, keys).await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        reader::scan(ReadSource::latest(&self.0.connection), view, range).await
    }
}

#[async_trait]
impl ViewStore for MongoStore {
    /// Waits while another process holds the lease.
    async fn lead(&self) -> Result<Control, StoreError> {
        self.0.lease.acquire().await?;
        self.0.maintenance.start(&self.0);
        schema::prepare(&self.0.connection).await?;
        self.0.writer.lock().await.lead(&self.0).await
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        let mut writer = self.0.writer.lock().await;
        writer.begin(&self.0, term, intent).await
    }

    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        let mut writer = self.0.writer.lock().await;
        writer.rebuild(&self.0, term, views).await
    }

    async fn write(
        &self,
        term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        let mut writer = self.0.writer.lock().await;
        writer.write(&self.0, term, view, changes).await
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        let mut writer = self.0.writer.lock().await;
        writer.commit(&self.0, term, committed).await
    }
}
