//! Sliding sums over event time: each key's count in the last hour, the last day, the last week,
//! and of all time.
//!
//! ```text
//!         additions, by the minute in which their record was first seen
//! enter ─┬▶ [ .. | .. | .. | .. | .. | open ]
//!        │    └── 7 d      └── 24 h   └── 1 h ── advance: a minute leaves, with all its additions
//!        └▶ what the addition adds to the key's sum in each window; the owner stores the sums
//! ```
//!
//! An addition belongs to the minute in which its record was *first seen*. A retraction therefore
//! subtracts from the same minute, and changes no window that this minute has already left. Windows
//! slide by buckets: all minutes of a bucket leave at once.
//!
//! State: for each minute its additions, stored once for all windows. They are merged by key when
//! the minute leaves the first window. The owner stores the sums where it needs them
//! ([`WindowSums`] is a map of them). Sums are a function of the additions and the time; the order
//! of the additions does not matter.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;
use skytide_core::time::Minute;
use skytide_core::view::Window;

use super::chunked_vec::ChunkedVec;
use super::count::Carries;
use crate::sizes::{Size, vec_bytes};

/// Additions to the counts of keys, for as long as a window includes them.
#[derive(Debug)]
pub struct Windows<K> {
    now: Minute,
    /// Which windows are tracked, in the order of [`Window::ALL`].
    tracked: [bool; 4],
    /// The first minute of each window now; for a window that is not tracked, a minute that never
    /// comes.
    first: [Minute; 4],
    /// For each day that has additions, its minutes.
    days: BTreeMap<u32, Box<[MinuteAdditions<K>]>>,
    /// The size of all additions.
    additions: Size,
}

/// Minutes of a day.
const DAY: u32 = 24 * 60;

/// The additions of one minute.
#[derive(Clone, Debug)]
struct MinuteAdditions<K> {
    /// Merged additions, ordered by key.
    counts: Vec<(K, i32)>,
    /// Additions since the last merge.
    unmerged: ChunkedVec<(K, i32)>,
}

impl<K: Ord + Copy> Windows<K> {
    /// Tracks these windows, without any additions.
    pub fn new(windows: &[Window]) -> Self {
        let now = Minute(0);
        let tracked = Window::ALL.map(|window| windows.contains(&window));
        Self {
            now,
            tracked,
            first: first_minutes(tracked, now),
            days: BTreeMap::new(),
            additions: Size::default(),
        }
    }

    /// The size of the additions and of the minutes that hold them.
    pub fn size(&self) -> Size {
        let minutes = self.days.len() * DAY as usize * size_of::<MinuteAdditions<K>>();
        Size {
            bytes: self.additions.bytes + minutes,
            ..self.additions
        }
    }

    /// Advances the time. Additions that are too old leave their windows: for each, `leave`
    /// receives the key and what to add to its sums, in the order of [`Window::ALL`].
    pub fn advance(&mut self, now: Minute, mut leave: impl FnMut(K, [i32; 4])) {
        self.now = self.now.max(now);
        let previous_oldest = self.oldest();
        let first = first_minutes(self.tracked, self.now);
        let mut additions = self.additions;
        for (window, first) in first.into_iter().enumerate() {
            let previous = std::mem::replace(&mut self.first[window], first);
            for minute in self.minutes(previous, first) {
                let before = minute.size();
                minute.merge();
                additions.replace(before, minute.size());
                for &(key, count) in &minute.counts {
                    let mut diffs = [0; 4];
                    diffs[window] = -count;
                    leave(key, diffs);
                }
            }
        }
        let oldest = self.oldest();
        for minute in self.minutes(previous_oldest, oldest) {
            additions.replace(minute.size(), Size::default());
            *minute = MinuteAdditions::default();
        }
        self.days = self.days.split_off(&(oldest.0 / DAY));
        self.additions = additions;
    }

    /// Adds `diff` to a key at `minute`. Returns what to add to the key's sums, in the order of
    /// [`Window::ALL`]: 0 for each window that the minute has left.
    pub fn enter(&mut self, key: K, minute: Minute, diff: i32) -> [i32; 4] {
        if self.oldest() <= minute {
            let empty = || vec![MinuteAdditions::default(); DAY as usize].into();
            let day = self.days.entry(minute.0 / DAY).or_insert_with(empty);
            let minute = &mut day[(minute.0 % DAY) as usize].unmerged;
            let before = minute.size();
            minute.push((key, diff));
            self.additions.replace(before, minute.size());
        }
        self.first
            .map(|first| if first <= minute { diff } else { 0 })
    }

    /// The additions of the minutes `from..to`.
    fn minutes(
        &mut self,
        from: Minute,
        to: Minute,
    ) -> impl Iterator<Item = &mut MinuteAdditions<K>> {
        let days = self.days.range_mut(from.0 / DAY..to.0.div_ceil(DAY));
        days.flat_map(move |(day, minutes)| {
            let index = |minute: Minute| minute.0.saturating_sub(day * DAY).min(DAY) as usize;
            minutes[index(from)..index(to)].iter_mut()
        })
    }

