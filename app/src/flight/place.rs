//! The folder of the flight records: `STORE_DIR/flight`. It holds a socket for each running process,
//! and the records of processes that failed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The folder in this data folder.
pub fn folder(data: &Path) -> PathBuf {
    data.join("flight")
}

/// Creates the folder. Only the user of this process may use it.
///
/// # Errors
/// The folder cannot be created.
pub fn create(data: &Path) -> io::Result<PathBuf> {
    let folder = folder(data);
    std::fs::create_dir_all(&folder)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(folder)
}

/// The time since a file was changed; a symbolic link is not followed. `None` if there is no such
/// file, or if the time is in the future.
pub fn age(path: &Path) -> Option<Duration> {
    let changed = std::fs::symlink_metadata(path).ok()?.modified().ok()?;
    changed.elapsed().ok()
}

/// The names of the files in the folder that start and end like this, in alphabetical order. Empty
/// if there is no such folder.
pub fn names(folder: &Path, start: &str, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| name.starts_with(start) && name.ends_with(end))
        .collect();
    names.sort_unstable();
    names
}
