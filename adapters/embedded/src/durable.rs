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

/// Like [`replace_file`], for a file that only its owner may read. The new file is written at
/// `path` with `.new` appended.
///
/// # Errors
/// See [`replace_file`].
pub(crate) fn replace_private_file(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    // A file that a crash left there may have other permissions.
    match std::fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => drop(open_private(aside)?),
    }
    replace_file(path, aside, write).map(drop)
}

/// Opens a file for writing; creates it such that only its owner may read it. If root creates it in
/// the folder of another user, it belongs to that user, whose service has to read it.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        use std::os::unix::fs::{MetadataExt, fchown};
        let folder = match folder == Path::new("") {
            true => Path::new("."),
            false => folder,
        };
        let (owner, ours) = (std::fs::metadata(folder)?, file.metadata()?);
        if ours.uid() == 0 && owner.uid() != 0 {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
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
