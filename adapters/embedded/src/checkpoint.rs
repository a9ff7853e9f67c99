//! Checkpoints in a folder: one file for each section, and a manifest that makes the checkpoint
//! valid.
//!
//! ```text
//! EPOCH.NAME.section ─ fsync ┐
//! EPOCH.NAME.section ─ fsync ┴─ fsync folder ─ EPOCH.manifest.new ─ fsync
//!                                              ─ rename to EPOCH.manifest ─ fsync folder
//! ```
//!
//! Deletion runs in reverse order: first the manifest, then the sections. So after a crash at any
//! point, an existing manifest implies complete sections.
//!
//! A shared section is one file with a name in each checkpoint (a hard link). Where the file system
//! has no links, it is copied. Its header has the epoch of the checkpoint that wrote it.
//!
//! One process uses the folder at a time. It takes a lock on `writer.lock` with its first operation
//! and holds it until it exits. Without the lock, two processes would delete each other's
//! unfinished checkpoints. A [`CheckpointFolder`] only reads complete checkpoints, and needs no lock.
//!
//! The header of each file identifies the file and contains a checksum:
//!
//! ```text
//! SKYCHKP1 │ epoch u64 │ bytes u64 │ CRC-32 u32 │ content       little-endian
//!                                    (of epoch, bytes, name, content)
//! ```

mod files;
mod reader;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::id::Epoch;
use skytide_core::port::BoxError;
use skytide_core::port::checkpoint::{
    CheckpointError, CheckpointStore, Listed, Manifest, Section, SectionFile,
};

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::folder::{DataDirError, Hold, make_folder};
pub use files::{DiskFiles, Files};
pub use reader::CheckpointFolder;

const MAGIC: &[u8; 8] = b"SKYCHKP1";
const HEAD_BYTES: usize = 28;
/// Bytes of the header before its checksum.
const CHECKED_HEAD_BYTES: usize = 24;
const MANIFEST: &str = "manifest";
const UNFINISHED: &str = "manifest.new";
const SECTION: &str = ".section";
const LOCK: &str = "writer.lock";
/// The pause between two attempts to take the lock, and the number of attempts: 20 s in all. A
/// process that is shutting down needs less.
const LOCK_POLL: Duration = Duration::from_millis(100);
const LOCK_ATTEMPTS_MAX: u32 = 200;

/// A [`CheckpointStore`] in a folder. Clones share one store.
#[derive(Clone)]
pub struct EmbeddedCheckpoints(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    files: Box<dyn Files>,
    /// The path of the lock file; `None` if the folder is used without a lock.
    lock_path: Option<PathBuf>,
    lock: Mutex<Option<Hold>>,
}

impl EmbeddedCheckpoints {
    /// Opens the checkpoints in this folder and creates the folder if it does not exist. The lock
    /// is taken by the first operation, not here: until then another process may use the folder. A
    /// standby relies on this.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        make_folder(folder).map_err(failed("create their folder"))?;
        Ok(Self::with(
            folder,
            Box::new(DiskFiles),
            Some(folder.join(LOCK)),
        ))
    }

    /// Opens the checkpoints in a folder of these files, without a lock.
    pub fn on(folder: &Path, files: Box<dyn Files>) -> Self {
        Self::with(folder, files, None)
    }

    fn with(folder: &Path, files: Box<dyn Files>, lock_path: Option<PathBuf>) -> Self {
        Self(Arc::new(Shared {
            folder: folder.to_owned(),
            files,
            lock_path,
            lock: Mutex::default(),
        }))
    }

    /// Locks the folder for this process. If another process holds the lock, waits up to 20 s for
    /// it to exit.
    async fn acquire_lock(&self) -> Result<(), CheckpointError> {
        let Some(lock_path) = &self.0.lock_path else {
            return Ok(());
        };
        let mut lock = self.0.lock.lock().await;
        let mut attempts = 0;
        while lock.is_none() {
            match Hold::take(lock_path) {
                Ok(hold) => *lock = Some(hold),
                Err(DataDirError::Held { holder, .. }) if attempts < LOCK_ATTEMPTS_MAX => {
                    if attempts == 0 {
                        let folder = &self.0.folder;
                        tracing::warn!(
                            holder,
                            ?folder,
                            "another process uses the checkpoints: waiting up to 20 s"
                        );
                    }
                    attempts += 1;
                    sleep(LOCK_POLL).await;
                }
                Err(DataDirError::Held { holder, lock: path }) => {
                    return Err(failed("use their folder")(format!(
                        "{path:?} is locked by {holder}: give an `index` of another database \
                         its own STORE_DIR, or stop the other `index` of this database"
                    )));
                }
                Err(error) => return Err(failed("use their folder")(error)),
            }
        }
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, CheckpointError> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        self.acquire_lock().await?;
        let shared = self.0.clone();
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .map_err(failed("wait for the blocking thread"))?
    }
}

