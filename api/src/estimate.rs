//! Estimates the size of tables whose entries are not measured one by one.

/// Estimated bytes that a cache needs for an entry beside its key and value: a node of a list and of
/// a hash table, with the time of its last use
/// (<https://docs.rs/moka/latest/moka/sync/struct.Cache.html>).
const CACHE_ENTRY_BYTES: u64 = 150;

/// The size of a cache whose entries have keys and values of about `entry_bytes` bytes.
pub(crate) fn estimated(entries: u64, entry_bytes: usize) -> (u64, u64) {
    (entries, entries * (CACHE_ENTRY_BYTES + entry_bytes as u64))
}
