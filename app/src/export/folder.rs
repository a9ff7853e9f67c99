//! A folder as the output of an export.
//!
//! ```text
//! 1. write and fsync DIR/.partial/posts.ndjson, ...
//! 2. remove the files of an earlier export in the other format
//! 3. rename the new files to DIR, summary.json last
//! ```
//!
//! A lock on the folder, which ends with the process, excludes a second export to the same folder.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use skytide_core::view::ViewId;
use tokio::task::spawn_blocking;

use super::output::Output;
use super::{ExportError, ExportReport, Format};

/// The file whose presence means that the export is complete.
pub const SUMMARY: &str = "summary.json";
/// The name of the staging folder.
const STAGING: &str = ".partial";

/// An [`Output`] to a folder, which is created if it does not exist.
pub struct Folder {
    path: PathBuf,
    staging: Option<StagingFolder>,
    /// The files written so far.
    names: Vec<String>,
    file: Option<File>,
}

impl Folder {
    /// Creates an output. It accesses the folder only after [`Output::begin`].
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            staging: None,
            names: Vec::new(),
            file: None,
        }
    }

    /// Runs `work` on the open file, on a thread that may block.
    async fn on_file(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), ExportError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let result = spawn_blocking(move || work(&mut file).map(|()| file)).await;
        let result = result.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        let name = self.names.last().map_or("", String::as_str);
        let file = result.map_err(|source| ExportError::write(&self.path.join(name), source))?;
        self.file = Some(file);
        Ok(())
    }

    /// Fsyncs and closes the last file.
    async fn close(&mut self) -> Result<(), ExportError> {
        self.on_file(|file| file.sync_all()).await?;
        self.file = None;
        Ok(())
    }
}

#[async_trait]
impl Output for Folder {
    async fn begin(&mut self) -> Result<(), ExportError> {
        // A previous attempt must release its files and the lock first.
        (self.file, self.staging) = (None, None);
        self.names.clear();
        let path = self.path.clone();
        self.staging = Some(blocking(move || StagingFolder::create(&path)).await?);
        Ok(())
    }

    async fn file(&mut self, name: &str) -> Result<(), ExportError> {
        self.close().await?;
        let path = self.path.join(STAGING).join(name);
        let file = blocking(move || {
            File::create(&path).map_err(|source| ExportError::write(&path, source))
        });
        self.file = Some(file.await?);
        self.names.push(name.to_owned());
        Ok(())
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ExportError> {
        self.on_file(move |file| file.write_all(&bytes)).await
    }

    async fn complete(&mut self, _report: &ExportReport) -> Result<(), ExportError> {
        self.close().await?;
        let (path, names) = (self.path.clone(), std::mem::take(&mut self.names));
        blocking(move || publish(&path, &names)).await?;
        self.staging = None;
        Ok(())
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    let result = spawn_blocking(work).await;
    result.unwrap_or_else(|panicked| {
        Err(ExportError::write(
            Path::new("."),
            io::Error::other(panicked),
        ))
    })
}

/// Removes the files of an earlier export in the other format, and renames the new files to their
/// place.
fn publish(folder: &Path, names: &[String]) -> Result<(), ExportError> {
    let formats = [Format::Ndjson, Format::Csv];
    for view in ViewId::ALL {
        let files = formats.map(|format| format.file_name(*view));
        for name in files.into_iter().filter(|name| !names.contains(name)) {
            remove(&folder.join(name), fs::remove_file)?;
        }
    }
    for name in names {
        let (from, to) = (folder.join(STAGING).join(name), folder.join(name));
        fs::rename(&from, &to).map_err(|source| ExportError::write(&to, source))?;
    }
    Ok(())
}

/// Removes a file or a folder, if it exists.
fn remove(path: &Path, how: fn(PathBuf) -> io::Result<()>) -> Result<(), ExportError> {
    match how(path.to_owned()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ExportError::write(path, error))
        }
        _ => Ok(()),
    }
}

/// The staging folder and the lock on the folder of the export. Dropping this removes the staging
/// folder with all files in it, so that a failed export does not leave the disk full, and releases
/// the lock.
struct StagingFolder {
    path: PathBuf,
    _lock: Option<File>,
}

impl StagingFolder {
    /// Creates the staging folder. Removes the summary of an earlier export, and the staging folder
    /// of a killed one.
    fn create(folder: &Path) -> Result<Self, ExportError> {
        let write = |source| ExportError::write(folder, source);
        fs::create_dir_all(folder).map_err(write)?;
        let lock = File::open(folder).map_err(write)?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => {
                return Err(ExportError::Busy(folder.to_owned()));
            }
            // Some network file systems do not support locks on folders.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, ?folder, "cannot lock the folder of an export");
                None
            }
        };
        remove(&folder.join(SUMMARY), fs::remove_file)?;
        let path = folder.join(STAGING);
        remove(&path, fs::remove_dir_all)?;
        fs::create_dir(&path).map_err(|source| ExportError::write(&path, source))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for StagingFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let folder = &self.path;
            tracing::warn!(%error, ?folder, "cannot remove the staging folder of an export");
        }
    }
}
