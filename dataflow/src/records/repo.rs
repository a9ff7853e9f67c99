//! One account: its revision, its status, its live records.

use hashbrown::HashTable;
use skytide_core::id::{Rkey, Tid};
use skytide_core::time::{Minute, Timestamp};

use super::content::Content;

/// One account.
#[derive(Debug, Default)]
pub(super) struct Repo {
    /// Newest revision.
    pub rev: Option<Tid>,
    /// Its facts are taken back until it is active again.
    pub hidden: bool,
    /// Operations were missed.
    pub out_of_sync: bool,
    /// The newest `#identity` that told something.
    pub identity: Option<Box<(Option<Box<str>>, Timestamp)>>,
    /// The newest `#account`.
    pub status: Option<Box<(bool, Option<Box<str>>)>>,
    /// What is live, hidden or not.
    pub records: HashTable<LiveRecord>,
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
