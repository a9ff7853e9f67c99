//! The candidates of top lists: which keys are worth sorting.
//!
//! A candidate set holds every key whose value is at least its *floor*. Sorting the candidates
//! gives the exact top list as long as there are enough of them, or the floor is 1 and so no key is
//! missing. When a set has too many candidates, its floor rises. When too few remain, all keys of
//! the owner are scanned for new candidates. So a change costs two look-ups for any number of keys,
//! and most keys never become candidates.
//!
//! State: some hundreds of keys for each list; more only if more keys share the value of the last
//! rank.

use std::hash::Hash;

use hashbrown::HashMap;
use skytide_core::record::Lang;
use skytide_core::view::{ListRow, Measure, ViewId, Window};

use crate::sizes::{Size, vec_bytes};

/// A family of top lists that differ only by window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListFamily {
    /// The view of the lists.
    pub view: ViewId,
    /// The measure that orders the lists.
    pub measure: Measure,
    /// The language of the posts that count, or [`OVERALL`].
    pub lang: Option<Lang>,
}

/// The language of lists that count posts in all languages.
pub const OVERALL: Option<Lang> = None;

impl ListFamily {
    /// The language as it is written in the keys of lists and trends.
    pub fn lang_tag(&self) -> &'static str {
        self.lang.map_or("", Lang::tag)
    }
}

/// A candidate set with more keys than this is pruned.
const CANDIDATES_MAX: usize = 4_000;
/// Pruning leaves about this many keys.
const CANDIDATES_AFTER_PRUNING: usize = 400;

/// The candidates of all top lists of an operator.
#[derive(Debug)]
pub struct TopCandidates<K> {
    families: HashMap<ListFamily, [CandidateSet<K>; 4]>,
    dirty: Vec<ListFamily>,
}

/// The candidates of one top list.
#[derive(Debug)]
struct CandidateSet<K> {
    /// Every key with a value of at least this is a candidate.
    floor: u32,
    candidates: HashMap<K, u32>,
    /// Whether a candidate was added, changed or removed since the list was last taken.
    dirty: bool,
    /// At this many candidates the set is pruned at once. Otherwise it is pruned when its list is
    /// taken, which may happen rarely, for example while a checkpoint is restored.
    capacity: usize,
}

impl<K> Default for CandidateSet<K> {
    fn default() -> Self {
        Self {
            floor: 1,
            candidates: HashMap::new(),
            dirty: false,
            capacity: 2 * CANDIDATES_MAX,
        }
    }
}

impl<K> Default for TopCandidates<K> {
    fn default() -> Self {
        Self {
            families: HashMap::new(),
            dirty: Vec::new(),
        }
    }
}

impl<K: Hash + Eq + Copy> TopCandidates<K> {
    /// Updates a key's values in the four windows; 0 excludes the key from the list of that window.
    /// Must be called after each change of a value that a list shows for the key. `is_new` means
    /// that the key is not a candidate of any list of the family.
    pub fn update(&mut self, family: ListFamily, key: K, is_new: bool, values: [u32; 4]) {
        let sets = if values == [0; 4] {
            let Some(sets) = self.families.get_mut(&family) else {
                return;
            };
            sets
        } else {
            self.families.entry(family).or_default()
        };
        let was_clean = sets.iter().all(|set| !set.dirty);
        for (set, value) in sets.iter_mut().zip(values) {
            if !is_new || value >= set.floor {
                set.update(key, value);
            }
        }
        if was_clean && sets.iter().any(|set| set.dirty) {
            self.dirty.push(family);
        }
    }

    /// Calls `take` with each list that may have changed since the last call: at most
    /// [`ListRow::LENGTH`] keys with their values, best first by `order`. `scan_all` must append
    /// every key of a list with its value; it is called rarely.
    pub fn take_changed(
        &mut self,
        mut scan_all: impl FnMut(ListFamily, Window, &mut Vec<(K, u32)>),
        mut order: impl FnMut(&(K, u32), &(K, u32)) -> std::cmp::Ordering,
        mut take: impl FnMut(ListFamily, Window, &[(K, u32)]),
    ) {
        for family in std::mem::take(&mut self.dirty) {
            let Some(sets) = self.families.get_mut(&family) else {
                continue;
            };
            for (set, window) in sets.iter_mut().zip(Window::ALL) {
                if std::mem::take(&mut set.dirty) {
                    let best = set.best(|keys| scan_all(family, window, keys), &mut order);
                    take(family, window, &best);
                }
            }
            if sets
                .iter()
                .all(|set| set.floor == 1 && set.candidates.is_empty())
            {
                self.families.remove(&family);
            }
        }
    }
}

impl<K: Hash + Eq + Copy> TopCandidates<K> {
    /// The size. The time depends on the number of families, which the known languages bound.
    pub fn size(&self) -> Size {
        let sets = self.families.values().flatten();
        let mut size = Size {
            entries: 0,
            bytes: self.families.allocation_size() + vec_bytes(&self.dirty),
        };
        for CandidateSet { candidates, .. } in sets {
            size.add(Size {
                entries: candidates.len(),
                bytes: candidates.allocation_size(),
            });
        }
        size
    }
}

