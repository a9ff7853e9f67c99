//! The connection to the database, and the time limit for each operation on it.

use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::error::Error;
use mongodb::options::{DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria};
use skytide_core::port::store::StoreError;

use super::error::{error_chain, failed};
use super::topology::Topology;

/// A database that Skytide uses. Clones share the client's connections.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) database: Database,
    pub(super) write_concern: Document,
    pub(super) operation_timeout: Duration,
    pub(super) supports_snapshots: bool,
    pub(super) topology: Topology,
}

impl Connection {
    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether a server accepts writes, as the driver's monitor last saw it. The monitor notices a
    /// closed connection at once, and a server that does not answer after 10 s.
    pub fn is_connected(&self) -> bool {
        self.topology.is_connected()
    }

    /// How often no server accepted writes and then one did again.
    pub fn reconnects(&self) -> u64 {
        self.topology.reconnects()
    }

    /// Whether the server supports snapshot reads.
    pub fn supports_snapshots(&self) -> bool {
        self.supports_snapshots
    }

    /// The database for sessions that read a snapshot.
    pub(super) fn snapshot_database(&self) -> Database {
        let mut settings = DatabaseOptions::default();
        // A read concern set here takes precedence over that of the session.
        settings.read_concern = Some(ReadConcern::snapshot());
        settings.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let client = self.database.client();
        client.database_with_options(self.database.name(), settings)
    }

    /// The time limit for one operation.
    pub fn operation_timeout(&self) -> Duration {
        self.operation_timeout
    }

    /// The write concern in the form that a command contains.
    pub(super) fn write_concern(&self) -> &Document {
        &self.write_concern
    }

    /// Runs a command. The answer may still report errors of single statements.
    pub(super) async fn command(
        &self,
        operation: &'static str,
        command: RawDocumentBuf,
    ) -> Result<Document, StoreError> {
        let command = self.database.run_raw_command(command);
        self.within(operation, command).await
    }

    /// Runs an operation with the time limit of the connection. On a timeout the client closes the
    /// connection that it used.
    pub(super) async fn within<T>(
        &self,
        operation: &'static str,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let result = self.outcome(work).await;
        result.map_err(|why| failed(operation)(error_chain(&why)))
    }

    /// Like `within`, but returns the error of the client with the server's error code.
    pub(super) async fn outcome<T>(
        &self,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let result = tokio::time::timeout(self.operation_timeout, work.into_future()).await;
        result.unwrap_or_else(|_| {
            let seconds = self.operation_timeout.as_secs_f64();
            Err(Error::custom(format!("no answer within {seconds} s")))
        })
    }
}
