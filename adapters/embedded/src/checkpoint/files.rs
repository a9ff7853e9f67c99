//! The file operations that checkpoints use, behind a trait. Tests make each operation fail in
//! turn.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use skytide_core::port::checkpoint::SectionFile;

/// Files in folders. A write is durable after a `sync` of the file; a new, renamed or removed name
/// is durable after a `sync` of its folder.
pub trait Files: Send + Sync {
    /// Creates a file that consists of these parts in order. An existing file of this name is
    /// replaced; under its other names it stays as it is.
    ///
    /// # Errors
    /// The disk is full or fails. The file may then exist in part.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()>;

    /// Calls fsync on a file or folder: when it returns, the file's content or the folder's names
    /// are durable.
    ///
    /// # Errors
    /// The disk fails. The content or the names may not be durable.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Renames a file atomically. An existing file named `to` is replaced.
    ///
    /// # Errors
    /// The file still has its old name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which must not exist.
    ///
    /// # Errors
    /// `NotFound` if the file does not exist; another error if the file system has no links or
    /// allows no more of them.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Copies a file to a new name.
    ///
    /// # Errors
    /// The disk is full or fails. The copy may then exist in part.
    fn copy(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Opens a file for reading at any offset.
    ///
    /// # Errors
    /// `NotFound` if the file does not exist; another error if it cannot be opened.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn SectionFile>>;

    /// The names in a folder, in no particular order.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Reads the whole content of a file.
    ///
    /// # Errors
    /// `NotFound` if the file does not exist; another error if it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound` if the file does not exist; another error if its length cannot be determined.
    fn bytes(&self, path: &Path) -> io::Result<u64>;

    /// Removes a file. Succeeds if the file does not exist.
    ///
    /// # Errors
    /// The file still exists.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Files on this machine's disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        // Truncating the file would also change the checkpoints that share it.
        self.remove(path)?;
        let mut file = File::create_new(path)?;
        parts.iter().try_for_each(|part| file.write_all(part))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::copy(from, to).map(drop)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SectionFile>> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Arc::new(OpenFile::new(file, bytes)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// A file that is read at any offset. Where the system has no such call, readers take turns.
struct OpenFile {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
    bytes: u64,
}

#[cfg(unix)]
impl OpenFile {
    fn new(file: File, bytes: u64) -> Self {
        Self { file, bytes }
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }
}

#[cfg(not(unix))]
impl OpenFile {
    fn new(file: File, bytes: u64) -> Self {
        let file = std::sync::Mutex::new(file);
        Self { file, bytes }
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read as _, Seek as _};
        let file = self.file.lock();
        let mut file = file.unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }
}

impl SectionFile for OpenFile {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.fill(buffer, offset)
    }
}