    /// The first minute of the longest tracked window that slides.
    fn oldest(&self) -> Minute {
        let [hour, day, week, _all] = self.first;
        hour.min(day).min(week)
    }
}

fn first_minutes(tracked: [bool; 4], now: Minute) -> [Minute; 4] {
    Window::ALL.map(|window| match tracked[window as usize] {
        true => window.first_minute(now),
        false => Minute(u32::MAX),
    })
}

impl<K> Default for MinuteAdditions<K> {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            unmerged: ChunkedVec::default(),
        }
    }
}

impl<K: Ord + Copy> MinuteAdditions<K> {
    fn size(&self) -> Size {
        let mut size = self.unmerged.size();
        size.add(Size {
            entries: self.counts.len(),
            bytes: vec_bytes(&self.counts),
        });
        size
    }

    /// Merges the additions of each key.
    fn merge(&mut self) {
        if self.unmerged.is_empty() {
            return;
        }
        let unmerged = std::mem::take(&mut self.unmerged);
        self.counts.reserve_exact(unmerged.len());
        self.counts.extend(unmerged.iter());
        self.counts.sort_unstable_by_key(|(key, _)| *key);
        self.counts.dedup_by(|(key, diff), (previous_key, count)| {
            if key != previous_key {
                return false;
            }
            // A sum that exceeds 32 bits stays in two entries. `advance` negates counts, so
            // `i32::MIN` is excluded, too.
            let sum = count.checked_add(*diff).filter(|sum| *sum != i32::MIN);
            *count = sum.unwrap_or(*count);
            sum.is_some()
        });
        self.counts.retain(|(_, count)| *count != 0);
        self.counts.shrink_to_fit();
    }
}

/// Sums by key, for an owner that does not store them elsewhere. A key is removed when all its sums
/// are zero.
#[derive(Debug)]
pub struct WindowSums<K> {
    sums: HashMap<K, [i32; 4]>,
    /// The high 32 bits of sums, by key and window.
    carries: Carries<(K, u8)>,
}

/// A change of a key's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumChange<K> {
    /// The key.
    pub key: K,
    /// The sums before the change, in the order of [`Window::ALL`].
    pub old: [i64; 4],
    /// The sums after the change.
    pub new: [i64; 4],
}

impl<K> Default for WindowSums<K> {
    fn default() -> Self {
        Self {
            sums: HashMap::new(),
            carries: Carries::default(),
        }
    }
}

impl<K: Hash + Eq + Copy> WindowSums<K> {
    /// Adds `diffs` to the sums of a key, in the order of [`Window::ALL`].
    pub fn add(&mut self, key: K, diffs: [i32; 4]) -> SumChange<K> {
        let old = self.get(key);
        let new = std::array::from_fn(|window| old[window] + i64::from(diffs[window]));
        if old != new {
            let sums = self.sums.entry(key).or_default();
            for ((window, low), diff) in sums.iter_mut().enumerate().zip(diffs) {
                self.carries.add(low, diff.into(), || (key, window as u8));
            }
        }
        if new == [0; 4] {
            self.sums.remove(&key);
        }
        SumChange { key, old, new }
    }

    /// The size.
    pub fn size(&self) -> Size {
        let mut size = self.carries.size();
        size.add(Size {
            entries: self.sums.len(),
            bytes: self.sums.allocation_size(),
        });
        size
    }

