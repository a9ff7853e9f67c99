//! Sliding sums over event time: each key's count in the last hour, day, week, and of all time.
//!
//! ```text
//!             bucket maps of a window (1 h: 60 of a minute, 24 h: 144 of 10 minutes, 7 d: 168 of an hour)
//! add ──▶ [ .. | .. | .. | open ] ──▶ sum of the window, per key
//!           └── advance: the oldest buckets leave, and with them exactly what entered
//! ```
//!
//! A count stands in the bucket of the minute in which its record was *first seen*, so an undo takes it from where it
//! went in, and after its bucket left there is nothing to take. State: per window one entry per (key, bucket) and one
//! per key, none of them zero. All of it is a function of the additions and the time: the order does not matter.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;
use skytide_core::time::Minute;
use skytide_core::view::Window;

/// Counts of keys by window.
#[derive(Debug)]
pub struct Windows<K> {
    now: Minute,
    spans: Vec<Span<K>>,
}

#[derive(Debug)]
struct Span<K> {
    window: Window,
    buckets: BTreeMap<u32, HashMap<K, i32>>,
    sums: HashMap<K, i32>,
}

/// A window in which a key's count changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<K> {
    /// The window.
    pub window: Window,
    /// The key.
    pub key: K,
    /// Its count before.
    pub old: i32,
    /// Its count now.
    pub new: i32,
}

impl<K: Hash + Eq + Copy> Windows<K> {
    /// Nothing counted yet, in these windows.
    pub fn new(windows: &[Window]) -> Self {
        let span = |&window| Span {
            window,
            buckets: BTreeMap::new(),
            sums: HashMap::new(),
        };
        Self {
            now: Minute(0),
            spans: windows.iter().map(span).collect(),
        }
    }

    /// Lets time pass: what is too old leaves, and each change is told.
    pub fn advance(&mut self, now: Minute, mut changed: impl FnMut(Changed<K>)) {
        self.now = self.now.max(now);
        for span in &mut self.spans {
            let Some((minutes, _)) = span.window.buckets() else {
                continue;
            };
            let first = span.window.first_minute(self.now).0 / minutes;
            while let Some(oldest) = span.buckets.first_entry().filter(|o| *o.key() < first) {
                for (key, count) in oldest.remove() {
                    changed(add_to_sum(&mut span.sums, (span.window, key), -count));
                }
            }
        }
    }

    /// Adds `diff` to a key's count in the bucket of `minute`, in each window that still has it.
    pub fn add(
        &mut self,
        (key, minute): (K, Minute),
        diff: i32,
        mut changed: impl FnMut(Changed<K>),
    ) {
        for span in &mut self.spans {
            if minute < span.window.first_minute(self.now) {
                continue;
            }
            if let Some((minutes, _)) = span.window.buckets() {
                let bucket = span.buckets.entry(minute.0 / minutes).or_default();
                add(bucket, key, diff);
            }
            changed(add_to_sum(&mut span.sums, (span.window, key), diff));
        }
    }

    /// A key's count in a window.
    pub fn count(&self, window: Window, key: K) -> i32 {
        self.sums(window)
            .and_then(|sums| sums.get(&key))
            .copied()
            .unwrap_or(0)
    }

    /// A key's counts by window in the order of [`Window::ALL`]; 0 in windows that are not kept.
    pub fn counts(&self, key: K) -> [u32; 4] {
        Window::ALL.map(|window| u32::try_from(self.count(window, key)).unwrap_or(0))
    }

    /// All keys with a count in a window, in no order.
    pub fn sums(&self, window: Window) -> Option<&HashMap<K, i32>> {
        self.spans
            .iter()
            .find(|span| span.window == window)
            .map(|span| &span.sums)
    }

    /// Whether nothing is counted in any window.
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(|span| span.sums.is_empty())
    }
}

fn add_to_sum<K: Hash + Eq + Copy>(
    sums: &mut HashMap<K, i32>,
    (window, key): (Window, K),
    diff: i32,
) -> Changed<K> {
    let new = add(sums, key, diff);
    Changed {
        window,
        key,
        old: new - diff,
        new,
    }
}

fn add<K: Hash + Eq>(counts: &mut HashMap<K, i32>, key: K, diff: i32) -> i32 {
    use hashbrown::hash_map::Entry;
    match counts.entry(key) {
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += diff;
            let new = *entry.get();
            if new == 0 {
                entry.remove();
            }
            new
        }
        Entry::Vacant(entry) => {
            if diff != 0 {
                entry.insert(diff);
            }
            diff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(windows: &Windows<u8>) -> [u32; 4] {
        windows.counts(1)
    }

    #[test]
    fn a_count_leaves_each_window_in_its_time_and_all_time_never() {
        let mut windows = Windows::new(&Window::ALL);
        let start = Minute(20_000 * 1_440);
        windows.advance(start, |_| ());
        windows.add((1, start), 1, |_| ());
        let mut seen = Vec::new();
        for minute in 0..8 * 1_440 {
            windows.advance(Minute(start.0 + minute), |_| ());
            if seen
                .last()
                .is_none_or(|(_, before)| *before != counts(&windows))
            {
                seen.push((minute, counts(&windows)));
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
    }

    #[test]
    fn an_undo_takes_from_the_windows_that_still_have_it_and_leaves_nothing_behind() {
        let mut windows = Windows::new(&[Window::Hour, Window::Day]);
        let minute = Minute(1_000_000);
        windows.advance(minute, |_| ());
        windows.add((1, minute), 1, |_| ());
        windows.advance(Minute(minute.0 + 61), |_| ());
        windows.add((1, minute), -1, |_| ());
        assert!(windows.is_empty());
        assert!(
            windows
                .spans
                .iter()
                .all(|span| span.buckets.values().all(HashMap::is_empty))
        );
    }

    #[test]
    fn a_jump_in_time_empties_every_window_and_tells_each_change() {
        let mut windows = Windows::new(&Window::ALL);
        windows.advance(Minute(1_000), |_| ());
        windows.add((1, Minute(1_000)), 5, |_| ());
        let mut told = Vec::new();
        windows.advance(Minute(100_000), |change| {
            told.push((change.window, change.old, change.new));
        });
        assert_eq!(
            told,
            [
                (Window::Hour, 5, 0),
                (Window::Day, 5, 0),
                (Window::Week, 5, 0)
            ]
        );
    }
}
