//! The table of posts with their tallies: state that `posts` and `top_posts` share.
//!
//! A *tally* of a post counts the records that refer to it by one measure, for example its likes.

use std::ops::Range;

use skytide_core::id::PostKey;
use skytide_core::view::{Measure, PostRow, PostState};

use crate::operators::count::{Carries, to_row_count};
use crate::operators::interner::{Entry, Interner};
use crate::operators::slab::{Slab, Slot};
use crate::sizes::{COLLECTIONS, Sizes, StateSizes, vec_bytes};

/// A set of languages, interned by `top_posts`; 0 is the empty set.
pub(super) type LangSet = u32;

/// The number of tallies of a post: one for each of the measures 0 to 4.
pub(super) const TALLIES: usize = 5;

/// The bit set of all tallies.
pub(super) const ALL_TALLIES: u8 = (1 << TALLIES) - 1;

/// The counts of one tally: all records, those by the post's author, and, if top lists are
/// computed, those in the windows of an hour, a day and a week.
type Tally = [i32; 5];
const ALL: usize = 0;
const OWN: usize = 1;
const WINDOWS: Range<usize> = 2..5;

/// The key of a count in [`PostTable::carries`]: the post's number, the measure, the index in
/// [`Tally`].
type CountKey = (u32, Measure, u8);

/// The counts of a post that its row shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PostCounts {
    /// All records, in the order of [`Measure`].
    all: [i64; TALLIES],
    /// Only the records by the post's author.
    own: [i64; TALLIES],
    /// 1 while the post's record is live.
    live: i32,
    /// How many times the post was created.
    seen: i32,
}

/// The state of a post.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PostEntry {
    likes: Tally,
    /// 1 while the post's record is live.
    pub live: i32,
    /// How many times the post was created.
    pub seen: i32,
    /// The languages of the post.
    pub langs: LangSet,
    /// The tallies other than likes, if the post has any.
    others: Slot,
    /// Whether the post was touched since the candidates of top lists were last updated.
    touched: bool,
    /// The bit set of the tallies that changed in any window since then.
    changed: u8,
    /// The bit set of the tallies that were above zero when the candidates were last updated. The
    /// post is a candidate for no other tally.
    pub candidate_for: u8,
}

/// A change of one tally.
#[derive(Clone, Copy, Debug)]
pub(super) struct TallyDiff {
    /// The change of the number of all records.
    pub all: i32,
    /// The change of the number of records by the post's author.
    pub own: i32,
    /// The change in the windows, in the order of `Window::ALL`.
    pub windows: [i32; 4],
}

/// The state of all posts.
#[derive(Default)]
pub(super) struct PostTable {
    pub posts: Interner<PostKey, PostEntry>,
    /// The tallies other than likes, of posts that have any.
    others: Slab<[Tally; TALLIES - 1]>,
    /// The high 32 bits of counts.
    carries: Carries<CountKey>,
    /// Posts touched since the candidates were last updated. That happens only when top lists are
    /// written.
    touched: Vec<u32>,
}

impl StateSizes for PostTable {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let mut table = self.posts.size();
        table.bytes += vec_bytes(&self.touched) + self.carries.size().bytes;
        sizes.add("posts.table", table, COLLECTIONS);
        sizes.add("posts.other_tallies", self.others.size(), COLLECTIONS);
    }
}

impl PostTable {
    /// Marks a post and the bit set `tallies` as changed. Returns the entry to change.
    pub fn touch(&mut self, number: u32, tallies: u8) -> &mut PostEntry {
        let entry = &mut self.posts[number];
        entry.changed |= tallies;
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(number);
        }
        entry
    }

    /// Takes the posts that were touched since the last call.
    pub fn take_touched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.touched)
    }

    /// Adds to a tally of a post.
    pub fn add(&mut self, number: u32, measure: Measure, diff: TallyDiff) {
        self.touch(number, 1 << measure as u8);
        let entry = &mut self.posts[number];
        let tally = match (measure as usize).checked_sub(1) {
            None => &mut entry.likes,
            Some(other) => &mut self.others.get_or_add(&mut entry.others)[other],
        };
        let TallyDiff { all, own, windows } = diff;
        let [hour, day, week, _all] = windows;
        let diffs = [all, own, hour, day, week];
        for ((index, count), diff) in tally.iter_mut().enumerate().zip(diffs) {
            let key = || (number, measure, index as u8);
            self.carries.add(count, diff.into(), key);
        }
    }

    /// The counts of one tally, in the order of [`Tally`].
    fn tally(&self, number: u32, measure: Measure) -> [i64; 5] {
        let entry = &self.posts[number];
        let tally = match (measure as usize).checked_sub(1) {
            None => entry.likes,
            Some(other) => self.others.get(entry.others).map_or([0; 5], |it| it[other]),
        };
        let key = |index: usize| (number, measure, index as u8);
        std::array::from_fn(|index| self.carries.value(tally[index], || key(index)))
    }

    /// The counts of a post that its row shows.
    pub fn counts(&self, number: u32) -> PostCounts {
        let entry = &self.posts[number];
        let tallies: [[i64; 5]; TALLIES] =
            std::array::from_fn(|index| self.tally(number, Measure::ALL[index]));
        PostCounts {
            all: tallies.map(|tally| tally[ALL]),
            own: tallies.map(|tally| tally[OWN]),
            live: entry.live,
            seen: entry.seen,
        }
    }

    /// A tally of a post in the four windows.
    pub fn values(&self, number: u32, measure: Measure) -> [u32; 4] {
        let tally = self.tally(number, measure);
        let [hour, day, week] = [0, 1, 2].map(|window| tally[WINDOWS.start + window]);
        [hour, day, week, tally[ALL]].map(to_row_count)
    }

    /// Whether any count of a post is not zero. Must be called after the windows advanced. Then the
    /// counts of all time suffice, because they include all records in the windows.
    pub fn is_known(&self, number: u32) -> bool {
        let entry = &self.posts[number];
        let counted = entry.others.is_some() || entry.likes != Tally::default();
        let existed = (entry.live, entry.seen) != (0, 0);
        counted || existed || self.carries.any(|(post, ..)| *post == number)
    }

    /// Ends a change of a post: frees tallies that are all zero. Returns the bit set of the tallies
    /// that changed.
    pub fn finish_change(&mut self, number: u32) -> u8 {
        let entry = &mut self.posts[number];
        entry.touched = false;
        self.others.remove_default(&mut entry.others);
        std::mem::take(&mut entry.changed)
    }
}

impl PostEntry {
    /// Whether top lists may show the post. Deleted and hidden posts are excluded; posts that were
    /// never seen are included.
    pub fn is_listed(&self) -> bool {
        self.live > 0 || self.seen == 0
    }
}

impl PostCounts {
    /// The columns of the row in `posts`.
    pub fn row(&self) -> PostRow {
        let [likes, reposts, replies, root_replies, quotes] = self.all.map(to_row_count);
        let [
            self_likes,
            self_reposts,
            self_replies,
            self_root_replies,
            self_quotes,
        ] = self.own.map(to_row_count);
        PostRow {
            likes,
            reposts,
            replies,
            root_replies,
            quotes,
            self_likes,
            self_reposts,
            self_replies,
            self_root_replies,
            self_quotes,
            state: match (self.live, self.seen) {
                (0, 0) => PostState::NeverSeen,
                (0, _) => PostState::Gone,
                _ => PostState::Live,
            },
        }
    }
}

const _: () = assert!(
    size_of::<Entry<PostKey, PostEntry>>() == 64,
    "the entry of a post fills one cache line"
);