#[async_trait]
impl CheckpointStore for EmbeddedCheckpoints {
    async fn write(
        &self,
        checkpoint: Epoch,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Section, CheckpointError> {
        let section = Section::of(name, &bytes);
        let name = format!("{name}{SECTION}");
        self.blocking(move |shared| {
            shared.check_incomplete(checkpoint, "write a section")?;
            let written = shared.write(checkpoint, &name, &bytes);
            written.map_err(failed("write a section"))
        })
        .await?;
        Ok(section)
    }

    async fn share(
        &self,
        checkpoint: Epoch,
        from: Epoch,
        sections: &[Section],
    ) -> Result<Vec<Section>, CheckpointError> {
        const OPERATION: &str = "share a section";
        let sections: Vec<_> = sections.iter().map(|it| it.shared_from(from)).collect();
        self.blocking(move |shared| {
            shared.check_incomplete(checkpoint, OPERATION)?;
            for section in &sections {
                let name = &section.name;
                let shared = shared.share(checkpoint, from, name);
                shared.map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => CheckpointError::Damaged {
                        checkpoint: from,
                        what: format!("section {name:?} is missing"),
                    },
                    _ => failed(OPERATION)(error),
                })?;
            }
            Ok(sections)
        })
        .await
    }

    async fn complete(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        let (epoch, bytes) = (manifest.first.epoch, manifest.encode());
        let sections = manifest.sections.clone();
        self.blocking(move |shared| {
            let complete = || {
                shared.find_all(epoch, &sections)?;
                shared.files.sync(&shared.folder)?;
                shared.write(epoch, UNFINISHED, &bytes)?;
                let (from, to) = (shared.path(epoch, UNFINISHED), shared.path(epoch, MANIFEST));
                shared.files.rename(&from, &to)?;
                shared.files.sync(&shared.folder)
            };
            complete().map_err(failed("write a manifest"))
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        self.blocking(|shared| {
            let newest_first = shared.complete()?.into_iter().rev();
            let listed = newest_first.map(|checkpoint| Listed {
                checkpoint,
                manifest: shared.manifest(checkpoint),
            });
            Ok(listed.collect())
        })
        .await
    }

    async fn read(&self, checkpoint: Epoch, section: &Section) -> Result<Vec<u8>, CheckpointError> {
        let section = section.clone();
        self.blocking(move |shared| {
            let name = format!("{}{SECTION}", section.name);
            let damaged = |why: &str| CheckpointError::Damaged {
                checkpoint,
                what: format!("section {:?} {why}", section.name),
            };
            let path = shared.path(checkpoint, &name);
            let read = shared.files.read(&path);
            let written_by = section.written_by(checkpoint);
            let bytes = match read.and_then(|bytes| content(written_by, &name, bytes)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Err(damaged("is missing"));
                }
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(damaged(&error.to_string()));
                }
                read => read.map_err(failed("read a section"))?,
            };
            if !section.is(&bytes) {
                return Err(damaged("is not the one that the manifest names"));
            }
            Ok(bytes)
        })
        .await
    }

    async fn open(
        &self,
        checkpoint: Epoch,
        section: &Section,
    ) -> Result<Arc<dyn SectionFile>, CheckpointError> {
        let section = section.clone();
        self.blocking(move |shared| {
            let path = shared.path(checkpoint, &format!("{}{SECTION}", section.name));
            match shared.open(&path, checkpoint, &section) {
                Ok(file) => Ok(file),
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::UnexpectedEof => Err(CheckpointError::Damaged {
                        checkpoint,
                        what: format!("section {:?} cannot be opened: {error}", section.name),
                    }),
                    _ => Err(failed("open a section")(error)),
                },
            }
        })
        .await
    }

    async fn keep(&self, checkpoints: &[Epoch]) -> Result<(), CheckpointError> {
        let kept: BTreeSet<Epoch> = checkpoints.iter().copied().collect();
        self.blocking(move |shared| shared.keep(&kept).map_err(failed("remove old checkpoints")))
            .await
    }
}

