//! Records that are only on disk, in the runs of a complete checkpoint.
//!
//! ```text
//! look-up ─▶ table of the account ─ absent ─▶ filters of the runs ─ maybe ─▶ one block
//!                  ▲                                                            │
//!                  └──────────── a record that changes is loaded ◀──────────────┘
//! ```
//!
//! Only records that are as in a complete checkpoint are evicted. What is in memory overrides what is
//! in runs, also a record that was removed. So where a record is changes no fact.

use std::error::Error;
use std::sync::Arc;

use skytide_core::id::{Did, Rkey};
use skytide_state::Run;

use super::{CheckpointId, LiveRecords};
use crate::records::open_runs::OpenRuns;
use crate::records::saved::{ColdError, cold_record, cold_records};
use crate::records::table::{Found, LiveRecord, RecordTable};
use crate::sizes::{Size, vec_bytes};

/// The runs in which a worker finds the evicted records of a shard.
#[derive(Clone, Debug, Default)]
pub(super) struct ColdShard {
    /// Newest first.
    runs: Vec<Arc<Run>>,
    /// The checkpoint of these runs; `None` while nothing is evicted.
    id: Option<CheckpointId>,
    /// Accounts that may have records in memory that are also in runs, the oldest first.
    evictable: Vec<u32>,
}

/// Evicted records of a worker.
#[derive(Debug, Default)]
pub(super) struct Cold {
    /// The newest runs that were opened.
    open: Option<Arc<OpenRuns>>,
    /// Whether further records may be evicted into these runs.
    evicts: bool,
    shards: Vec<ColdShard>,
    /// The shard of which records are evicted next for memory.
    next_shard: usize,
    /// Records that are only on disk.
    pub records: u64,
    /// The look-ups of the newest time.
    pub counts: LookUps,
    /// The look-ups of the current time.
    current: LookUps,
}

/// Look-ups of records in runs.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::records) struct LookUps {
    /// All of them.
    pub look_ups: u64,
    /// Blocks that they read.
    pub reads: u64,
    /// Those that found a record.
    pub found: u64,
}

impl Cold {
    pub fn new(shards: usize) -> Self {
        Self {
            shards: vec![ColdShard::default(); shards],
            ..Self::default()
        }
    }

    /// Ends the current time.
    pub fn end_of_time(&mut self) {
        self.counts = std::mem::take(&mut self.current);
    }

    /// The size of the indexes and filters, and of the lists of accounts.
    pub fn size(&self) -> Size {
        let shards = self.shards.iter();
        let lists: usize = shards.clone().map(|it| vec_bytes(&it.evictable)).sum();
        let runs = shards.flat_map(|shard| &shard.runs);
        Size {
            entries: runs.clone().count(),
            bytes: lists + runs.map(|run| run.memory_bytes()).sum::<usize>(),
        }
    }
}

/// Damaged state of this program stops it: counts would be wrong from then on.
fn intact<T>(read: Result<T, ColdError>) -> T {
    read.unwrap_or_else(|error| {
        let causes = std::iter::successors(error.source(), |&it| it.source());
        let causes: String = causes.map(|it| format!(": {it}")).collect();
        panic!("cannot read live records from a checkpoint: {error}{causes}")
    })
}

impl LiveRecords {
    /// Uses these runs for the records of shards whose cut they contain. With `None`, further records
    /// stay in memory: the runs of the newest checkpoint are damaged, or there is no checkpoint.
    pub(crate) fn set_open_runs(&mut self, open: Option<Arc<OpenRuns>>) {
        self.cold.evicts = open.is_some();
        if open.is_some() {
            self.cold.open = open;
        }
    }

    /// The number of records that are only on disk.
    #[cfg(test)]
    pub(in crate::records) fn cold_records(&self) -> u64 {
        self.cold.records
    }

