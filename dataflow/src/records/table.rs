//! The live records of one repo, by collection and key.
//!
//! ```text
//! all    │ record │ record │ record │ ...     40 bytes each, in no order; few are searched one by one
//! index  hash of (collection, key) ─▶ place   5 bytes each, of more than a few, made when one is first looked for
//! ```
//!
//! Most accounts have few records, and a restart takes in all of them and looks for hardly any: so no record is hashed
//! before that, and no room is made for more than there are. A repo of a million records takes some tens of milliseconds
//! when one is first looked for.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use skytide_core::id::Rkey;

use super::repo::LiveRecord;

/// Records, each of another collection or key.
#[derive(Debug, Default)]
pub(super) struct Records {
    all: Vec<LiveRecord>,
    /// Places by hash: of all records, or not made yet.
    index: Option<Box<HashTable<u32>>>,
}

/// So many are searched one by one: they fit into a few lines of the cache.
const FEW: usize = 16;

/// What a record is found by.
pub(super) type Name<'a> = (u32, &'a Rkey);

impl Records {
    /// None, with room for some.
    pub fn with_capacity(records: usize) -> Self {
        Self {
            all: Vec::with_capacity(records),
            index: None,
        }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &LiveRecord> {
        self.all.iter()
    }

    /// The place of a record, until one is removed.
    pub fn find(&mut self, hasher: &DefaultHashBuilder, name: Name<'_>) -> Option<usize> {
        if self.index.is_none() && self.all.len() <= FEW {
            return self.all.iter().position(|record| record.name() == name);
        }
        let all = &self.all;
        let hash_of = |place: &u32| hasher.hash_one(all[*place as usize].name());
        let index = self.index.get_or_insert_with(|| {
            let mut index = HashTable::with_capacity(all.len());
            for place in 0..all.len() as u32 {
                index.insert_unique(hash_of(&place), place, hash_of);
            }
            Box::new(index)
        });
        let same = |place: &u32| all[*place as usize].name() == name;
        let place = index.find(hasher.hash_one(name), same)?;
        Some(*place as usize)
    }

    pub fn at(&mut self, place: usize) -> &mut LiveRecord {
        &mut self.all[place]
    }

    /// Adds a record that is not there.
    pub fn push(&mut self, hasher: &DefaultHashBuilder, record: LiveRecord) {
        self.all.push(record);
        let Self { all, index } = self;
        if let Some(index) = index {
            let hash_of = |place: &u32| hasher.hash_one(all[*place as usize].name());
            let place = all.len() as u32 - 1;
            index.insert_unique(hash_of(&place), place, hash_of);
        }
    }

    /// Removes the record at a place; the last one comes there.
    pub fn remove(&mut self, hasher: &DefaultHashBuilder, place: usize) -> LiveRecord {
        let last = self.all.len() - 1;
        if let Some(index) = &mut self.index {
            let hash = |place: usize| hasher.hash_one(self.all[place].name());
            let is = "the index has every record";
            let entry = index.find_entry(hash(place), |it| *it as usize == place);
            entry.expect(is).remove();
            if place != last {
                *index
                    .find_mut(hash(last), |it| *it as usize == last)
                    .expect(is) = place as u32;
            }
        }
        self.all.swap_remove(place)
    }
}

impl IntoIterator for Records {
    type Item = LiveRecord;
    type IntoIter = std::vec::IntoIter<LiveRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl LiveRecord {
    fn name(&self) -> Name<'_> {
        (self.collection, &self.rkey)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use skytide_core::time::Minute;

    use super::*;
    use crate::records::content::Content;

    #[test]
    fn it_says_the_same_as_a_map_however_records_come_and_go() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let hasher = DefaultHashBuilder::default();
        let mut map = BTreeMap::<(u32, String), u32>::new();
        let mut records = Records::default();
        // Few, many, few again.
        for (round, keys) in [10, 200, 10].into_iter().enumerate() {
            for step in 0..5_000_u32 {
                let (collection, key) = (next(3) as u32, format!("key{}", next(keys)));
                let rkey: Rkey = key.parse().expect("it is a key");
                let found = records.find(&hasher, (collection, &rkey));
                let seen = found.map(|place| records.at(place).first_seen.0);
                let known = map.get(&(collection, key.clone())).copied();
                assert_eq!(seen, known, "seed {seed:#x}, round {round}, step {step}");
                match found {
                    Some(place) if next(2) == 0 => {
                        records.remove(&hasher, place);
                        map.remove(&(collection, key));
                    }
                    Some(place) => {
                        records.at(place).first_seen = Minute(step);
                        map.insert((collection, key), step);
                    }
                    None => {
                        let record = LiveRecord {
                            rkey,
                            collection,
                            first_seen: Minute(step),
                            content: Content::Nothing,
                        };
                        records.push(&hasher, record);
                        map.insert((collection, key), step);
                    }
                }
                assert_eq!(records.len(), map.len());
                if step == 4_000 {
                    // As after a restart: without an index.
                    let taken = std::mem::take(&mut records);
                    records = Records::with_capacity(taken.len());
                    taken
                        .into_iter()
                        .for_each(|record| records.push(&hasher, record));
                    assert!(records.index.is_none());
                }
            }
        }
        let all = records.iter();
        let all = all.map(|it| ((it.collection, it.rkey.to_string()), it.first_seen.0));
        assert_eq!(all.collect::<BTreeMap<_, _>>(), map);
    }
}
