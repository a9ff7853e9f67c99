//! Sliding sums over event time: each key's count in the last hour, day, week, and of all time.
//!
//! ```text
//!         what was added, by the minute in which it was first seen
//! add ─┬▶ [ .. | .. | .. | .. | .. | open ]
//!      │    └── 7 d      └── 24 h   └── 1 h ── advance: a minute leaves a window, and with it exactly what entered
//!      └▶ per key the sums of all windows
//! ```
//!
//! A count stands at the minute in which its record was *first seen*, so an undo takes it from where it went in, and after
//! its minute left a window there is nothing to take from that one. Windows slide by buckets: all minutes of a bucket
//! leave at once. State: per minute what was added, once whatever the number of windows, and merged by key from the time
//! the minute leaves the first window; per key its sums, none of which stays when all are zero. All of it is a
//! function of the additions and the time: the order does not matter.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::marker::PhantomData;

use hashbrown::HashMap;
use skytide_core::time::Minute;
use skytide_core::view::Window;

/// Counts of keys by window.
#[derive(Debug)]
pub struct Windows<K, S = HashMap<K, [i32; 4]>> {
    now: Minute,
    /// The windows that are kept, by their place in [`Window::ALL`].
    kept: [bool; 4],
    /// The first minute of each window now; of one that is not kept, no minute is.
    first: [Minute; 4],
    minutes: BTreeMap<Minute, Added<K>>,
    sums: S,
}

/// Where the sums of each key stand, in the order of [`Window::ALL`]; those of a window that is not kept are 0.
pub trait Sums<K>: Default {
    /// Adds to the sums of a key, and answers them.
    fn add(&mut self, key: K, diffs: [i32; 4]) -> [i32; 4];

    /// The sums of a key.
    fn get(&self, key: K) -> [i32; 4];

    /// Every key that has a sum, in no order.
    fn iter(&self) -> impl Iterator<Item = (K, [i32; 4])>;
}

/// What was added in one minute.
#[derive(Debug)]
struct Added<K> {
    counts: Vec<(K, i32)>,
    /// How many of them are in order, each key once.
    merged: usize,
}

/// A key whose count changed in some window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<K> {
    /// The key.
    pub key: K,
    /// Its counts before, in the order of [`Window::ALL`].
    pub old: [i32; 4],
    /// Its counts now.
    pub new: [i32; 4],
}

impl<K: Ord + Copy, S: Sums<K>> Windows<K, S> {
    /// Nothing counted yet, in these windows.
    pub fn new(windows: &[Window]) -> Self {
        let now = Minute(0);
        let kept = Window::ALL.map(|window| windows.contains(&window));
        Self {
            now,
            kept,
            first: first_minutes(kept, now),
            minutes: BTreeMap::new(),
            sums: S::default(),
        }
    }

    /// Lets time pass: what is too old leaves, and each change is told.
    pub fn advance(&mut self, now: Minute, mut changed: impl FnMut(Changed<K>)) {
        self.now = self.now.max(now);
        let first = first_minutes(self.kept, self.now);
        let before = std::mem::replace(&mut self.first, first);
        for window in Window::ALL.map(|window| window as usize) {
            if before[window] == first[window] {
                continue;
            }
            for (_, added) in self.minutes.range_mut(before[window]..first[window]) {
                added.merge();
                for &(key, count) in &added.counts {
                    let mut diffs = [0; 4];
                    diffs[window] = -count;
                    changed(add(&mut self.sums, key, diffs));
                }
            }
        }
        let oldest = self.oldest();
        while let Some(entry) = self.minutes.first_entry().filter(|it| *it.key() < oldest) {
            entry.remove();
        }
    }

