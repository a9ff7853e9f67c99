//! Facts: what the live records say, in the form that views count.
//!
//! A fact enters the graph with +1 when its record becomes live and visible, and leaves it with -1, unchanged, when the
//! record is replaced, deleted or hidden. The last four kinds count events instead: they are never taken back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skytide_core::id::{Did, Handle, PostKey};
use skytide_core::record::Langs;
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::ActivityKey;

/// One thing that is so, or that happened. Each visible live record gives at most one of the first seven.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A live like.
    Like(Act),
    /// A live repost.
    Repost(Act),
    /// A live follow.
    Follow(Edge),
    /// A live block.
    Block(Edge),
    /// A live post.
    Post(Arc<Post>),
    /// A live post whose content is unknown.
    BarePost(PostKey),
    /// A live profile.
    Profile(Arc<Profile>),
    /// The newest handle of an account and when it was claimed.
    Identity(Did, Option<Handle>, Timestamp),
    /// The newest hosting status of an account: whether it is active, and the status as written.
    Status(Did, bool, Option<Box<str>>),
    /// Operations of a repo were missed. Never taken back.
    OutOfSync(Did),
    /// The post existed at some time. Never taken back.
    Seen(PostKey),
    /// The account wrote or deleted something in this minute. Never taken back.
    LastSeen(Did, Minute),
    /// Operations of one stretch of time. Never taken back, but for `live`.
    Activity(ActivityKey, Activity),
    /// An addition to a counter. Never taken back.
    Counter(Box<str>, u64),
}

/// A like or a repost.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who did it.
    pub author: Did,
    /// What it refers to; `None` if the record names no valid address.
    pub subject: Option<Subject>,
    /// When its record was first seen.
    pub first_seen: Minute,
}

/// A follow or a block.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Who did it.
    pub author: Did,
    /// Whom; `None` if the record names no valid DID.
    pub subject: Option<Did>,
    /// When its record was first seen.
    pub first_seen: Minute,
}

/// What a record refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A post.
    Post(PostKey),
    /// A record of another collection of this account.
    Other(Did),
}

impl Subject {
    /// Whose record it is.
    pub fn did(&self) -> Did {
        match self {
            Self::Post(post) => post.did(),
            Self::Other(did) => did.clone(),
        }
    }

    /// The post, if it is one.
    pub fn post(&self) -> Option<&PostKey> {
        match self {
            Self::Post(post) => Some(post),
            Self::Other(_) => None,
        }
    }
}

/// A post. Its lists and texts are within the [`limits`](skytide_core::limits), so it gives each view a bounded number of
/// updates, whoever wrote it.
#[derive(Clone, Debug)]
pub struct Post {
    /// Its address.
    pub key: PostKey,
    /// When its record was first seen: an edit does not change it.
    pub first_seen: Minute,
    /// What it replies to.
    pub parent: Option<Subject>,
    /// The first post of its thread.
    pub root: Option<Subject>,
    /// What it embeds.
    pub quote: Option<Subject>,
    /// Languages as they are counted, distinct.
    pub langs: Langs,
    /// Hashtags in lower case, distinct.
    pub tags: Box<[Box<str>]>,
    /// Hosts that it links to, distinct.
    pub domains: Box<[Box<str>]>,
    /// URLs that it links to, distinct.
    pub links: Box<[Box<str>]>,
    /// Accounts that it mentions, distinct.
    pub mentions: Box<[Did]>,
    /// Unicode scalar values of its text.
    pub characters: u32,
}

impl Post {
    /// Its primary languages; `und` if it names none.
    pub fn primary_langs(&self) -> Langs {
        self.langs.or_undetermined().primary()
    }
}

/// A profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Whose.
    pub did: Did,
    /// The name to show.
    pub display_name: Option<Box<str>>,
    /// The description.
    pub description: Option<Box<str>>,
    /// CID of the picture.
    pub avatar: Option<Box<str>>,
}

/// Operations of one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Create operations, or events.
    pub creates: i64,
    /// Update operations.
    pub updates: i64,
    /// Delete operations.
    pub deletes: i64,
    /// Bytes of the records.
    pub bytes: i64,
    /// Accounts not counted before in this stretch.
    pub accounts: i64,
    /// Live records more or less.
    pub live: i64,
}

impl Activity {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.creates += other.creates;
        self.updates += other.updates;
        self.deletes += other.deletes;
        self.bytes += other.bytes;
        self.accounts += other.accounts;
        self.live += other.live;
    }
}
