//! The table of accounts with their counters: state that `actors`, `top_actors`, `top_blocks` and
//! `top_interactions` share.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{ActorRow, Measure, Window};

use crate::operators::count::{Carries, to_row_count};
use crate::operators::interner::{Entry, Interner};
use crate::operators::slab::{Slab, Slot};
use crate::sizes::{COLLECTIONS, Sizes, StateSizes, vec_bytes};

/// A counter of an account. The discriminant is its index in the arrays of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Counter {
    LikesGiven,
    LikesReceived,
    RepostsGiven,
    RepostsReceived,
    Posts,
    Blocks,
    BlockRecords,
    Blockers,
    Followers,
    FollowRecords,
    Follows,
    // The following counters exist only in the window of a day.
    /// Likes of the account's own records by the account.
    OwnLikes,
    /// Likes by the account that name no valid record.
    LikesOfNobody,
    OwnReposts,
    RepostsOfNobody,
    OwnBlocks,
    BlocksOfNobody,
    /// Replies to other accounts, and quotes of other accounts that are not replies.
    PostsToOthers,
    PostsFromOthers,
    /// Unicode scalar values in the texts of these posts.
    CharactersToOthers,
    CharactersFromOthers,
}

/// The number of counters of all time; they are the first ones.
const COUNTERS: usize = 11;

/// The indices of the counters of blocks: few accounts have any.
const BLOCKS: Range<usize> = 5..8;

/// The number of counters of all time that are also counted in the window of a day; they are the
/// first ones.
const DAY_COUNTERS: usize = 7;

/// The indices of the counters that exist only in the window of a day.
const DAY_ONLY: Range<usize> = 11..21;

/// The measures of the top lists of accounts, in the order of their numbers.
pub(super) const LISTED: [Measure; 15] = [
    Measure::LikesGiven,
    Measure::LikesReceived,
    Measure::RepostsGiven,
    Measure::RepostsReceived,
    Measure::Posts,
    Measure::BlocksGiven,
    Measure::BlocksReceived,
    Measure::LikesToOthers,
    Measure::LikesFromOthers,
    Measure::RepostsToOthers,
    Measure::RepostsFromOthers,
    Measure::PostsToOthers,
    Measure::PostsFromOthers,
    Measure::BlocksToOthers,
    Measure::BlocksFromOthers,
];

/// The bit of a measure in a set of measures: bit 0 is the first one in [`LISTED`].
pub(super) const fn bit(measure: Measure) -> u16 {
    1 << (measure as u16 - LISTED[0] as u16)
}

/// The counts of an account that its row shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AccountCounts {
    /// In the order of [`Counter`].
    counters: [i64; COUNTERS],
    /// The newest minute of activity: a maximum of minutes.
    last_seen: Minute,
}

/// The state of an account.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AccountEntry {
    /// The counters other than those of blocks.
    counters: [i32; COUNTERS - BLOCKS.end + BLOCKS.start],
    pub last_seen: Minute,
    /// Data that few accounts have, if the account has any.
    rare: Slot,
    /// Whether the account was touched since the candidates of top lists were last updated.
    touched: bool,
    /// The bit set of the measures that may have changed since then.
    changed: u16,
    /// The bit set of the measures that were above zero when the candidates were last updated. The
    /// account is a candidate for no other measure.
    pub candidate_for: u16,
}

/// Data that few accounts have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RareCounts {
    /// The counters of blocks.
    blocks: [i32; BLOCKS.end - BLOCKS.start],
    /// The first counters in the window of a day, if top lists are computed.
    day: [i32; DAY_COUNTERS],
    /// The counters that exist only in the window of a day, if any is not zero.
    day_only: Slot,
}

/// The state of all accounts.
#[derive(Default)]
pub(super) struct AccountTable {
    pub accounts: Interner<Did, AccountEntry>,
    rare: Slab<RareCounts>,
    /// The counters of [`DAY_ONLY`].
    day_only: Slab<[i32; DAY_ONLY.end - DAY_ONLY.start]>,
    /// The high 32 bits of counters, of all time (`false`) and of a day (`true`).
    carries: Carries<(u32, Counter, bool)>,
    /// Accounts touched since the candidates were last updated. That happens only when top lists
    /// are written.
    touched: Vec<u32>,
}

impl StateSizes for AccountTable {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let mut table = self.accounts.size();
        table.bytes += vec_bytes(&self.touched) + self.carries.size().bytes;
        sizes.add("actors.table", table, COLLECTIONS);
        let mut rare = self.rare.size();
        rare.bytes += self.day_only.size().bytes;
        sizes.add("actors.rare_counts", rare, COLLECTIONS);
    }
}

