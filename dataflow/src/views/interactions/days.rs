//! The counts of all days.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use skytide_core::id::Did;
use skytide_core::view::{InteractionKey, InteractionRow, ViewId};
use skytide_state::{Spill, SpillError};

use super::counts::{Interaction, Pair, Totals};
use super::day::{Day, DaySize};
use crate::operators::interner::Interner;
use crate::options::Scratch;
use crate::sizes::{COLLECTIONS, INTERACTIONS_DAYS, Size, Sizes, StateSizes};
use crate::types::{Row, Time};

/// The most memory that one call of [`StateSizes::evict`] releases, about: some 70,000 pairs. More
/// would stall the stream.
const EVICT_BYTES_MAX: u64 = 4 << 20;
/// A part with less in memory is not moved to disk by [`StateSizes::evict`]: it would release
/// little for a piece of its own.
const PART_BYTES_MIN: usize = 4 << 10;
/// The number of pairs whose counts on disk are cached. Pairs that were just read are read again
/// soon: at the end of the time, and often in the next times.
const READ_PAIRS_MAX: usize = 4_096;

/// Counts by day, for pairs of numbered accounts.
#[derive(Default)]
pub(super) struct Days {
    dids: Interner<Did>,
    pub days: BTreeMap<u32, Day>,
    disk: Disk,
}

/// How days are moved to disk.
#[derive(Default)]
struct Disk {
    /// `None` keeps all days in memory.
    scratch: Option<Scratch>,
    /// The counts on disk of pairs that were read since the last spill.
    read: HashMap<(u32, Pair), Totals>,
    /// Whether the newest write failed. The first failure is logged.
    fails: bool,
}

/// What moved to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    pairs: usize,
    /// Memory that was released.
    bytes: usize,
}

impl StateSizes for Days {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        sizes.add("interactions.dids", self.dids.size(), COLLECTIONS);
        let mut size = self.size();
        size.hot.bytes += self.disk.read.allocation_size();
        sizes.add("interactions.days", size.hot, INTERACTIONS_DAYS);
        sizes.add("interactions.disk", size.disk, INTERACTIONS_DAYS);
    }

    fn evict(&mut self, bytes_wanted: u64) -> u64 {
        let wanted = bytes_wanted.min(EVICT_BYTES_MAX) as usize;
        let moved = self.spill(PART_BYTES_MIN, |moved| moved.bytes >= wanted);
        moved.bytes as u64
    }
}

impl Disk {
    /// The counts of a pair on disk, of a part that has any.
    fn totals(&mut self, day: u32, pair: Pair, read: impl FnOnce() -> Totals) -> Totals {
        if let Some(totals) = self.read.get(&(day, pair)) {
            return *totals;
        }
        let totals = read();
        // The filters exclude most pairs that are not on disk, so those are not cached.
        if !totals.is_zero() {
            if self.read.len() == READ_PAIRS_MAX {
                self.read.clear();
            }
            self.read.insert((day, pair), totals);
        }
        totals
    }

    fn record_failure(&mut self, error: &SpillError) {
        if !self.fails {
            let error: &dyn std::error::Error = error;
            tracing::warn!(
                error,
                "interactions stay in memory, because they cannot be moved to disk"
            );
        }
        self.fails = true;
    }
}

impl Days {
    pub fn new(scratch: Option<Scratch>) -> Self {
        let disk = Disk {
            scratch,
            ..Disk::default()
        };
        Self {
            disk,
            ..Self::default()
        }
    }

    pub fn size(&mut self) -> DaySize {
        let mut size = DaySize::default();
        self.days.values_mut().for_each(|day| size.add(day.size()));
        size
    }

    fn pair(&mut self, key: &InteractionKey) -> Pair {
        (
            self.dids.intern(&key.author),
            self.dids.intern(&key.subject),
        )
    }

    pub fn add(&mut self, key: &InteractionKey, interaction: Interaction) {
        let pair = self.pair(key);
        let day = self.days.entry(key.day).or_default();
        day.part(pair).add(pair, interaction);
    }