    /// Adds `diff` to a key's count at `minute`, in each window that still has it.
    pub fn add(
        &mut self,
        (key, minute): (K, Minute),
        diff: i32,
        mut changed: impl FnMut(Changed<K>),
    ) {
        let diffs = self.diffs(minute, diff);
        if diffs == [0; 4] {
            return;
        }
        if self.oldest() <= minute {
            let added = self.minutes.entry(minute).or_default();
            added.counts.push((key, diff));
        }
        changed(add(&mut self.sums, key, diffs));
    }

    /// The same for many, without a word of what changed. Look-ups that do nothing else wait for memory side by side.
    pub fn add_all(&mut self, additions: &[(K, Minute, i32)]) {
        let oldest = self.oldest();
        for &(key, minute, diff) in additions {
            if oldest <= minute {
                let added = self.minutes.entry(minute).or_default();
                added.counts.push((key, diff));
            }
        }
        for &(key, minute, diff) in additions {
            let diffs = self.diffs(minute, diff);
            if diffs != [0; 4] {
                self.sums.add(key, diffs);
            }
        }
    }

    fn diffs(&self, minute: Minute, diff: i32) -> [i32; 4] {
        self.first
            .map(|first| if first <= minute { diff } else { 0 })
    }

    /// A key's counts by window in the order of [`Window::ALL`]; 0 in windows that are not kept.
    pub fn counts(&self, key: K) -> [u32; 4] {
        self.sums
            .get(key)
            .map(|sum| u32::try_from(sum).unwrap_or(0))
    }

    /// All keys with a count in a window, in no order.
    pub fn all(&self, window: Window) -> impl Iterator<Item = (K, u32)> {
        let sums = self.sums.iter();
        sums.filter_map(move |(key, sums)| {
            let count = u32::try_from(sums[window as usize]).unwrap_or(0);
            (count > 0).then_some((key, count))
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
            merged: 0,
        }
    }
}

impl<K: Ord + Copy> Added<K> {
    /// Brings the counts of each key together.
    fn merge(&mut self) {
        if self.merged == self.counts.len() {
            return;
        }
        self.counts.sort_unstable_by_key(|(key, _)| *key);
        self.counts.dedup_by(|(key, more), (kept, count)| {
            let same = key == kept;
            *count += if same { *more } else { 0 };
            same
        });
        self.counts.retain(|(_, count)| *count != 0);
        self.counts.shrink_to_fit();
        self.merged = self.counts.len();
    }
}

fn add<K: Copy, S: Sums<K>>(sums: &mut S, key: K, diffs: [i32; 4]) -> Changed<K> {
    let new = sums.add(key, diffs);
    let old = std::array::from_fn(|window| new[window] - diffs[window]);
    Changed { key, old, new }
}

impl<K: Hash + Eq + Copy> Sums<K> for HashMap<K, [i32; 4]> {
    fn add(&mut self, key: K, diffs: [i32; 4]) -> [i32; 4] {
        use hashbrown::hash_map::Entry;
        match self.entry(key) {
            Entry::Occupied(mut entry) => {
                let new = plus(*entry.get(), diffs);
                if new == [0; 4] {
                    entry.remove();
                } else {
                    *entry.get_mut() = new;
                }
                new
            }
            Entry::Vacant(entry) => {
                if diffs != [0; 4] {
                    entry.insert(diffs);
                }
                diffs
            }
        }
    }

    fn get(&self, key: K) -> [i32; 4] {
        self.get(&key).copied().unwrap_or_default()
    }

    fn iter(&self) -> impl Iterator<Item = (K, [i32; 4])> {
        self.iter().map(|(&key, &sums)| (key, sums))
    }
}

fn plus<const W: usize>(old: [i32; W], diffs: [i32; W]) -> [i32; W] {
    std::array::from_fn(|window| old[window] + diffs[window])
}

/// Sums of keys that are a number of an interner and one of `N` places, in `W` windows from number `FIRST` on: a table
/// in place of hashes.
///
/// State: 4 bytes a number, and 4 `N` `W` bytes for each number that has any sum.
#[derive(Debug)]
pub struct Table<P, const N: usize, const FIRST: usize, const W: usize> {
    /// By number, the place of its sums among `sums`, or [`NONE`].
    places: Vec<u32>,
    sums: Vec<[[i32; W]; N]>,
    free: Vec<u32>,
    keys: PhantomData<P>,
}

const NONE: u32 = u32::MAX;

/// One of some places below a small number.
pub trait Place: Copy + 'static {
    /// All of them, by place.
    const ALL: &'static [Self];

