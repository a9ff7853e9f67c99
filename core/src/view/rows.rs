//! Rows of posts, accounts and the network.

use serde::{Deserialize, Serialize};

use super::key::ViewKey;
use super::{Key, RowError};
use crate::id::{Did, Tid};
use crate::limits::stored;
use crate::time::Timestamp;

/// Tallies of a post, of all time: live records that refer to it. Row there is while it is live, was once seen, or
/// is referred to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PostRow {
    /// Likes (records, not distinct accounts).
    pub likes: u32,
    /// Reposts.
    pub reposts: u32,
    /// Posts that reply to it directly.
    pub replies: u32,
    /// Posts that name it as the root of their thread, direct replies included.
    pub root_replies: u32,
    /// Posts that embed it.
    pub quotes: u32,
    /// Of the likes, those by its author.
    pub self_likes: u32,
    /// Of the reposts, those by its author.
    pub self_reposts: u32,
    /// Of the replies, those by its author.
    pub self_replies: u32,
    /// Of the root replies, those by its author.
    pub self_root_replies: u32,
    /// Of the quotes, those by its author.
    pub self_quotes: u32,
    /// Whether the post itself is there.
    pub state: PostState,
}

/// Whether a post is there.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PostState {
    /// Only referred to: it was written before we began, or elsewhere, or never.
    #[default]
    NeverSeen,
    /// It is there.
    Live,
    /// It was there; it or its account was deleted or hidden.
    Gone,
}

/// Counts of an account, of all time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ActorRow {
    /// Distinct accounts that follow it, itself included.
    pub followers: u32,
    /// Follow records of it.
    pub follow_records: u32,
    /// Its own follow records.
    pub follows: u32,
    /// Distinct accounts that block it.
    pub blockers: u32,
    /// Block records of it.
    pub block_records: u32,
    /// Its own block records.
    pub blocks: u32,
    /// Its posts.
    pub posts: u32,
    /// Its likes.
    pub likes_given: u32,
    /// Likes of its records of any collection, its own included.
    pub likes_received: u32,
    /// Its reposts.
    pub reposts_given: u32,
    /// Reposts of its records.
    pub reposts_received: u32,
    /// When it last wrote or deleted a record, to the minute (network time, ms); 0: never since we began.
    pub last_seen: Timestamp,
}

/// Who acted on whom on which day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InteractionKey {
    /// Who acted.
    pub author: Did,
    /// Days since 1970, UTC, of the moment when the record was first seen.
    pub day: u32,
    /// On whom.
    pub subject: Did,
}

impl InteractionKey {
    /// The key with the subject in front: `(subject, day, author)`.
    pub(super) fn by_subject(key: &[u8]) -> Option<Key> {
        let key: Self = Key::from(key).decode().ok()?;
        Some(Key::of(&Self {
            author: key.subject,
            day: key.day,
            subject: key.author,
        }))
    }
}

impl ViewKey for InteractionKey {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.author.encode(bytes);
        self.day.encode(bytes);
        self.subject.encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        let author = Did::decode(bytes)?;
        Ok(Self {
            author,
            day: u32::decode(bytes)?,
            subject: Did::decode(bytes)?,
        })
    }
}

/// What an account did to another one. Acts on oneself are left out.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct InteractionRow {
    /// Likes of the subject's records.
    pub likes: u32,
    /// Reposts of the subject's records.
    pub reposts: u32,
    /// Posts that reply to the subject's.
    pub replies: u32,
    /// Posts that quote the subject's and do not reply.
    pub quotes: u32,
    /// Unicode scalar values in the texts of these replies and quotes.
    pub characters: u64,
}

/// Which operations a row of `activity` counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActivityKey {
    /// How long a stretch.
    pub span: Span,
    /// Its first minute since 1970; 0 for all time.
    pub start_minute: u32,
    /// The collection; `other` for all that have no name of their own
    /// ([`NAMED_COLLECTIONS_MAX`](crate::limits::NAMED_COLLECTIONS_MAX)); `#account`, `#identity`, `#sync` for those events;
    /// empty: all operations.
    pub collection: Box<str>,
}

/// How long a stretch of time a row of `activity` covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Span {
    /// Since the log's first event; kept for ever.
    All = 0,
    /// An hour; kept for 60 days.
    Hour = 1,
    /// A minute; kept for 24 hours.
    Minute = 2,
}

impl ViewKey for ActivityKey {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.span as u8);
        self.start_minute.encode(bytes);
        self.collection.to_string().encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        let span = match u8::decode(bytes)? {
            0 => Span::All,
            1 => Span::Hour,
            2 => Span::Minute,
            _ => return Err(RowError),
        };
        Ok(Self {
            span,
            start_minute: u32::decode(bytes)?,
            collection: String::decode(bytes)?.into(),
        })
    }
}

/// Operations on a collection. Counts of events: never taken back, except `live`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ActivityRow {
    /// Create operations; for `#account` and its like the events.
    pub creates: u64,
    /// Update operations.
    pub updates: u64,
    /// Delete operations.
    pub deletes: u64,
    /// Bytes of the records in these operations.
    pub bytes: u64,
    /// Distinct accounts that made these operations.
    pub accounts: u64,
    /// Live records now; only in rows of all time.
    pub live: u64,
}

/// What is known of an account from the stream. Texts have their [`limits`](crate::limits), also in a row that an older
/// version stored: they are truncated where the row is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountRow {
    /// The newest handle an `#identity` named, in lower case; not checked against DNS. `None` also after `handle.invalid`.
    pub handle: Option<Box<str>>,
    /// Whether the newest `#account` said active; true if there was none.
    pub active: bool,
    /// Its `status`, as written but for its length.
    #[serde(default, deserialize_with = "stored::status")]
    pub status: Option<Box<str>>,
    /// From the live profile record, if there is one and the account is not hidden.
    #[serde(default, deserialize_with = "stored::name")]
    pub display_name: Option<Box<str>>,
    /// Likewise.
    #[serde(default, deserialize_with = "stored::description")]
    pub description: Option<Box<str>>,
    /// Likewise: the CID of the picture.
    pub avatar: Option<Box<str>>,
    /// Newest revision seen.
    pub rev: Option<Tid>,
    /// Operations of this repo were missed since we began (`tooBig`, `#sync` ahead, a `since` that does not fit).
    pub out_of_sync: bool,
}

/// An account that claimed a handle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HandleKey {
    /// The handle in lower case.
    pub handle: Box<str>,
    /// The account.
    pub did: Did,
}

impl ViewKey for HandleKey {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.handle.to_string().encode(bytes);
        self.did.encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        Ok(Self {
            handle: String::decode(bytes)?.into(),
            did: Did::decode(bytes)?,
        })
    }
}

/// When an account claimed a handle.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct HandleRow {
    /// Network time of the `#identity`.
    pub claimed: Timestamp,
}

/// A counter of all time, exact, as it is a function of the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CounterRow {
    /// Its value.
    pub value: u64,
}