    pub fn row(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let pair = self.pair(key);
        let part = self.days.get_mut(&key.day)?.part(pair);
        let mut totals = part.hot_totals(pair);
        if !part.spilled.is_empty() {
            let read = || part.spilled.totals(pair);
            totals.add(self.disk.totals(key.day, pair, read));
        }
        totals.row()
    }

    /// Buffers interactions at a time whose rows are suppressed.
    pub fn buffer(&mut self, interactions: &[(InteractionKey, Interaction)], first_day: u32) {
        // The numbers of accounts are never released, so expired interactions must not allocate
        // any.
        let interactions = interactions.iter().filter(|(key, _)| key.day >= first_day);
        let keys = interactions.clone().map(|(key, _)| key);
        let authors = self.dids.intern_all(keys.clone().map(|key| &key.author));
        let subjects = self.dids.intern_all(keys.map(|key| &key.subject));
        let pairs = authors.into_iter().zip(subjects);
        for ((key, interaction), pair) in interactions.zip(pairs) {
            let day = self.days.entry(key.day).or_default();
            day.part(pair).buffered.push((pair, *interaction));
        }
    }

    /// The row of a touched key. Removes its pair if all counts are zero.
    pub fn row_or_remove(&mut self, key: &InteractionKey) -> Option<InteractionRow> {
        let row = self.row(key);
        if row.is_none() {
            let pair = self.pair(key);
            if let Some(day) = self.days.get_mut(&key.day) {
                day.part(pair).remove_zero(pair);
                if day.is_empty() {
                    self.days.remove(&key.day);
                }
            }
        }
        row
    }

    /// Removes the days before `first_day` without rows.
    pub fn drop_before(&mut self, first_day: u32) {
        self.days = self.days.split_off(&first_day);
    }

    /// Removes the days before `first_day` and retracts their rows.
    pub fn expire(&mut self, first_day: u32, time: Time, rows: &mut Vec<(Row, Time, i32)>) {
        let kept = self.days.split_off(&first_day);
        for (day, state) in std::mem::replace(&mut self.days, kept) {
            for part in state.parts {
                part.visit_rows(|(author, subject), row| {
                    let did = |number| self.dids.key(number).clone();
                    let key = InteractionKey {
                        author: did(author),
                        day,
                        subject: did(subject),
                    };
                    rows.push((Row::new(ViewId::Interactions, &key, &row), time, -1));
                });
            }
        }
    }

    /// Moves pairs to disk while more are in memory than the options allow.
    pub fn limit_pairs(&mut self) {
        let scratch = self.disk.scratch.as_ref();
        let Some(max) = scratch.and_then(|it| it.hot_pairs_max) else {
            return;
        };
        let excess = self.size().hot.entries.saturating_sub(max);
        if excess > 0 {
            self.spill(0, |moved| moved.pairs >= excess);
        }
    }

    /// Moves parts with at least `bytes_min` in memory to disk, the oldest day first, until this is
    /// enough. Ends at the first failure.
    fn spill(&mut self, bytes_min: usize, is_enough: impl Fn(Moved) -> bool) -> Moved {
        let mut sum = Moved::default();
        let Some(Scratch { files, .. }) = &self.disk.scratch else {
            return sum;
        };
        let files = files.clone();
        for (number, day) in &mut self.days {
            for part in 0..day.parts.len() {
                if is_enough(sum) {
                    return sum;
                }
                let Size { bytes, .. } = day.parts[part].size().hot;
                if !day.parts[part].is_hot() || bytes < bytes_min {
                    continue;
                }
                let spill = || Spill::new(files.clone(), &format!("interactions-{number}"));
                let (before, after) = match day.spill_part(part, spill) {
                    Ok(sizes) => sizes,
                    Err(error) => {
                        self.disk.record_failure(&error);
                        return sum;
                    }
                };
                self.disk.fails = false;
                self.disk.read.clear();
                sum.pairs += before.hot.entries;
                let bytes = |size: DaySize| size.hot.bytes + size.disk.bytes;
                sum.bytes += bytes(before).saturating_sub(bytes(after));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests;