    /// Which.
    fn place(self) -> usize;
}

impl<P, const N: usize, const FIRST: usize, const W: usize> Default for Table<P, N, FIRST, W> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            sums: Vec::new(),
            free: Vec::new(),
            keys: PhantomData,
        }
    }
}

impl<P, const N: usize, const FIRST: usize, const W: usize> Table<P, N, FIRST, W> {
    fn whole(sums: [i32; W]) -> [i32; 4] {
        let mut whole = [0; 4];
        whole[FIRST..FIRST + W].copy_from_slice(&sums);
        whole
    }
}

impl<P: Place, const N: usize, const FIRST: usize, const W: usize> Sums<(u32, P)>
    for Table<P, N, FIRST, W>
{
    fn add(&mut self, (number, key): (u32, P), diffs: [i32; 4]) -> [i32; 4] {
        let number = number as usize;
        if self.places.len() <= number {
            self.places.resize(number + 1, NONE);
        }
        if self.places[number] == NONE {
            self.places[number] = self.free.pop().unwrap_or_else(|| {
                self.sums.push([[0; W]; N]);
                (self.sums.len() - 1) as u32
            });
        }
        let place = self.places[number];
        let all = &mut self.sums[place as usize];
        let sums = &mut all[key.place()];
        *sums = plus(*sums, std::array::from_fn(|window| diffs[FIRST + window]));
        let new = Self::whole(*sums);
        if new == [0; 4] && *all == [[0; W]; N] {
            self.free.push(place);
            self.places[number] = NONE;
        }
        new
    }

    fn get(&self, (number, key): (u32, P)) -> [i32; 4] {
        match self.places.get(number as usize) {
            None | Some(&NONE) => [0; 4],
            Some(&place) => Self::whole(self.sums[place as usize][key.place()]),
        }
    }

    fn iter(&self) -> impl Iterator<Item = ((u32, P), [i32; 4])> {
        let used = (0_u32..).zip(&self.places);
        let used = used.filter(|(_, place)| **place != NONE);
        used.flat_map(|(number, &place)| {
            let sums = P::ALL.iter().zip(&self.sums[place as usize]);
            sums.map(move |(&key, sums)| ((number, key), Self::whole(*sums)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_leaves_each_window_in_its_time_and_all_time_never() {
        let mut windows = Windows::<u8>::new(&Window::ALL);
        let start = Minute(20_000 * 1_440);
        windows.advance(start, |_| ());
        windows.add((1, start), 1, |_| ());
        let mut seen = Vec::new();
        for minute in 0..8 * 1_440 {
            windows.advance(Minute(start.0 + minute), |_| ());
            let counts = windows.counts(1);
            if seen.last().is_none_or(|(_, before)| *before != counts) {
                seen.push((minute, counts));
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
        assert!(windows.minutes.is_empty());
    }

    #[test]
    fn an_undo_takes_from_the_windows_that_still_have_it_and_leaves_nothing_behind() {
        let mut windows = Windows::<u8>::new(&[Window::Hour, Window::Day]);
        let minute = Minute(1_000_000);
        windows.advance(minute, |_| ());
        windows.add((1, minute), 1, |_| ());
        windows.advance(Minute(minute.0 + 61), |_| ());
        let mut told = Vec::new();
        windows.add((1, minute), -1, |change| {
            told.push((change.old, change.new));
        });
        assert_eq!(told, [([0, 1, 0, 0], [0; 4])]);
        assert!(windows.sums.is_empty());
        windows.advance(Minute(minute.0 + 2_000), |change| panic!("{change:?}"));
        assert!(windows.minutes.is_empty());
    }

    #[test]
    fn a_jump_in_time_empties_every_window_and_tells_each_change() {
        let mut windows = Windows::<u8>::new(&Window::ALL);
        windows.advance(Minute(1_000), |_| ());
        windows.add((1, Minute(1_000)), 2, |_| ());
        windows.add((1, Minute(1_000)), 3, |_| ());
        let mut told = Vec::new();
        windows.advance(Minute(100_000), |change| {
            told.push((change.old, change.new));
        });
        assert_eq!(
            told,
            [
                ([5, 5, 5, 5], [0, 5, 5, 5]),
                ([0, 5, 5, 5], [0, 0, 5, 5]),
                ([0, 0, 5, 5], [0, 0, 0, 5])
            ]
        );
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
        let mut steady = Windows::<u8>::new(&Window::ALL);
        let mut in_order = events.clone();
        in_order.sort_unstable();
        for &(minute, key, count) in &in_order {
            steady.advance(Minute(start + minute), |_| ());
            steady.add((key, Minute(start + minute)), count, |_| ());
        }
        steady.advance(end, |_| ());
        let mut at_once = Windows::<u8>::new(&Window::ALL);
        at_once.advance(end, |_| ());
        for &(minute, key, count) in &events {
            at_once.add((key, Minute(start + minute)), count, |_| ());
        }
        for key in 0..7 {
            let naive = Window::ALL.map(|window| {
                let first = window.first_minute(end).0;
                let counted = events
                    .iter()
                    .filter(|(minute, of, _)| *of == key && start + minute >= first);
                counted.map(|(_, _, count)| *count as u32).sum::<u32>()
            });
            assert_eq!(steady.counts(key), naive);
            assert_eq!(at_once.counts(key), naive);
        }
    }

    /// The same changes to a hash map and to a table.
    #[test]
    fn a_table_says_the_same_as_a_map() {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        struct Low(usize);
        impl Place for Low {
            const ALL: &'static [Self] = &[Low(0), Low(1), Low(2)];
            fn place(self) -> usize {
                self.0
            }
        }
        let kept = [Window::Day, Window::Week];
        let mut map = Windows::<(u32, Low)>::new(&kept);
        let mut table = Windows::<(u32, Low), Table<Low, 3, 1, 2>>::new(&kept);
        let start = 30_000 * 1_440_u32;
        let mut added = Vec::new();
        for step in 0..4_000_u32 {
            let random = step.wrapping_mul(2_654_435_761) >> 5;
            let now = Minute(start + step * 5);
            let key = (random % 50, Low((random / 50 % 3) as usize));
            let mut changes = (Vec::new(), Vec::new());
            map.advance(now, |change| changes.0.push(change));
            table.advance(now, |change| changes.1.push(change));
            let (key, minute, diff) = match random % 3 {
                0 if !added.is_empty() => {
                    let (key, minute): ((u32, Low), Minute) =
                        added.swap_remove(random as usize % added.len());
                    (key, minute, -1)
                }
                _ => {
                    added.push((key, now));
                    (key, now, 1)
                }
            };
            map.add((key, minute), diff, |change| changes.0.push(change));
            table.add((key, minute), diff, |change| changes.1.push(change));
            assert_eq!(changes.0, changes.1, "step {step}");
        }
        for window in Window::ALL {
            let mut all: Vec<_> = map.all(window).collect();
            all.sort_unstable();
            assert!(table.all(window).eq(all));
        }
        let end = Minute(start + 50_000);
        table.advance(end, |_| ());
        assert!(Sums::iter(&table.sums).next().is_none());
        assert_eq!(table.sums.free.len(), table.sums.sums.len());
    }
}