    fn get(&self, key: K) -> [i64; 4] {
        let sums = self.sums.get(&key).copied().unwrap_or_default();
        let carry = |window: usize| (key, window as u8);
        std::array::from_fn(|window| self.carries.value(sums[window], || carry(window)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows together with the sums that their owner stores.
    struct Counts {
        windows: Windows<u8>,
        sums: WindowSums<u8>,
    }

    impl Counts {
        fn new(windows: &[Window]) -> Self {
            Self {
                windows: Windows::new(windows),
                sums: WindowSums::default(),
            }
        }

        fn advance(&mut self, now: Minute) -> Vec<([i64; 4], [i64; 4])> {
            let (sums, mut changes) = (&mut self.sums, Vec::new());
            self.windows.advance(now, |key, diffs| {
                let SumChange { old, new, .. } = sums.add(key, diffs);
                changes.push((old, new));
            });
            changes
        }

        fn add(&mut self, key: u8, minute: Minute, diff: i32) -> ([i64; 4], [i64; 4]) {
            let diffs = self.windows.enter(key, minute, diff);
            let SumChange { old, new, .. } = self.sums.add(key, diffs);
            (old, new)
        }

        fn of(&self, key: u8) -> [i64; 4] {
            self.sums.get(key)
        }

        fn assert_empty(&self) {
            let mut minutes = self.windows.days.values().flatten();
            assert!(minutes.all(|it| it.counts.capacity() == 0 && it.unmerged.is_empty()));
            assert!(self.windows.days.len() <= 1);
            assert_eq!(self.windows.additions, Size::default());
        }
    }

    #[test]
    fn a_count_leaves_each_window_on_time_and_never_leaves_all_time() {
        let mut counts = Counts::new(&Window::ALL);
        let start = Minute(20_000 * 1_440);
        counts.advance(start);
        counts.add(1, start, 1);
        let mut seen = Vec::new();
        for minute in 0..8 * 1_440 {
            counts.advance(Minute(start.0 + minute));
            let now = counts.of(1);
            if seen.last().is_none_or(|(_, before)| *before != now) {
                seen.push((minute, now));
            }
        }
        let day = 1_440;
        let expected = [
            (0, [1, 1, 1, 1]),
            (60, [0, 1, 1, 1]),
            (day, [0, 0, 1, 1]),
            (7 * day, [0, 0, 0, 1]),
        ];
        assert_eq!(seen, expected);
        counts.assert_empty();
    }

    #[test]
    fn a_retraction_changes_only_the_windows_that_still_include_it_and_leaves_no_state() {
        let mut counts = Counts::new(&[Window::Hour, Window::Day]);
        let minute = Minute(1_000_000);
        counts.advance(minute);
        counts.add(1, minute, 1);
        counts.advance(Minute(minute.0 + 61));
        assert_eq!(counts.add(1, minute, -1), ([0, 1, 0, 0], [0; 4]));
        assert!(counts.sums.sums.is_empty());
        assert_eq!(counts.advance(Minute(minute.0 + 2_000)), []);
        counts.assert_empty();
    }

    #[test]
    fn a_jump_in_time_empties_every_window_and_reports_each_change() {
        let mut counts = Counts::new(&Window::ALL);
        counts.advance(Minute(1_000));
        counts.add(1, Minute(1_000), 2);
        counts.add(1, Minute(1_000), 3);
        assert_eq!(
            counts.advance(Minute(100_000)),
            [
                ([5, 5, 5, 5], [0, 5, 5, 5]),
                ([0, 5, 5, 5], [0, 0, 5, 5]),
                ([0, 0, 5, 5], [0, 0, 0, 5])
            ]
        );
        counts.assert_empty();
    }

    #[test]
    fn counts_beyond_32_bits_leave_windows_exactly() {
        let mut counts = Counts::new(&Window::ALL);
        let minute = Minute(1_000_000);
        counts.advance(minute);
        for _ in 0..5 {
            counts.add(1, minute, i32::MAX);
        }
        let five = 5 * i64::from(i32::MAX);
        assert_eq!(counts.of(1), [five; 4]);
        counts.advance(Minute(minute.0 + 61));
        assert_eq!(counts.of(1), [0, five, five, five]);
        for _ in 0..5 {
            counts.add(1, minute, -i32::MAX);
        }
        assert_eq!(counts.of(1), [0; 4]);
        counts.advance(Minute(minute.0 + 20_000));
        assert!(counts.sums.sums.is_empty());
        counts.assert_empty();
    }

    #[test]
    fn the_size_equals_that_of_all_minutes_after_random_additions() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let mut counts = Counts::new(&Window::ALL);
        let mut now = 30_000 * 1_440;
        for step in 0..20_000 {
            if next(50) == 0 {
                now += next(300) as u32;
                counts.advance(Minute(now));
            }
            let minute = Minute(now - next(11_000) as u32 % (1 + next(11_000) as u32));
            counts.add(next(20) as u8, minute, 1 - 2 * (next(4) == 0) as i32);
            let minutes = counts.windows.days.values().flatten();
            let parts = minutes.map(|it| {
                let chunks = it.unmerged.chunks().map(<[_]>::len).sum::<usize>();
                let bytes = it.unmerged.size().bytes + it.counts.capacity() * 8;
                (it.counts.len() + chunks, bytes)
            });
            if step % 100 == 0 {
                let (entries, bytes) = parts.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
                let expected = Size { entries, bytes };
                assert_eq!(
                    counts.windows.additions, expected,
                    "seed {seed:#x} step {step}"
                );
            }
        }
    }

    #[test]
    fn sums_depend_neither_on_the_order_of_additions_nor_on_the_steps_of_time() {
        let start = 30_000 * 1_440;
        let events: Vec<(u32, u8, i32)> = (0..3_000_u32)
            .map(|n| {
                let random = n.wrapping_mul(2_654_435_761) >> 7;
                (random % 12_000, (random % 7) as u8, 1 + (random % 3) as i32)
            })
            .collect();
        let end = Minute(start + 12_000);
        let mut steady = Counts::new(&Window::ALL);
        let mut in_order = events.clone();
        in_order.sort_unstable();
        for &(minute, key, count) in &in_order {
            steady.advance(Minute(start + minute));
            steady.add(key, Minute(start + minute), count);
        }
        steady.advance(end);
        let mut at_once = Counts::new(&Window::ALL);
        at_once.advance(end);
        for &(minute, key, count) in &events {
            at_once.add(key, Minute(start + minute), count);
        }
        for key in 0..7 {
            let naive = Window::ALL.map(|window| {
                let first = window.first_minute(end).0;
                let counted = events
                    .iter()
                    .filter(|(minute, it, _)| *it == key && start + minute >= first);
                counted.map(|(_, _, count)| i64::from(*count)).sum::<i64>()
            });
            assert_eq!(steady.of(key), naive);
            assert_eq!(at_once.of(key), naive);
        }
    }
}
