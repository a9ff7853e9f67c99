//! The runs of a complete checkpoint, open for reading. Records that are in them may leave memory.

use std::sync::Arc;

use skytide_state::Run;

use crate::records::state::CheckpointId;

/// The runs of a complete checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct OpenRuns {
    /// The checkpoint.
    pub id: CheckpointId,
    /// For each shard, its runs, newest first.
    pub shards: Vec<Vec<Arc<Run>>>,
    /// The number of records that a worker keeps in memory, if it can evict the others.
    pub hot_records_max: usize,
}

impl OpenRuns {
    /// A run by its name, if it is one of them.
    pub fn find(&self, shard: u16, name: &str) -> Option<Arc<Run>> {
        let runs = self.shards.get(usize::from(shard))?;
        runs.iter().find(|run| run.name() == name).cloned()
    }
}
