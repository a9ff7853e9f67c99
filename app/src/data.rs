//! Log, views and what else a command works on, opened for one process: in a data folder, on NATS, on MongoDB.
//!
//! ```text
//!              NATS_URL unset        set                  MONGODB_URI unset     set
//! log          STORE_DIR/log         a JetStream stream
//! views                                                   STORE_DIR/store       a database
//! checkpoints  STORE_DIR/checkpoints, always: they are the dataflow's own
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use skytide_core::config::Config;
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::ViewStore;
use skytide_dataflow::Ports;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::health::Trouble;
use crate::options;
use skytide_embedded::{
    DataDir, DataDirError, EmbeddedCheckpoints, EmbeddedLog, EmbeddedStore, Hold, Part,
};
use skytide_mongodb::MongoStore;
use skytide_nats::NatsLog;

/// Giving rights back may take this part of the time for the end of the process.
const CLOSE_PART: u32 = 8;

/// What a command does with log and views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Writes the log.
    Ingest,
    /// Reads the log and writes the views.
    Index,
    /// Reads views.
    Views,
    /// All of it.
    All,
}

/// Whether the writer of this process waits because the log is at its size limit.
type Waits = Arc<dyn Fn() -> bool + Send + Sync>;

/// Where the views are.
#[derive(Clone)]
pub enum Views {
    /// In the data folder, which is then this process's alone.
    Embedded(Arc<EmbeddedStore>),
    /// In a database.
    Mongo(Box<MongoStore>),
}

/// What a command works on; the right to it ends with this.
pub struct Data {
    /// The folder; `None` where nothing is kept in one.
    pub dir: Option<DataDir>,
    log: Option<Arc<dyn Log>>,
    trouble: Option<Trouble>,
    waits: Option<Waits>,
    views: Option<Views>,
    checkpoints: Option<Arc<dyn CheckpointStore>>,
    _holds: Vec<Hold>,
}

impl Data {
    /// Opens what the options say, for the data of `source`; `None`: of whatever source there is. `sync`: whether the
    /// log survives a power cut.
    ///
    /// # Errors
    /// Something cannot be used, or another process uses it.
    pub async fn open(
        path: &Path,
        source: Option<&str>,
        usage: Use,
        config: &Config,
        sync: bool,
    ) -> Result<Self, Failure> {
        let (nats, mongo) = (!config.nats.url.is_empty(), config.mongo.uri.is_some());
        let writes_log = matches!(usage, Use::Ingest | Use::All);
        let has_views = usage != Use::Ingest;
        let counts = matches!(usage, Use::Index | Use::All);
        let reads_log = writes_log || counts;
        let needs_folder = (reads_log && !nats) || (has_views && !mongo) || counts || writes_log;

        // On NATS the log itself knows whose events it holds; all that is in the folder then belongs to its stream.
        let of_stream = nats.then(|| format!("nats:{}", config.nats.stream.as_str()));
        let source = of_stream.as_deref().or(source);
        let dir = match needs_folder {
            true => Some(data_dir(path, source).await?),
            false => None,
        };
        let parts = [
            (Part::LogWriter, writes_log && !nats),
            (Part::Store, has_views && !mongo),
        ];
        let parts = parts.iter().filter(|(_, wanted)| *wanted);
        let holds = dir
            .iter()
            .flat_map(|dir| parts.clone().map(|(part, _)| dir.hold(*part)))
            .collect::<Result<_, _>>()
            .map_err(|why| refused(path, why))?;

        let (mut trouble, mut waits): (Option<Trouble>, Option<Waits>) = (None, None);
        let log: Option<Arc<dyn Log>> = match (reads_log, nats, &dir) {
            (true, true, _) => {
                let log = nats_log(config).await?;
                let asked = log.clone();
                trouble = Some(Arc::new(move || asked.trouble()));
                let asked = log.clone();
                waits = Some(Arc::new(move || asked.is_full()));
                Some(Arc::new(log))
            }
            (true, false, Some(dir)) => {
                let log = embedded_log(dir, config, sync).await?;
                let asked = log.clone();
                waits = Some(Arc::new(move || asked.is_full()));
                Some(Arc::new(log))
            }
            _ => None,
        };
        let views = match (has_views, mongo, &dir) {
            (true, true, _) => Some(Views::Mongo(Box::new(mongo_store(config).await?))),
            (true, false, Some(dir)) => Some(Views::Embedded(embedded_store(dir, config).await?)),
            _ => None,
        };
        let checkpoints = match (counts, &dir) {
            (true, Some(dir)) => Some(checkpoints(dir)?),
            _ => None,
        };
        Ok(Self {
            dir,
            log,
            trouble,
            waits,
            views,
            checkpoints,
            _holds: holds,
        })
    }

