//! Snapshots in a folder: one file for each snapshot, named by its network time.
//!
//! `data/snapshots/00001783175888123.snapshot`: the network time in milliseconds, 17 digits, so
//! that names sort by time. The content is one byte for the format followed by postcard, compressed
//! with zstd and a checksum. A file is written under a temporary name, synced, and renamed into
//! place.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use skytide_core::port::BoxError;
use skytide_core::port::snapshot::{Snapshot, SnapshotError, SnapshotStore};
use skytide_core::time::Timestamp;

use super::durable::replace_file;

/// The extension of a snapshot's file.
const EXTENSION: &str = ".snapshot";
/// Version of the format: the first byte.
const FORMAT: u8 = 2;
/// Level of compression. It is high because lists are mostly text and only one snapshot an hour is
/// written.
const LEVEL: i32 = 9;
/// The maximum size of a decompressed snapshot in bytes: far above what the lists can hold.
const BYTES_MAX: usize = 1 << 30;

/// A [`SnapshotStore`] in a folder.
#[derive(Clone, Debug)]
pub struct SnapshotDir(PathBuf);

impl SnapshotDir {
    /// Opens the folder and creates it if it does not exist.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(folder: &Path) -> Result<Self, SnapshotError> {
        fs::create_dir_all(folder).map_err(failed("create its folder"))?;
        Ok(Self(folder.to_owned()))
    }

    fn path(&self, time: Timestamp) -> PathBuf {
        self.0.join(format!("{:017}{EXTENSION}", time.0))
    }

    fn list(&self) -> Result<Vec<Timestamp>, SnapshotError> {
        let time = |entry: io::Result<fs::DirEntry>| -> io::Result<Option<Timestamp>> {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(EXTENSION));
            Ok(digits.and_then(|it| it.parse().ok()).map(Timestamp))
        };
        let entries = fs::read_dir(&self.0).map_err(failed("list its folder"))?;
        let times = entries.filter_map(|entry| time(entry).transpose());
        let times: io::Result<Vec<_>> = times.collect();
        let mut times = times.map_err(failed("list its folder"))?;
        times.sort_unstable();
        Ok(times)
    }

    fn write(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let bytes = postcard::to_extend(snapshot, vec![FORMAT]).map_err(failed("encode"))?;
        let path = self.path(snapshot.time);
        let temporary = path.with_extension("partial");
        let written = replace_file(&path, &temporary, |file| {
            let mut packer = zstd::Encoder::new(file, LEVEL)?;
            packer.include_checksum(true)?;
            packer.write_all(&bytes)?;
            packer.finish().map(drop)
        });
        written.map(drop).map_err(failed("write"))
    }

    fn read(&self, time: Timestamp) -> Result<Snapshot, SnapshotError> {
        let packed = fs::read(self.path(time)).map_err(failed("read"))?;
        let mut bytes = Vec::new();
        zstd::Decoder::new(packed.as_slice())
            .and_then(|unpacker| {
                io::Read::read_to_end(&mut io::Read::take(unpacker, BYTES_MAX as u64), &mut bytes)
            })
            .map_err(|_| SnapshotError::Damaged(time))?;
        let snapshot = match bytes.as_slice() {
            [FORMAT, snapshot @ ..] => postcard::from_bytes(snapshot).ok(),
            _ => None,
        };
        snapshot.ok_or(SnapshotError::Damaged(time))
    }

    /// Runs file operations on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<T, SnapshotError> {
        let folder = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.map_err(failed("wait for the blocking thread"))?
    }
}

#[async_trait]
impl SnapshotStore for SnapshotDir {
    async fn put(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let snapshot = snapshot.clone();
        self.blocking(move |folder| folder.write(&snapshot)).await
    }

    async fn at(&self, time: Timestamp) -> Result<Option<Snapshot>, SnapshotError> {
        self.blocking(move |folder| {
            let times = folder.list()?;
            let newest = times.into_iter().rev().find(|stored| *stored <= time);
            newest.map(|newest| folder.read(newest)).transpose()
        })
        .await
    }

    async fn times(&self) -> Result<Vec<Timestamp>, SnapshotError> {
        self.blocking(Self::list).await
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, SnapshotError> {
        self.blocking(move |folder| {
            let mut times = folder.list()?;
            times.retain(|stored| *stored < time);
            times.truncate(limit);
            for stored in &times {
                fs::remove_file(folder.path(*stored)).map_err(failed("remove"))?;
            }
            Ok(times.len())
        })
        .await
    }
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> SnapshotError {
    move |source| SnapshotError::Failed {
        operation,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_a_damaged_snapshot_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = SnapshotDir::open(folder.path()).expect("opens");
        let snapshot = Snapshot {
            time: Timestamp(7),
            ..Snapshot::default()
        };
        store.put(&snapshot).await.expect("stored");
        let path = store.path(Timestamp(7));
        let mut bytes = fs::read(&path).expect("its bytes");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("damaged");
        let found = store.at(Timestamp(7)).await;
        assert!(
            matches!(found, Err(SnapshotError::Damaged(Timestamp(7)))),
            "{found:?}"
        );
    }
}
