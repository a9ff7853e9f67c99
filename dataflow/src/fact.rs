//! Facts: what live records contribute to views.
//!
//! A fact is inserted (+1) when its record becomes live and visible. The same fact is retracted
//! (-1) when the record is replaced, deleted or hidden. The last six kinds are never retracted:
//! they count events, or record what stays true.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skytide_core::event::{Event, Gap, OpenGap, Tick};
use skytide_core::id::{Did, Handle, PostKey};
use skytide_core::record::Langs;
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, CoverageKey, CoverageRow};

use crate::sizes::{HeapSize, vec_bytes};

/// A fact about a live record, an account or an event. Each visible live record gives at most one
/// fact of the first seven kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A live like.
    Like(Reaction),
    /// A live repost.
    Repost(Reaction),
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
    /// The newest handle of an account, and when the account claimed it.
    Identity(Did, Option<Handle>, Timestamp),
    /// The newest hosting status of an account: whether it is active, and the text of its status.
    Status(Did, bool, Option<Box<str>>),
    /// Operations of the account's repo were missed. Never retracted.
    OutOfSync(Did),
    /// The post existed at some time. Never retracted.
    Seen(PostKey),
    /// The account wrote or deleted a record in this minute. Never retracted.
    LastSeen(Did, Minute),
    /// Operations of one period. Never retracted: a later fact with negative `live` lowers the
    /// number of live records.
    Activity(ActivityKey, Activity),
    /// An addition to a counter. Never retracted.
    Counter(Box<str>, u64),
    /// A part of what is missing from the counts. Never retracted.
    Coverage(CoverageFact),
}

/// A part of what is missing from the counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CoverageFact {
    /// Rows of a restored checkpoint.
    Restored(Vec<(CoverageKey, CoverageRow)>),
    /// What a tick says.
    Tick(TickCoverage),
    /// Inputs that the dataflow dropped for this reason in this hour since 1970.
    Dropped(u64, Box<str>, u64),
}

/// What a tick says of missing events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickCoverage {
    /// The number of its epoch, which orders the ticks of a batch.
    pub epoch: u64,
    /// Network time of the first event of the epoch, or of the tick if there is none.
    pub from: Timestamp,
    /// Network time of the tick.
    pub time: Timestamp,
    /// The gaps that ended in the epoch.
    pub gaps: Vec<Gap>,
    /// The gap that has not ended.
    pub open_gap: Option<OpenGap>,
    /// The counts of ingest that `coverage` shows by the hour.
    pub counts: Vec<(Box<str>, u64)>,
}

impl TickCoverage {
    /// What the tick of an epoch with these events says.
    pub fn of(tick: &Tick, events: &[Event]) -> Self {
        // Logs of earlier versions hold events without a time.
        let known = events.iter().filter_map(|event| event.time.known());
        let counts = tick.counts.iter();
        let counts = counts
            .filter(|(name, _)| &***name == MISSING_SEQS || name.starts_with(DROPPED_PREFIX))
            .map(|(name, count)| (name.clone(), *count));
        Self {
            epoch: tick.epoch.0,
            from: known.min().unwrap_or(tick.time).min(tick.time),
            time: tick.time,
            gaps: tick.sources.gaps.clone(),
            open_gap: tick.sources.open_gap,
            counts: counts.collect(),
        }
    }
}

/// The counter of numbers that the relay left out.
const MISSING_SEQS: &str = "missing_seqs";
/// The start of the names of counters of drops.
pub const DROPPED_PREFIX: &str = "dropped/";

/// A like or a repost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reaction {
    /// The account that wrote the record.
    pub author: Did,
    /// The record that it refers to; `None` if the record names no valid address.
    pub subject: Option<Subject>,
    /// When the record was first seen.
    pub first_seen: Minute,
}

/// A follow or a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The account that wrote the record.
    pub author: Did,
    /// The account that is followed or blocked; `None` if the record names no valid DID.
    pub subject: Option<Did>,
    /// When the record was first seen.
    pub first_seen: Minute,
}

/// A record or account that another record refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A post.
    Post(PostKey),
    /// A record of another collection; only its account is stored.
    Other(Did),
}

impl Subject {
    /// The account that owns the subject.
    pub fn did(&self) -> Did {
        match self {
            Self::Post(post) => post.did(),
            Self::Other(did) => did.clone(),
        }
    }

    /// The post, if the subject is one.
    pub fn post(&self) -> Option<&PostKey> {
        match self {
            Self::Post(post) => Some(post),
            Self::Other(_) => None,
        }
    }
}

