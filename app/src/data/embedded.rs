//! Log, views and checkpoints in the data folder.
//!
//! ```text
//! data/log/           messages            FolderLog
//! data/store/         views, profiles     FolderViews     one process at a time
//! data/snapshots/     a file each         SnapshotDir
//! data/jobs.json      state of the jobs   JobFile
//! data/keys.json      keys of the API     KeyFile         any process, at any time
//! data/checkpoints/   dataflow state      EmbeddedCheckpoints
//! data/scratch/       spilled state       ScratchFolder
//! ```

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::config::Config;
use skytide_core::port::BoxError;
use skytide_core::port::checkpoint::{CheckpointReader, CheckpointStore};
use skytide_core::port::job::JobRunner;
use skytide_core::port::key::KeyStore;
use skytide_core::port::log::Log;
use skytide_core::port::scratch::SpillFiles;
use skytide_core::port::size::SizeReporter;
use skytide_core::port::store::{StoreError, ViewReader, ViewStore};
use skytide_embedded::{
    CheckpointFolder, DataDir, DataDirError, EmbeddedCheckpoints, EmbeddedLog, EmbeddedProfiles,
    EmbeddedStore, Hold, JobFile, KeyFile, Part, ScratchFolder, SnapshotDir,
};
use tokio::task::spawn_blocking;

use super::backend::{JobStores, LogBackend, ViewBackend};
use crate::export::{ExportError, Format, Summary, export};
use crate::export_server;
use crate::failure::Failure;
use crate::options;

/// Opens the data folder for the events of `source`, or creates it. With `None` the folder must
/// exist, and any source is accepted.
///
/// # Errors
///
/// The folder cannot be used.
pub async fn open_folder(path: &Path, source: Option<&str>) -> Result<DataDir, Failure> {
    let (path, source) = (path.to_owned(), source.map(str::to_owned));
    off_thread(move || DataDir::open(&path, source.as_deref()).map_err(|why| refused(&path, why)))
        .await
}

/// Acquires the right to use a part of the data folder.
///
/// # Errors
///
/// Another process uses the part, or the lock file cannot be written.
pub fn lock(folder: &DataDir, part: Part) -> Result<Hold, Failure> {
    folder.hold(part).map_err(|why| refused(folder.path(), why))
}

/// Opens the log in the data folder. `sync`: whether acknowledged events survive a power cut.
///
/// # Errors
///
/// The log is damaged, or a file cannot be read.
pub async fn open_log(
    folder: &DataDir,
    config: &Config,
    sync: bool,
) -> Result<Arc<dyn LogBackend>, Failure> {
    let (path, options) = (folder.log(), options::log(config, sync));
    let what = cannot_open("log", folder);
    let opening = move || EmbeddedLog::open(&path, options);
    let log = off_thread(move || opening().map_err(|why| Failure::because(what, why))).await?;
    Ok(Arc::new(FolderLog {
        log,
        location: location(folder),
    }))
}

/// Opens the views in the data folder.
///
/// # Errors
///
/// The store is damaged, or a file cannot be read.
pub async fn open_views(
    folder: &DataDir,
    config: &Config,
) -> Result<Arc<dyn ViewBackend>, Failure> {
    let (path, options) = (folder.store(), options::store(config));
    let what = cannot_open("view store", folder);
    let opening = move || EmbeddedStore::open(&path, options);
    let store = off_thread(move || opening().map_err(|why| Failure::because(what, why))).await?;
    Ok(Arc::new(FolderViews {
        folder: folder.clone(),
        store: Arc::new(store),
    }))
}

/// Opens the checkpoints in the data folder.
///
/// # Errors
///
/// The folder of the checkpoints cannot be used.
pub fn open_checkpoints(folder: &DataDir) -> Result<Arc<dyn CheckpointStore>, Failure> {
    let checkpoints = EmbeddedCheckpoints::open(&folder.checkpoints());
    let what = || cannot_open("folder of checkpoints", folder);
    let checkpoints = checkpoints.map_err(|why| Failure::because(what(), why))?;
    Ok(Arc::new(checkpoints))
}

