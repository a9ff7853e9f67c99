//! Flight records of processes that failed, in `STORE_DIR/flight`. A bounded number is kept.
//!
//! The name has the time, the service, and a hash of the error. A process that fails again with the
//! same error replaces its record: a restart loop does not remove the records of other failures.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use skytide_core::port::clock::Clock;

use super::place;
use super::recorder::FlightRecorder;
use crate::clock::SystemClock;

/// Records that are kept. The oldest is removed.
const RECORDS_MAX: usize = 3;
const START: &str = "failed-";
const END: &str = ".tar.gz";

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
    let unfinished = folder.join(format!(".{name}.new"));
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(archive)?;
    file.sync_all()?;
    let path = folder.join(&name);
    std::fs::rename(&unfinished, &path)?;
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
}
