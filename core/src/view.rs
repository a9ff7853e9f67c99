//! The catalogue of views: names, keys, rows.
//!
//! A row is whole and absolute. On the port it is bytes: a key whose bytes are in the order of its text
//! ([`ViewKey`]), and the columns in postcard ([`encode_row`]). The typed forms are here, one module a family.

mod key;
mod lists;
mod rows;
mod trends;

pub use key::{Key, ViewKey};
pub use lists::{ListEntry, ListKey, ListRow, Measure, Window};
pub use rows::{
    AccountRow, ActivityKey, ActivityRow, ActorRow, CounterRow, HandleKey, HandleRow,
    InteractionKey, InteractionRow, PostRow, PostState, Span,
};
pub use trends::{TrendKey, TrendRow};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

use crate::id::Epoch;

/// Bytes of a key, at most: twice what the longest key of any view takes, and half of what the embedded store takes.
pub const KEY_BYTES_MAX: usize = 32 << 10;
/// Bytes of a row's columns, at most: half of a MongoDB document.
pub const ROW_BYTES_MAX: usize = 8 << 20;

/// Whether every store can hold a row of this key and these columns.
pub fn fits(key: &Key, row: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.as_bytes().len()) && row.len() <= ROW_BYTES_MAX
}

/// A change of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its key: 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Key,
    /// The whole new row, of at most [`ROW_BYTES_MAX`] bytes; `None` removes it.
    #[serde(with = "serde_bytes")]
    pub row: Option<Box<[u8]>>,
}

impl Change {
    /// Bytes of its key and columns.
    pub fn bytes(&self) -> usize {
        self.key.as_bytes().len() + self.row.as_deref().map_or(0, <[u8]>::len)
    }
}

/// A row as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// Its key, in the order in which it was read.
    pub key: Key,
    /// The end of the commit that wrote it.
    pub epoch: Epoch,
    /// The columns.
    pub row: Box<[u8]>,
}

/// A stored row or key is not what its view's version writes: the store is damaged or of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored row or key is not readable")]
pub struct RowError;

/// The columns as bytes.
pub fn encode_row<R: Serialize>(row: &R) -> Box<[u8]> {
    postcard::to_allocvec(row)
        .expect("rows hold only what postcard can write")
        .into()
}

/// Reads the columns.
///
/// # Errors
/// The bytes were not written by [`encode_row`] of the same type.
pub fn decode_row<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, RowError> {
    match postcard::take_from_bytes(bytes) {
        Ok((row, [])) => Ok(row),
        _ => Err(RowError),
    }
}

/// SipHash-1-3-128 with key 0 of view, key and columns (<https://www.aumasson.jp/siphash/>). Part of the stored format.
pub fn row_hash(view: ViewId, key: &[u8], row: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write_u8(view as u8);
    hasher.write_u32(key.len() as u32);
    hasher.write(key);
    hasher.write(row);
    hasher.finish128().as_u128()
}

macro_rules! catalogue {
    ($($(#[doc = $doc:literal])+ $id:ident = $number:literal, $name:literal, $version:literal;)*) => {
        /// A view. The numbers are part of stored formats: never change or reuse one.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[repr(u8)]
        pub enum ViewId {
            $($(#[doc = $doc])+ $id = $number,)*
        }

        impl ViewId {
            /// The catalogue.
            pub const ALL: &'static [Self] = &[$(Self::$id,)*];

            /// The name in routes, files, collections and options.
            pub fn name(self) -> &'static str {
                match self { $(Self::$id => $name,)* }
            }

            /// Rises when the meaning or the form of its rows changes: the view is then rebuilt.
            pub fn version(self) -> u32 {
                match self { $(Self::$id => $version,)* }
            }

            /// What the view holds, for people.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$id => concat!($($doc, "\n",)+),)* }
            }
        }
    };
}

catalogue! {
    /// Tallies of every post that is live or referred to: [`PostKey`](crate::id::PostKey) → [`PostRow`].
    Posts = 1, "posts", 1;
    /// Best posts by each tally, window and language: [`ListKey`] → [`ListRow`].
    TopPosts = 2, "top_posts", 2;
    /// Every hashtag, lower case: [`TrendKey`] → [`TrendRow`].
    Hashtags = 3, "hashtags", 2;
    /// Every host that posts link to, as written but in lower case: [`TrendKey`] → [`TrendRow`].
    Domains = 4, "domains", 2;
    /// Every URL that posts link to, as written: [`TrendKey`] → [`TrendRow`].
    Links = 5, "links", 2;
    /// Every account that posts mention: [`TrendKey`] (a DID) → [`TrendRow`].
    Mentions = 6, "mentions", 2;
    /// Best hashtags: [`ListKey`] → [`ListRow`].
    TopHashtags = 7, "top_hashtags", 2;
    /// Best domains: [`ListKey`] → [`ListRow`].
    TopDomains = 8, "top_domains", 2;
    /// Best links: [`ListKey`] → [`ListRow`].
    TopLinks = 9, "top_links", 2;
    /// Most mentioned accounts: [`ListKey`] → [`ListRow`].
    TopMentions = 10, "top_mentions", 2;
    /// Who acted on whom, by day: [`InteractionKey`] → [`InteractionRow`].
    Interactions = 11, "interactions", 1;
    /// Most active and most noticed accounts of 24 hours: [`ListKey`] → [`ListRow`].
    TopActors = 12, "top_actors", 1;
    /// Accounts that blocked most and were blocked most in 24 hours: [`ListKey`] → [`ListRow`].
    TopBlocks = 13, "top_blocks", 1;
    /// Counts of every account: [`Did`](crate::id::Did) → [`ActorRow`].
    Actors = 14, "actors", 1;
    /// Posts by language: [`TrendKey`], a [`Lang`](crate::record::Lang) → [`TrendRow`].
    Languages = 15, "languages", 2;
    /// Operations by collection, of all time, hours and minutes: [`ActivityKey`] → [`ActivityRow`].
    Activity = 16, "activity", 2;
    /// What is known of every account: [`Did`](crate::id::Did) → [`AccountRow`].
    Accounts = 17, "accounts", 2;
    /// Accounts by handle: [`HandleKey`] → [`HandleRow`].
    Handles = 18, "handles", 2;
    /// Frames, events, drops by reason, gaps: `String` → [`CounterRow`].
    Counters = 19, "counters", 1;
}

impl ViewId {
    /// The view of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|view| view.name() == name)
    }

    /// The view of this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|view| *view as u8 == number)
    }

    /// A row's key in the view's second order, if it has one: stores keep its rows in both orders.
    pub fn second_key(self, key: &[u8]) -> Option<Key> {
        match self {
            Self::Interactions => InteractionKey::by_subject(key),
            _ => None,
        }
    }

    /// Whether its rows are lists, which are written at most once a second.
    pub fn is_list(self) -> bool {
        !Measure::of(self).is_empty()
    }

    /// Whether the view has a second order.
    pub fn has_second_order(self) -> bool {
        matches!(self, Self::Interactions)
    }
}