impl AccountTable {
    /// Marks an account and the bit set `measures` as changed. Returns the entry to change.
    pub fn touch(&mut self, number: u32, measures: u16) -> &mut AccountEntry {
        let entry = &mut self.accounts[number];
        entry.changed |= measures;
        if !std::mem::replace(&mut entry.touched, true) {
            self.touched.push(number);
        }
        entry
    }

    /// Takes the accounts that were touched since the last call.
    pub fn take_touched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.touched)
    }

    /// Adds to a counter of all time.
    pub fn add(&mut self, number: u32, counter: Counter, diff: i32) {
        let index = counter as usize;
        let entry = &mut self.accounts[number];
        let count = match index {
            _ if BLOCKS.contains(&index) => {
                &mut self.rare.get_or_add(&mut entry.rare).blocks[index - BLOCKS.start]
            }
            _ if index < BLOCKS.start => &mut entry.counters[index],
            _ => &mut entry.counters[index - BLOCKS.len()],
        };
        let key = || (number, counter, false);
        self.carries.add(count, diff.into(), key);
    }

    /// Adds to a counter in the window of a day; `diffs` are in the order of `Window::ALL`.
    pub fn add_to_day(&mut self, number: u32, counter: Counter, diffs: [i32; 4]) {
        let diff = diffs[Window::Day as usize];
        if diff != 0 {
            let rare = self.rare.get_or_add(&mut self.accounts[number].rare);
            let index = counter as usize;
            let count = match DAY_ONLY.contains(&index) {
                true => &mut self.day_only.get_or_add(&mut rare.day_only)[index - DAY_ONLY.start],
                false => &mut rare.day[index],
            };
            let key = || (number, counter, true);
            self.carries.add(count, diff.into(), key);
        }
    }

    /// A counter of an account in the window of a day.
    fn day_count(&self, number: u32, counter: Counter) -> i64 {
        let rare = self.rare.get(self.accounts[number].rare);
        let count = rare.map_or(0, |rare| {
            match (counter as usize).checked_sub(DAY_ONLY.start) {
                None => rare.day[counter as usize],
                Some(index) => self.day_only.get(rare.day_only).map_or(0, |it| it[index]),
            }
        });
        self.carries.value(count, || (number, counter, true))
    }

    /// The value of a listed measure of an account in the window of a day.
    pub fn day_value(&self, number: u32, measure: Measure) -> u32 {
        use Counter as C;
        let count = |counter| self.day_count(number, counter);
        let value = match measure {
            Measure::LikesGiven => count(C::LikesGiven),
            Measure::LikesReceived => count(C::LikesReceived),
            Measure::RepostsGiven => count(C::RepostsGiven),
            Measure::RepostsReceived => count(C::RepostsReceived),
            Measure::Posts => count(C::Posts),
            Measure::BlocksGiven => count(C::Blocks),
            Measure::BlocksReceived => count(C::BlockRecords),
            Measure::LikesToOthers => {
                count(C::LikesGiven) - count(C::OwnLikes) - count(C::LikesOfNobody)
            }
            Measure::LikesFromOthers => count(C::LikesReceived) - count(C::OwnLikes),
            Measure::RepostsToOthers => {
                count(C::RepostsGiven) - count(C::OwnReposts) - count(C::RepostsOfNobody)
            }
            Measure::RepostsFromOthers => count(C::RepostsReceived) - count(C::OwnReposts),
            Measure::PostsToOthers => count(C::PostsToOthers),
            Measure::PostsFromOthers => count(C::PostsFromOthers),
            Measure::BlocksToOthers => {
                count(C::Blocks) - count(C::OwnBlocks) - count(C::BlocksOfNobody)
            }
            Measure::BlocksFromOthers => count(C::BlockRecords) - count(C::OwnBlocks),
            _ => 0,
        };
        to_row_count(value)
    }

    /// The characters that a list by this measure shows beside the value; 0 for other measures.
    pub fn day_characters(&self, number: u32, measure: Measure) -> u32 {
        to_row_count(match measure {
            Measure::PostsToOthers => self.day_count(number, Counter::CharactersToOthers),
            Measure::PostsFromOthers => self.day_count(number, Counter::CharactersFromOthers),
            _ => 0,
        })
    }

    /// The counts of an account that its row shows.
    pub fn counts(&self, number: u32) -> AccountCounts {
        let entry = &self.accounts[number];
        let (first, last) = entry.counters.split_at(BLOCKS.start);
        let mut counters = [0; COUNTERS];
        counters[..BLOCKS.start].copy_from_slice(first);
        if let Some(rare) = self.rare.get(entry.rare) {
            counters[BLOCKS].copy_from_slice(&rare.blocks);
        }
        counters[BLOCKS.end..].copy_from_slice(last);
        let counters = std::array::from_fn(|index| {
            let key = || (number, Counter::ALL[index], false);
            self.carries.value(counters[index], key)
        });
        AccountCounts {
            counters,
            last_seen: entry.last_seen,
        }
    }

    /// Whether anything is known of an account. Must be called after the window advanced and
    /// [`Self::finish_change`]. Then the counters of all time and the existence of rare counts
    /// suffice: the counters of all time include all records that the first counters in the window
    /// count, and the others are rare counts.
    pub fn is_known(&self, number: u32) -> bool {
        let entry = &self.accounts[number];
        let counted = entry.counters.iter().any(|count| *count != 0) || entry.rare.is_some();
        let was_seen = entry.last_seen != Minute::default();
        counted || was_seen || self.carries.any(|(account, ..)| *account == number)
    }

    /// Ends a change of an account: frees its rare counts if all are zero. Returns the bit set of
    /// the measures that may have changed.
    pub fn finish_change(&mut self, number: u32) -> u16 {
        let entry = &mut self.accounts[number];
        entry.touched = false;
        if let Some(rare) = self.rare.get_mut(entry.rare) {
            self.day_only.remove_default(&mut rare.day_only);
        }
        self.rare.remove_default(&mut entry.rare);
        std::mem::take(&mut entry.changed)
    }
}

