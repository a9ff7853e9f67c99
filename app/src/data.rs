//! The data folder with its log and store, opened for one process.

use std::path::Path;
use std::sync::Arc;

use skytide_core::config::Config;

use skytide_dataflow::Ports;

use crate::embedded::{
    DataDir, DataDirError, EmbeddedCheckpoints, EmbeddedLog, EmbeddedStore, Hold, Part,
};
use crate::failure::Failure;
use crate::options;

/// What a command does with a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Writes the log.
    Ingest,
    /// Reads the log, and reads or writes the store.
    Views,
    /// Both.
    All,
}

/// A data folder in use; the right to it ends with this.
pub struct Data {
    /// The folder.
    pub dir: DataDir,
    /// Its log.
    pub log: Arc<EmbeddedLog>,
    store: Option<Arc<EmbeddedStore>>,
    checkpoints: Option<Arc<EmbeddedCheckpoints>>,
    _holds: Vec<Hold>,
}

impl Data {
    /// Opens the folder for the data of `source`; `None`: of whatever source it has.
    ///
    /// # Errors
    /// It cannot be used, or another process uses it.
    pub fn open(
        path: &Path,
        source: Option<&str>,
        usage: Use,
        config: &Config,
        sync: bool,
    ) -> Result<Self, Failure> {
        let dir = DataDir::open(path, source).map_err(|why| refused(path, why))?;
        let parts: &[Part] = match usage {
            Use::Ingest => &[Part::LogWriter],
            Use::Views => &[Part::Store],
            Use::All => &[Part::LogWriter, Part::Store],
        };
        let holds = parts.iter().map(|part| dir.hold(*part));
        let holds = holds.collect::<Result<_, _>>();
        let holds = holds.map_err(|why| refused(path, why))?;
        let opened = |what: &str| format!("the {what} in {} could not be opened", path.display());
        let log = EmbeddedLog::open(&dir.log(), options::log(config, sync))
            .map_err(|why| Failure::because(opened("log"), why))?;
        let store = (usage != Use::Ingest)
            .then(|| EmbeddedStore::open(&dir.store(), options::store(config)))
            .transpose()
            .map_err(|why| Failure::because(opened("view store"), why))?;
        let checkpoints = (usage != Use::Ingest)
            .then(|| EmbeddedCheckpoints::open(&dir.checkpoints()))
            .transpose()
            .map_err(|why| Failure::because(opened("folder of checkpoints"), why))?;
        Ok(Self {
            dir,
            log: Arc::new(log),
            store: store.map(Arc::new),
            checkpoints: checkpoints.map(Arc::new),
            _holds: holds,
        })
    }

    /// Its view store.
    ///
    /// # Panics
    /// If it was opened for [`Use::Ingest`].
    pub fn store(&self) -> Arc<EmbeddedStore> {
        self.store.clone().expect("opened with the views")
    }
}

/// For the dataflow.
impl Data {
    /// Log, store and checkpoints.
    ///
    /// # Panics
    /// If it was opened for [`Use::Ingest`].
    pub fn ports(&self) -> Ports {
        let checkpoints = self.checkpoints.clone();
        Ports {
            log: self.log.clone(),
            store: self.store(),
            checkpoints: Some(checkpoints.expect("opened with the views")),
        }
    }

    /// Log and store only: what is counted once needs no checkpoints.
    ///
    /// # Panics
    /// If it was opened for [`Use::Ingest`].
    pub fn ports_of_replay(&self) -> Ports {
        Ports {
            checkpoints: None,
            ..self.ports()
        }
    }
}

/// Says what to do.
fn refused(path: &Path, why: DataDirError) -> Failure {
    let path = path.display();
    let what = match &why {
        DataDirError::Held { .. } => format!(
            "{path} is used by another process, and its views can be open in one only: end that \
             one first. `skytide up` runs all services in one process, `skytide ingest` may run \
             beside `skytide index`"
        ),
        _ => format!("{path} cannot be used"),
    };
    Failure::because(what, why)
}
