//! Durable changes to files: after a crash at any point a file has its old content or its new one.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Replaces a file atomically and durably, and returns the open new file.
///
/// `write` fills a temporary file, which must be in the folder of `path`. The temporary file is
/// then fsynced and renamed to `path`, and the folder is fsynced. A temporary file that a crash
/// left behind is overwritten.
///
/// # Errors
///
/// The file cannot be created, written, fsynced or renamed, or the folder cannot be fsynced. Then
/// `path` has its old content or the new one.
pub fn replace_file(
    path: &Path,
    temporary: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let mut file = options.open(temporary)?;
    write(&mut file)?;
    file.sync_all()?;
    std::fs::rename(temporary, path)?;
    match path.parent() {
        Some(folder) if folder != Path::new("") => sync_folder(folder)?,
        _ => sync_folder(Path::new("."))?,
    }
    Ok(file)
}

/// Makes changes to the names in a folder durable: files created, renamed and removed.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_failed_write_leaves_the_old_content_and_the_next_one_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("a"), folder.path().join("a.new"));
        replace_file(&path, &temporary, |file| file.write_all(b"old")).unwrap();
        let failed = replace_file(&path, &temporary, |file| {
            file.write_all(b"part of the new content")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        replace_file(&path, &temporary, |file| file.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert!(!temporary.exists());
    }
}
