//! A folder as the output of an export.
//!
//! ```text
//! DIR/.partial/posts.ndjson, ...   written and synced
//!   then   files of an earlier export in the other format are removed, the new ones moved to DIR, summary.json last
//! ```
//!
//! One export at a time writes to a folder: a lock on the folder itself, which ends with the process, keeps others out.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use skytide_core::view::ViewId;
use tokio::task::spawn_blocking;

use super::output::Output;
use super::{ExportError, Format, Outline};

/// The file whose presence says that the export is whole.
pub const SUMMARY: &str = "summary.json";
const ASIDE: &str = ".partial";

/// An [`Output`] into a folder, which is made if it is not there.
pub struct Folder {
    path: PathBuf,
    aside: Option<Aside>,
    names: Vec<String>,
    file: Option<File>,
}

impl Folder {
    /// Touches nothing yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            aside: None,
            names: Vec::new(),
            file: None,
        }
    }

    /// Runs work on the open file, on a thread that may block.
    async fn on_file(
        &mut self,
        work: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), ExportError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let worked = spawn_blocking(move || work(&mut file).map(|()| file)).await;
        let worked = worked.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        let name = self.names.last().map_or("", String::as_str);
        let file = worked.map_err(|source| ExportError::write(&self.path.join(name), source))?;
        self.file = Some(file);
        Ok(())
    }

    /// Writes what is left of the last file to the disk.
    async fn close(&mut self) -> Result<(), ExportError> {
        self.on_file(|file| file.sync_all()).await?;
        self.file = None;
        Ok(())
    }
}

#[async_trait]
impl Output for Folder {
    async fn begin(&mut self) -> Result<(), ExportError> {
        // The previous attempt, if there was one, gives up its files and the lock first.
        (self.file, self.aside) = (None, None);
        self.names.clear();
        let path = self.path.clone();
        self.aside = Some(blocking(move || Aside::prepare(&path)).await?);
        Ok(())
    }

    async fn file(&mut self, name: &str) -> Result<(), ExportError> {
        self.close().await?;
        let path = self.path.join(ASIDE).join(name);
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

    async fn complete(&mut self, _outline: &Outline) -> Result<(), ExportError> {
        self.close().await?;
        let (path, names) = (self.path.clone(), std::mem::take(&mut self.names));
        blocking(move || publish(&path, &names)).await?;
        self.aside = None;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    let worked = spawn_blocking(work).await;
    worked.unwrap_or_else(|panicked| {
        Err(ExportError::write(
            Path::new("."),
            io::Error::other(panicked),
        ))
    })
}

/// Removes what is not of this export, and moves its files into place.
fn publish(folder: &Path, names: &[String]) -> Result<(), ExportError> {
    let formats = [Format::Ndjson, Format::Csv];
    for view in ViewId::ALL {
        let files = formats.map(|format| format.file(*view));
        for name in files.into_iter().filter(|name| !names.contains(name)) {
            remove(&folder.join(name), fs::remove_file)?;
        }
    }
    for name in names {
        let (from, to) = (folder.join(ASIDE).join(name), folder.join(name));
        fs::rename(&from, &to).map_err(|source| ExportError::write(&to, source))?;
    }
    Ok(())
}

/// Removes something; what is not there is fine.
fn remove(path: &Path, how: fn(PathBuf) -> io::Result<()>) -> Result<(), ExportError> {
    match how(path.to_owned()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ExportError::write(path, error))
        }
        _ => Ok(()),
    }
}

/// The folder in which files are written before they are moved, and the lock. Both end with this, and with them what was not
/// moved: a disk that is full must not stay so.
struct Aside {
    path: PathBuf,
    _lock: Option<File>,
}

impl Aside {
    /// Makes it. Removes the summary of an earlier export, and what one left that was killed.
    fn prepare(folder: &Path) -> Result<Self, ExportError> {
        let write = |source| ExportError::write(folder, source);
        fs::create_dir_all(folder).map_err(write)?;
        let lock = File::open(folder).map_err(write)?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => {
                return Err(ExportError::Busy(folder.to_owned()));
            }
            // Some network file systems lock no folders.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, ?folder, "the folder of an export cannot be locked");
                None
            }
        };
        remove(&folder.join(SUMMARY), fs::remove_file)?;
        let path = folder.join(ASIDE);
        remove(&path, fs::remove_dir_all)?;
        fs::create_dir(&path).map_err(|source| ExportError::write(&path, source))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            let folder = &self.path;
            tracing::warn!(%error, ?folder, "what an export has left could not be removed");
        }
    }
}
