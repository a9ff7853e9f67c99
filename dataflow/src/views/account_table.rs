//! The table of accounts with their counters: state that `actors`, `top_actors` and `top_blocks`
//! share.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::time::Minute;
use skytide_core::view::{ActorRow, Window};

use crate::operators::count::{Carries, to_row_count};
use crate::operators::interner::{Entry, Interner};
use crate::operators::slab::{Slab, Slot};

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
}

const COUNTERS: usize = 11;

/// The indices of the counters of blocks: few accounts have any.
const BLOCKS: Range<usize> = 5..8;

/// The counters that order top lists; they are the first ones.
pub(super) const LISTED: [Counter; 7] = [
    Counter::LikesGiven,
    Counter::LikesReceived,
    Counter::RepostsGiven,
    Counter::RepostsReceived,
    Counter::Posts,
    Counter::Blocks,
    Counter::BlockRecords,
];

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
    /// The bit set of the counters that changed since then.
    changed: u16,
    /// The bit set of the counters that were above zero when the candidates were last updated. The
    /// account is a candidate for no other counter.
    pub candidate_for: u16,
}

/// Data that few accounts have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RareCounts {
    /// The counters of blocks.
    blocks: [i32; BLOCKS.end - BLOCKS.start],
    /// The listed counters in the window of a day, if top lists are computed.
    day: [i32; LISTED.len()],
}

/// The state of all accounts.
#[derive(Default)]
pub(super) struct AccountTable {
    pub accounts: Interner<Did, AccountEntry>,
    rare: Slab<RareCounts>,
    /// The high 32 bits of counters, of all time (`false`) and of a day (`true`).
    carries: Carries<(u32, Counter, bool)>,
    /// Accounts touched since the candidates were last updated. That happens only when top lists
    /// are written.
    touched: Vec<u32>,
}

impl AccountTable {
    /// Marks an account and the bit set `counters` as changed. Returns the entry to change.
    pub fn touch(&mut self, number: u32, counters: u16) -> &mut AccountEntry {
        let entry = &mut self.accounts[number];
        entry.changed |= counters;
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

    /// Adds to a listed counter in the window of a day; `diffs` are in the order of `Window::ALL`.
    pub fn add_to_day(&mut self, number: u32, counter: Counter, diffs: [i32; 4]) {
        let diff = diffs[Window::Day as usize];
        if diff != 0 {
            let rare = self.rare.get_or_add(&mut self.accounts[number].rare);
            let count = &mut rare.day[counter as usize];
            let key = || (number, counter, true);
            self.carries.add(count, diff.into(), key);
        }
    }

    /// A listed counter of an account in the window of a day.
    pub fn day_count(&self, number: u32, counter: Counter) -> u32 {
        let rare = self.rare.get(self.accounts[number].rare);
        let count = rare.map_or(0, |rare| rare.day[counter as usize]);
        to_row_count(self.carries.value(count, || (number, counter, true)))
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

    /// Whether anything is known of an account. Must be called after the window advanced. Then the
    /// counters of all time suffice, because they include all records in the window.
    pub fn is_known(&self, number: u32) -> bool {
        let entry = &self.accounts[number];
        let counted = entry.counters.iter().any(|count| *count != 0) || entry.rare.is_some();
        let was_seen = entry.last_seen != Minute::default();
        counted || was_seen || self.carries.any(|(account, ..)| *account == number)
    }

    /// Ends a change of an account: frees its rare counts if all are zero. Returns the bit set of
    /// the counters that changed.
    pub fn finish_change(&mut self, number: u32) -> u16 {
        let entry = &mut self.accounts[number];
        entry.touched = false;
        self.rare.remove_default(&mut entry.rare);
        std::mem::take(&mut entry.changed)
    }
}

impl Counter {
    /// All counters, each at its index.
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

    /// The bit of the counter in a set of counters.
    pub fn bit(self) -> u16 {
        1 << self as u16
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
