//! Small numbers for large keys, private to the operator that owns them: they never order anything.
//!
//! ```text
//! hash ─▶ slot: hash, number │ hash, number │ empty │ ...      one look into memory where most keys of a table stand
//!                   └─▶ key, value                              one more to compare, and the value is at hand
//! ```
//!
//! Look-ups in large tables wait for memory, so a table of our own: with open addressing, a slot being the number and half
//! of the hash, a search takes two cache misses where a general table takes three, and the table grows without a look
//! at the keys, from its beginning to its end. Many keys at once wait side by side.

use std::hash::{BuildHasher, Hash};
use std::ops::{Index, IndexMut};

use hashbrown::DefaultHashBuilder;

use super::slab::Slab;

/// Gives each distinct key a number, and a value that begins as the default one; a number that was given back is used again.
///
/// State: the keys and values, and 8 bytes a slot, of which a third to two thirds are in use.
#[derive(Debug)]
pub struct Interner<K, V = ()> {
    hasher: DefaultHashBuilder,
    /// A power of two of them, in the order of the hashes but for those that found their slot taken; or none.
    slots: Vec<Slot>,
    entries: Slab<Entry<K, V>>,
}

/// What stands at a number.
#[derive(Clone, Debug)]
pub struct Entry<K, V> {
    key: Option<K>,
    value: V,
}

impl<K, V: Default> Default for Entry<K, V> {
    fn default() -> Self {
        Self {
            key: None,
            value: V::default(),
        }
    }
}

/// A place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    hash: u32,
    number: u32,
}

impl Slot {
    const EMPTY: Self = Self {
        hash: u32::MAX,
        number: u32::MAX,
    };
}

const SLOTS_MIN: usize = 16;

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            slots: Vec::new(),
            entries: Slab::default(),
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone + Default> Interner<K, V> {
    /// The number of a key, a new one if it had none.
    pub fn number(&mut self, key: &K) -> u32 {
        self.reserve(1);
        self.number_hashed(self.hash(key), key)
    }

    /// The numbers of many keys, in their order, new ones for those that had none.
    pub fn number_all<'a>(&mut self, keys: impl Iterator<Item = &'a K> + Clone) -> Vec<u32>
    where
        K: 'a,
    {
        let hashes: Vec<u32> = keys.clone().map(|key| self.hash(key)).collect();
        self.reserve(hashes.len());
        let first = hashes.iter().map(|&hash| self.slots[self.home(hash)]);
        let first: Vec<Slot> = first.collect();
        let mut numbers: Vec<u32> = keys
            .clone()
            .zip(first.iter().zip(&hashes))
            .map(|(key, (slot, &hash))| match self.holds(*slot, hash, key) {
                true => slot.number,
                false => Slot::EMPTY.number,
            })
            .collect();
        for (key, (number, hash)) in keys.zip(numbers.iter_mut().zip(hashes)) {
            if *number == Slot::EMPTY.number {
                *number = self.number_hashed(hash, key);
            }
        }
        numbers
    }

    /// Makes room for keys that will come.
    pub fn reserve(&mut self, more: usize) {
        let needed = (self.len() + more) * 3 / 2;
        if needed <= self.slots.len() {
            return;
        }
        let slots = needed.next_power_of_two().max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![Slot::EMPTY; slots]);
        for slot in old.into_iter().filter(|slot| *slot != Slot::EMPTY) {
            self.insert(slot);
        }
    }

    /// The number of a key, if it has one.
    pub fn find(&self, key: &K) -> Option<u32> {
        self.find_hashed(self.hash(key), key)
    }

    /// The key of a number that is in use.
    pub fn key(&self, number: u32) -> &K {
        let entry = &self.entries[number];
        entry.key.as_ref().expect("the number is in use")
    }

    /// All numbers in use with their keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K, &V)> {
        let entries = self.entries.iter();
        entries.filter_map(|(number, entry)| Some((number, entry.key.as_ref()?, &entry.value)))
    }

    /// Gives a number back.
    pub fn release(&mut self, number: u32) {
        let entry = self.entries.remove(number);
        let key = entry.key.expect("the number is in use");
        let mut place = self.home(self.hash(&key));
        while self.slots[place].number != number {
            assert_ne!(
                self.slots[place],
                Slot::EMPTY,
                "a number in use stands in the table"
            );
            place = self.behind(place);
        }
        self.empty(place);
    }

    /// Numbers in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, key: &K) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// The slot where a search for a hash begins. Not to be called without slots.
    fn home(&self, hash: u32) -> usize {
        (hash as usize * self.slots.len()) >> u32::BITS
    }

    fn behind(&self, place: usize) -> usize {
        (place + 1) & (self.slots.len() - 1)
    }

    fn holds(&self, slot: Slot, hash: u32, key: &K) -> bool {
        let is_in_use = slot.hash == hash && slot != Slot::EMPTY;
        is_in_use && self.entries[slot.number].key.as_ref() == Some(key)
    }

    fn find_hashed(&self, hash: u32, key: &K) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        while self.slots[place] != Slot::EMPTY {
            if self.holds(self.slots[place], hash, key) {
                return Some(self.slots[place].number);
            }
            place = self.behind(place);
        }
        None
    }

    /// Room must have been made.
    fn number_hashed(&mut self, hash: u32, key: &K) -> u32 {
        if let Some(number) = self.find_hashed(hash, key) {
            return number;
        }
        let number = self.entries.add();
        self.entries[number].key = Some(key.clone());
        self.insert(Slot { hash, number });
        number
    }

    /// Puts a slot that is not there into the first empty place from its home on.
    fn insert(&mut self, slot: Slot) {
        let mut place = self.home(slot.hash);
        while self.slots[place] != Slot::EMPTY {
            place = self.behind(place);
        }
        self.slots[place] = slot;
    }

    /// Empties a place, and moves back what stands behind it only because it was taken.
    fn empty(&mut self, mut hole: usize) {
        let mask = self.slots.len() - 1;
        let mut place = self.behind(hole);
        while self.slots[place] != Slot::EMPTY {
            let from_home = place.wrapping_sub(self.home(self.slots[place].hash)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[place];
                hole = place;
            }
            place = self.behind(place);
        }
        self.slots[hole] = Slot::EMPTY;
    }
}

