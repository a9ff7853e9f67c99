//! What the store may use.

/// How much memory and disk the store may use beyond its rows.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Bytes of blocks kept in memory for reading, all views together.
    pub cache_bytes: u64,
    /// Bytes of new rows of one view kept in memory before they are written to a sorted file.
    pub memtable_bytes: u64,
    /// Bytes of the journal, 64 MiB or more. It bounds the new rows of all views in memory (about twice as much),
    /// and the time that opening takes.
    pub journal_bytes: u64,
    /// Threads that write and merge sorted files.
    pub threads: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            memtable_bytes: 16 << 20,
            journal_bytes: 64 << 20,
            threads: 2,
        }
    }
}
