//! The connection to the database, and the time limit for each operation on it.

use std::time::Duration;

use mongodb::Database;
use mongodb::bson::{Document, RawDocumentBuf};
use mongodb::error::Error;
use mongodb::options::{DatabaseOptions, ReadConcern, ReadPreference, SelectionCriteria};
use skytide_core::port::store::StoreError;

use super::error::{error_chain, failed};

/// A MongoDB database that is ours. Clones share the client's connections.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) database: Database,
    pub(super) write_concern: Document,
    pub(super) operation_max: Duration,
    pub(super) supports_snapshots: bool,
}

impl Connection {
    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether the server can show what the database was at one moment.
    pub fn supports_snapshots(&self) -> bool {
        self.supports_snapshots
    }

    /// The database, for sessions that read what it was at one moment.
    pub(super) fn snapshot_database(&self) -> Database {
        let mut settings = DatabaseOptions::default();
        // Another one would be taken instead of the session's.
        settings.read_concern = Some(ReadConcern::snapshot());
        settings.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let client = self.database.client();
        client.database_with_options(self.database.name(), settings)
    }

    /// How long one operation may take.
    pub fn operation_max(&self) -> Duration {
        self.operation_max
    }

    /// The write concern, as a command has it.
    pub(super) fn write_concern(&self) -> &Document {
        &self.write_concern
    }

    /// Runs a command, whose answer may still tell of errors of single statements.
    pub(super) async fn command(
        &self,
        operation: &'static str,
        command: RawDocumentBuf,
    ) -> Result<Document, StoreError> {
        let command = self.database.run_raw_command(command);
        self.within(operation, command).await
    }

    /// Waits for an operation, as long as it may take. Its connection is closed if that is too short.
    pub(super) async fn within<T>(
        &self,
        operation: &'static str,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, StoreError> {
        let result = self.outcome(work).await;
        result.map_err(|why| failed(operation)(error_chain(&why)))
    }

    /// The same, with an error that tells what the server said.
    pub(super) async fn outcome<T>(
        &self,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let result = tokio::time::timeout(self.operation_max, work.into_future()).await;
        result.unwrap_or_else(|_| {
            let seconds = self.operation_max.as_secs_f64();
            Err(Error::custom(format!("no answer in {seconds} s")))
        })
    }
}
