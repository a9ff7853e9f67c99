//! The data folder: whose data it holds, in which format, and which processes use it.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::durable::{replace_file, sync_folder};

/// Version of the data folder's format. It rises with every change after which an older program
/// could not read the folder, or a newer program could not read an older folder.
pub const FORMAT: u32 = 1;

const ABOUT: &str = "skytide.toml";
const UNREADABLE: &str = "its skytide.toml cannot be parsed";
/// Entries that a file system or its tools create at the top of a volume.
const VOLUME_ENTRIES: [&str; 5] = [
    "lost+found",
    "aquota.user",
    "aquota.group",
    "System Volume Information",
    "$RECYCLE.BIN",
];
/// Entries that may exist before the first start: keys that were added before it, and the admin key
/// and the flight records of a process that stored its data elsewhere.
const KEY_FILES: [&str; 7] = [
    "flight",
    "admin.key",
    "admin.key.new",
    "keys.json",
    "keys.json.new",
    "keys.lock",
    "keys.used.json",
];

/// A folder with the log and the view store of one source.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// A part of the folder that one process at a time may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The right to write the log: for `ingest`, `up`, `replay`.
    LogWriter,
    /// The view store, for reading or writing: for `index`, `serve`, `schedule`, `export`, `up`,
    /// `replay`.
    Store,
}

/// The exclusive right to use a part: a locked file. Dropping it releases the lock; so does the end
/// of the process.
#[derive(Debug)]
pub struct Hold(File);

impl Drop for Hold {
    /// Unlocks explicitly: a child process that is just being started may still hold a copy of the
    /// file descriptor, and the lock would live as long as that copy.
    fn drop(&mut self) {
        // If unlocking fails, the lock is released when the process exits.
        let _ = self.0.unlock();
    }
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The folder was written by another version of the program. Use that version, or another
    /// folder.
    #[error(
        "data folder {path:?} has format {found}, this program needs format {FORMAT}: \
         use another folder (STORE_DIR; for `replay`: --data) or the program that wrote it"
    )]
    Format {
        /// Path of the folder.
        path: PathBuf,
        /// The format version of the folder.
        found: u32,
    },
    /// The folder belongs to another stream. Use another folder.
    #[error(
        "data folder {path:?} holds the data of {found:?}, not of {wanted:?}: \
         use another folder (STORE_DIR; for `replay`: --data)"
    )]
    Source {
        /// Path of the folder.
        path: PathBuf,
        /// The source whose data the folder holds.
        found: String,
        /// The source for which the folder was opened.
        wanted: String,
    },
    /// The path is not a data folder, or its description file is damaged.
    #[error("{path:?} is not a data folder of skytide: {why}")]
    Foreign {
        /// Path of the folder.
        path: PathBuf,
        /// What was found there.
        why: String,
    },
    /// Another process uses this part of the folder. Stop that process first.
    #[error("data folder is in use: {lock:?} is locked by {holder}")]
    Held {
        /// Path of the lock file.
        lock: PathBuf,
        /// `process 123`, or `another process` if its number is unknown.
        holder: String,
    },
    /// A file system operation failed.
    #[error("data folder: could not {operation} {path:?}")]
    Failed {
        /// The operation, for example `read`.
        operation: &'static str,
        /// The file or folder of the operation.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl DataDir {
    /// Opens the folder for the data of `source`: a relay's host, or `recording:` followed by the
    /// recording's identity. Creates the data folder if the path does not exist or holds no files
    /// of a user. A new volume or a home directory counts as empty: dotfiles and the file system's
    /// own entries (`lost+found`) are ignored.
    ///
    /// A folder of one relay may be opened for another relay, because the log keeps the cursor of
    /// each. With `None`, the folder is opened whatever its source is, but not created.
    ///
    /// # Errors
    /// See [`DataDirError`].
    pub fn open(path: &Path, source: Option<&str>) -> Result<Self, DataDirError> {
        let about = path.join(ABOUT);
        match std::fs::read_to_string(&about) {
            Ok(text) => check(path, &text, source)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, source)?,
            Err(error) => return Err(failed("read", &about)(error)),
        }
        Ok(Self(path.to_owned()))
    }

    /// Whether an entry of this name may be in a folder that is not a data folder yet. With any other
    /// entry, [`open`](Self::open) refuses to make it one.
    pub fn may_precede_data(name: &OsStr) -> bool {
        is_ignored(name)
    }

    /// The source whose data the folder holds.
    ///
    /// # Errors
    /// The description file cannot be read.
    pub fn source(&self) -> Result<String, DataDirError> {
        let about = self.0.join(ABOUT);
        let text = std::fs::read_to_string(&about).map_err(failed("read", &about))?;
        toml::from_str(&text)
            .map(|About { source, .. }| source)
            .map_err(|_| DataDirError::Foreign {
                path: self.0.clone(),
                why: UNREADABLE.to_owned(),
            })
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of the log.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Path of the view store.
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// Path of the checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.0.join("checkpoints")
    }

    /// Path of state that left memory.
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    /// Takes the exclusive right to use a part.
    ///
    /// # Errors
    /// `Held` if another process holds it.
    pub fn hold(&self, part: Part) -> Result<Hold, DataDirError> {
        Hold::take(&self.0.join(match part {
            Part::LogWriter => "log.lock",
            Part::Store => "store.lock",
        }))
    }
}

