//! The catalogue of views: their names, keys and rows.
//!
//! A row contains the complete current values, not a change. The port passes rows as bytes: a key
//! whose bytes sort like the typed key ([`ViewKey`]), and the columns in postcard ([`encode_row`]).
//! This module also has the typed forms, one submodule per family of views.

mod coverage;
mod key;
mod lists;
mod rows;
mod trends;

pub use coverage::{
    COVERAGE_DAYS, COVERAGE_HOURS, COVERAGE_INTERVALS_MAX, CoverageKey, CoverageKind, CoverageRow,
};
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

/// Maximum size of a key in bytes: twice the longest key of any view, and half of what the embedded
/// store accepts.
pub const KEY_BYTES_MAX: usize = 32 << 10;
/// Maximum size of a row's columns in bytes: half of the maximum size of a MongoDB document.
pub const ROW_BYTES_MAX: usize = 8 << 20;

/// Whether every store can hold a row with this key and these columns.
pub fn fits(key: &Key, row: &[u8]) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.as_bytes().len()) && row.len() <= ROW_BYTES_MAX
}

/// A change to one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key: 1 to [`KEY_BYTES_MAX`] bytes.
    pub key: Key,
    /// The complete new row, at most [`ROW_BYTES_MAX`] bytes; `None` deletes the row.
    #[serde(with = "serde_bytes")]
    pub row: Option<Box<[u8]>>,
}

impl Change {
    /// Size of key and columns, in bytes.
    pub fn bytes(&self) -> usize {
        self.key.as_bytes().len() + self.row.as_deref().map_or(0, <[u8]>::len)
    }
}

/// A row as the store returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRow {
    /// The key, in the order in which the row was read.
    pub key: Key,
    /// The epoch at the end of the commit that wrote the row.
    pub epoch: Epoch,
    /// The columns.
    pub row: Box<[u8]>,
}

/// A stored row or key cannot be decoded: the store is damaged, or a different version of the view
/// wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode a stored row or key")]
pub struct RowError;

/// Encodes the columns.
pub fn encode_row<R: Serialize>(row: &R) -> Box<[u8]> {
    postcard::to_allocvec(row)
        .expect("postcard can encode every type of row")
        .into()
}

/// Decodes the columns.
///
/// # Errors
/// The bytes are not an encoding of this type by [`encode_row`].
pub fn decode_row<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, RowError> {
    match postcard::take_from_bytes(bytes) {
        Ok((row, [])) => Ok(row),
        _ => Err(RowError),
    }
}

/// SipHash-1-3-128 of view, key and columns, with key 0 (<https://www.aumasson.jp/siphash/>). Part
/// of the stored format.
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
            /// All views.
            pub const ALL: &'static [Self] = &[$(Self::$id,)*];

            /// The name in routes, files, collections and options.
            pub fn name(self) -> &'static str {
                match self { $(Self::$id => $name,)* }
            }

            /// The version of the view. It increases when the meaning or the encoding of the rows
            /// changes, and the view is then rebuilt.
            pub fn version(self) -> u32 {
                match self { $(Self::$id => $version,)* }
            }

            /// A description of the view, for readers of the documentation.
            pub fn doc(self) -> &'static str {
                match self { $(Self::$id => concat!($($doc, "\n",)+),)* }
            }
        }
    };
}

