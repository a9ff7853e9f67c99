//! The few things that are done with files, so that tests can let each of them fail.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Files in folders. A write or a change of names is durable only after a `sync` of the file, or of the folder.
pub trait Files: Send + Sync {
    /// Makes a file of these parts, one behind the other; one of the same name is replaced.
    ///
    /// # Errors
    /// The disk is full or fails; then the file may be there in part.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()>;

    /// Waits until a file's content, or a folder's names, are durable.
    ///
    /// # Errors
    /// They may not be.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name in one step; a file of that name is replaced.
    ///
    /// # Errors
    /// It has its old name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// A file's whole content.
    ///
    /// # Errors
    /// `NotFound`, or it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Bytes of a file.
    ///
    /// # Errors
    /// `NotFound`, or it cannot be known.
    fn bytes(&self, path: &Path) -> io::Result<u64>;

    /// Removes a file; one that is not there is fine.
    ///
    /// # Errors
    /// It is still there.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The files of this machine.
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
