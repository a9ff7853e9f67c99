//! Small numbers for large keys. The numbers are private to the operator that owns them, and
//! nothing is ever ordered by them.
//!
//! ```text
//! buckets:  hash, number │ hash, number │ empty │ ...    first cache miss: the bucket
//!                    └─▶ key, value                      second cache miss: compares the key
//! ```
//!
//! Look-ups in large tables are bound by memory latency, so this is a hash table of our own with
//! open addressing. A bucket holds the number and half of the hash. A search thus takes two cache
//! misses, where a general table takes three. Growing reads the buckets sequentially and does not
//! touch the keys. Look-ups of many keys at once overlap their cache misses.

use std::hash::{BuildHasher, Hash};
use std::ops::{Index, IndexMut};

use hashbrown::DefaultHashBuilder;

use super::slab::Slab;
use crate::sizes::{HeapSize, Size, vec_bytes};

/// Assigns a number and a value, initially the default one, to each distinct key. Released numbers
/// are reused.
///
/// State: the keys and values, and 8 bytes for each bucket. A third to two thirds of the buckets
/// are in use.
#[derive(Debug)]
pub struct Interner<K, V = ()> {
    hasher: DefaultHashBuilder,
    /// The hash table; its length is a power of two or 0. Entries are ordered by hash, except where
    /// linear probing moved an entry past occupied buckets.
    buckets: Vec<Bucket>,
    entries: Slab<Entry<K, V>>,
    /// What the keys point to, in bytes.
    key_bytes: usize,
}

/// The key and value of a number; no key if the number is free.
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

/// A bucket of the hash table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    hash: u32,
    number: u32,
}

impl Bucket {
    const EMPTY: Self = Self {
        hash: u32::MAX,
        number: u32::MAX,
    };
}

const BUCKETS_MIN: usize = 16;

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            buckets: Vec::new(),
            entries: Slab::default(),
            key_bytes: 0,
        }
    }
}

impl<K: Hash + Eq + Clone + HeapSize, V: Clone + Default> Interner<K, V> {
    /// Returns the number of a key; adds the key if it is new.
    pub fn intern(&mut self, key: &K) -> u32 {
        self.reserve(1);
        self.intern_hashed(self.hash(key), key)
    }

