//! Port: files for state that leaves memory while a process runs.
//!
//! The files are a cache of state that can be computed again. They survive no restart, and nothing
//! is flushed to the disk. Calls block the thread. Readers verify all bytes themselves.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// Creates files.
pub trait SpillFiles: Send + Sync + Debug {
    /// Creates an empty file. Its name starts with `name` and differs from those of all other
    /// files.
    ///
    /// # Errors
    /// The error of the system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn SpillFile>>;
}

/// A file. It is removed when the value is dropped.
pub trait SpillFile: Send + Sync + Debug {
    /// The name, for messages.
    fn name(&self) -> &str;

    /// Writes all bytes at an offset. After an error, the bytes from the offset on are undefined.
    ///
    /// # Errors
    /// The error of the system, for example `StorageFull`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Fills a buffer from an offset.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; else the error of the system.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}