    fn cold_shard(&mut self, account: u32) -> &mut ColdShard {
        let shard = usize::from(self.repo_of(account).shard);
        &mut self.cold.shards[shard]
    }

    /// Records that an account was restored from the checkpoint whose runs are open.
    pub(in crate::records) fn restored_from_runs(&mut self, account: u32) {
        let shard = usize::from(self.repo_of(account).shard);
        // Attempt 0 is the restored checkpoint.
        let Some(open) = self.cold.open.clone().filter(|open| open.id.1 == 0) else {
            return;
        };
        let cold = &mut self.cold.shards[shard];
        if cold.id != Some(open.id) {
            cold.runs = open.shards[shard].clone();
            cold.id = Some(open.id);
        }
        self.add_evictable(shard, &[account]);
        self.evict(shard);
    }

    /// Whether evicted records of a shard can still be found when a checkpoint takes the place of the
    /// previous one: either its runs are open, or nothing is evicted.
    pub(super) fn can_complete(&self, shard: usize, id: CheckpointId) -> bool {
        let is_open = self.cold.open.as_ref().is_some_and(|open| open.id == id);
        is_open || !self.has_cold(shard)
    }

    /// Whether records of a shard may be only on disk.
    pub(super) fn has_cold(&self, shard: usize) -> bool {
        self.cold.shards[shard].id.is_some()
    }

    /// Records that a checkpoint is complete, so that what its cut of a shard wrote is on disk.
    pub(super) fn completed(&mut self, shard: usize, id: CheckpointId, accounts: &[u32]) {
        let Some(open) = self.cold.open.clone().filter(|open| open.id == id) else {
            return;
        };
        let cold = &mut self.cold.shards[shard];
        cold.runs = open.shards[shard].clone();
        cold.id = Some(id);
        self.add_evictable(shard, accounts);
        self.evict(shard);
    }

    /// Evicts records of the newest checkpoint whose runs are open until about this many bytes are
    /// released, or none can be evicted. Returns the number of released bytes. Records are evicted by
    /// whole accounts, which takes about 0.2 ms per 1,000 records.
    pub(super) fn evict_bytes(&mut self, bytes_wanted: u64) -> u64 {
        if !self.cold.evicts {
            return 0;
        }
        let shards = self.cold.shards.len();
        let before = self.evictable_bytes();
        let mut released = 0;
        for _ in 0..shards {
            let shard = self.cold.next_shard % shards;
            self.complete_cut(shard);
            let mut evictable = std::mem::take(&mut self.cold.shards[shard].evictable);
            let mut visited = 0;
            while released < bytes_wanted && visited < evictable.len() {
                self.evict_account(evictable[visited]);
                visited += 1;
                released = before.saturating_sub(self.evictable_bytes());
            }
            evictable.drain(..visited);
            self.cold.shards[shard].evictable = evictable;
            if released >= bytes_wanted {
                break;
            }
            self.cold.next_shard = (shard + 1) % shards;
        }
        released
    }

    /// Bytes of the records in memory.
    fn evictable_bytes(&self) -> u64 {
        (self.sizes.repos.table.bytes + self.sizes.contents.bytes) as u64
    }

    /// If the last cut of a shard belongs to the checkpoint whose runs are open, its records can be
    /// evicted now, and not only when the next cut is made.
    fn complete_cut(&mut self, shard: usize) {
        let open = self.cold.open.as_ref().map(|open| open.id);
        let changes = &mut self.changes[shard];
        if let Some(id) = changes.complete(open) {
            let accounts = changes.take_cut();
            self.take_removed(&accounts, RecordTable::mark_complete);
            self.completed(shard, id, &accounts);
        }
    }

    fn add_evictable(&mut self, shard: usize, accounts: &[u32]) {
        for &account in accounts {
            let repo = self.repos[account as usize]
                .as_mut()
                .expect("an account that was written has a repo");
            if !std::mem::replace(&mut repo.evictable, true) {
                self.cold.shards[shard].evictable.push(account);
            }
        }
    }

