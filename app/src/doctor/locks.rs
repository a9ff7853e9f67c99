//! Which process holds the lock on a file. Reading that from the kernel, instead of trying to take the
//! lock, disturbs no process that starts at the same moment.

use std::path::Path;

/// The number of the process that holds the lock on this file
/// (<https://man7.org/linux/man-pages/man5/proc_locks.5.html>); 0 if it is in another container.
/// `None`: no process holds it, or the system does not say.
#[cfg(unix)]
pub fn holder(file: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(file).ok()?;
    let (device, inode) = (about.dev(), about.ino());
    let device = format!(
        "{:02x}:{:02x}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    // On btrfs and overlayfs a file has another device than its file system, which the locks name.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = file.canonicalize().ok();
    let mounted = mounted.and_then(|file| mounted_device(&mounts, &file));
    let devices: Vec<String> = [device].into_iter().chain(mounted).collect();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK ADVISORY WRITE 708 08:01:2359 0 EOF`
        let mut words = line.split_whitespace().skip(4);
        let (process, place) = (words.next()?, words.next()?);
        let (device, number) = place.rsplit_once(':')?;
        let is_it = number.parse() == Ok(inode) && devices.iter().any(|it| it == device);
        is_it.then(|| process.parse().unwrap_or(0))
    })
}

/// The device of the file system that is mounted at or above this path, in hexadecimal digits
/// (<https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>).
#[cfg(unix)]
fn mounted_device(mounts: &str, file: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        // `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`
        let mut words = line.split_whitespace().skip(2);
        let (device, folder) = (words.next()?, words.nth(1)?);
        file.starts_with(folder).then_some((folder.len(), device))
    });
    // Of several mounts at one folder the last one is seen.
    let (_, device) = mounts.max_by_key(|(length, _)| *length)?;
    let (major, minor) = device.split_once(':')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(format!("{major:02x}:{minor:02x}"))
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

    #[cfg(unix)]
    #[test]
    fn the_device_of_the_nearest_mount_is_taken() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                      2 1 0:300 / /data rw - overlay b rw\n\
                      3 1 8:17 / /data2 rw - ext4 /dev/c rw\n";
        let of = |file| mounted_device(mounts, Path::new(file));
        assert_eq!(of("/data/store.lock").as_deref(), Some("00:12c"));
        assert_eq!(of("/data2/store.lock").as_deref(), Some("08:11"));
        assert_eq!(of("/other").as_deref(), Some("08:01"));
    }

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
