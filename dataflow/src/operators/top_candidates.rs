//! TopCandidates: which keys are worth sorting for a top list.
//!
//! A board keeps every key whose value is at least its *floor*. Sorting these gives the exact best hundred as long as
//! there are a hundred, or the floor is 1 and so nothing is left out. When too many gather the floor rises; when too
//! few remain the owner is asked for all keys again. So a change costs two look-ups, whatever the number of keys, and
//! most keys never enter a board.
//!
//! State: per list some hundreds of keys; more only where more than that many share the value of the last place.

use std::hash::Hash;

use hashbrown::HashMap;
use skytide_core::record::Lang;
use skytide_core::view::{ListRow, Measure, ViewId, Window};

/// Lists that differ only by window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Family {
    /// Of which view.
    pub view: ViewId,
    /// Ordered by what.
    pub measure: Measure,
    /// Of posts in one language, or [`OVERALL`].
    pub lang: Option<Lang>,
}

/// Of posts in all languages.
pub const OVERALL: Option<Lang> = None;

impl Family {
    /// The language as keys of lists and trends have it.
    pub fn lang_tag(&self) -> &'static str {
        self.lang.map_or("", Lang::tag)
    }
}

/// A board is thinned out when it holds more keys than this.
const CANDIDATES_MAX: usize = 4_000;
/// Keys that stay when it is thinned out, at least.
const CANDIDATES_KEPT: usize = 400;

/// All boards of an operator.
#[derive(Debug)]
pub struct TopCandidates<K> {
    families: HashMap<Family, [CandidateSet<K>; 4]>,
    dirty: Vec<Family>,
}

#[derive(Debug)]
struct CandidateSet<K> {
    /// Every key of the list with a value of at least this is a candidate.
    floor: u32,
    candidates: HashMap<K, u32>,
    /// A candidate changed, came or went since the list was last taken.
    dirty: bool,
    /// It is thinned out at once when it holds this many: lists may be taken seldom, as while a checkpoint is taken in.
    full: usize,
}

impl<K> Default for CandidateSet<K> {
    fn default() -> Self {
        Self {
            floor: 1,
            candidates: HashMap::new(),
            dirty: false,
            full: 2 * CANDIDATES_MAX,
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
    /// Tells a key's values in the four windows; 0 where it must not be listed. To be called whenever anything that the
    /// list shows of the key has changed. `new`: it is on no board of the family.
    pub fn offer(&mut self, family: Family, (key, new): (K, bool), values: [u32; 4]) {
        let boards = if values == [0; 4] {
            let Some(boards) = self.families.get_mut(&family) else {
                return;
            };
            boards
        } else {
            self.families.entry(family).or_default()
        };
        let clean = boards.iter().all(|board| !board.dirty);
        for (board, value) in boards.iter_mut().zip(values) {
            if !new || value >= board.floor {
                board.offer(key, value);
            }
        }
        if clean && boards.iter().any(|board| board.dirty) {
            self.dirty.push(family);
        }
    }

    /// Takes the lists that may have changed since they were last taken: at most [`ListRow::LENGTH`] keys with their
    /// values, best first by `order`. `all` tells every key of a list with its value, and is asked rarely.
    pub fn take_changed(
        &mut self,
        mut all: impl FnMut(Family, Window, &mut Vec<(K, u32)>),
        mut order: impl FnMut(&(K, u32), &(K, u32)) -> std::cmp::Ordering,
        mut take: impl FnMut(Family, Window, &[(K, u32)]),
    ) {
        for family in std::mem::take(&mut self.dirty) {
            let Some(boards) = self.families.get_mut(&family) else {
                continue;
            };
            for (board, window) in boards.iter_mut().zip(Window::ALL) {
                if std::mem::take(&mut board.dirty) {
                    let best = board.best(|keys| all(family, window, keys), &mut order);
                    take(family, window, &best);
                }
            }
            if boards
                .iter()
                .all(|board| board.floor == 1 && board.candidates.is_empty())
            {
                self.families.remove(&family);
            }
        }
    }

    /// Keys in all boards.
    pub fn candidates(&self) -> usize {
        self.families
            .values()
            .flatten()
            .map(|board| board.candidates.len())
            .sum()
    }
}

impl<K: Hash + Eq + Copy> CandidateSet<K> {
    fn offer(&mut self, key: K, value: u32) {
        let before = if value >= self.floor {
            self.candidates.insert(key, value)
        } else {
            self.candidates.remove(&key)
        };
        self.dirty |= before.is_some() || value >= self.floor;
        if self.candidates.len() >= self.full {
            self.thin_out();
        }
    }

    fn best(
        &mut self,
        all: impl FnOnce(&mut Vec<(K, u32)>),
        order: &mut impl FnMut(&(K, u32), &(K, u32)) -> std::cmp::Ordering,
    ) -> Vec<(K, u32)> {
        if self.candidates.len() < ListRow::LENGTH && self.floor > 1 {
            let mut keys = Vec::new();
            all(&mut keys);
            self.refill(&keys);
        } else if self.candidates.len() > CANDIDATES_MAX {
            self.thin_out();
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

    /// Raises the floor, if that leaves fewer.
    fn thin_out(&mut self) {
        self.refill(&self.keys());
        self.full = 2 * self.candidates.len().max(CANDIDATES_MAX);
    }

    /// Sets the floor so that about [`CANDIDATES_KEPT`] of `keys` stay, or a little more than a list where so many
    /// share that value that they would not thin out.
    fn refill(&mut self, keys: &[(K, u32)]) {
        let mut values: Vec<u32> = keys.iter().map(|(_, value)| *value).collect();
        let mut floor = 1;
        for place in [ListRow::LENGTH + ListRow::LENGTH / 2, CANDIDATES_KEPT] {
            if values.len() > place {
                let (_, &mut value, _) = values.select_nth_unstable_by(place, |a, b| b.cmp(a));
                let stay = values.iter().filter(|other| **other >= value).count();
                if floor == 1 || stay <= CANDIDATES_MAX / 2 {
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

    const FAMILY: Family = Family {
        view: ViewId::TopPosts,
        measure: Measure::Likes,
        lang: OVERALL,
    };

    /// Offers a random walk of values and compares each list with sorting everything.
    #[test]
    fn a_list_is_what_sorting_all_keys_gives() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let mut truth = BTreeMap::<u64, u32>::new();
        let mut boards = TopCandidates::default();
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
                boards.offer(FAMILY, (key, false), [value; 4]);
            }
            if round % 50 == 49 {
                // Everything popular falls: the board must ask for all keys again.
                for (&key, value) in truth.iter_mut().filter(|(_, value)| **value > 3) {
                    *value = 1;
                    boards.offer(FAMILY, (key, false), [1; 4]);
                }
            }
            let order =
                |a: &(u64, u32), b: &(u64, u32)| (Reverse(a.1), a.0).cmp(&(Reverse(b.1), b.0));
            let mut got = Vec::new();
            boards.take_changed(
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
    fn an_empty_family_is_forgotten() {
        let mut boards = TopCandidates::default();
        boards.offer(FAMILY, (1, true), [1, 1, 1, 1]);
        boards.offer(FAMILY, (1, false), [0; 4]);
        boards.take_changed(
            |_, _, _| (),
            Ord::cmp,
            |_, _, best| assert!(best.is_empty()),
        );
        assert!(boards.families.is_empty());
    }
}