impl Counter {
    /// All counters of all time, each at its index.
    const ALL: [Self; COUNTERS] = [
        Self::LikesGiven,
        Self::LikesReceived,
        Self::RepostsGiven,
        Self::RepostsReceived,
        Self::Posts,
        Self::Blocks,
        Self::BlockRecords,
        Self::Blockers,
        Self::Followers,
        Self::FollowRecords,
        Self::Follows,
    ];

    /// Whether the counter is also counted over all time.
    pub fn is_of_all_time(self) -> bool {
        (self as usize) < COUNTERS
    }

    /// Whether the counter is counted in the window of a day.
    pub fn is_of_day(self) -> bool {
        self.measures() != 0
    }

    /// The bit set of the measures that a change of the counter may change.
    pub fn measures(self) -> u16 {
        use Measure as M;
        let measures: &[Measure] = match self {
            Self::LikesGiven => &[M::LikesGiven, M::LikesToOthers],
            Self::LikesReceived => &[M::LikesReceived, M::LikesFromOthers],
            Self::RepostsGiven => &[M::RepostsGiven, M::RepostsToOthers],
            Self::RepostsReceived => &[M::RepostsReceived, M::RepostsFromOthers],
            Self::Posts => &[M::Posts],
            Self::Blocks => &[M::BlocksGiven, M::BlocksToOthers],
            Self::BlockRecords => &[M::BlocksReceived, M::BlocksFromOthers],
            Self::Blockers | Self::Followers | Self::FollowRecords | Self::Follows => &[],
            Self::OwnLikes => &[M::LikesToOthers, M::LikesFromOthers],
            Self::LikesOfNobody => &[M::LikesToOthers],
            Self::OwnReposts => &[M::RepostsToOthers, M::RepostsFromOthers],
            Self::RepostsOfNobody => &[M::RepostsToOthers],
            Self::OwnBlocks => &[M::BlocksToOthers, M::BlocksFromOthers],
            Self::BlocksOfNobody => &[M::BlocksToOthers],
            Self::PostsToOthers | Self::CharactersToOthers => &[M::PostsToOthers],
            Self::PostsFromOthers | Self::CharactersFromOthers => &[M::PostsFromOthers],
        };
        measures.iter().fold(0, |set, measure| set | bit(*measure))
    }
}

impl AccountCounts {
    /// The columns of the row in `actors`.
    pub fn row(&self) -> ActorRow {
        let count = |counter: Counter| to_row_count(self.counters[counter as usize]);
        ActorRow {
            followers: count(Counter::Followers),
            follow_records: count(Counter::FollowRecords),
            follows: count(Counter::Follows),
            blockers: count(Counter::Blockers),
            block_records: count(Counter::BlockRecords),
            blocks: count(Counter::Blocks),
            posts: count(Counter::Posts),
            likes_given: count(Counter::LikesGiven),
            likes_received: count(Counter::LikesReceived),
            reposts_given: count(Counter::RepostsGiven),
            reposts_received: count(Counter::RepostsReceived),
            last_seen: self.last_seen.start(),
        }
    }
}

const _: () = assert!(
    size_of::<Entry<Did, AccountEntry>>() == 64,
    "the entry of an account fills one cache line"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listed_measure_has_a_bit_of_its_own() {
        let bits = LISTED
            .iter()
            .fold(0_u32, |set, it| set + u32::from(bit(*it)));
        assert_eq!(bits, (1 << LISTED.len()) - 1);
        assert_eq!(Counter::CharactersFromOthers as usize + 1, DAY_ONLY.end);
        assert_eq!(Counter::OwnLikes as usize, DAY_ONLY.start);
    }
}