impl Hold {
    /// Locks this file and writes the number of this process into it.
    ///
    /// # Errors
    /// `Held` if another process holds the lock.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        let mut options = File::options();
        let opened = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path);
        let mut lock = opened.map_err(failed("open", path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut lock);
                let lock = path.to_owned();
                return Err(DataDirError::Held { lock, holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", path)(error)),
        }
        let mut write_process = || {
            lock.set_len(0)?;
            lock.rewind()?;
            write!(lock, "{}", std::process::id())
        };
        write_process().map_err(failed("write", path))?;
        Ok(Self(lock))
    }
}

/// Reads from the lock file which process holds the lock.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(32).read_to_string(&mut text) {
        Ok(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("process {text}")
        }
        _ => "another process".to_owned(),
    }
}

/// Checks the description file: its format, and that the folder holds the data of `wanted`.
fn check(path: &Path, text: &str, wanted: Option<&str>) -> Result<(), DataDirError> {
    let path = path.to_owned();
    let unreadable = |path| DataDirError::Foreign {
        path,
        why: UNREADABLE.to_owned(),
    };
    let Ok(Format { format: found }) = toml::from_str(text) else {
        return Err(unreadable(path));
    };
    if found != FORMAT {
        return Err(DataDirError::Format { path, found });
    }
    let Ok(About { source, .. }) = toml::from_str(text) else {
        return Err(unreadable(path));
    };
    match wanted {
        Some(wanted) if wanted != source && !(is_relay(wanted) && is_relay(&source)) => {
            Err(DataDirError::Source {
                path,
                found: source,
                wanted: wanted.to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// Whether the source is a relay. The other kinds are streams that cannot be exchanged for another
/// one.
fn is_relay(source: &str) -> bool {
    let fixed = ["recording:", "nats:", "demo:"];
    !fixed.iter().any(|kind| source.starts_with(kind))
}

/// Creates the data folder and its description file.
fn create(path: &Path, source: Option<&str>) -> Result<(), DataDirError> {
    let foreign = |why: String| DataDirError::Foreign {
        path: path.to_owned(),
        why,
    };
    let source = source.ok_or_else(|| foreign("it contains no data".to_owned()))?;
    make_folder(path).map_err(failed("create", path))?;
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed("list", path))? {
        entries.push(entry.map_err(failed("list", path))?.file_name());
    }
    // The order makes every start report the same entry.
    entries.sort_unstable();
    if let Some(entry) = entries.iter().find(|entry| !is_ignored(entry)) {
        return Err(foreign(format!(
            "it holds {entry:?} and no {ABOUT}; use an empty or new folder (only dotfiles and \
             lost+found are left alone)"
        )));
    }
    let about = About {
        format: FORMAT,
        source: source.to_owned(),
    };
    let about = toml::to_string(&about).expect("a number and a text are always TOML");
    let text = format!("# The data of one stream, written by skytide. Not to be edited.\n{about}");
    let unfinished = path.join(format!("{ABOUT}.new"));
    let write = |file: &mut File| file.write_all(text.as_bytes());
    let written = replace_file(&path.join(ABOUT), &unfinished, write);
    written.map(drop).map_err(failed("write", &unfinished))
}

/// Whether this entry may exist in a folder that becomes a data folder: a dotfile, an entry of the
/// file system at the top of a volume, a file with keys, flight records, or the unfinished description file of an
/// interrupted start.
fn is_ignored(entry: &OsStr) -> bool {
    let name = entry.as_encoded_bytes();
    name.starts_with(b".")
        || VOLUME_ENTRIES.iter().any(|it| it.as_bytes() == name)
        || KEY_FILES.iter().any(|it| it.as_bytes() == name)
        || entry == format!("{ABOUT}.new").as_str()
}

/// Creates a folder and its parents, and makes their names durable. An existing folder is left
/// unchanged.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if above == Path::new("") => Path::new("."),
        Some(above) => above,
        None => return Ok(()),
    };
    make_folder(above)?;
    match std::fs::create_dir(folder) {
        // Another process may have created it in the meantime.
        Err(error) if !folder.is_dir() => Err(error),
        _ => sync_folder(above),
    }
}

/// The description of a data folder, `skytide.toml`.
#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    source: String,
}

/// The format of a description, whatever else another version of the program wrote there.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn failed(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> DataDirError {
    move |source| DataDirError::Failed {
        operation,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: Option<&str> = Some("relay.example");

    #[track_caller]
    fn refused(path: &Path, source: Option<&str>) -> String {
        DataDir::open(path, source).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_of_a_relay_opens_for_another_relay_but_for_no_other_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/data");
        DataDir::open(&path, RELAY).unwrap();
        assert_eq!(
            DataDir::open(&path, None).unwrap().source().unwrap(),
            "relay.example"
        );
        DataDir::open(&path, RELAY).unwrap();
        DataDir::open(&path, Some("another-relay.example:8080")).unwrap();
        for other in ["nats:skytide", "demo:simnet"] {
            assert!(refused(&path, Some(other)).contains(other));
        }
        let error = refused(&path, Some("recording:1f"));
        assert!(
            error.contains("relay.example") && error.contains("recording:1f"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_of_another_format_or_with_foreign_files_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        DataDir::open(folder.path(), RELAY).unwrap();
        let about = folder.path().join(ABOUT);
        std::fs::write(&about, "format = 9\nsource = \"relay.example\"\n").unwrap();
        assert!(refused(folder.path(), RELAY).contains("has format 9"));
        std::fs::write(&about, "nonsense").unwrap();
        assert!(refused(folder.path(), RELAY).contains("cannot be parsed"));
        std::fs::rename(&about, folder.path().join("diary.txt")).unwrap();
        assert!(refused(folder.path(), RELAY).contains("it holds \"diary.txt\" and no"));
    }

    #[test]
    fn a_new_volume_or_a_home_directory_becomes_a_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for name in ["lost+found", "System Volume Information", ".snapshot"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        for name in [".bashrc", ".profile", "aquota.user"] {
            std::fs::write(path.join(name), "theirs").unwrap();
        }
        DataDir::open(path, RELAY).unwrap();
        assert_eq!(
            std::fs::read_to_string(path.join(".bashrc")).unwrap(),
            "theirs"
        );
        DataDir::open(path, RELAY).unwrap();
    }

    #[test]
    fn a_folder_with_other_entries_is_refused_and_the_entry_named() {
        let names = [
            "lost",
            "lost+found2",
            "bashrc",
            "log",
            "skytide.toml.old",
            "recording.frames",
        ];
        for name in names {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join(".bashrc"), "theirs").unwrap();
            std::fs::write(folder.path().join(name), "theirs").unwrap();
            let error = refused(folder.path(), RELAY);
            assert!(error.contains(&format!("it holds {name:?}")), "{error}");
            assert!(!folder.path().join(ABOUT).exists());
        }
    }

    #[test]
    fn an_interrupted_creation_is_completed_by_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("skytide.toml.new"), "form").unwrap();
        DataDir::open(folder.path(), RELAY).unwrap();
        DataDir::open(folder.path(), RELAY).unwrap();
    }

    #[test]
    fn a_part_has_one_holder_at_a_time_and_the_error_names_file_and_process() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path(), RELAY).unwrap();
        let log = data.hold(Part::LogWriter).unwrap();
        let _store = data.hold(Part::Store).unwrap();
        let error = data.hold(Part::LogWriter).unwrap_err().to_string();
        let process = format!("process {}", std::process::id());
        assert!(
            error.contains("log.lock") && error.contains(&process),
            "{error}"
        );
        drop(log);
        data.hold(Part::LogWriter).unwrap();
    }
}
