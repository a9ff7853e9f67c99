//! Opens the log, the views and the checkpoints that a command works on, each on its backend.
//!
//! ```text
//!               backend     chosen by           location
//! log           embedded    NATS_URL unset      STORE_DIR/log
//!               nats        NATS_URL set        a JetStream stream
//! views         embedded    MONGODB_URI unset   STORE_DIR/store
//!               mongodb     MONGODB_URI set     a database
//! checkpoints   embedded    always              STORE_DIR/checkpoints
//! scratch       embedded    always              STORE_DIR/scratch
//! ```
//!
//! A backend is one file below `data/`, which implements the traits in `data/backend.rs`.

mod backend;
mod embedded;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "nats")]
mod nats;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::config::Config;
use skytide_core::port::checkpoint::{CheckpointReader, CheckpointStore};
use skytide_core::port::key::KeyStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::ViewStore;
use skytide_dataflow::{Ports, Scratch};
use skytide_embedded::{DataDir, Hold, Part};

use crate::failure::Failure;
pub use backend::{ConnectionState, JobStores, LogBackend, ServerConnection, ViewBackend};

/// Closing the data may take this fraction of the time in which the process has to exit.
const CLOSE_FRACTION: u32 = 8;

/// What a command does with the log and the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Writes the log.
    Ingest,
    /// Reads the log and writes the views.
    Index,
    /// Reads the views.
    Views,
    /// Writes the log, reads it and writes the views.
    All,
}

impl Role {
    fn writes_log(self) -> bool {
        matches!(self, Self::Ingest | Self::All)
    }

    fn uses_log(self) -> bool {
        self != Self::Views
    }

    fn uses_views(self) -> bool {
        self != Self::Ingest
    }

    fn runs_dataflow(self) -> bool {
        matches!(self, Self::Index | Self::All)
    }
}

/// What a command works on. Dropping it releases the locks on the data folder.
pub struct Data {
    /// The data folder; `None` if the command needs none.
    pub folder: Option<DataDir>,
    log: Option<Arc<dyn LogBackend>>,
    views: Option<Arc<dyn ViewBackend>>,
    checkpoints: Option<Arc<dyn CheckpointStore>>,
    checkpoint_reader: Option<Arc<dyn CheckpointReader>>,
    _locks: Vec<Hold>,
}

impl Data {
    /// Opens what the role needs on the backends that the options choose.
    ///
    /// `path` is the data folder, which must hold events of `source`; with `None` the folder must
    /// exist, and any source is accepted. With `sync`, acknowledged events in the folder survive a
    /// power cut.
    ///
    /// # Errors
    ///
    /// A backend cannot be used, or another process uses the folder.
    pub async fn open(
        path: &Path,
        source: Option<&str>,
        role: Role,
        config: &Config,
        sync: bool,
    ) -> Result<Self, Failure> {
        let log_in_folder = role.uses_log() && !is_on_nats(config);
        let views_in_folder = role.uses_views() && !is_on_mongodb(config);
        // The folder also holds checkpoints, and samples of the frames that ingest dropped.
        let needs_folder =
            log_in_folder || views_in_folder || role.writes_log() || role.runs_dataflow();

        // The log on NATS knows its own source. Everything in the folder then belongs to its
        // stream.
        let stream = is_on_nats(config).then(|| format!("nats:{}", config.nats.stream.as_str()));
        let source = stream.as_deref().or(source);
        let folder = match needs_folder {
            true => Some(embedded::open_folder(path, source).await?),
            false => None,
        };
        let parts = [
            (Part::LogWriter, log_in_folder && role.writes_log()),
            (Part::Store, views_in_folder),
        ];
        let parts = parts.into_iter().filter(|(_, is_used)| *is_used);
        let locks = folder
            .iter()
            .flat_map(|folder| parts.clone().map(|(part, _)| embedded::lock(folder, part)))
            .collect::<Result<_, _>>()?;

        let log = match role.uses_log() {
            true => Some(open_log(folder.as_ref(), config, sync).await?),
            false => None,
        };
        let views = match role.uses_views() {
            true => Some(open_views(folder.as_ref(), config).await?),
            false => None,
        };
        let checkpoints = match (role.runs_dataflow(), &folder) {
            (true, Some(folder)) => Some(embedded::open_checkpoints(folder)?),
            _ => None,
        };
        let checkpoint_reader = folder.as_ref().map(embedded::checkpoint_reader);
        Ok(Self {
            folder,
            log,
            views,
            checkpoints,
            checkpoint_reader,
            _locks: locks,
        })
    }

    /// The backend of the log.
    ///
    /// # Panics
    ///
    /// If the data were opened for [`Role::Views`].
    pub fn log_backend(&self) -> &Arc<dyn LogBackend> {
        self.log.as_ref().expect("opened with the log")
    }

    /// The log.
    ///
    /// # Panics
    ///
    /// If the data were opened for [`Role::Views`].
    pub fn log(&self) -> Arc<dyn Log> {
        self.log_backend().log()
    }