/// A post. Its lists and texts are within the [`limits`](skytide_core::limits), so any post gives
/// each view a bounded number of updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The address of the post.
    pub key: PostKey,
    /// When the record was first seen. An edit does not change it.
    pub first_seen: Minute,
    /// The post or record that it replies to.
    pub parent: Option<Subject>,
    /// The first post of its thread.
    pub root: Option<Subject>,
    /// The post or record that it quotes.
    pub quote: Option<Subject>,
    /// Distinct languages, normalized for counting.
    pub langs: Langs,
    /// Distinct hashtags in lower case.
    pub tags: Box<[Box<str>]>,
    /// Distinct hosts that it links to.
    pub domains: Box<[Box<str>]>,
    /// Distinct URLs that it links to.
    pub links: Box<[Box<str>]>,
    /// Distinct accounts that it mentions.
    pub mentions: Box<[Did]>,
    /// Length of its text in Unicode scalar values.
    pub characters: u32,
}

impl Post {
    /// The one subject that the post acts on: the post that it replies to, else the one that it
    /// quotes.
    pub fn subject(&self) -> Option<&Subject> {
        self.parent.as_ref().or(self.quote.as_ref())
    }

    /// The primary subtags of its languages; `und` if the post names none.
    pub fn primary_langs(&self) -> Langs {
        self.langs.or_undetermined().primary()
    }
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The account of the profile.
    pub did: Did,
    /// The display name.
    pub display_name: Option<Box<str>>,
    /// The description.
    pub description: Option<Box<str>>,
    /// CID of the avatar picture.
    pub avatar: Option<Box<str>>,
}

/// Operations of one period of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Create operations; for a kind of event, the number of events.
    pub creates: i64,
    /// Update operations.
    pub updates: i64,
    /// Delete operations.
    pub deletes: i64,
    /// Bytes of the records.
    pub bytes: i64,
    /// Accounts that were not counted before in this period.
    pub accounts: i64,
    /// Change of the number of live records.
    pub live: i64,
}

impl Activity {
    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        self.creates += other.creates;
        self.updates += other.updates;
        self.deletes += other.deletes;
        self.bytes += other.bytes;
        self.accounts += other.accounts;
        self.live += other.live;
    }
}

/// Bytes of the counters before the value of an `Arc`.
const ARC_HEAD: usize = 2 * size_of::<usize>();

impl HeapSize for Fact {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Like(reaction) | Self::Repost(reaction) => reaction.heap_bytes(),
            Self::Follow(edge) | Self::Block(edge) => {
                edge.author.heap_bytes() + edge.subject.heap_bytes()
            }
            // A post or a profile is counted where its record is stored. The facts that are on
            // their way share it.
            Self::Post(_) | Self::Profile(_) => 0,
            Self::BarePost(post) | Self::Seen(post) => post.heap_bytes(),
            Self::Identity(did, handle, _) => did.heap_bytes() + handle.heap_bytes(),
            Self::Status(did, _, status) => did.heap_bytes() + status.heap_bytes(),
            Self::OutOfSync(did) | Self::LastSeen(did, _) => did.heap_bytes(),
            Self::Activity(key, _) => key.heap_bytes(),
            Self::Counter(name, _) => name.heap_bytes(),
            Self::Coverage(part) => part.heap_bytes(),
        }
    }
}

impl HeapSize for CoverageFact {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Restored(rows) => {
                let labels = rows.iter().map(|(key, _)| key.label.heap_bytes());
                vec_bytes(rows) + labels.sum::<usize>()
            }
            Self::Tick(tick) => tick.heap_bytes(),
            Self::Dropped(_, reason, _) => reason.heap_bytes(),
        }
    }
}

impl HeapSize for TickCoverage {
    fn heap_bytes(&self) -> usize {
        vec_bytes(&self.gaps) + self.counts.heap_bytes()
    }
}

impl HeapSize for Reaction {
    fn heap_bytes(&self) -> usize {
        self.author.heap_bytes() + self.subject.heap_bytes()
    }
}

impl HeapSize for Subject {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Post(post) => post.heap_bytes(),
            Self::Other(did) => did.heap_bytes(),
        }
    }
}

/// A post behind an `Arc`, with the allocation itself.
impl HeapSize for Arc<Post> {
    fn heap_bytes(&self) -> usize {
        let subjects = [&self.parent, &self.root, &self.quote];
        let subjects: usize = subjects.map(HeapSize::heap_bytes).iter().sum();
        let texts = [&self.tags, &self.domains, &self.links];
        let texts: usize = texts.map(HeapSize::heap_bytes).iter().sum();
        let keys = self.key.heap_bytes() + subjects;
        ARC_HEAD + size_of::<Post>() + keys + texts + self.mentions.heap_bytes()
    }
}

/// A profile behind an `Arc`, with the allocation itself.
impl HeapSize for Arc<Profile> {
    fn heap_bytes(&self) -> usize {
        let texts = [&self.display_name, &self.description, &self.avatar];
        let texts: usize = texts.map(HeapSize::heap_bytes).iter().sum();
        ARC_HEAD + size_of::<Profile>() + self.did.heap_bytes() + texts
    }
}