catalogue! {
    /// Counters of every post that is live or referred to: [`PostKey`](crate::id::PostKey) →
    /// [`PostRow`].
    Posts = 1, "posts", 1;
    /// Top posts by measure, window and language: [`ListKey`] → [`ListRow`].
    TopPosts = 2, "top_posts", 2;
    /// Every hashtag, in lower case: [`TrendKey`] → [`TrendRow`].
    Hashtags = 3, "hashtags", 2;
    /// Every host to which posts link, as written but in lower case: [`TrendKey`] → [`TrendRow`].
    Domains = 4, "domains", 2;
    /// Every URL to which posts link, as written: [`TrendKey`] → [`TrendRow`].
    Links = 5, "links", 2;
    /// Every account that posts mention: [`TrendKey`] (a DID) → [`TrendRow`].
    Mentions = 6, "mentions", 2;
    /// Top hashtags: [`ListKey`] → [`ListRow`].
    TopHashtags = 7, "top_hashtags", 2;
    /// Top domains: [`ListKey`] → [`ListRow`].
    TopDomains = 8, "top_domains", 2;
    /// Top links: [`ListKey`] → [`ListRow`].
    TopLinks = 9, "top_links", 2;
    /// Most mentioned accounts: [`ListKey`] → [`ListRow`].
    TopMentions = 10, "top_mentions", 2;
    /// Interactions between two accounts, by day: [`InteractionKey`] → [`InteractionRow`].
    Interactions = 11, "interactions", 1;
    /// Top accounts of the last 24 hours by activity given and received: [`ListKey`] → [`ListRow`].
    TopActors = 12, "top_actors", 1;
    /// Top accounts of the last 24 hours by blocks given and received: [`ListKey`] → [`ListRow`].
    TopBlocks = 13, "top_blocks", 1;
    /// Counters of every account: [`Did`](crate::id::Did) → [`ActorRow`].
    Actors = 14, "actors", 1;
    /// Posts by language: [`TrendKey`], a [`Lang`](crate::record::Lang) → [`TrendRow`].
    Languages = 15, "languages", 2;
    /// Operations by collection, in total and by hour and minute: [`ActivityKey`] →
    /// [`ActivityRow`].
    Activity = 16, "activity", 2;
    /// Handle, status and profile of every account: [`Did`](crate::id::Did) → [`AccountRow`].
    Accounts = 17, "accounts", 2;
    /// Accounts by handle: [`HandleKey`] → [`HandleRow`].
    Handles = 18, "handles", 2;
    /// Counters of frames, events, drops by reason and gaps: `String` → [`CounterRow`].
    Counters = 19, "counters", 1;
    /// Top accounts of the last 24 hours by interactions with other accounts: [`ListKey`] →
    /// [`ListRow`].
    TopInteractions = 20, "top_interactions", 1;
    /// Gaps of the stream, filters, drops and missing numbers, by network time: [`CoverageKey`] →
    /// [`CoverageRow`].
    Coverage = 21, "coverage", 1;
}

/// The types of a view's keys and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// [`PostKey`](crate::id::PostKey) → [`PostRow`].
    Post,
    /// [`ListKey`] → [`ListRow`].
    List,
    /// [`TrendKey`] → [`TrendRow`].
    Trend,
    /// [`InteractionKey`] → [`InteractionRow`].
    Interaction,
    /// [`Did`](crate::id::Did) → [`ActorRow`].
    Actor,
    /// [`ActivityKey`] → [`ActivityRow`].
    Activity,
    /// [`Did`](crate::id::Did) → [`AccountRow`].
    Account,
    /// [`HandleKey`] → [`HandleRow`].
    Handle,
    /// `String` → [`CounterRow`].
    Counter,
    /// [`CoverageKey`] → [`CoverageRow`].
    Coverage,
}

impl ViewId {
    /// The types of the view's keys and rows.
    pub fn row_kind(self) -> RowKind {
        match self {
            Self::Posts => RowKind::Post,
            Self::TopPosts
            | Self::TopHashtags
            | Self::TopDomains
            | Self::TopLinks
            | Self::TopMentions
            | Self::TopActors
            | Self::TopBlocks
            | Self::TopInteractions => RowKind::List,
            Self::Hashtags | Self::Domains | Self::Links | Self::Mentions | Self::Languages => {
                RowKind::Trend
            }
            Self::Interactions => RowKind::Interaction,
            Self::Actors => RowKind::Actor,
            Self::Activity => RowKind::Activity,
            Self::Accounts => RowKind::Account,
            Self::Handles => RowKind::Handle,
            Self::Counters => RowKind::Counter,
            Self::Coverage => RowKind::Coverage,
        }
    }

    /// The view with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|view| view.name() == name)
    }

    /// The view with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|view| *view as u8 == number)
    }

    /// The row's key in the view's second order, if the view has one. Stores hold its rows in both
    /// orders.
    pub fn second_key(self, key: &[u8]) -> Option<Key> {
        match self {
            Self::Interactions => InteractionKey::by_subject(key),
            _ => None,
        }
    }

    /// Whether the rows are lists. Lists are written at most once per second.
    pub fn is_list(self) -> bool {
        !Measure::of(self).is_empty()
    }

    /// Whether the view has a second order.
    pub fn has_second_order(self) -> bool {
        matches!(self, Self::Interactions)
    }
}
