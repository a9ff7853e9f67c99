//! Small numbers for large keys, private to the operator that owns them: they never order anything.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Gives each distinct key a number; a number that was given back is used again.
///
/// State: the keys, and 4 bytes a key in a hash table.
#[derive(Debug)]
pub struct Interner<K> {
    hasher: DefaultHashBuilder,
    numbers: HashTable<u32>,
    keys: Vec<Option<K>>,
    free: Vec<u32>,
}

impl<K> Default for Interner<K> {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            numbers: HashTable::new(),
            keys: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<K: Hash + Eq + Clone> Interner<K> {
    /// The number of a key, a new one if it had none.
    pub fn number(&mut self, key: &K) -> u32 {
        let Self {
            hasher,
            numbers,
            keys,
            free,
        } = self;
        let hash = hasher.hash_one(key);
        let found = numbers.find(hash, |&number| keys[number as usize].as_ref() == Some(key));
        if let Some(&number) = found {
            return number;
        }
        let number = free.pop().unwrap_or_else(|| {
            keys.push(None);
            u32::try_from(keys.len() - 1).expect("fewer than 2^32 keys fit into memory")
        });
        keys[number as usize] = Some(key.clone());
        numbers.insert_unique(hash, number, |&number| {
            hasher.hash_one(
                keys[number as usize]
                    .as_ref()
                    .expect("a number in the table is in use"),
            )
        });
        number
    }

    /// Makes room for keys that will come.
    pub fn reserve(&mut self, more: usize) {
        let Self {
            hasher,
            numbers,
            keys,
            ..
        } = self;
        numbers.reserve(more, |&number| {
            hasher.hash_one(
                keys[number as usize]
                    .as_ref()
                    .expect("a number in the table is in use"),
            )
        });
    }

    /// The number of a key, if it has one.
    pub fn find(&self, key: &K) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let same = |&number: &u32| self.keys[number as usize].as_ref() == Some(key);
        self.numbers.find(hash, same).copied()
    }

    /// The key of a number that is in use.
    pub fn key(&self, number: u32) -> &K {
        self.keys[number as usize]
            .as_ref()
            .expect("the number is in use")
    }

    /// All numbers in use with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K)> {
        let numbered = self.keys.iter().enumerate();
        numbered.filter_map(|(number, key)| Some((number as u32, key.as_ref()?)))
    }

    /// Gives a number back.
    pub fn release(&mut self, number: u32) {
        let key = self.keys[number as usize]
            .take()
            .expect("the number is in use");
        let hash = self.hasher.hash_one(&key);
        let entry = self.numbers.find_entry(hash, |&other| other == number);
        entry.expect("a number in use stands in the table").remove();
        self.free.push(number);
    }

    /// Numbers in use.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_until_it_is_given_back() {
        let mut interner = Interner::default();
        let numbers: Vec<u32> = (0..1000).map(|key| interner.number(&key)).collect();
        assert_eq!(interner.number(&500), numbers[500]);
        interner.release(numbers[500]);
        assert_eq!(interner.find(&500), None);
        assert_eq!(interner.len(), 999);
        assert_eq!(interner.number(&7777), numbers[500]);
        assert_eq!(*interner.key(numbers[500]), 7777);
        assert_eq!(interner.find(&501), Some(numbers[501]));
    }
}
