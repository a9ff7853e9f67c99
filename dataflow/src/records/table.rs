//! The live records of one repo, by collection and key.
//!
//! ```text
//! records  │ unchanged ... │ written by the last cut ... │ changed since ... │     40 bytes each
//! index    hash of (collection, key) ─▶ index   5 bytes each; only for more than 16 records
//! ```
//!
//! Up to 16 records are searched linearly. Most accounts have few records, and a restart restores
//! all records but looks up hardly any. The hash index is therefore built at the first look-up, and
//! no capacity is allocated beyond the number of records. The first look-up in a repo of a million
//! records takes some tens of milliseconds.
//!
//! A checkpoint writes only what changed, so changed records are kept together: a record that
//! changes is swapped behind the unchanged ones. A record that was removed stays as
//! [`Content::Removed`] until a complete checkpoint has recorded that.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use skytide_core::id::Rkey;
use skytide_core::time::Minute;

use super::content::Content;
use crate::sizes::{Size, vec_bytes};

/// A live record, or one that was removed.
#[derive(Debug)]
pub(super) struct LiveRecord {
    pub rkey: Rkey,
    pub collection: u32,
    pub first_seen: Minute,
    pub content: Content,
}

/// Records with distinct keys.
#[derive(Debug, Default)]
pub(super) struct RecordTable {
    records: Vec<LiveRecord>,
    /// Indices of all records, by the hash of their key; `None` until the first look-up in a large
    /// table.
    index: Option<Box<HashTable<u32>>>,
    /// Up to this index, records are as in the newest complete checkpoint.
    unchanged: u32,
    /// Up to this index, records are as the last cut wrote them.
    cut: u32,
    /// Number of records that were removed.
    removed: u32,
    /// Number of records that are only on disk.
    cold: u32,
}

/// Up to this many records are searched linearly; they fit in a few cache lines.
const LINEAR_MAX: usize = 16;

/// The key of a record in its repo: the number of its collection, and its record key.
pub(super) type RecordKey<'a> = (u32, &'a Rkey);

/// The result of a look-up. An index is valid until the table is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The index of a live record.
    Live(usize),
    /// The index of a record that was removed.
    Removed(usize),
    Absent,
}

impl RecordTable {
    /// An empty table with capacity for this many records.
    pub fn with_capacity(records: usize) -> Self {
        Self {
            records: Vec::with_capacity(records),
            ..Self::default()
        }
    }

    /// The size of the table and its index, without what records point to. Includes records that
    /// were removed.
    pub fn size(&self) -> Size {
        let index = self.index.as_deref();
        let index = index.map_or(0, |index| size_of_val(index) + index.allocation_size());
        Size {
            entries: self.records.len(),
            bytes: vec_bytes(&self.records) + index,
        }
    }

    /// The number of live records in memory.
    pub fn len(&self) -> usize {
        self.records.len() - self.removed as usize
    }

    /// The number of records that were removed, and stay until a complete checkpoint recorded that.
    pub fn removed(&self) -> usize {
        self.removed as usize
    }

    /// The number of live records that are only on disk.
    pub fn cold(&self) -> u32 {
        self.cold
    }

    /// Takes the records out of memory that are as in the newest complete checkpoint.
    pub fn evict_unchanged(&mut self) -> Vec<LiveRecord> {
        let count = std::mem::take(&mut self.unchanged);
        if count == 0 {
            return Vec::new();
        }
        self.cut -= count;
        self.cold += count;
        // All other records get another index.
        self.index = None;
        let evicted = self.records.drain(..count as usize).collect();
        self.records.shrink_to_fit();
        evicted
    }

    /// Adds a record that was only on disk.
    pub fn add_loaded(&mut self, hasher: &DefaultHashBuilder, record: LiveRecord) {
        self.cold -= 1;
        self.push(hasher, record);
    }

    /// The live records in memory.
    pub fn iter(&self) -> impl Iterator<Item = &LiveRecord> {
        self.records.iter().filter(|record| !record.is_removed())
    }

    /// All records, also those that were removed.
    #[cfg(test)]
    pub fn all(&self) -> &[LiveRecord] {
        &self.records
    }

    /// Looks up a record.
    pub fn find(&mut self, hasher: &DefaultHashBuilder, key: RecordKey<'_>) -> Found {
        match self.index_of(hasher, key) {
            None => Found::Absent,
            Some(at) if self.records[at].is_removed() => Found::Removed(at),
            Some(at) => Found::Live(at),
        }
    }

