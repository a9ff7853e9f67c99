//! Rows in the form in which the textbook dataflow and Skytide are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use skytide_core::id::{Collection, Did, PostKey};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    ActivityKey, ActivityRow, ActorRow, InteractionKey, InteractionRow, Key, ListKey, ListRow,
    Measure, PostRow, Span, TrendKey, TrendRow, ViewId, ViewKey, Window, decode_row,
};

use crate::model::Rows;

/// Four counters that change together.
pub type Tallies = (i32, i32, i32, i32);

/// The views of Skytide that contain the six views.
pub const VIEWS: [ViewId; 7] = [
    ViewId::Posts,
    ViewId::TopPosts,
    ViewId::Hashtags,
    ViewId::TopHashtags,
    ViewId::Interactions,
    ViewId::Actors,
    ViewId::Activity,
];

/// A row of one of the six views. Rows whose counters are all 0 do not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Row {
    /// Likes, reposts, replies and quotes of a post.
    Post {
        /// The post.
        post: PostKey,
        /// The counters.
        tallies: Tallies,
    },
    /// One of the posts with the most likes of the last 24 hours.
    TopPost {
        /// The post.
        post: PostKey,
        /// The likes.
        likes: i32,
    },
    /// Posts and distinct authors of a hashtag.
    Tag {
        /// 24 hours or all time.
        window: Window,
        /// The hashtag in lower case.
        tag: String,
        /// Posts and authors.
        counts: Tallies,
    },
    /// One of the hashtags with the most posts.
    TopTag {
        /// 24 hours or all time.
        window: Window,
        /// The hashtag in lower case.
        tag: String,
        /// Posts and authors.
        counts: Tallies,
    },
    /// What an account did to another one on a day.
    Interaction {
        /// The account that acted.
        author: Did,
        /// The account that it acted on.
        subject: Did,
        /// Days since 1970.
        day: u32,
        /// Likes, reposts, replies and quotes.
        tallies: Tallies,
    },
    /// Distinct followers, follows and posts of an account.
    Account {
        /// The account.
        account: Did,
        /// Followers, follows and posts.
        counts: Tallies,
    },
    /// Operations on a collection in an hour.
    Operations {
        /// The number of the collection.
        collection: u16,
        /// Hours since 1970.
        hour: u32,
        /// Creates, updates and deletes.
        counts: Tallies,
    },
}

impl Row {
    /// Whether the row is an entry of a top list.
    pub fn is_entry(&self) -> bool {
        matches!(self, Self::TopPost { .. } | Self::TopTag { .. })
    }

    /// Whether Skytide still stores a row of this age at the time `now`. Interactions are stored for
    /// `days`, operations by the hour for 60 days; the textbook dataflow keeps all.
    pub fn is_retained(&self, now: Timestamp, days: Option<u32>) -> bool {
        match self {
            Self::Interaction { day, .. } => days.is_none_or(|days| day + days > now.day()),
            Self::Operations { hour, .. } => hour + 60 * 24 >= now.minute().0 / 60,
            _ => true,
        }
    }
}

/// The rows that result from all changes so far.
#[derive(Clone, Debug, Default)]
pub struct CurrentRows(BTreeMap<Row, i32>);

impl CurrentRows {
    /// Applies changes.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = (Row, i32)>) {
        for (row, count) in changes {
            *self.0.entry(row).or_default() += count;
        }
        self.0.retain(|_, count| *count != 0);
    }

    /// The rows.
    ///
    /// # Panics
    /// A row exists more than once, or less than never.
    pub fn rows(&self) -> BTreeSet<Row> {
        let rows = self.0.iter();
        rows.map(|(row, count)| {
            assert_eq!(*count, 1, "{row:?}");
            row.clone()
        })
        .collect()
    }
}

/// Converts the rows of Skytide. Columns, windows, measures and languages that the six views do not
/// have are left out.
pub fn of_skytide(rows: &Rows, collections: &[Collection]) -> BTreeSet<Row> {
    let mut all = BTreeSet::new();
    for (view, rows) in rows {
        for (key, row) in rows {
            add(*view, (key, row), collections, &mut all);
        }
    }
    all
}

/// Decodes a row and its key.
fn decode<K: ViewKey, R: DeserializeOwned>((key, row): (&Key, &[u8])) -> (K, R) {
    let key = key.decode().expect("a key of this view");
    (key, decode_row(row).expect("a row of this view"))
}

/// Adds what one row of Skytide says.
fn add(view: ViewId, row: (&Key, &[u8]), collections: &[Collection], all: &mut BTreeSet<Row>) {
    let none = (0, 0, 0, 0);
    match view {
        ViewId::Posts => {
            let (post, row): (_, PostRow) = decode(row);
            let tallies = counts([row.likes, row.reposts, row.replies, row.quotes]);
            all.extend((tallies != none).then_some(Row::Post { post, tallies }));
        }
        ViewId::TopPosts | ViewId::TopHashtags => add_list(view, row, all),
        ViewId::Hashtags => {
            let (key, row): (TrendKey, TrendRow) = decode(row);
            for window in [Window::Day, Window::All] {
                let index = window as usize;
                let counts = counts([row.counts[index], row.authors[index], 0, 0]);
                let tag = key.key.to_string();
                let is_row = key.lang.is_empty() && counts != none;
                all.extend(is_row.then_some(Row::Tag {
                    window,
                    tag,
                    counts,
                }));
            }
        }
        ViewId::Interactions => {
            let (
                InteractionKey {
                    author,
                    day,
                    subject,
                },
                row,
            ): (_, InteractionRow) = decode(row);
            let tallies = counts([row.likes, row.reposts, row.replies, row.quotes]);
            all.insert(Row::Interaction {
                author,
                subject,
                day,
                tallies,
            });
        }
        ViewId::Actors => {
            let (account, row): (_, ActorRow) = decode(row);
            let counts = counts([row.followers, row.follows, row.posts, 0]);
            all.extend((counts != none).then_some(Row::Account { account, counts }));
        }
        ViewId::Activity => {
            let (key, row): (ActivityKey, ActivityRow) = decode(row);
            let number = collections
                .iter()
                .position(|it| it.as_str() == &*key.collection);
            if let Some(number) = number.filter(|_| key.span == Span::Hour) {
                all.insert(Row::Operations {
                    collection: number as u16,
                    hour: key.start_minute / 60,
                    counts: counts([row.creates, row.updates, row.deletes].map(|it| it as u32)),
                });
            }
        }
        _ => {}
    }
}

/// Adds the entries of a list, if it is one of the six views.
fn add_list(view: ViewId, row: (&Key, &[u8]), all: &mut BTreeSet<Row>) {
    let (key, list): (ListKey, ListRow) = decode(row);
    let window = key.window;
    for entry in list.entries {
        match (view, key.measure, window) {
            _ if !key.lang.is_empty() => {}
            (ViewId::TopPosts, Measure::Likes, Window::Day) => {
                let post = entry.key.parse().expect("the address of a post");
                let likes = entry.value as i32;
                all.insert(Row::TopPost { post, likes });
            }
            (ViewId::TopHashtags, Measure::Count, Window::Day | Window::All) => {
                let counts = counts([entry.value, entry.other, 0, 0]);
                let tag = entry.key.into();
                all.insert(Row::TopTag {
                    window,
                    tag,
                    counts,
                });
            }
            _ => {}
        }
    }
}

fn counts<const N: usize>(counts: [u32; N]) -> Tallies {
    let count = |index: usize| counts.get(index).copied().unwrap_or_default() as i32;
    (count(0), count(1), count(2), count(3))
}
