//! The views and the stores of the jobs on MongoDB. All code of the binary that needs the MongoDB
//! adapter is here.

mod export;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::config::Config;
use skytide_core::port::key::KeyStore;
use skytide_core::port::store::ViewStore;
use skytide_mongodb::{
    Connection, MongoJobs, MongoKeys, MongoProfiles, MongoSnapshots, MongoStore,
};
use tokio::time::timeout;

use super::backend::{ConnectionState, JobStores, ServerConnection, ViewBackend};
use crate::export::{ExportError, Format, Summary};
use crate::failure::Failure;
pub use export::export_live;

/// Connects to the views that the options name.
///
/// # Errors
///
/// No server answers, or the database cannot be used.
pub async fn open_views(config: &Config) -> Result<Arc<dyn ViewBackend>, Failure> {
    let store = MongoStore::connect(&config.mongo).await;
    let store = store
        .map_err(|why| Failure::because("cannot use the views on MongoDB (MONGODB_URI)", why))?;
    Ok(Arc::new(MongoViews(store)))
}

/// Connects to the keys of the API.
///
/// # Errors
///
/// No server answers, or the database cannot be used.
pub async fn open_keys(config: &Config) -> Result<Arc<dyn KeyStore>, Failure> {
    let connection = Connection::open(&config.mongo).await;
    let connection = connection
        .map_err(|why| Failure::because("cannot use the keys on MongoDB (MONGODB_URI)", why))?;
    Ok(Arc::new(MongoKeys::new(&connection)))
}

struct MongoViews(MongoStore);

#[async_trait]
impl ViewBackend for MongoViews {
    fn store(&self) -> Arc<dyn ViewStore> {
        Arc::new(self.0.clone())
    }

    fn job_stores(&self) -> Result<JobStores, Failure> {
        let connection = self.0.connection();
        Ok(JobStores {
            snapshots: Arc::new(MongoSnapshots::new(connection)),
            profiles: Arc::new(MongoProfiles::new(connection)),
            jobs: Arc::new(MongoJobs::new(connection)),
        })
    }

    fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(MongoKeys::new(self.0.connection()))
    }

    async fn export(&self, folder: &Path, format: Format) -> Result<Summary, ExportError> {
        export_live(&self.0, folder, format).await
    }

    fn has_atomic_commits(&self) -> bool {
        false
    }

    fn location(&self) -> String {
        "on MongoDB".to_owned()
    }

    fn connection(&self) -> Option<ConnectionState> {
        let connection = self.0.connection().clone();
        Some(Arc::new(move || ServerConnection {
            server: "mongodb",
            connected: connection.is_connected(),
            reconnects: connection.reconnects(),
        }))
    }

    async fn close(&self, time_max: Duration) {
        const EFFECT: &str = "the next writer of the views has to wait until the lease expires";
        match timeout(time_max, self.0.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "cannot release the lease on MongoDB: {EFFECT}");
            }
            Err(_) => tracing::warn!("MongoDB does not answer: {EFFECT}"),
        }
    }
}