    /// Evicts records of a shard while too many are in memory.
    fn evict(&mut self, shard: usize) {
        let Some(max) = self.cold.open.as_ref().map(|open| open.hot_records_max) else {
            return;
        };
        let cold = &mut self.cold.shards[shard];
        let mut evictable = std::mem::take(&mut cold.evictable);
        let mut visited = 0;
        for &account in &evictable {
            // A removed record cannot be evicted before a checkpoint has recorded that.
            let repos = &self.sizes.repos;
            if repos.table.entries.saturating_sub(repos.removed) <= max {
                break;
            }
            visited += 1;
            self.evict_account(account);
        }
        evictable.drain(..visited);
        self.cold.shards[shard].evictable = evictable;
    }

    fn evict_account(&mut self, account: u32) {
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an account that was written has a repo");
        repo.evictable = false;
        let before = repo.size();
        let evicted = repo.records.evict_unchanged();
        self.sizes.replace(before, repo.size());
        self.cold.records += evicted.len() as u64;
        for record in evicted {
            self.sizes.remove_record(&record);
        }
    }

    /// Loads a record that is only on disk, because it is about to change.
    pub(super) fn load_cold(&mut self, account: u32, collection: (u32, &str), rkey: &Rkey) {
        let (number, name) = collection;
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an operation creates its repo");
        if repo.records.cold() == 0 {
            return;
        }
        let before = repo.size();
        let found = repo.records.find(&self.hasher, (number, rkey));
        self.sizes.replace(before, repo.size());
        if found != Found::Absent {
            return;
        }
        let did = self.dids.key(account).clone();
        let runs = self.cold_shard(account).runs.clone();
        let key = (&did, number, name);
        let mut reads = 0;
        let record = intact(cold_record(self, &runs, (key, rkey), &mut reads));
        let counts = &mut self.cold.current;
        counts.look_ups += 1;
        counts.reads += reads;
        counts.found += u64::from(record.is_some());
        if let Some(record) = record {
            self.add_loaded(account, record);
        }
    }

    /// Loads all records of an account that are only on disk.
    pub(super) fn load_all_cold(&mut self, account: u32) {
        for record in self.read_cold(account) {
            self.add_loaded(account, record);
        }
    }

    fn add_loaded(&mut self, account: u32, record: LiveRecord) {
        self.sizes.add_record(&record);
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an account with records has a repo");
        let before = repo.size();
        repo.records.add_loaded(&self.hasher, record);
        self.sizes.replace(before, repo.size());
        self.cold.records -= 1;
    }

    /// Reads the records of an account that are only on disk. They stay there.
    pub(in crate::records) fn read_cold(&mut self, account: u32) -> Vec<LiveRecord> {
        let cold = self.repo_of(account).records.cold();
        if cold == 0 {
            return Vec::new();
        }
        let did: Did = self.dids.key(account).clone();
        let runs = self.cold_shard(account).runs.clone();
        let mut records = intact(cold_records(self, &runs, &did));
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an account with records has a repo");
        let before = repo.size();
        records.retain(|record| {
            let key = (record.collection, &record.rkey);
            repo.records.find(&self.hasher, key) == Found::Absent
        });
        self.sizes.replace(before, repo.size());
        assert_eq!(
            records.len(),
            cold as usize,
            "the runs have another number of records of {did} than were evicted"
        );
        records
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use skytide_state::StateError;

    use super::*;

    #[test]
    #[should_panic(expected = "cannot read run07-e5 at byte 4096: a bad sector")]
    fn a_record_that_cannot_be_read_stops_the_process_with_all_causes() {
        let source = io::Error::other("a bad sector");
        let run = "run07-e5".to_owned();
        let offset = 4096;
        intact::<()>(Err(StateError::Read {
            run,
            offset,
            source,
        }
        .into()));
    }
}
