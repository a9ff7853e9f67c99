//! Sliding sums over event time: each key's count in the last hour, day, week, and of all time.
//!
//! ```text
//!         what was added, by the minute in which it was first seen
//! enter ─┬▶ [ .. | .. | .. | .. | .. | open ]
//!        │    └── 7 d      └── 24 h   └── 1 h ── advance: a minute leaves a window, and with it exactly what entered
//!        └▶ what it adds to the key's sum in each window, which the owner keeps
//! ```
//!
//! A count stands at the minute in which its record was *first seen*, so an undo takes it from where it went in, and after
//! its minute left a window there is nothing to take from that one. Windows slide by buckets: all minutes of a bucket
//! leave at once. State: per minute what was added, once whatever the number of windows, and merged by key from the time
//! the minute leaves the first window; the sums stand where their owner has them at hand ([`Sums`] is a map of them). All of
//! it is a function of the additions and the time: the order does not matter.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;
use skytide_core::time::Minute;
use skytide_core::view::Window;

use super::chunked_vec::ChunkedVec;
use super::count::Carries;

/// Additions to counts of keys, and the windows that still have them.
#[derive(Debug)]
pub struct Windows<K> {
    now: Minute,
    /// The windows that are kept, by their place in [`Window::ALL`].
    kept: [bool; 4],
    /// The first minute of each window now; of one that is not kept, no minute is.
    first: [Minute; 4],
    /// The minutes of each day that has any.
    days: BTreeMap<u32, Box<[Added<K>]>>,
}

const DAY: u32 = 24 * 60;

/// What was added in one minute.
#[derive(Clone, Debug)]
struct Added<K> {
    /// In order, each key once.
    counts: Vec<(K, i32)>,
    /// What came since they were merged.
    more: ChunkedVec<(K, i32)>,
}

impl<K: Ord + Copy> Windows<K> {
    /// Nothing added yet, in these windows.
    pub fn new(windows: &[Window]) -> Self {
        let now = Minute(0);
        let kept = Window::ALL.map(|window| windows.contains(&window));
        Self {
            now,
            kept,
            first: first_minutes(kept, now),
            days: BTreeMap::new(),
        }
    }

    /// Lets time pass: what is too old leaves, and `leave` is told what to add to a key's sums, in the order of
    /// [`Window::ALL`].
    pub fn advance(&mut self, now: Minute, mut leave: impl FnMut(K, [i32; 4])) {
        self.now = self.now.max(now);
        let before = self.oldest();
        let first = first_minutes(self.kept, self.now);
        for (window, first) in first.into_iter().enumerate() {
            let before = std::mem::replace(&mut self.first[window], first);
            for added in self.minutes(before, first) {
                added.merge();
                for &(key, count) in &added.counts {
                    let mut diffs = [0; 4];
                    diffs[window] = -count;
                    leave(key, diffs);
                }
            }
        }
        let oldest = self.oldest();
        for added in self.minutes(before, oldest) {
            *added = Added::default();
        }
        self.days = self.days.split_off(&(oldest.0 / DAY));
    }

    /// Notes `diff` more of a key at `minute`; answers what to add to its sums, in the order of [`Window::ALL`]: nothing
    /// where the minute has left.
    pub fn enter(&mut self, (key, minute): (K, Minute), diff: i32) -> [i32; 4] {
        if self.oldest() <= minute {
            let none = || vec![Added::default(); DAY as usize].into();
            let day = self.days.entry(minute.0 / DAY).or_insert_with(none);
            day[(minute.0 % DAY) as usize].more.push((key, diff));
        }
        self.first
            .map(|first| if first <= minute { diff } else { 0 })
    }

    /// What was added from a minute on until before another.
    fn minutes(&mut self, from: Minute, to: Minute) -> impl Iterator<Item = &mut Added<K>> {
        let days = self.days.range_mut(from.0 / DAY..to.0.div_ceil(DAY));
        days.flat_map(move |(day, minutes)| {
            let place = |minute: Minute| minute.0.saturating_sub(day * DAY).min(DAY) as usize;
            minutes[place(from)..place(to)].iter_mut()
        })
    }

    /// The first minute of the longest window that slides.
    fn oldest(&self) -> Minute {
        let [hour, day, week, _all] = self.first;
        hour.min(day).min(week)
    }
}

fn first_minutes(kept: [bool; 4], now: Minute) -> [Minute; 4] {
    Window::ALL.map(|window| match kept[window as usize] {
        true => window.first_minute(now),
        false => Minute(u32::MAX),
    })
}

impl<K> Default for Added<K> {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            more: ChunkedVec::default(),
        }
    }
}