/// Opens and empties the folder for state that leaves memory.
///
/// # Errors
///
/// The folder cannot be used.
pub fn open_scratch(folder: &DataDir) -> Result<Arc<dyn SpillFiles>, Failure> {
    let scratch = ScratchFolder::open(&folder.scratch());
    let what = || cannot_open("folder of scratch files", folder);
    let scratch = scratch.map_err(|why| Failure::because(what(), why))?;
    Ok(Arc::new(scratch))
}

/// Reads the checkpoints in the data folder.
pub fn checkpoint_reader(folder: &DataDir) -> Arc<dyn CheckpointReader> {
    Arc::new(CheckpointFolder::new(&folder.checkpoints()))
}

struct FolderLog {
    log: EmbeddedLog,
    location: String,
}

impl LogBackend for FolderLog {
    fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    fn is_full(&self) -> bool {
        self.log.is_full()
    }

    fn size_option(&self) -> &'static str {
        "STORE_LOG_BYTES_MAX"
    }

    fn problem(&self) -> Option<&'static str> {
        None
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

struct FolderViews {
    folder: DataDir,
    store: Arc<EmbeddedStore>,
}

#[async_trait]
impl ViewBackend for FolderViews {
    fn store(&self) -> Arc<dyn ViewStore> {
        self.store.clone()
    }

    fn job_stores(&self) -> Result<JobStores, Failure> {
        let failed = |what: &'static str| {
            move |why: BoxError| Failure::because(format!("cannot open {what}"), why)
        };
        let folder = self.folder.path();
        let snapshots = SnapshotDir::open(&folder.join("snapshots"));
        let snapshots = snapshots.map_err(|why| failed("the snapshots")(why.into()))?;
        let profiles = EmbeddedProfiles::open(&self.store);
        let profiles = profiles.map_err(|why| failed("the profiles")(why.into()))?;
        let jobs = JobFile::open(&folder.join("jobs.json"));
        let jobs = jobs.map_err(|why| failed("the state of the jobs")(why.into()))?;
        Ok(JobStores {
            snapshots: Arc::new(snapshots),
            profiles: Arc::new(profiles),
            jobs: Arc::new(jobs),
        })
    }

    fn keys(&self) -> Arc<dyn KeyStore> {
        Arc::new(KeyFile::new(self.folder.path()))
    }

    async fn export(&self, folder: &Path, format: Format) -> Result<Summary, ExportError> {
        export(self.store.as_ref(), folder, format).await
    }

    async fn reader_of_one_commit(&self) -> Result<Arc<dyn ViewReader>, ExportError> {
        Ok(Arc::new(self.store.snapshot_reader()))
    }

    fn has_atomic_commits(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        location(&self.folder)
    }

    async fn serve_requests(&self, jobs: Option<Arc<dyn JobRunner>>) {
        let folder = self.folder.path().to_owned();
        export_server::serve(folder, self.store.clone(), jobs).await;
    }

    fn sizes(&self) -> Option<Arc<dyn SizeReporter>> {
        Some(self.store.clone())
    }

    async fn write_failure(&self) -> StoreError {
        self.store.poisoned().await
    }
}

fn location(folder: &DataDir) -> String {
    format!("in {}", folder.path().display())
}

/// Runs `open` on a thread that may block, because reading the files can take more than a second.
async fn off_thread<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let opened = spawn_blocking(open).await;
    opened.map_err(|why| Failure::because("cannot open the data: the thread panicked", why))?
}

fn cannot_open(what: &str, folder: &DataDir) -> String {
    format!("cannot open the {what} in {}", folder.path().display())
}

/// The failure of a data folder, with the remedy.
fn refused(path: &Path, why: DataDirError) -> Failure {
    let path = path.display();
    let what = match &why {
        DataDirError::Held { .. } => format!(
            "another process uses {path}, and only one process can open its views: stop the other \
             process first. `skytide up` runs all services in one process; with NATS_URL and \
             MONGODB_URI each service can run by itself"
        ),
        _ => format!("cannot use the data folder {path}"),
    };
    Failure::because(what, why)
}
