//! The file operations that checkpoints use, behind a trait. Tests make each operation fail in
//! turn.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Files in folders. A write is durable after a `sync` of the file; a new, renamed or removed name
/// is durable after a `sync` of its folder.
pub trait Files: Send + Sync {
    /// Creates a file that consists of these parts in order. An existing file of this name is
    /// replaced.
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
        let mut file = File::create(path)?;
        parts.iter().try_for_each(|part| file.write_all(part))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
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
