//! How accounts are divided among workers, and among the shards of a checkpoint.

use skytide_core::id::Did;

/// Partitions of accounts, which are assigned to workers.
const PARTITIONS: u16 = 1024;

/// Shards into which checkpoints divide accounts. The shard is a stable hash of the DID and does
/// not depend on the number of workers.
pub(crate) const SHARDS: u16 = 64;

/// The worker that an account belongs to. A shard belongs to one worker if the number of workers
/// divides 64.
pub(crate) fn worker_of(did: &Did, workers: usize) -> usize {
    usize::from(did.partition(PARTITIONS)) % workers
}

const _: () = assert!(SHARDS <= 256, "a repo stores its shard in a byte");