impl<K: Ord + Copy> Added<K> {
    /// Brings the counts of each key together.
    fn merge(&mut self) {
        if self.more.is_empty() {
            return;
        }
        let more = std::mem::take(&mut self.more);
        self.counts.reserve_exact(more.len());
        self.counts.extend(more.iter());
        self.counts.sort_unstable_by_key(|(key, _)| *key);
        self.counts.dedup_by(|(key, more), (kept, count)| {
            if key != kept {
                return false;
            }
            // What 32 bits do not hold stays apart; `advance` negates it.
            let sum = count.checked_add(*more).filter(|sum| *sum != i32::MIN);
            *count = sum.unwrap_or(*count);
            sum.is_some()
        });
        self.counts.retain(|(_, count)| *count != 0);
        self.counts.shrink_to_fit();
    }
}

/// Sums of keys that have no other place: none of a key stays when all are zero.
#[derive(Debug)]
pub struct Sums<K> {
    sums: HashMap<K, [i32; 4]>,
    /// What 32 bits do not hold of a sum in a window.
    carries: Carries<(K, u8)>,
}

/// A key whose sums changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<K> {
    /// The key.
    pub key: K,
    /// Its sums before, in the order of [`Window::ALL`].
    pub old: [i64; 4],
    /// Its sums now.
    pub new: [i64; 4],
}

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self {
            sums: HashMap::new(),
            carries: Carries::default(),
        }
    }
}

impl<K: Hash + Eq + Copy> Sums<K> {
    /// Adds to the sums of a key.
    pub fn add(&mut self, key: K, diffs: [i32; 4]) -> Changed<K> {
        let old = self.of(key);
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
        Changed { key, old, new }
    }

    fn of(&self, key: K) -> [i64; 4] {
        let sums = self.sums.get(&key).copied().unwrap_or_default();
        let carry = |window: usize| (key, window as u8);
        std::array::from_fn(|window| self.carries.value(sums[window], || carry(window)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows with the sums that their owner would keep.
    struct Counts {
        windows: Windows<u8>,
        sums: Sums<u8>,
    }

    impl Counts {
        fn new(windows: &[Window]) -> Self {
            Self {
                windows: Windows::new(windows),
                sums: Sums::default(),
            }
        }

        fn advance(&mut self, now: Minute) -> Vec<([i64; 4], [i64; 4])> {
            let (sums, mut told) = (&mut self.sums, Vec::new());
            self.windows.advance(now, |key, diffs| {
                let Changed { old, new, .. } = sums.add(key, diffs);
                told.push((old, new));
            });
            told
        }

        fn add(&mut self, key: u8, minute: Minute, diff: i32) -> ([i64; 4], [i64; 4]) {
            let diffs = self.windows.enter((key, minute), diff);
            let Changed { old, new, .. } = self.sums.add(key, diffs);
            (old, new)
        }

        fn of(&self, key: u8) -> [i64; 4] {
            self.sums.of(key)
        }

        fn assert_nothing_is_kept(&self) {
            let mut minutes = self.windows.days.values().flatten();
            assert!(minutes.all(|it| it.counts.capacity() == 0 && it.more.is_empty()));
            assert!(self.windows.days.len() <= 1);
        }
    }

    #[test]
    fn a_count_leaves_each_window_in_its_time_and_all_time_never() {
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
        counts.assert_nothing_is_kept();
    }

    #[test]
    fn an_undo_takes_from_the_windows_that_still_have_it_and_leaves_nothing_behind() {
        let mut counts = Counts::new(&[Window::Hour, Window::Day]);
        let minute = Minute(1_000_000);
        counts.advance(minute);
        counts.add(1, minute, 1);
        counts.advance(Minute(minute.0 + 61));
        assert_eq!(counts.add(1, minute, -1), ([0, 1, 0, 0], [0; 4]));
        assert!(counts.sums.sums.is_empty());
        assert_eq!(counts.advance(Minute(minute.0 + 2_000)), []);
        counts.assert_nothing_is_kept();
    }

    #[test]
    fn a_jump_in_time_empties_every_window_and_tells_each_change() {
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
        counts.assert_nothing_is_kept();
    }

    #[test]
    fn counts_beyond_32_bits_leave_as_they_came() {
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
        counts.assert_nothing_is_kept();
    }

    #[test]
    fn any_order_of_additions_and_any_pace_of_time_give_the_same() {
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
                    .filter(|(minute, of, _)| *of == key && start + minute >= first);
                counted.map(|(_, _, count)| i64::from(*count)).sum::<i64>()
            });
            assert_eq!(steady.of(key), naive);
            assert_eq!(at_once.of(key), naive);
        }
    }
}
