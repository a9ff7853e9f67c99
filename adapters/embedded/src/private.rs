//! Files with secrets: only their owner may read them. They are in a folder that another user may
//! own, while root writes (`sudo skytide keys add`). So no name in the folder is trusted: a file is
//! created only where there is none, written through the handle that created it, and a symbolic link
//! is not followed.
//!
//! ```text
//! replace_private  NAME.new ─ write, fsync ─▶ rename to NAME       replaces; one writer at a time
//! publish_private  NAME.PID-N.new ─ write ──▶ hard link to NAME    only if NAME does not exist
//! open_private     NAME                                            for a lock
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::durable::sync_folder;

/// Attempts to find a name that no file has.
const NAMES_MAX: u32 = 100;

/// Replaces a file atomically and durably. The new file is written at `path` with `.new` appended; a
/// file that a crash left there is removed. Only one process may replace `path` at a time: of
/// several, all but one may fail.
///
/// # Errors
/// The file cannot be created, written, fsynced or renamed, or the folder cannot be fsynced. Then
/// `path` has its old content or the new one.
pub(crate) fn replace_private(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let aside = with_suffix(path, ".new");
    remove(&aside)?;
    fill(create_private(&aside)?, write)?;
    fs::rename(&aside, path)?;
    sync_folder(folder_of(path))
}

/// Creates a file with this content if there is none, atomically and durably. Returns whether it was
/// created: of several processes that try at once, one creates it.
///
/// # Errors
/// The file cannot be created, written or fsynced, or the folder cannot be fsynced.
pub(crate) fn publish_private(
    path: &Path,
    write: impl Fn(&mut File) -> io::Result<()>,
) -> io::Result<bool> {
    let (aside, file) = create_aside(path)?;
    let published = fill(file, &write).map(|()| fs::hard_link(&aside, path));
    remove(&aside)?;
    let created = match published? {
        Ok(()) => Ok(()),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Err(why),
        // Some file systems have no hard links. There a reader may see the file before it is
        // complete.
        Err(_) => create_private(path).and_then(|file| {
            let filled = fill(file, write);
            filled.inspect_err(|_| drop(fs::remove_file(path)))
        }),
    };
    match created {
        Ok(()) => sync_folder(folder_of(path)).map(|()| true),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(why) => Err(why),
    }
}

/// Opens a file for writing; creates it if there is none.
///
/// # Errors
/// The file cannot be opened, or it is a symbolic link or another thing than a file.
pub(crate) fn open_private(path: &Path) -> io::Result<File> {
    match create_private(path) {
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    // The standard library sets O_CLOEXEC. Without O_NONBLOCK, a named pipe could block.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NOFOLLOW | libc::O_NONBLOCK,
    );
    regular(options.open(path)?)
}

/// Reads a regular file; `None` if there is none.
///
/// # Errors
/// The file cannot be read, is no regular file, or has more than `bytes_max` bytes.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = match options.open(path) {
        Ok(file) => regular(file)?,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why),
    };
    let mut content = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut content)?;
    match content.len() as u64 > bytes_max {
        true => Err(io::Error::other(format!(
            "the file has more than {bytes_max} bytes"
        ))),
        false => Ok(Some(content)),
    }
}

/// Creates a file where there is none. If root creates it in the folder of another user, it belongs
/// to that user, whose service has to read it.
fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Fails if the name exists, also as a symbolic link
    // (<https://man7.org/linux/man-pages/man2/open.2.html>, O_EXCL).
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let (owner, ours) = (fs::metadata(folder_of(path))?, file.metadata()?);
        if ours.uid() == 0 && owner.uid() != 0 && ours.is_file() && ours.nlink() == 1 {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(file)
}

/// Creates a file in the folder of `path` under a name that no file has.
fn create_aside(path: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let process = std::process::id();
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..NAMES_MAX {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let aside = with_suffix(path, &format!(".{process}-{number}.new"));
        match create_private(&aside) {
            Ok(file) => return Ok((aside, file)),
            // In a container every process may have the same id.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => last = why,
            Err(why) => return Err(why),
        }
    }
    Err(last)
}

fn fill(mut file: File, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    write(&mut file)?;
    file.sync_all()
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn of_many_that_publish_a_file_at_once_one_creates_it_and_nothing_else_remains() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let publish = |number: u32| {
            let write = move |file: &mut File| writeln!(file, "{number}");
            publish_private(&path, write).expect("published")
        };
        let created: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| scope.spawn(move || publish(number).then_some(number)))
                .collect();
            let ended = threads.into_iter().map(|it| it.join().expect("no panic"));
            ended.flatten().collect()
        });
        assert_eq!(created.len(), 1);
        let content = fs::read_to_string(&path).expect("a file");
        assert_eq!(content, format!("{}\n", created[0]));
        let names = fs::read_dir(folder.path()).expect("a folder");
        assert_eq!(names.count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_neither_followed_nor_written_through() {
        let folder = tempfile::tempdir().expect("a folder");
        let (secret, path) = (folder.path().join("secret"), folder.path().join("a"));
        fs::write(&secret, "old").expect("written");
        let link = |name: &Path| std::os::unix::fs::symlink(&secret, name).expect("a link");
        link(&path);
        assert!(open_private(&path).is_err());
        let write = |file: &mut File| file.write_all(b"new");
        assert!(!publish_private(&path, write).expect("kept"));
        link(&with_suffix(&path, ".new"));
        replace_private(&path, write).expect("replaced");
        assert_eq!(fs::read(&path).expect("a file"), b"new");
        assert_eq!(fs::read(&secret).expect("a file"), b"old");
        let metadata = fs::symlink_metadata(&path).expect("a file");
        assert!(metadata.is_file());
    }

    #[test]
    fn only_a_regular_file_of_bounded_length_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        assert_eq!(read_bounded(&path, 3).expect("no file"), None);
        fs::write(&path, "abc").expect("written");
        assert_eq!(read_bounded(&path, 3).expect("read"), Some(b"abc".to_vec()));
        assert!(read_bounded(&path, 2).is_err());
        assert!(read_bounded(folder.path(), 3).is_err());
    }
}
