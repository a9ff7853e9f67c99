//! What changed since the checkpoint on which the next one builds.

use hashbrown::DefaultHashBuilder;
use skytide_core::id::Epoch;

use super::LiveRecords;
use crate::records::table::{LiveRecord, RecordTable};
use crate::sizes::vec_bytes;

/// A complete checkpoint, or an attempt to make one: the epoch of its first cut and the number of
/// the attempt, which is 0 for the restored checkpoint.
pub(crate) type CheckpointId = (Epoch, u64);

/// What changed in a shard.
#[derive(Clone, Debug, Default)]
pub(in crate::records) struct ShardChanges {
    /// The accounts that changed since the last cut. Each is marked in its repo.
    pub changed: Vec<u32>,
    /// The accounts that the last cut wrote, because they differed from the complete checkpoint.
    cut: Vec<u32>,
    last_cut: Option<CheckpointId>,
    /// Whether a checkpoint may contain records of the shard. If so, it has to learn of each removal.
    pub is_stored: bool,
    /// Whether a complete checkpoint has the accounts of the shard. Until then they are written
    /// whole, because keys of gone posts are not marked as changed.
    is_complete: bool,
}

impl ShardChanges {
    /// Whether `complete` is the checkpoint of the last cut, and accounts that it wrote still count
    /// as changed. Returns that checkpoint.
    pub(super) fn complete(&self, complete: Option<CheckpointId>) -> Option<CheckpointId> {
        complete.filter(|_| complete == self.last_cut && !self.cut.is_empty())
    }

    /// Takes the accounts that the last cut wrote, because its checkpoint is complete.
    pub(super) fn take_cut(&mut self) -> Vec<u32> {
        self.is_complete = true;
        std::mem::take(&mut self.cut)
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        vec_bytes(&self.changed) + vec_bytes(&self.cut)
    }
}

impl LiveRecords {
    /// Starts a cut of a shard that builds on `base`; with `None`, it writes everything. Returns the
    /// accounts to write, in no order, and whether they are written whole. If not, of their records
    /// those of `RecordTable::changed` are written.
    pub(in crate::records) fn begin_cut(
        &mut self,
        shard: u16,
        (cut, base): (CheckpointId, Option<CheckpointId>),
    ) -> (Vec<u32>, bool) {
        let shard = usize::from(shard);
        let ShardChanges {
            changed,
            cut: before,
            last_cut,
            is_complete,
            ..
        } = std::mem::take(&mut self.changes[shard]);
        for &account in &changed {
            self.repos[account as usize]
                .as_mut()
                .expect("an account that changed has a repo")
                .changed = false;
        }
        let is_complete = is_complete || (base.is_some() && base == last_cut);
        let accounts = match base {
            None => {
                let members = self.members[shard].clone();
                // A removed record still hides the one in the runs from which records are read.
                if !self.has_cold(shard) {
                    self.take_removed(&members, RecordTable::take_removed);
                }
                members
            }
            Some(id) if base == last_cut && self.can_complete(shard, id) => {
                self.take_removed(&before, RecordTable::mark_complete);
                self.completed(shard, id, &before);
                changed
            }
            Some(_) => {
                let mut accounts = before;
                accounts.extend(changed);
                accounts.sort_unstable();
                accounts.dedup();
                accounts
            }
        };
        self.changes[shard] = ShardChanges {
            changed: Vec::new(),
            cut: accounts.clone(),
            last_cut: Some(cut),
            is_stored: true,
            is_complete,
        };
        (accounts, base.is_none() || !is_complete)
    }

    /// Records that the cut has written this account.
    pub(in crate::records) fn end_cut(&mut self, account: u32) {
        let repo = self.repos[account as usize].as_mut();
        repo.expect("an account that was written has a repo")
            .records
            .mark_cut();
    }

    /// Records that the first cut builds on the checkpoint that is restored, so that it has to
    /// contain each change from now on, also in shards that have no account so far.
    pub(crate) fn set_restored(&mut self) {
        for changes in &mut self.changes {
            changes.is_stored = true;
            changes.is_complete = true;
        }
    }

    /// Releases removed records of these accounts.
    pub(super) fn take_removed(
        &mut self,
        accounts: &[u32],
        take: impl Fn(&mut RecordTable, &DefaultHashBuilder) -> Vec<LiveRecord>,
    ) {
        for &account in accounts {
            let repo = self.repos[account as usize]
                .as_mut()
                .expect("an account that was written has a repo");
            let before = repo.size();
            let taken = take(&mut repo.records, &self.hasher);
            self.sizes.replace(before, repo.size());
            for record in taken {
                self.sizes.remove_record(&record);
                self.record_removed(record.collection);
            }
        }
    }
}
