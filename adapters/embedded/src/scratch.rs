//! Files of state that left memory, in a folder.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skytide_core::port::scratch::{SpillFile, SpillFiles};

/// A folder for state that left memory. A start empties it: the files of an earlier process are
/// useless, because checkpoints and the log restore the state. Clones share the folder.
#[derive(Clone, Debug)]
pub struct ScratchFolder(Arc<Folder>);

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    created: AtomicU64,
}

impl ScratchFolder {
    /// Opens the folder, or creates it, and removes all files in it. If another process still uses
    /// files of the folder, it can read and write them until it closes them.
    ///
    /// # Errors
    /// The folder cannot be created or emptied.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                removed(std::fs::remove_file(entry.path()))?;
            }
        }
        Ok(Self(Arc::new(Folder {
            path: path.to_owned(),
            created: AtomicU64::new(0),
        })))
    }
}

/// Whether a file was removed, by this process or another one.
fn removed(removal: io::Result<()>) -> io::Result<()> {
    match removal {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl SpillFiles for ScratchFolder {
    fn create(&self, name: &str) -> io::Result<Arc<dyn SpillFile>> {
        let Folder { path, created } = &*self.0;
        loop {
            let number = created.fetch_add(1, Ordering::Relaxed);
            let path = path.join(format!("{name}-{number}"));
            let mut options = OpenOptions::new();
            let opened = options.read(true).write(true).create_new(true).open(&path);
            match opened {
                Ok(file) => {
                    let name = path.display().to_string();
                    return Ok(Arc::new(ScratchFile { file, path, name }));
                }
                // Another process created a file of this name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[derive(Debug)]
struct ScratchFile {
    file: File,
    path: PathBuf,
    name: String,
}

impl SpillFile for ScratchFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // The next start removes a file that cannot be removed now.
        if let Err(error) = removed(std::fs::remove_file(&self.path)) {
            tracing::warn!(file = self.name, %error, "cannot remove a file of spilled state");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lives_as_long_as_its_value_and_a_start_removes_those_that_are_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("scratch");
        let names = || -> Vec<String> {
            let entries = std::fs::read_dir(&path).expect("the folder exists");
            let names = entries.map(|it| it.expect("an entry").file_name());
            names.map(|it| it.to_string_lossy().into()).collect()
        };
        let scratch = ScratchFolder::open(&path).expect("a folder");
        let first = scratch.create("days").expect("a file");
        let second = scratch.create("days").expect("a file");
        assert_ne!(first.name(), second.name());
        first.write_at(b"world", 6).expect("there is room");
        first.write_at(b"hello ", 0).expect("there is room");
        let mut found = [0; 11];
        first.read_at(&mut found, 0).expect("11 bytes");
        assert_eq!(&found, b"hello world");
        let end = first.read_at(&mut found, 1).expect_err("10 bytes");
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        drop(second);
        assert_eq!(names(), ["days-0"]);

        let next = ScratchFolder::open(&path).expect("a folder");
        assert!(names().is_empty());
        let other = next.create("days").expect("a file");
        assert_eq!(names(), ["days-0"]);
        // The earlier process can still read its file.
        first.read_at(&mut found, 0).expect("11 bytes");
        let error = other.read_at(&mut found, 0).expect_err("an empty file");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let third = scratch.create("days").expect("a name that is free");
        assert_eq!(names().len(), 2);
        drop((first, other, third));
        assert!(names().is_empty());
    }
}
