//! One account: its revision, its status, its live records.

use hashbrown::HashTable;
use skytide_core::id::{Handle, Rkey, Tid};
use skytide_core::time::{Minute, Timestamp};

use super::content::Content;
use super::state::AccountPolicy;
use super::table::Records;

/// One account.
#[derive(Debug, Default)]
pub(super) struct Repo {
    /// Newest revision.
    pub rev: Option<Tid>,
    /// Its facts are taken back until it is active again. Changes at the end of a time only.
    pub hidden: bool,
    /// Operations were missed.
    pub out_of_sync: bool,
    /// The shard of checkpoints that it belongs to.
    pub shard: u8,
    /// The newest minute of an operation.
    pub last_seen: Minute,
    /// The newest `#identity` that told something.
    pub identity: Option<Box<(Option<Handle>, Timestamp)>>,
    /// The newest `#account`.
    pub status: Option<Box<(bool, Option<Box<str>>)>>,
    /// What is live, hidden or not.
    pub records: Records,
    /// Keys of posts that were live once and are not.
    pub gone: Option<Box<HashTable<Rkey>>>,
    /// The collections and kinds of events in which it was ever counted, in order.
    pub collections: Vec<u32>,
}

impl Repo {
    /// Whether its facts are to be taken back, as its newest status says.
    pub fn is_to_be_hidden(&self, policy: AccountPolicy) -> bool {
        let inactive = self.status.as_deref().is_some_and(|(active, _)| !active);
        policy == AccountPolicy::ActiveAccountsOnly && inactive
    }

    /// Notes that it did something in a collection; whether that is the first time.
    pub fn is_new_in(&mut self, collection: u32) -> bool {
        let place = self.collections.binary_search(&collection);
        if let Err(place) = place {
            self.collections.insert(place, collection);
        }
        place.is_err()
    }
}

/// A live record.
#[derive(Debug)]
pub(super) struct LiveRecord {
    pub rkey: Rkey,
    pub collection: u32,
    pub first_seen: Minute,
    pub content: Content,
}

const _: () = assert!(
    size_of::<LiveRecord>() == 40,
    "there is one for each live record"
);