    /// The log.
    ///
    /// # Panics
    /// If it was opened for [`Use::Views`].
    pub fn log(&self) -> Arc<dyn Log> {
        self.log.clone().expect("opened with the log")
    }

    /// What is known to be the matter with the log, without asking it; `None`: it is no log that knows.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.clone()
    }

    /// Whether this process's writer waits because the log is at its size limit.
    pub fn waits_for_room(&self) -> bool {
        self.waits.as_ref().is_some_and(|waits| waits())
    }

    /// Where the views are.
    ///
    /// # Panics
    /// If it was opened for [`Use::Ingest`].
    pub fn views(&self) -> &Views {
        self.views.as_ref().expect("opened with the views")
    }

    /// The view store.
    ///
    /// # Panics
    /// If it was opened for [`Use::Ingest`].
    pub fn store(&self) -> Arc<dyn ViewStore> {
        match self.views() {
            Views::Embedded(store) => store.clone(),
            Views::Mongo(store) => Arc::new(store.as_ref().clone()),
        }
    }

    /// Log, store and checkpoints, for the dataflow.
    ///
    /// # Panics
    /// If it was opened neither for [`Use::Index`] nor for [`Use::All`].
    pub fn ports(&self) -> Ports {
        Ports {
            log: self.log(),
            store: self.store(),
            checkpoints: Some(self.checkpoints.clone().expect("opened to count")),
        }
    }

    /// Log and store only: what is counted once needs no checkpoints.
    ///
    /// # Panics
    /// As [`Data::ports`].
    pub fn ports_of_replay(&self) -> Ports {
        Ports {
            checkpoints: None,
            ..self.ports()
        }
    }

    /// Gives rights back that others would else wait for; for the end of a process that may take `shutdown_max` in all.
    pub async fn close(&self, shutdown_max: Duration) {
        const WHAT: &str = "the next writer of the views has to wait for the lease";
        let Some(Views::Mongo(store)) = &self.views else {
            return;
        };
        match timeout(shutdown_max / CLOSE_PART, store.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "{WHAT}");
            }
            Err(_) => tracing::warn!("MongoDB does not answer: {WHAT}"),
        }
    }
}

async fn nats_log(config: &Config) -> Result<NatsLog, Failure> {
    let log = NatsLog::connect(&config.nats).await;
    log.map_err(|why| Failure::because("the log on NATS cannot be used (NATS_URL)", why))
}

/// Opening reads files, for a second or more: not on a thread that runs tasks.
async fn off_thread<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let opened = spawn_blocking(open).await;
    opened.map_err(|why| Failure::because("data could not be opened", why))?
}

async fn data_dir(path: &Path, source: Option<&str>) -> Result<DataDir, Failure> {
    let (path, source) = (path.to_owned(), source.map(str::to_owned));
    off_thread(move || DataDir::open(&path, source.as_deref()).map_err(|why| refused(&path, why)))
        .await
}

async fn embedded_log(dir: &DataDir, config: &Config, sync: bool) -> Result<EmbeddedLog, Failure> {
    let (folder, options) = (dir.log(), options::log(config, sync));
    let what = opened("log", dir);
    off_thread(move || {
        EmbeddedLog::open(&folder, options).map_err(|why| Failure::because(what, why))
    })
    .await
}

async fn mongo_store(config: &Config) -> Result<MongoStore, Failure> {
    let store = MongoStore::connect(&config.mongo).await;
    store.map_err(|why| Failure::because("the views on MongoDB cannot be used (MONGODB_URI)", why))
}

async fn embedded_store(dir: &DataDir, config: &Config) -> Result<Arc<EmbeddedStore>, Failure> {
    let (folder, options) = (dir.store(), options::store(config));
    let what = opened("view store", dir);
    let store = off_thread(move || {
        EmbeddedStore::open(&folder, options).map_err(|why| Failure::because(what, why))
    });
    Ok(Arc::new(store.await?))
}

fn checkpoints(dir: &DataDir) -> Result<Arc<dyn CheckpointStore>, Failure> {
    let checkpoints = EmbeddedCheckpoints::open(&dir.checkpoints());
    let what = || opened("folder of checkpoints", dir);
    let checkpoints = checkpoints.map_err(|why| Failure::because(what(), why))?;
    Ok(Arc::new(checkpoints))
}

fn opened(what: &str, dir: &DataDir) -> String {
    format!("the {what} in {} could not be opened", dir.path().display())
}

/// Says what to do.
fn refused(path: &Path, why: DataDirError) -> Failure {
    let path = path.display();
    let what = match &why {
        DataDirError::Held { .. } => format!(
            "{path} is used by another process, and its views can be open in one only: end that \
             one first. `skytide up` runs all services in one process; with NATS_URL and \
             MONGODB_URI each can run by itself"
        ),
        _ => format!("{path} cannot be used"),
    };
    Failure::because(what, why)
}
