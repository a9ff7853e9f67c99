//! Top lists: each row is one list.

use serde::{Deserialize, Serialize};

use super::key::{ViewKey, take};
use super::{RowError, ViewId};
use crate::time::{Minute, Timestamp};

/// A sliding interval that ends at the current network time. All windows but [`Window::All`]
/// consist of whole buckets, including the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Window {
    /// 60 buckets of 1 minute.
    Hour = 0,
    /// 144 buckets of 10 minutes.
    Day = 1,
    /// 168 buckets of 1 hour.
    Week = 2,
    /// Everything since the log's first event, without a start or buckets.
    All = 3,
}

impl Window {
    /// All windows, from the shortest to the longest.
    pub const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::All];

    /// The name in routes, exports and MongoDB documents. [`ListKey`] encodes the number instead.
    pub fn name(self) -> &'static str {
        ["1h", "24h", "7d", "all"][self as usize]
    }

    /// The window with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.name() == name)
    }

    /// Minutes per bucket, and the number of buckets; `None` for all time.
    pub fn buckets(self) -> Option<(u32, u32)> {
        match self {
            Self::Hour => Some((1, 60)),
            Self::Day => Some((10, 144)),
            Self::Week => Some((60, 168)),
            Self::All => None,
        }
    }

    /// The first minute in the window at the time `now`; 0 for all time.
    pub fn first_minute(self, now: Minute) -> Minute {
        let first =
            |(minutes, count): (u32, u32)| (now.0 / minutes + 1).saturating_sub(count) * minutes;
        Minute(self.buckets().map_or(0, first))
    }

    /// The start of the window at the time `now`.
    pub fn start(self, now: Timestamp) -> Timestamp {
        self.first_minute(now.minute()).start()
    }

    /// The next longer window. Velocity compares the count in this window with the count in
    /// that one.
    pub fn longer(self) -> Option<Self> {
        Self::ALL.get(self as usize + 1).copied()
    }
}

macro_rules! measures {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// The value by which a list is ordered. The numbers are part of the stored format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Measure { $($(#[$doc])* $name = $number,)* }

        impl Measure {
            /// All measures.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in routes, exports and MongoDB documents.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

measures! {
    /// Likes of a post.
    Likes = 0, "likes";
    /// Reposts of a post.
    Reposts = 1, "reposts";
    /// Direct replies to a post.
    Replies = 2, "replies";
    /// Replies anywhere in a post's thread.
    RootReplies = 3, "root_replies";
    /// Quotes of a post.
    Quotes = 4, "quotes";
    /// Posts that contain a hashtag, domain, link or mention.
    Count = 5, "count";
    /// Distinct authors of posts that contain a hashtag, domain, link or mention.
    Authors = 6, "authors";
    /// Likes that an account gave.
    LikesGiven = 7, "likes_given";
    /// Likes of an account's records.
    LikesReceived = 8, "likes_received";
    /// Reposts that an account made.
    RepostsGiven = 9, "reposts_given";
    /// Reposts of an account's records.
    RepostsReceived = 10, "reposts_received";
    /// Posts that an account wrote.
    Posts = 11, "posts";
    /// Blocks that an account made.
    BlocksGiven = 12, "blocks_given";
    /// Blocks that name an account.
    BlocksReceived = 13, "blocks_received";
    /// Likes of other accounts' records that an account gave.
    LikesToOthers = 14, "likes_to_others";
    /// Likes of an account's records by other accounts.
    LikesFromOthers = 15, "likes_from_others";
    /// Reposts of other accounts' records that an account made.
    RepostsToOthers = 16, "reposts_to_others";
    /// Reposts of an account's records by other accounts.
    RepostsFromOthers = 17, "reposts_from_others";
    /// Replies to other accounts and quotes of other accounts that an account wrote. A post acts on
    /// one account: a reply on the account that it replies to, even if the post also quotes.
    PostsToOthers = 18, "posts_to_others";
    /// Replies to an account and quotes of it by other accounts.
    PostsFromOthers = 19, "posts_from_others";
    /// Blocks of other accounts that an account made.
    BlocksToOthers = 20, "blocks_to_others";
    /// Blocks of an account by other accounts. [`Measure::BlocksReceived`] also counts its own.
    BlocksFromOthers = 21, "blocks_from_others";
}

impl Measure {
    /// The measure with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|measure| measure.name() == name)
    }

    /// The measures of a view of lists; empty for other views.
    pub fn of(view: ViewId) -> &'static [Self] {
        match view {
            ViewId::TopPosts => &Self::ALL[0..5],
            ViewId::TopHashtags | ViewId::TopDomains | ViewId::TopLinks | ViewId::TopMentions => {
                &Self::ALL[5..7]
            }
            ViewId::TopActors => &Self::ALL[7..12],
            ViewId::TopBlocks => &Self::ALL[12..14],
            ViewId::TopInteractions => &Self::ALL[14..22],
            _ => &[],
        }
    }
}

/// The key of a list within its view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ListKey {
    /// The window over which the list counts. `top_actors`, `top_blocks` and `top_interactions` have
    /// only 24 hours.
    pub window: Window,
    /// The measure by which the list is ordered.
    pub measure: Measure,
    /// The language of the counted posts: a primary subtag, `und` for posts without a language,
    /// `other` for languages that [`Lang`](crate::record::Lang) does not list, or empty for posts
    /// of all languages.
    pub lang: Box<str>,
}

impl ViewKey for ListKey {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&[self.window as u8, self.measure as u8]);
        self.lang.to_string().encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, RowError> {
        let head = take(bytes, 2)?;
        Ok(Self {
            window: *Window::ALL.get(usize::from(head[0])).ok_or(RowError)?,
            measure: *Measure::ALL.get(usize::from(head[1])).ok_or(RowError)?,
            lang: String::decode(bytes)?.into(),
        })
    }
}

/// A list of at most [`ListRow::LENGTH`] entries, ordered by descending value; equal values are
/// ordered by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListRow {
    /// The entries, highest value first.
    pub entries: Vec<ListEntry>,
}

impl ListRow {
    /// Maximum number of entries in a list.
    pub const LENGTH: usize = 100;
}

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListEntry {
    /// The AT URI, DID, tag, domain or URL.
    pub key: Box<str>,
    /// The list's measure in the list's window.
    pub value: u32,
    /// Authors in a list by count, and count in a list by authors. In a list by posts to or from
    /// others, the Unicode scalar values in the texts of these posts, at most `u32::MAX`. 0 in lists
    /// by other measures.
    pub other: u32,
    /// The list's measure in the next longer window ([`Window::longer`]), from which velocity is
    /// computed; equal to `value` if there is no longer window.
    pub longer: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_includes_the_current_bucket() {
        let now = Minute(20_000 * 1_440 + 754);
        assert_eq!(Window::Hour.first_minute(now).0, now.0 - 59);
        assert_eq!(Window::Day.first_minute(now).0, now.0 - 4 - 1_430);
        assert_eq!(Window::Week.first_minute(now).0, now.0 - 34 - 167 * 60);
        assert_eq!(Window::All.first_minute(now).0, 0);
    }

    #[test]
    fn numbers_of_measures_equal_their_indexes() {
        for (index, measure) in Measure::ALL.iter().enumerate() {
            assert_eq!(*measure as usize, index);
        }
    }
}