    fn index_of(&mut self, hasher: &DefaultHashBuilder, key: RecordKey<'_>) -> Option<usize> {
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

    pub fn at(&self, at: usize) -> &LiveRecord {
        &self.records[at]
    }

    /// A record whose content is about to change. It may get another index.
    pub fn change(&mut self, hasher: &DefaultHashBuilder, at: usize) -> &mut LiveRecord {
        let at = self.move_to_changed(hasher, at);
        &mut self.records[at]
    }

    /// When a live record was first seen.
    pub fn first_seen(&self, found: Found) -> Option<Minute> {
        match found {
            Found::Live(at) => Some(self.records[at].first_seen),
            Found::Removed(_) | Found::Absent => None,
        }
    }

    /// Adds a record. `found` is the result of looking up its key, which is not that of a live
    /// record. Returns the removed record that had the key.
    pub fn insert(
        &mut self,
        hasher: &DefaultHashBuilder,
        found: Found,
        record: LiveRecord,
    ) -> Option<LiveRecord> {
        match found {
            Found::Removed(at) => {
                self.removed -= 1;
                Some(std::mem::replace(self.change(hasher, at), record))
            }
            Found::Live(_) | Found::Absent => {
                self.push(hasher, record);
                None
            }
        }
    }

    /// Adds a record whose key is not in the table.
    pub fn push(&mut self, hasher: &DefaultHashBuilder, record: LiveRecord) {
        self.records.push(record);
        let Self { records, index, .. } = self;
        if let Some(index) = index {
            let hash_of = |at: &u32| hasher.hash_one(records[*at as usize].key());
            let at = records.len() as u32 - 1;
            index.insert_unique(hash_of(&at), at, hash_of);
        }
    }

    /// A live record that is about to become [`Content::Removed`], and stays in the table.
    pub fn mark_removed(&mut self, hasher: &DefaultHashBuilder, at: usize) -> &mut LiveRecord {
        self.removed += 1;
        self.change(hasher, at)
    }

    /// Takes a record out of the table. Another record may get its index.
    pub fn take(&mut self, hasher: &DefaultHashBuilder, at: usize) -> LiveRecord {
        let at = self.move_to_changed(hasher, at);
        let last = self.records.len() - 1;
        self.swap(hasher, at, last);
        if let Some(index) = &mut self.index {
            let hash = hasher.hash_one(self.records[last].key());
            let entry = index.find_entry(hash, |it| *it as usize == last);
            entry.expect(INVARIANT).remove();
        }
        let record = self.records.pop().expect("the index is below the length");
        self.removed -= u32::from(record.is_removed());
        record
    }

    /// Takes all records that were removed out of the table.
    pub fn take_removed(&mut self, hasher: &DefaultHashBuilder) -> Vec<LiveRecord> {
        self.take_removed_between(hasher, 0, self.records.len())
    }

    fn take_removed_between(
        &mut self,
        hasher: &DefaultHashBuilder,
        from: usize,
        to: usize,
    ) -> Vec<LiveRecord> {
        let mut taken = Vec::new();
        if self.removed == 0 {
            return taken;
        }
        // From the end, because a record that was checked already takes the index of one that is
        // taken out.
        for at in (from..to).rev() {
            if self.records[at].is_removed() {
                taken.push(self.take(hasher, at));
            }
        }
        taken
    }

    /// Makes all records removed ones, as if each had changed. The caller replaces their contents.
    pub fn remove_all(&mut self) -> &mut [LiveRecord] {
        self.unchanged = 0;
        self.cut = 0;
        self.removed = self.records.len() as u32;
        &mut self.records
    }

    /// The records that are not as in the newest complete checkpoint.
    pub fn changed(&self) -> &[LiveRecord] {
        &self.records[self.unchanged as usize..]
    }

    /// Records that a cut has written all changed records.
    pub fn mark_cut(&mut self) {
        self.cut = self.records.len() as u32;
    }

    /// Records that the last cut belongs to a complete checkpoint. Takes out the records whose
    /// removal it recorded.
    pub fn mark_complete(&mut self, hasher: &DefaultHashBuilder) -> Vec<LiveRecord> {
        let (from, to) = (self.unchanged as usize, self.cut as usize);
        let taken = self.take_removed_between(hasher, from, to);
        self.unchanged = self.cut;
        taken
    }

    /// Moves a record behind the unchanged ones and those of the last cut. Returns its new index.
    fn move_to_changed(&mut self, hasher: &DefaultHashBuilder, mut at: usize) -> usize {
        if at < self.unchanged as usize {
            self.unchanged -= 1;
            self.swap(hasher, at, self.unchanged as usize);
            at = self.unchanged as usize;
        }
        if at < self.cut as usize {
            self.cut -= 1;
            self.swap(hasher, at, self.cut as usize);
            at = self.cut as usize;
        }
        at
    }

    fn swap(&mut self, hasher: &DefaultHashBuilder, one: usize, other: usize) {
        if one == other {
            return;
        }
        if let Some(index) = &mut self.index {
            const NOWHERE: u32 = u32::MAX;
            let hash = |at: usize| hasher.hash_one(self.records[at].key());
            let (hashes, places) = ([hash(one), hash(other)], [one as u32, other as u32]);
            let mut replace = |hash: u64, from: u32, to: u32| {
                *index.find_mut(hash, |it| *it == from).expect(INVARIANT) = to;
            };
            replace(hashes[0], places[0], NOWHERE);
            replace(hashes[1], places[1], places[0]);
            replace(hashes[0], NOWHERE, places[1]);
        }
        self.records.swap(one, other);
    }
}

const INVARIANT: &str = "the index has every record";

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

