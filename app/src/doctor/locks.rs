//! Which process holds the lock on a file. Reading that from the kernel, instead of trying to take the
//! lock, disturbs no process that starts at the same moment.

use std::path::Path;

/// The number of the process that holds the lock on this file
/// (<https://man7.org/linux/man-pages/man5/proc_locks.5.html>); 0 if it is in another container.
/// `None`: no process holds it, or the system does not say.
#[cfg(unix)]
pub fn holder(file: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(file).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK ADVISORY WRITE 708 08:01:2359 0 EOF`
        let mut words = line.split_whitespace().skip(4);
        let (process, place) = (words.next()?, words.next()?);
        let is_it = place.rsplit(':').next()?.parse() == Ok(inode);
        is_it.then(|| process.parse().unwrap_or(0))
    })
}

/// The system does not say.
#[cfg(not(unix))]
pub fn holder(_file: &Path) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use skytide_embedded::{DataDir, Part};

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_holder_of_the_store_is_found_without_disturbing_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = DataDir::open(folder.path(), Some("relay.example")).expect("created");
        let lock = folder.path().join("store.lock");
        assert_eq!(holder(&lock), None);
        let held = dir.hold(Part::Store).expect("free");
        // A kernel without /proc/locks says nothing.
        if Path::new("/proc/locks").exists() {
            assert_eq!(holder(&lock), Some(std::process::id()));
        }
        drop(held);
        assert_eq!(holder(&lock), None);
    }
}
