//! Live records as plain values: what a checkpoint stores of each account. The dataflow reads them
//! from its checkpoints ([`SectionReader`]); the audit counts them again.

use std::collections::BTreeMap;

use crate::event::Origin;
use crate::id::{Collection, Did, PostKey, Rkey, Tid};
use crate::time::{Minute, Timestamp};
use crate::view::{ActivityKey, ActivityRow, Span};

/// An account as a checkpoint stores it.
#[derive(Clone, Debug)]
pub struct LiveAccount {
    /// The account.
    pub did: Did,
    /// The newest revision of its repo.
    pub rev: Option<Tid>,
    /// Whether operations of its repo were missed.
    pub out_of_sync: bool,
    /// The newest `#identity` that changed something: its handle, if any, and its network time.
    pub identity: Option<(Option<Box<str>>, Timestamp)>,
    /// Where that `#identity` came from; `None` if an older version stored it.
    pub identity_origin: Option<Origin>,
    /// The newest `#account`: whether the account is active, and the text of its status.
    pub status: Option<(bool, Option<Box<str>>)>,
    /// Where that `#account` came from; `None` if an older version stored it.
    pub status_origin: Option<Origin>,
    /// The newest minute of an operation.
    pub last_seen: Option<Minute>,
    /// The rows of `activity` that count the account: all time, and the open hour and minute.
    pub counted: Vec<ActivityKey>,
    /// Keys of posts that were live once and are not live now.
    pub gone_posts: Vec<Rkey>,
    /// The live records, also while the account is hidden.
    pub records: Vec<LiveRecord>,
}

/// A live record.
#[derive(Clone, Debug)]
pub struct LiveRecord {
    /// The collection.
    pub collection: Collection,
    /// The record key.
    pub rkey: Rkey,
    /// The minute in which it was first seen. Edits do not change it.
    pub first_seen: Minute,
    /// The content; `None` if no part of it is counted, only that the record exists.
    pub content: Option<LiveContent>,
}

/// The content of a live record. A subject is `None` if the record names no valid one.
#[derive(Clone, Debug)]
pub enum LiveContent {
    /// A post.
    Post(Box<LivePost>),
    /// A like.
    Like(Option<LiveSubject>),
    /// A repost.
    Repost(Option<LiveSubject>),
    /// A follow.
    Follow(Option<Did>),
    /// A block.
    Block(Option<Did>),
    /// A profile.
    Profile(LiveProfile),
}

/// A record or account that another record refers to.
#[derive(Clone, Debug)]
pub struct LiveSubject {
    /// The account that owns the record.
    pub did: Did,
    /// The post, if the record is one.
    pub post: Option<PostKey>,
}

/// The content of a profile.
#[derive(Clone, Debug)]
pub struct LiveProfile {
    /// The display name.
    pub display_name: Option<Box<str>>,
    /// The description.
    pub description: Option<Box<str>>,
    /// CID of the avatar picture.
    pub avatar: Option<Box<str>>,
}

/// The content of a post. Lists have no duplicates.
#[derive(Clone, Debug)]
pub struct LivePost {
    /// The record that it replies to.
    pub parent: Option<LiveSubject>,
    /// The first record of its thread.
    pub root: Option<LiveSubject>,
    /// The record that it quotes.
    pub quoted: Option<LiveSubject>,
    /// Hashtags in lower case.
    pub hashtags: Vec<Box<str>>,
    /// Hosts that it links to.
    pub domains: Vec<Box<str>>,
    /// URLs that it links to.
    pub links: Vec<Box<str>>,
    /// Accounts that it mentions.
    pub mentions: Vec<Did>,
    /// Languages, normalized for counting; empty if the post names none.
    pub langs: Vec<Box<str>>,
    /// Length of its text in Unicode scalar values.
    pub characters: u64,
}

/// What a checkpoint stores beside the accounts, because live records cannot give it.
#[derive(Clone, Debug, Default)]
pub struct LiveTotals {
    /// Counts of operations. `live` is 0: the live records give it.
    pub activity: BTreeMap<ActivityKey, ActivityRow>,
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
    /// The collections that `activity` counts under their own names, without those that always have
    /// one.
    pub names: Vec<Box<str>>,
}

impl LiveTotals {
    /// Adds the totals of another worker.
    pub fn add(&mut self, other: Self) {
        for (key, row) in other.activity {
            let sum = self.activity.entry(key).or_default();
            sum.creates += row.creates;
            sum.updates += row.updates;
            sum.deletes += row.deletes;
            sum.bytes += row.bytes;
            sum.accounts += row.accounts;
        }
        for (name, value) in other.counters {
            *self.counters.entry(name).or_default() += value;
        }
        self.names.extend(other.names);
    }
}

/// Reads the sections of a checkpoint. The dataflow, which writes them, implements it.
pub trait SectionReader: Send + Sync {
    /// The number of shards into which accounts are divided ([`Did::partition`]).
    fn shards(&self) -> u16;

    /// The shard whose accounts the section of this name contains; `None` for a section of totals.
    fn shard(&self, name: &str) -> Option<u16>;

    /// Reads all sections of one shard, with their names, in the order of the manifest.
    ///
    /// # Errors
    /// A section is damaged, or not in a format of this version.
    fn accounts(&self, sections: Vec<(Box<str>, Vec<u8>)>) -> Result<Vec<LiveAccount>, String>;

    /// Reads a section of totals.
    ///
    /// # Errors
    /// The section is not in the format of this version.
    fn totals(&self, section: &[u8]) -> Result<LiveTotals, String>;
}

/// The key of the row of `activity` that counts a collection over all time.
pub fn all_time(collection: &str) -> ActivityKey {
    ActivityKey {
        span: Span::All,
        start_minute: 0,
        collection: collection.into(),
    }
}
