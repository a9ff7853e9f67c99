//! The store as it was at one moment, for whoever reads longer than a commit lasts.
//!
//! All reads of a session with the read concern `snapshot` are as of the first one
//! (<https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/>): of a replica set or through mongos, 5.0 or
//! later, and for as long as the server keeps the past, 300 s unless `minSnapshotHistoryWindowInSeconds` says otherwise.

use async_trait::async_trait;
use mongodb::options::SessionOptions;
use mongodb::{ClientSession, Database};
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Key, StoredRow, ViewId};
use tokio::sync::Mutex;

use super::reader::{self, ReadSource};
use crate::connection::Connection;
use crate::control;

const OPERATION: &str = "show one moment";

/// A [`ViewReader`] whose rows and control record are all of one moment, which may be in the midst of a commit.
pub struct SnapshotReader {
    connection: Connection,
    database: Database,
    session: Mutex<ClientSession>,
}

impl SnapshotReader {
    /// As it is now.
    pub(super) async fn open(connection: &Connection) -> Result<Self, StoreError> {
        let options = SessionOptions::builder().snapshot(true).build();
        let client = connection.database().client();
        let session = client.start_session().with_options(options);
        Ok(Self {
            database: connection.snapshot_database(),
            session: Mutex::new(connection.within(OPERATION, session).await?),
            connection: connection.clone(),
        })
    }

    fn source(&self) -> ReadSource<'_> {
        ReadSource {
            connection: &self.connection,
            database: &self.database,
            session: Some(&self.session),
        }
    }
}

#[async_trait]
impl ViewReader for SnapshotReader {
    async fn control(&self) -> Result<Control, StoreError> {
        let mut session = self.session.lock().await;
        control::read_in(&self.connection, &self.database, &mut session).await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        reader::get(self.source(), view, keys).await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        reader::scan(self.source(), view, range).await
    }
}
