//! Flight records of processes that failed, in `STORE_DIR/flight`. A bounded number is kept.
//!
//! The name has the time, the service, and a hash of the error. A process that fails again with the
//! same error replaces its record: a restart loop does not remove the records of other failures.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use skytide_core::port::clock::Clock;

use super::place;
use super::recorder::FlightRecorder;
use crate::clock::SystemClock;

/// Records that are kept. The oldest is removed.
const RECORDS_MAX: usize = 3;
const START: &str = "failed-";
const END: &str = ".tar.gz";
const UNFINISHED_START: &str = ".failed-";
const UNFINISHED_END: &str = ".new";
/// Age from which an unfinished record belongs to a process that was killed while it wrote it.
const STALE_AGE_MIN: Duration = Duration::from_secs(60);

/// Writes the record of this process, which fails with this error. Returns its path; `None` if there
/// is no data folder for it.
pub fn write(recorder: &FlightRecorder, error: &str) -> io::Result<Option<PathBuf>> {
    let Some(folder) = recorder.folder() else {
        return Ok(None);
    };
    let archive = recorder.archive(Some(error));
    write_to(&folder, &recorder.process().service, error, &archive).map(Some)
}

fn write_to(folder: &Path, service: &str, error: &str, archive: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let suffix = format!("-{service}-{:08x}{END}", hash(error));
    let time = SystemClock.now().rfc3339().replace(':', "-");
    let name = format!("{START}{time}{suffix}");
    remove_stale(folder);
    // The name has no time: a restart loop on a full disk leaves one file at most.
    let unfinished = folder.join(format!("{UNFINISHED_START}{service}{UNFINISHED_END}"));
    let path = folder.join(&name);
    let written =
        write_new(&unfinished, archive).and_then(|()| std::fs::rename(&unfinished, &path));
    if let Err(why) = written {
        // It may not exist.
        let _removed = std::fs::remove_file(&unfinished);
        return Err(why);
    }
    let mut records = place::names(folder, START, END);
    records.retain(|record| {
        let is_replaced = *record != name && record.ends_with(&suffix);
        !is_replaced || std::fs::remove_file(folder.join(record)).is_err()
    });
    let surplus = records.len().saturating_sub(RECORDS_MAX);
    for record in &records[..surplus] {
        std::fs::remove_file(folder.join(record))?;
    }
    Ok(path)
}

/// Writes a new file that only this user may read. Replaces a former file of this name.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // `create_new` reports an error if it is still there.
    let _removed = std::fs::remove_file(path);
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes the unfinished records of processes that were killed while they wrote them.
fn remove_stale(folder: &Path) {
    for name in place::names(folder, UNFINISHED_START, UNFINISHED_END) {
        let path = folder.join(name);
        if place::age(&path).is_some_and(|age| age >= STALE_AGE_MIN) {
            // Another process may have removed it in the meantime.
            let _removed = std::fs::remove_file(&path);
        }
    }
}

/// A hash of an error, without the numbers in it: process numbers and times differ each time.
fn hash(error: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    let bytes = error.bytes().filter(|byte| !byte.is_ascii_digit());
    hasher.write(&bytes.collect::<Vec<u8>>());
    hasher.finish() as u32
}

/// The records of failures in this data folder, newest first.
pub fn failed_records(data: &Path) -> Vec<PathBuf> {
    let folder = place::folder(data);
    let names = place::names(&folder, START, END);
    names.iter().rev().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_newest_records_are_kept_and_a_repeated_failure_replaces_its_own() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = place::folder(data.path());
        for error in [
            "disk full",
            "log damaged at 7",
            "log damaged at 8",
            "no relay",
            "panic",
        ] {
            write_to(&folder, "up", error, error.as_bytes()).expect("written");
            // The name has the time in milliseconds, and the order of names is compared.
            let now = SystemClock.now();
            while SystemClock.now() == now {
                std::thread::yield_now();
            }
        }
        let contents: Vec<String> = failed_records(data.path())
            .iter()
            .map(|path| std::fs::read_to_string(path).expect("text"))
            .collect();
        assert_eq!(contents, ["panic", "no relay", "log damaged at 8"]);
        write_to(&folder, "up", "log damaged at 9", b"again").expect("written");
        let names = place::names(&folder, "", "");
        assert_eq!(names.len(), 3, "{names:?}");
        let newest = failed_records(data.path()).remove(0);
        assert_eq!(std::fs::read(newest).expect("a file"), b"again");
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_nothing_and_stale_ones_are_removed() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = place::folder(data.path());
        std::fs::create_dir(&folder).expect("created");
        let old = SystemTime::now() - 2 * STALE_AGE_MIN;
        let stale = folder.join(".failed-2026-11-30T00-00-00.000Z-up-1.tar.gz.new");
        let stale_file = File::create(&stale).expect("created");
        stale_file.set_modified(old).expect("set");
        let of_another = folder.join(".failed-ingest.new");
        std::fs::write(&of_another, "x").expect("written");
        // The name is too long for a file, after the unfinished one was written.
        let service = "s".repeat(230);
        write_to(&folder, &service, "disk full", b"x").expect_err("the name is too long");
        let names = place::names(&folder, "", "");
        assert_eq!(names, [".failed-ingest.new"]);
    }
}