    /// Returns the numbers of many keys, in their order; adds the keys that are new.
    pub fn intern_all<'a>(&mut self, keys: impl Iterator<Item = &'a K> + Clone) -> Vec<u32>
    where
        K: 'a,
    {
        let hashes: Vec<u32> = keys.clone().map(|key| self.hash(key)).collect();
        self.reserve(hashes.len());
        let first = hashes.iter().map(|&hash| self.buckets[self.home(hash)]);
        let first: Vec<Bucket> = first.collect();
        let mut numbers: Vec<u32> = keys
            .clone()
            .zip(first.iter().zip(&hashes))
            .map(
                |(key, (bucket, &hash))| match self.holds(*bucket, hash, key) {
                    true => bucket.number,
                    false => Bucket::EMPTY.number,
                },
            )
            .collect();
        for (key, (number, hash)) in keys.zip(numbers.iter_mut().zip(hashes)) {
            if *number == Bucket::EMPTY.number {
                *number = self.intern_hashed(hash, key);
            }
        }
        numbers
    }

    /// Reserves buckets for `more` further keys.
    pub fn reserve(&mut self, more: usize) {
        let needed = (self.len() + more) * 3 / 2;
        if needed <= self.buckets.len() {
            return;
        }
        let buckets = needed.next_power_of_two().max(BUCKETS_MIN);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::EMPTY; buckets]);
        for bucket in old.into_iter().filter(|it| *it != Bucket::EMPTY) {
            self.insert(bucket);
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

    /// Removes a key and releases its number.
    pub fn release(&mut self, number: u32) {
        let entry = self.entries.remove(number);
        let key = entry.key.expect("the number is in use");
        self.key_bytes = self.key_bytes.saturating_sub(key.heap_bytes());
        let mut index = self.home(self.hash(&key));
        while self.buckets[index].number != number {
            assert_ne!(
                self.buckets[index],
                Bucket::EMPTY,
                "a number in use has a bucket"
            );
            index = self.next_index(index);
        }
        self.clear(index);
    }

    /// How many numbers are in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The size, with what keys point to and without what values point to.
    pub fn size(&self) -> Size {
        let Size { entries, bytes } = self.entries.size();
        Size {
            entries,
            bytes: bytes + vec_bytes(&self.buckets) + self.key_bytes,
        }
    }

    /// Whether no number is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, key: &K) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// The home bucket of a hash: the index at which a search starts. The table must not be empty.
    fn home(&self, hash: u32) -> usize {
        (hash as usize * self.buckets.len()) >> u32::BITS
    }

    fn next_index(&self, index: usize) -> usize {
        (index + 1) & (self.buckets.len() - 1)
    }

    /// Whether a bucket is that of a key with this hash.
    fn holds(&self, bucket: Bucket, hash: u32, key: &K) -> bool {
        let is_in_use = bucket.hash == hash && bucket != Bucket::EMPTY;
        is_in_use && self.entries[bucket.number].key.as_ref() == Some(key)
    }

    fn find_hashed(&self, hash: u32, key: &K) -> Option<u32> {
        if self.buckets.is_empty() {
            return None;
        }
        let mut index = self.home(hash);
        while self.buckets[index] != Bucket::EMPTY {
            if self.holds(self.buckets[index], hash, key) {
                return Some(self.buckets[index].number);
            }
            index = self.next_index(index);
        }
        None
    }

    /// The number of a key whose hash is known; adds the key if it is new. A bucket must be
    /// reserved.
    fn intern_hashed(&mut self, hash: u32, key: &K) -> u32 {
        if let Some(number) = self.find_hashed(hash, key) {
            return number;
        }
        let number = self.entries.add();
        let key = key.clone();
        self.key_bytes += key.heap_bytes();
        self.entries[number].key = Some(key);
        self.insert(Bucket { hash, number });
        number
    }

    /// Stores a new bucket at the first empty index from its home on (linear probing).
    fn insert(&mut self, bucket: Bucket) {
        let mut index = self.home(bucket.hash);
        while self.buckets[index] != Bucket::EMPTY {
            index = self.next_index(index);
        }
        self.buckets[index] = bucket;
    }

    /// Clears a bucket, and moves back those after it that linear probing had moved past it
    /// (backward-shift deletion).
    fn clear(&mut self, mut hole: usize) {
        let mask = self.buckets.len() - 1;
        let mut index = self.next_index(hole);
        while self.buckets[index] != Bucket::EMPTY {
            let from_home = index.wrapping_sub(self.home(self.buckets[index].hash)) & mask;
            if from_home >= index.wrapping_sub(hole) & mask {
                self.buckets[hole] = self.buckets[index];
                hole = index;
            }
            index = self.next_index(index);
        }
        self.buckets[hole] = Bucket::EMPTY;
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
    fn a_key_keeps_its_number_until_it_is_released() {
        let mut interner = Interner::<u32>::default();
        let numbers: Vec<u32> = (0..1000).map(|key| interner.intern(&key)).collect();
        assert_eq!(interner.intern(&500), numbers[500]);
        interner.release(numbers[500]);
        assert_eq!(interner.find(&500), None);
        assert_eq!(interner.len(), 999);
        assert_eq!(interner.intern(&7777), numbers[500]);
        assert_eq!(*interner.key(numbers[500]), 7777);
        assert_eq!(interner.find(&501), Some(numbers[501]));
    }

    #[test]
    fn an_interner_agrees_with_a_map_after_random_insertions_and_releases() {
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
                let number = interner.intern(&key);
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
    fn the_size_includes_what_the_keys_point_to() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let mut interner = Interner::<Box<str>, u64>::default();
        for step in 0..20_000 {
            let key: Box<str> = "k".repeat(next(90) as usize).into();
            match interner.find(&key) {
                Some(number) if next(2) == 0 => interner.release(number),
                _ => drop(interner.intern(&key)),
            }
            let texts = interner.iter().map(|(_, key, _)| key.len());
            let buckets = interner.buckets.capacity() * 8;
            let expected = interner.entries.size().bytes + buckets + texts.sum::<usize>();
            let size = interner.size();
            assert_eq!(size.bytes, expected, "seed {seed:#x} step {step}");
            assert_eq!(size.entries, interner.len());
        }
    }

    #[test]
    fn numbering_keys_at_once_or_one_by_one_gives_the_same_numbers() {
        let keys: Vec<u32> = (0..5_000_u32).map(|n| n * n % 1_777).collect();
        let (mut at_once, mut alone) = (Interner::<u32>::default(), Interner::<u32>::default());
        for keys in keys.chunks(700) {
            let one_by_one: Vec<u32> = keys.iter().map(|key| alone.intern(key)).collect();
            assert_eq!(at_once.intern_all(keys.iter()), one_by_one);
        }
        assert_eq!(at_once.len(), alone.len());
        assert!(at_once.iter().eq(alone.iter()));
    }
}