impl<K: Hash + Eq + Copy> CandidateSet<K> {
    fn update(&mut self, key: K, value: u32) {
        let before = if value >= self.floor {
            self.candidates.insert(key, value)
        } else {
            self.candidates.remove(&key)
        };
        self.dirty |= before.is_some() || value >= self.floor;
        if self.candidates.len() >= self.capacity {
            self.prune();
        }
    }

    /// The keys of the top list, best first.
    fn best(
        &mut self,
        scan_all: impl FnOnce(&mut Vec<(K, u32)>),
        order: &mut impl FnMut(&(K, u32), &(K, u32)) -> std::cmp::Ordering,
    ) -> Vec<(K, u32)> {
        if self.candidates.len() < ListRow::LENGTH && self.floor > 1 {
            let mut keys = Vec::new();
            scan_all(&mut keys);
            self.refill(&keys);
        } else if self.candidates.len() > CANDIDATES_MAX {
            self.prune();
        }
        let mut keys = self.keys();
        if keys.len() > ListRow::LENGTH {
            keys.select_nth_unstable_by(ListRow::LENGTH, &mut *order);
            keys.truncate(ListRow::LENGTH);
        }
        keys.sort_unstable_by(order);
        keys
    }

    fn keys(&self) -> Vec<(K, u32)> {
        let candidates = self.candidates.iter();
        candidates.map(|(&key, &value)| (key, value)).collect()
    }

    /// Raises the floor, if that leaves fewer candidates.
    fn prune(&mut self) {
        self.refill(&self.keys());
        self.capacity = 2 * self.candidates.len().max(CANDIDATES_MAX);
    }

    /// Replaces the candidates with those of `keys` at or above a new floor: the value at rank
    /// [`CANDIDATES_AFTER_PRUNING`]. If too many keys share that value, the floor is the value at a
    /// rank closer to the length of a list.
    fn refill(&mut self, keys: &[(K, u32)]) {
        let mut values: Vec<u32> = keys.iter().map(|(_, value)| *value).collect();
        let mut floor = 1;
        for rank in [
            ListRow::LENGTH + ListRow::LENGTH / 2,
            CANDIDATES_AFTER_PRUNING,
        ] {
            if values.len() > rank {
                let (_, &mut value, _) = values.select_nth_unstable_by(rank, |a, b| b.cmp(a));
                let remaining = values.iter().filter(|other| **other >= value).count();
                if floor == 1 || remaining <= CANDIDATES_MAX / 2 {
                    floor = value.max(1);
                }
            }
        }
        self.floor = floor;
        self.candidates = keys
            .iter()
            .copied()
            .filter(|(_, value)| *value >= floor)
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    use super::*;

    const FAMILY: ListFamily = ListFamily {
        view: ViewId::TopPosts,
        measure: Measure::Likes,
        lang: OVERALL,
    };

    /// Updates random keys with random values and compares each list with sorting all keys.
    #[test]
    fn a_top_list_equals_sorting_all_keys() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let mut truth = BTreeMap::<u64, u32>::new();
        let mut candidates = TopCandidates::default();
        for round in 0..300 {
            for _ in 0..200 {
                let key = next(20_000);
                let value = if next(4) == 0 {
                    0
                } else {
                    {
                        let a = next(400);
                        let b = next(1 + a);
                        next(1 + b) as u32
                    }
                };
                truth.insert(key, value);
                candidates.update(FAMILY, key, false, [value; 4]);
            }
            if round % 50 == 49 {
                // All high values fall: the candidate sets must ask for all keys again.
                for (&key, value) in truth.iter_mut().filter(|(_, value)| **value > 3) {
                    *value = 1;
                    candidates.update(FAMILY, key, false, [1; 4]);
                }
            }
            let order =
                |a: &(u64, u32), b: &(u64, u32)| (Reverse(a.1), a.0).cmp(&(Reverse(b.1), b.0));
            let mut got = Vec::new();
            candidates.take_changed(
                |_, _, keys| {
                    keys.extend(truth.iter().map(|(&k, &v)| (k, v)).filter(|(_, v)| *v > 0));
                },
                order,
                |_, window, best| {
                    if window == Window::All {
                        got = best.to_vec();
                    }
                },
            );
            let mut expected: Vec<(u64, u32)> = truth
                .iter()
                .map(|(&k, &v)| (k, v))
                .filter(|(_, v)| *v > 0)
                .collect();
            expected.sort_unstable_by(order);
            expected.truncate(ListRow::LENGTH);
            assert_eq!(got, expected, "seed {seed:#x} round {round}");
        }
    }

    #[test]
    fn a_family_without_candidates_is_removed() {
        let mut candidates = TopCandidates::default();
        candidates.update(FAMILY, 1, true, [1; 4]);
        candidates.update(FAMILY, 1, false, [0; 4]);
        candidates.take_changed(
            |_, _, _| (),
            Ord::cmp,
            |_, _, best| assert!(best.is_empty()),
        );
        assert!(candidates.families.is_empty());
    }
}