    /// Whether the record was removed.
    pub fn is_removed(&self) -> bool {
        matches!(self.content, Content::Removed)
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

    /// What the table says of a record, and a model of it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Known {
        first_seen: u32,
        live: bool,
    }

    type Model = BTreeMap<(u32, String), Known>;

    fn model_of<'a>(records: impl Iterator<Item = &'a LiveRecord>) -> Model {
        let known = records.map(|record| {
            let known = Known {
                first_seen: record.first_seen.0,
                live: !record.is_removed(),
            };
            ((record.collection, record.rkey.to_string()), known)
        });
        known.collect()
    }

    /// Changes the record that was found, or inserts one. Returns what is known of it then.
    fn changed_record(
        records: &mut RecordTable,
        hasher: &DefaultHashBuilder,
        found: Found,
        (change, step, key): (u32, u32, (u32, String)),
    ) -> Option<Known> {
        let first_seen = records.first_seen(found);
        match (found, change) {
            (Found::Live(at), 0) => {
                records.mark_removed(hasher, at).content = Content::Removed;
                return first_seen.map(|minute| Known {
                    first_seen: minute.0,
                    live: false,
                });
            }
            (Found::Live(at), 1) => {
                records.take(hasher, at);
                return None;
            }
            (Found::Live(at), _) => records.change(hasher, at).first_seen = Minute(step),
            (Found::Removed(_) | Found::Absent, _) => {
                let record = LiveRecord {
                    rkey: key.1.parse().expect("a valid record key"),
                    collection: key.0,
                    first_seen: Minute(step),
                    content: Content::Nothing,
                };
                records.insert(hasher, found, record);
            }
        }
        Some(Known {
            first_seen: step,
            live: true,
        })
    }

    /// Rebuilds the table without an index, as a restart does.
    fn restarted(records: RecordTable, hasher: &DefaultHashBuilder) -> RecordTable {
        let mut restarted = RecordTable::with_capacity(records.len());
        for record in records.into_iter().filter(|it| !it.is_removed()) {
            restarted.push(hasher, record);
        }
        assert!(restarted.index.is_none());
        restarted.mark_cut();
        restarted.mark_complete(hasher);
        restarted
    }

    /// Changes, cuts, complete and failed checkpoints, against maps.
    #[test]
    fn a_table_agrees_with_a_map_and_knows_what_changed() {
        let seed = 0x5eed_u64;
        let mut next = crate::testing::random(seed);
        let hasher = DefaultHashBuilder::default();
        let mut records = RecordTable::default();
        // What is known now, what differs from the complete checkpoint, and of that, what differs
        // from the last cut.
        let (mut now, mut changed, mut since_cut) = (Model::new(), Model::new(), Model::new());
        // Few records, many, few again.
        for (round, keys) in [10, 200, 10].into_iter().enumerate() {
            for step in 0..5_000_u32 {
                let context = format!("seed {seed:#x}, round {round}, step {step}");
                let (collection, key) = (next(3) as u32, format!("key{}", next(keys)));
                let rkey: Rkey = key.parse().expect("a valid record key");
                let key = (collection, key);
                let found = records.find(&hasher, (collection, &rkey));
                let seen = match found {
                    Found::Live(at) => Some((records.at(at).first_seen.0, true)),
                    Found::Removed(at) => Some((records.at(at).first_seen.0, false)),
                    Found::Absent => None,
                };
                let expected = now.get(&key).map(|it| (it.first_seen, it.live));
                assert_eq!(seen, expected, "{context}");
                let change = [1, 2, 2, 0, 3][next(5) as usize];
                let after =
                    changed_record(&mut records, &hasher, found, (change, step, key.clone()));
                for model in [&mut now, &mut changed, &mut since_cut] {
                    match after {
                        Some(known) => model.insert(key.clone(), known),
                        None => model.remove(&key),
                    };
                }
                match next(40) {
                    0 => {
                        records.mark_cut();
                        since_cut.clear();
                    }
                    1 => {
                        let taken = records.mark_complete(&hasher);
                        let cut = changed
                            .iter()
                            .filter(|(key, _)| !since_cut.contains_key(*key));
                        let removed = cut.filter(|(_, it)| !it.live);
                        let removed: Model = removed.map(|(k, v)| (k.clone(), *v)).collect();
                        assert_eq!(model_of(taken.iter()), removed, "{context}");
                        now.retain(|key, _| !removed.contains_key(key));
                        changed = since_cut.clone();
                    }
                    _ => {}
                }
                assert_eq!(model_of(records.changed().iter()), changed, "{context}");
                assert_eq!(records.len(), now.values().filter(|it| it.live).count());
                if step == 4_000 {
                    records = restarted(records, &hasher);
                    now.retain(|_, it| it.live);
                    changed.clear();
                    since_cut.clear();
                }
            }
        }
        assert_eq!(model_of(records.all().iter()), now);
    }
}
