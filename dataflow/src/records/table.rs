//! The live records of one repo, by collection and key.
//!
//! ```text
//! records  │ record │ record │ record │ ...     40 bytes each, unordered
//! index    hash of (collection, key) ─▶ index   5 bytes each; only for more than 16 records
//! ```
//!
//! Up to 16 records are searched linearly. Most accounts have few records, and a restart restores
//! all records but looks up hardly any. The hash index is therefore built at the first look-up, and
//! no capacity is allocated beyond the number of records. The first look-up in a repo of a million
//! records takes some tens of milliseconds.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use skytide_core::id::Rkey;
use skytide_core::time::Minute;

use super::content::Content;
use crate::sizes::{Size, vec_bytes};

/// A live record.
#[derive(Debug)]
pub(super) struct LiveRecord {
    pub rkey: Rkey,
    pub collection: u32,
    pub first_seen: Minute,
    pub content: Content,
}

/// Live records with distinct keys.
#[derive(Debug, Default)]
pub(super) struct RecordTable {
    records: Vec<LiveRecord>,
    /// Indices of all records, by the hash of their key; `None` until the first look-up in a large
    /// table.
    index: Option<Box<HashTable<u32>>>,
}

/// Up to this many records are searched linearly; they fit in a few cache lines.
const LINEAR_MAX: usize = 16;

/// The key of a record in its repo: the number of its collection, and its record key.
pub(super) type RecordKey<'a> = (u32, &'a Rkey);

impl RecordTable {
    /// An empty table with capacity for this many records.
    pub fn with_capacity(records: usize) -> Self {
        Self {
            records: Vec::with_capacity(records),
            index: None,
        }
    }

    /// The size of the table and its index, without what records point to.
    pub fn size(&self) -> Size {
        let index = self.index.as_deref();
        let index = index.map_or(0, |index| size_of_val(index) + index.allocation_size());
        Size {
            entries: self.records.len(),
            bytes: vec_bytes(&self.records) + index,
        }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &LiveRecord> {
        self.records.iter()
    }

    /// The index of a record. It is valid until a record is removed.
    pub fn find(&mut self, hasher: &DefaultHashBuilder, key: RecordKey<'_>) -> Option<usize> {
        if self.index.is_none() && self.records.len() <= LINEAR_MAX {
            return self.records.iter().position(|record| record.key() == key);
        }
        let records = &self.records;
        let hash_of = |at: &u32| hasher.hash_one(records[*at as usize].key());
        let index = self.index.get_or_insert_with(|| {
            let mut index = HashTable::with_capacity(records.len());
            for at in 0..records.len() as u32 {
                index.insert_unique(hash_of(&at), at, hash_of);
            }
            Box::new(index)
        });
        let matches = |at: &u32| records[*at as usize].key() == key;
        let at = index.find(hasher.hash_one(key), matches)?;
        Some(*at as usize)
    }

    pub fn at(&mut self, at: usize) -> &mut LiveRecord {
        &mut self.records[at]
    }

    /// Adds a record whose key is not in the table.
    pub fn push(&mut self, hasher: &DefaultHashBuilder, record: LiveRecord) {
        self.records.push(record);
        let Self { records, index } = self;
        if let Some(index) = index {
            let hash_of = |at: &u32| hasher.hash_one(records[*at as usize].key());
            let at = records.len() as u32 - 1;
            index.insert_unique(hash_of(&at), at, hash_of);
        }
    }

    /// Removes the record at an index. The last record moves to that index.
    pub fn remove(&mut self, hasher: &DefaultHashBuilder, at: usize) -> LiveRecord {
        let last = self.records.len() - 1;
        if let Some(index) = &mut self.index {
            let hash = |at: usize| hasher.hash_one(self.records[at].key());
            let invariant = "the index has every record";
            let entry = index.find_entry(hash(at), |it| *it as usize == at);
            entry.expect(invariant).remove();
            if at != last {
                *index
                    .find_mut(hash(last), |it| *it as usize == last)
                    .expect(invariant) = at as u32;
            }
        }
        self.records.swap_remove(at)
    }
}

impl IntoIterator for RecordTable {
    type Item = LiveRecord;
    type IntoIter = std::vec::IntoIter<LiveRecord>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl LiveRecord {
    fn key(&self) -> RecordKey<'_> {
        (self.collection, &self.rkey)
    }
}

const _: () = assert!(
    size_of::<LiveRecord>() == 40,
    "one is stored for each live record"
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_table_agrees_with_a_map_after_random_insertions_and_removals() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let hasher = DefaultHashBuilder::default();
        let mut map = BTreeMap::<(u32, String), u32>::new();
        let mut records = RecordTable::default();
        // Few records, many, few again.
        for (round, keys) in [10, 200, 10].into_iter().enumerate() {
            for step in 0..5_000_u32 {
                let (collection, key) = (next(3) as u32, format!("key{}", next(keys)));
                let rkey: Rkey = key.parse().expect("a valid record key");
                let found = records.find(&hasher, (collection, &rkey));
                let seen = found.map(|at| records.at(at).first_seen.0);
                let known = map.get(&(collection, key.clone())).copied();
                assert_eq!(seen, known, "seed {seed:#x}, round {round}, step {step}");
                match found {
                    Some(at) if next(2) == 0 => {
                        records.remove(&hasher, at);
                        map.remove(&(collection, key));
                    }
                    Some(at) => {
                        records.at(at).first_seen = Minute(step);
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
                    // Rebuilds the table without an index, as a restart does.
                    let taken = std::mem::take(&mut records);
                    records = RecordTable::with_capacity(taken.len());
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
