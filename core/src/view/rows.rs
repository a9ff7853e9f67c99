//! Rows of posts, accounts and the network.

use serde::{Deserialize, Serialize};

use super::key::ViewKey;
use super::{Key, RowError};
use crate::id::{Did, Tid};
use crate::limits::stored;
use crate::time::Timestamp;

/// Counters of a post over all time: the live records that refer to it. The row exists if the post
/// is live, was ever seen, or is referred to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct PostRow {
    /// Likes: records, not distinct accounts.
    pub likes: u32,
    /// Reposts.
    pub reposts: u32,
    /// Posts that reply to the post directly.
    pub replies: u32,
    /// Posts whose thread starts with the post, direct replies included.
    pub root_replies: u32,
    /// Posts that quote the post.
    pub quotes: u32,
    /// The part of `likes` by the post's author.
    pub self_likes: u32,
    /// The part of `reposts` by the post's author.
    pub self_reposts: u32,
    /// The part of `replies` by the post's author.
    pub self_replies: u32,
    /// The part of `root_replies` by the post's author.
    pub self_root_replies: u32,
    /// The part of `quotes` by the post's author.
    pub self_quotes: u32,
    /// Whether the post itself exists.
    pub state: PostState,
}

/// Whether a post exists.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PostState {
    /// Only references to the post were seen. It was written before the log started, or outside of
    /// what is read, or never.
    #[default]
    NeverSeen,
    /// The post exists.
    Live,
    /// The post was seen and no longer exists: it was deleted or hidden, or its account was.
    Gone,
}

/// Counters of an account over all time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ActorRow {
    /// Distinct accounts that follow the account, itself included.
    pub followers: u32,
    /// Follow records of which the account is the subject.
    pub follow_records: u32,
    /// Follow records of the account.
    pub follows: u32,
    /// Distinct accounts that block the account.
    pub blockers: u32,
    /// Block records of which the account is the subject.
    pub block_records: u32,
    /// Block records of the account.
    pub blocks: u32,
    /// Posts of the account.
    pub posts: u32,
    /// Likes by the account.
    pub likes_given: u32,
    /// Likes of the account's records of any collection, including its own likes.
    pub likes_received: u32,
    /// Reposts by the account.
    pub reposts_given: u32,
    /// Reposts of the account's records.
    pub reposts_received: u32,
    /// Network time in ms, rounded down to the minute, at which the account last wrote or deleted a
    /// record; 0 if it did not since counting began.
    pub last_seen: Timestamp,
}

/// Two accounts and a day on which one acted on the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InteractionKey {
    /// The account that acted.
    pub author: Did,
    /// The day on which the record was first seen, in days since 1970, UTC.
    pub day: u32,
    /// The account that it acted on.
    pub subject: Did,
}

impl InteractionKey {
    /// The key reordered to `(subject, day, author)`.
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

/// Counters of one account's interactions with another account. Actions on one's own records are
/// not counted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct InteractionRow {
    /// Likes of the subject's records.
    pub likes: u32,
    /// Reposts of the subject's records.
    pub reposts: u32,
    /// Posts that reply to posts of the subject.
    pub replies: u32,
    /// Posts that quote posts of the subject and are not replies.
    pub quotes: u32,
    /// Unicode scalar values in the texts of these replies and quotes.
    pub characters: u64,
}

/// The set of operations that a row of `activity` counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActivityKey {
    /// Length of the interval.
    pub span: Span,
    /// The first minute of the interval, in minutes since 1970; 0 for all time.
    pub start_minute: u32,
    /// The collection; `other` for all collections without rows of their own
    /// ([`NAMED_COLLECTIONS_MAX`](crate::limits::NAMED_COLLECTIONS_MAX)); `#account`, `#identity`
    /// or `#sync` for these events; empty for all operations.
    pub collection: Box<str>,
}

/// Length of the interval that a row of `activity` covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Span {
    /// All time since the log's first event; retained without a limit.
    All = 0,
    /// One hour; retained for 60 days.
    Hour = 1,
    /// One minute; retained for 24 hours.
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

/// Counters of the operations on a collection. They count events and never decrease, except `live`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ActivityRow {
    /// Create operations. In rows of `#account`, `#identity` and `#sync`, the events.
    pub creates: u64,
    /// Update operations.
    pub updates: u64,
    /// Delete operations.
    pub deletes: u64,
    /// Bytes of the records in these operations.
    pub bytes: u64,
    /// Distinct accounts that made these operations.
    pub accounts: u64,
    /// Current number of live records; only in rows for all time.
    pub live: u64,
}

/// The state of an account as the stream reports it. The texts have the lengths of
/// [`limits`](crate::limits). Longer texts in rows that an older version stored are truncated when
/// the row is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountRow {
    /// The handle in the newest `#identity` event, in lower case, not verified by DNS. `None` if
    /// there was no such event, or if the handle was `handle.invalid`.
    pub handle: Option<Box<str>>,
    /// Whether the newest `#account` event said active; true if there was none.
    pub active: bool,
    /// The `status` of that event, unchanged except for truncation.
    #[serde(default, deserialize_with = "stored::status")]
    pub status: Option<Box<str>>,
    /// The display name in the profile record. `None` without such a record, and while the
    /// account is hidden.
    #[serde(default, deserialize_with = "stored::name")]
    pub display_name: Option<Box<str>>,
    /// The description in the profile record; `None` in the same cases.
    #[serde(default, deserialize_with = "stored::description")]
    pub description: Option<Box<str>>,
    /// The CID of the picture in the profile record; `None` in the same cases.
    pub avatar: Option<Box<str>>,
    /// The newest revision that was seen.
    pub rev: Option<Tid>,
    /// Whether operations of this repo were missed since counting began: a commit was `tooBig`, a
    /// `#sync` was ahead, or a `since` did not match the previous revision.
    pub out_of_sync: bool,
}

/// A handle and an account that claimed it.
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

/// The time at which an account claimed a handle.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct HandleRow {
    /// Network time of the `#identity` event.
    pub claimed: Timestamp,
}

/// A counter over all time. It is exact, because it is a function of the log.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CounterRow {
    /// The value of the counter.
    pub value: u64,
}