    /// Returns the reason why the log makes no progress, if this process knows one.
    ///
    /// # Panics
    ///
    /// If the data were opened for [`Role::Views`].
    pub fn log_problem(&self) -> impl Fn() -> Option<&'static str> + use<> {
        let backend = self.log_backend().clone();
        move || backend.problem()
    }

    /// The connections to servers. Each function returns the state of one.
    pub fn connections(&self) -> Vec<ConnectionState> {
        let (log, views) = (self.log.clone(), self.views.clone());
        let log = log.and_then(|log| log.connection());
        let views = views.and_then(|views| views.connection());
        log.into_iter().chain(views).collect()
    }

    /// The backend of the views.
    ///
    /// # Panics
    ///
    /// If the data were opened for [`Role::Ingest`].
    pub fn views(&self) -> &Arc<dyn ViewBackend> {
        self.views.as_ref().expect("opened with the views")
    }

    /// The view store.
    ///
    /// # Panics
    ///
    /// If the data were opened for [`Role::Ingest`].
    pub fn store(&self) -> Arc<dyn ViewStore> {
        self.views().store()
    }

    /// The ports of the dataflow: log, view store and checkpoints.
    ///
    /// # Panics
    ///
    /// If the data were opened neither for [`Role::Index`] nor for [`Role::All`].
    pub fn ports(&self) -> Ports {
        Ports {
            log: self.log(),
            store: self.store(),
            checkpoints: Some(self.checkpoints.clone().expect("opened for the dataflow")),
        }
    }

    /// Where the dataflow can move state when memory is short. Empties the folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be used.
    pub fn open_scratch(&self) -> Result<Option<Scratch>, Failure> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        Ok(Some(Scratch {
            files: embedded::open_scratch(folder)?,
            hot_pairs_max: None,
        }))
    }

    /// Reads the checkpoints in the data folder without locking them; `None` if the command needs
    /// no folder.
    pub fn checkpoint_reader(&self) -> Option<Arc<dyn CheckpointReader>> {
        self.checkpoint_reader.clone()
    }

    /// The ports of a replay, which makes no checkpoints because it counts the log only once.
    ///
    /// # Panics
    ///
    /// See [`Data::ports`].
    pub fn ports_of_replay(&self) -> Ports {
        Ports {
            checkpoints: None,
            ..self.ports()
        }
    }

    /// Releases the right to write the views. This may take a fraction of `shutdown_max`, the time
    /// limit for the exit of the whole process.
    pub async fn close(&self, shutdown_max: Duration) {
        if let Some(views) = &self.views {
            views.close(shutdown_max / CLOSE_FRACTION).await;
        }
    }
}

fn is_on_nats(config: &Config) -> bool {
    !config.nats.url.is_empty()
}

fn is_on_mongodb(config: &Config) -> bool {
    config.mongo.uri.is_some()
}

/// An option asks for a backend that this binary was built without.
#[cfg(not(all(feature = "nats", feature = "mongodb")))]
fn not_built(option: &str, feature: &str) -> Failure {
    Failure::new(format!(
        "{option} is set, but this binary was built without the feature `{feature}`: build it with \
         `--features {feature}`, or remove {option} to store the data in STORE_DIR"
    ))
}

async fn open_log(
    folder: Option<&DataDir>,
    config: &Config,
    sync: bool,
) -> Result<Arc<dyn LogBackend>, Failure> {
    if is_on_nats(config) {
        #[cfg(feature = "nats")]
        return nats::open_log(config).await;
        #[cfg(not(feature = "nats"))]
        return Err(not_built("NATS_URL", "nats"));
    }
    let folder = folder.expect("an embedded log is in the data folder");
    embedded::open_log(folder, config, sync).await
}

async fn open_views(
    folder: Option<&DataDir>,
    config: &Config,
) -> Result<Arc<dyn ViewBackend>, Failure> {
    if is_on_mongodb(config) {
        #[cfg(feature = "mongodb")]
        return mongodb::open_views(config).await;
        #[cfg(not(feature = "mongodb"))]
        return Err(not_built("MONGODB_URI", "mongodb"));
    }
    let folder = folder.expect("embedded views are in the data folder");
    embedded::open_views(folder, config).await
}

/// Opens the keys of the API in the database that the options name.
///
/// # Errors
///
/// No server answers, the database cannot be used, or this binary was built without MongoDB.
#[cfg_attr(
    not(feature = "mongodb"),
    expect(clippy::unused_async, reason = "the other build waits for the server")
)]
pub async fn open_mongodb_keys(config: &Config) -> Result<Arc<dyn KeyStore>, Failure> {
    #[cfg(feature = "mongodb")]
    return mongodb::open_keys(config).await;
    #[cfg(not(feature = "mongodb"))]
    {
        let _ = config;
        Err(not_built("MONGODB_URI", "mongodb"))
    }
}
