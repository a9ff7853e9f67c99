//! The sections of one shard of accounts in a checkpoint, as bytes.

use std::sync::Arc;

use crate::sizes::HeapSize;

/// The sections of one shard in a checkpoint. `records::saved` describes their formats.
#[derive(Clone, Debug, Default)]
pub struct SavedShard {
    /// For each worker, its section: with the accounts in a checkpoint of format 1, without them in
    /// one of format 2.
    pub sections: Vec<Arc<Vec<u8>>>,
    /// The runs with the accounts, newest first, by name. Empty in a checkpoint of format 1.
    pub runs: Vec<(Box<str>, Arc<Vec<u8>>)>,
}

impl HeapSize for SavedShard {
    fn heap_bytes(&self) -> usize {
        let runs = self.runs.iter().map(|(_, bytes)| bytes);
        let all = self.sections.iter().chain(runs);
        all.map(|bytes| bytes.capacity()).sum()
    }
}
