//! Reads the store as of one moment, for readers that need longer than the time between two
//! commits.
//!
//! All reads of a session with the read concern `snapshot` see the database as of its first read
//! (<https://www.mongodb.com/docs/manual/reference/read-concern-snapshot/>). This requires a
//! replica set or mongos of version 5.0 or later. It works for as long as the server retains old
//! versions: 300 s unless `minSnapshotHistoryWindowInSeconds` sets another time.

use async_trait::async_trait;
use mongodb::options::SessionOptions;
use mongodb::{ClientSession, Database};
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Key, StoredRow, ViewId};
use tokio::sync::Mutex;

use super::reader::{self, ReadSource};
use crate::connection::Connection;
use crate::control;

const OPERATION: &str = "start a snapshot session";

/// A [`ViewReader`] whose rows and control record are all of one moment. That moment may lie within
/// a commit.
pub struct SnapshotReader {
    connection: Connection,
    database: Database,
    session: Mutex<ClientSession>,
}

impl SnapshotReader {
    /// A reader of the store as it is now.
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