impl Shared {
    fn path(&self, epoch: Epoch, name: &str) -> PathBuf {
        self.folder.join(format!("{:020}.{name}", epoch.0))
    }

    /// Lists all files that belong to checkpoints: the epoch of the checkpoint and the rest of the
    /// file's name. Other files are skipped.
    fn list(&self) -> io::Result<Vec<(Epoch, String)>> {
        let names = self.files.list(&self.folder)?;
        let ours = names.iter().filter_map(|name| {
            let (epoch, rest) = name.split_once('.')?;
            let epoch = epoch.parse().ok().filter(|_| epoch.len() == 20)?;
            Some((Epoch(epoch), rest.to_owned()))
        });
        Ok(ours.collect())
    }

    fn complete(&self) -> Result<BTreeSet<Epoch>, CheckpointError> {
        let files = self.list().map_err(failed("list them"))?.into_iter();
        let manifests = files.filter(|(_, name)| name == MANIFEST);
        Ok(manifests.map(|(epoch, _)| epoch).collect())
    }

    /// Fails unless every section exists and has the length that the manifest will claim for it.
    fn find_all(&self, epoch: Epoch, sections: &[Section]) -> io::Result<()> {
        for section in sections {
            let path = self.path(epoch, &format!("{}{SECTION}", section.name));
            let wanted = section.bytes + HEAD_BYTES as u64;
            let bytes = self.files.bytes(&path)?;
            if bytes != wanted {
                let why = format!("{path:?} has {bytes} bytes instead of {wanted}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        Ok(())
    }

    fn manifest(&self, epoch: Epoch) -> Result<Manifest, String> {
        let bytes = self.read(epoch, MANIFEST).map_err(|why| why.to_string())?;
        let manifest = Manifest::decode(&bytes)?;
        if manifest.first.epoch != epoch {
            return Err(format!("it belongs to checkpoint {}", manifest.first.epoch));
        }
        Ok(manifest)
    }

    /// Fails if a checkpoint is complete, so that its sections may not change.
    fn check_incomplete(
        &self,
        checkpoint: Epoch,
        operation: &'static str,
    ) -> Result<(), CheckpointError> {
        match self.files.bytes(&self.path(checkpoint, MANIFEST)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(operation)(error)),
            Ok(_) => {
                let why = format!("checkpoint {checkpoint} is already complete");
                Err(failed(operation)(why))
            }
        }
    }

    /// Gives a section of a checkpoint a second name, as part of another one. The name becomes
    /// durable with the next fsync of the folder.
    fn share(&self, checkpoint: Epoch, from: Epoch, name: &str) -> io::Result<()> {
        let name = format!("{name}{SECTION}");
        let (from, to) = (self.path(from, &name), self.path(checkpoint, &name));
        // An earlier attempt may have left the name.
        self.files.remove(&to)?;
        match self.files.link(&from, &to) {
            // Not every file system has links, and some limit their number.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.files.copy(&from, &to)?;
                self.files.sync(&to)
            }
            linked => linked,
        }
    }

    /// Opens a section. Returns `InvalidData` if the file is not of this section.
    fn open(
        &self,
        path: &Path,
        checkpoint: Epoch,
        section: &Section,
    ) -> io::Result<Arc<dyn SectionFile>> {
        let file = self.files.open(path)?;
        let mut found = [0; CHECKED_HEAD_BYTES];
        file.read_at(&mut found, 0)?;
        let expected = checked_head(section.written_by(checkpoint), section.bytes);
        if found != expected || file.bytes() != section.bytes + HEAD_BYTES as u64 {
            let why = "it has a wrong header or length";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Arc::new(Content { file }))
    }

    /// Writes a file and makes its content durable. Its name becomes durable with the next fsync of
    /// the folder.
    fn write(&self, epoch: Epoch, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.path(epoch, name);
        self.files
            .write(&path, &[&head(epoch, name, content), content])?;
        self.files.sync(&path)
    }

    /// Reads a file. Returns `InvalidData` if its content is not what was written.
    fn read(&self, epoch: Epoch, name: &str) -> io::Result<Vec<u8>> {
        content(epoch, name, self.files.read(&self.path(epoch, name))?)
    }

    fn keep(&self, kept: &BTreeSet<Epoch>) -> io::Result<()> {
        let mut files = self.list()?;
        let manifest = |name: &str| name == MANIFEST;
        // Sections without a manifest belong to a checkpoint that was never completed.
        let complete: BTreeSet<Epoch> = files
            .iter()
            .filter(|(epoch, name)| manifest(name) && kept.contains(epoch))
            .map(|(epoch, _)| *epoch)
            .collect();
        files.retain(|(epoch, name)| !complete.contains(epoch) || name == UNFINISHED);
        let (manifests, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(_, name)| manifest(name));
        for (epoch, name) in &manifests {
            self.files.remove(&self.path(*epoch, name))?;
        }
        if !manifests.is_empty() {
            self.files.sync(&self.folder)?;
        }
        for (epoch, name) in &others {
            self.files.remove(&self.path(*epoch, name))?;
        }
        Ok(())
    }
}

/// The content of a file with these bytes. Returns `InvalidData` if it is not what was written.
fn content(epoch: Epoch, name: &str, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    if bytes.len() < HEAD_BYTES {
        return Err(invalid("is truncated"));
    }
    let (begin, content) = bytes.split_at(HEAD_BYTES);
    if begin != head(epoch, name, content) {
        return Err(invalid("has a wrong header or checksum"));
    }
    bytes.drain(..HEAD_BYTES);
    Ok(bytes)
}

/// The header of a file. `manifest.new` is hashed under its final name, so the checksum stays valid
/// after the rename.
fn head(epoch: Epoch, name: &str, content: &[u8]) -> [u8; HEAD_BYTES] {
    let name = if name == UNFINISHED { MANIFEST } else { name };
    let checked = checked_head(epoch, content.len() as u64);
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&checked[8..]);
    checksum.update(name.as_bytes());
    checksum.update(content);
    let mut head = [0; HEAD_BYTES];
    head[..CHECKED_HEAD_BYTES].copy_from_slice(&checked);
    head[CHECKED_HEAD_BYTES..].copy_from_slice(&checksum.finalize().to_le_bytes());
    head
}

/// The header of a file without its checksum.
fn checked_head(epoch: Epoch, bytes: u64) -> [u8; CHECKED_HEAD_BYTES] {
    let mut head = [0; CHECKED_HEAD_BYTES];
    head[..8].copy_from_slice(MAGIC);
    head[8..16].copy_from_slice(&epoch.0.to_le_bytes());
    head[16..].copy_from_slice(&bytes.to_le_bytes());
    head
}

/// A section that is open for reading: the file without its header.
struct Content {
    file: Arc<dyn SectionFile>,
}

impl SectionFile for Content {
    fn bytes(&self) -> u64 {
        self.file.bytes().saturating_sub(HEAD_BYTES as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = offset.checked_add(HEAD_BYTES as u64);
        let offset = offset.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.read_at(buffer, offset)
    }
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> CheckpointError {
    move |source| CheckpointError::Failed {
        operation,
        source: source.into(),
    }
}
