//! Limits on the memory and disk that the store uses.

/// How much memory and disk the store may use in addition to its rows.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// Size of the block cache for reads in bytes, shared by all views.
    pub cache_bytes: u64,
    /// Size of a view's memtable in bytes: new rows stay in memory up to this size, then they are
    /// flushed to a table on disk (SSTable).
    pub memtable_bytes: u64,
    /// Size of the journal in bytes, at least 64 MiB. It limits the new rows of all views in memory
    /// (to about twice this size), and the time that opening takes.
    pub journal_bytes: u64,
    /// Number of threads that flush memtables and compact tables.
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
