//! The state of one account: its revision, its status, its live records.

use hashbrown::HashTable;
use skytide_core::id::{Rkey, Tid};
use skytide_core::time::Minute;

use super::announcement::{Identity, Status};
use super::policy::AccountPolicy;
use super::table::RecordTable;

/// The state of one account.
#[derive(Debug, Default)]
pub(super) struct Repo {
    /// The newest revision.
    pub rev: Option<Tid>,
    /// Whether the account's facts are retracted until it is active again. Changes only at the end
    /// of a time.
    pub hidden: bool,
    /// Whether operations were missed.
    pub out_of_sync: bool,
    /// Whether the account is in the list of those that changed since the last cut of its shard.
    pub changed: bool,
    /// Whether the account is in the list of those whose records may be evicted.
    pub evictable: bool,
    /// The checkpoint shard of the account.
    pub shard: u8,
    /// The newest minute of an operation.
    pub last_seen: Minute,
    /// The newest `#identity` that changed something.
    pub identity: Option<Box<Identity>>,
    /// The newest `#account`.
    pub status: Option<Box<Status>>,
    /// The live records, also while the account is hidden.
    pub records: RecordTable,
    /// Keys of posts that were live once and are not live now.
    pub gone_posts: Option<Box<HashTable<Rkey>>>,
    /// The activity rows (collections and kinds of events) in which the account was ever counted,
    /// in order.
    pub collections: Vec<u32>,
}

impl Repo {
    /// Whether the account's facts must be hidden, according to its newest status.
    pub fn must_hide(&self, policy: AccountPolicy) -> bool {
        let inactive = self.status.as_deref().is_some_and(|status| !status.active);
        policy == AccountPolicy::ActiveAccountsOnly && inactive
    }

    /// Marks the account as counted in an activity row. Returns whether this is the first
    /// time.
    pub fn mark_counted_in(&mut self, collection: u32) -> bool {
        let found = self.collections.binary_search(&collection);
        if let Err(index) = found {
            self.collections.insert(index, collection);
        }
        found.is_err()
    }
}