impl<K, V> Index<u32> for Interner<K, V> {
    type Output = V;

    fn index(&self, number: u32) -> &V {
        &self.entries[number].value
    }
}

impl<K, V> IndexMut<u32> for Interner<K, V> {
    fn index_mut(&mut self, number: u32) -> &mut V {
        &mut self.entries[number].value
    }
}

#[cfg(test)]
mod tests {
    use hashbrown::HashMap;

    use super::*;

    #[test]
    fn a_number_stays_until_it_is_given_back() {
        let mut interner = Interner::<u32>::default();
        let numbers: Vec<u32> = (0..1000).map(|key| interner.number(&key)).collect();
        assert_eq!(interner.number(&500), numbers[500]);
        interner.release(numbers[500]);
        assert_eq!(interner.find(&500), None);
        assert_eq!(interner.len(), 999);
        assert_eq!(interner.number(&7777), numbers[500]);
        assert_eq!(*interner.key(numbers[500]), 7777);
        assert_eq!(interner.find(&501), Some(numbers[501]));
    }

    #[test]
    fn it_says_the_same_as_a_map_however_keys_come_and_go() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let (mut interner, mut map) = (Interner::<u64, u64>::default(), HashMap::new());
        for round in 0..200_000 {
            let key = next(if round < 100_000 { 3_000 } else { 300 });
            if next(5) < 2 {
                if let Some(number) = map.remove(&key) {
                    interner.release(number);
                }
            } else {
                let number = interner.number(&key);
                let value = if map.contains_key(&key) { key } else { 0 };
                assert_eq!(interner[number], value, "seed {seed:#x}");
                interner[number] = key;
                assert_eq!(*map.entry(key).or_insert(number), number, "seed {seed:#x}");
            }
            let other = next(3_000);
            assert_eq!(interner.find(&other), map.get(&other).copied());
        }
        assert_eq!(interner.len(), map.len());
        for (number, key, value) in interner.iter() {
            assert_eq!((map.remove(key), value), (Some(number), key));
        }
        assert!(map.is_empty());
    }

    #[test]
    fn many_keys_at_once_have_the_numbers_of_each_alone() {
        let keys: Vec<u32> = (0..5_000_u32).map(|n| n * n % 1_777).collect();
        let (mut at_once, mut alone) = (Interner::<u32>::default(), Interner::<u32>::default());
        for keys in keys.chunks(700) {
            let one_by_one: Vec<u32> = keys.iter().map(|key| alone.number(key)).collect();
            assert_eq!(at_once.number_all(keys.iter()), one_by_one);
        }
        assert_eq!(at_once.len(), alone.len());
        assert!(at_once.iter().eq(alone.iter()));
    }
}
