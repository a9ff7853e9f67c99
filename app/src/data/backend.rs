//! What the commands need from a backend of the log or of the views, beyond the ports.
//!
//! ```text
//! LogBackend    embedded::FolderLog     nats::NatsBackend
//! ViewBackend   embedded::FolderViews   mongodb::MongoViews
//! ```

use std::future::pending;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::port::job::{JobRunner, JobStore};
use skytide_core::port::key::KeyStore;
use skytide_core::port::log::Log;
use skytide_core::port::profile::ProfileStore;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::port::store::{StoreError, ViewStore};

use crate::export::{ExportError, Format, Summary};
use crate::failure::Failure;

/// An open log, with what the commands need beyond the port.
pub trait LogBackend: Send + Sync {
    /// The port of the log.
    fn log(&self) -> Arc<dyn Log>;

    /// Whether the writer of this process is blocked because the log is at its size limit.
    fn is_full(&self) -> bool;

    /// The name of the option that sets the size limit.
    fn size_option(&self) -> &'static str;

    /// Why the log makes no progress, as far as this process knows without a request to a server.
    fn problem(&self) -> Option<&'static str>;

    /// Where the log is, in words: `on NATS` or `in ./data`.
    fn location(&self) -> String;

    /// Returns the state of the connection to a server. By default there is no server.
    fn connection(&self) -> Option<ConnectionState> {
        None
    }
}

/// A function that returns the state of a connection.
pub type ConnectionState = Arc<dyn Fn() -> ServerConnection + Send + Sync>;

/// The state of a connection to a server, as the client last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConnection {
    /// The kind of the server: `nats` or `mongodb`.
    pub server: &'static str,
    /// Whether the connection is usable.
    pub connected: bool,
    /// How often it was lost and established again.
    pub reconnects: u64,
}

/// An open view store, with what the commands need beyond the port.
#[async_trait]
pub trait ViewBackend: Send + Sync {
    /// The port of the view store.
    fn store(&self) -> Arc<dyn ViewStore>;

    /// Opens the stores that jobs write, which are in the same folder or database as the views.
    ///
    /// # Errors
    ///
    /// A store cannot be opened.
    fn job_stores(&self) -> Result<JobStores, Failure>;

    /// The keys of the API, which are in the same place as the views.
    fn keys(&self) -> Arc<dyn KeyStore>;

    /// Writes every view and the summary to a folder.
    ///
    /// # Errors
    ///
    /// See [`ExportError`]. Then the folder holds no `summary.json`.
    async fn export(&self, folder: &Path, format: Format) -> Result<Summary, ExportError>;

    /// Whether a reader sees either all rows of a commit or none.
    fn has_atomic_commits(&self) -> bool;

    /// Where the views are, in words: `on MongoDB` or `in ./data`.
    fn location(&self) -> String;

    /// Returns the state of the connection to a server. By default there is no server.
    fn connection(&self) -> Option<ConnectionState> {
        None
    }

    /// Sends exports to other processes, and runs jobs for them, until the future is dropped. By
    /// default it does neither: only a store that no other process can open needs this. `jobs`: the
    /// jobs of this process, if it has a scheduler.
    async fn serve_requests(&self, jobs: Option<Arc<dyn JobRunner>>) {
        drop(jobs);
        pending::<()>().await;
    }

    /// Waits until the store accepts no more writes, and returns the reason. Then only a restart of
    /// the process helps.
    async fn write_failure(&self) -> StoreError {
        pending().await
    }

    /// Releases the writer lease, so that the next writer does not have to wait until it expires.
    /// Takes at most `time_max`. By default there is no lease.
    async fn close(&self, time_max: Duration) {
        let _ = time_max;
    }
}

/// The stores that jobs write and the API reads.
#[derive(Clone)]
pub struct JobStores {
    /// Snapshots of the top lists.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Fetched profiles.
    pub profiles: Arc<dyn ProfileStore>,
    /// The state of each job.
    pub jobs: Arc<dyn JobStore>,
}
