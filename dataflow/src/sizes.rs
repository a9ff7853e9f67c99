//! How much memory the state of operators holds.
//!
//! ```text
//! operator ─ its state, shared ─▶ StateRegistry ─ once a second ─▶ report of the worker
//! ```
//!
//! A structure knows its size at any time: it is computed from capacities, or a running sum that
//! each change updates. Nothing scans millions of entries. Sizes include unused capacity and what
//! entries point to. They do not include what the allocator adds, such as rounding.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use skytide_core::id::{Did, Handle, PostKey, Rkey};
use skytide_core::port::size::StateSize;
use skytide_core::record::Lang;
use skytide_core::view::{
    ActivityKey, InteractionKey, ListEntry, ListKey, Measure, TrendKey, ViewId,
};

/// A value that may own memory on the heap.
pub trait HeapSize {
    /// Bytes on the heap that only this value owns. The time is bounded by the number of its own
    /// fields and lists, so it is meant for keys and records and not for tables.
    fn heap_bytes(&self) -> usize;
}

/// The size of a structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Its entries.
    pub entries: usize,
    /// Bytes on the heap, with unused capacity.
    pub bytes: usize,
}

impl Size {
    /// Adds the size of a part.
    pub fn add(&mut self, part: Self) {
        self.entries += part.entries;
        self.bytes += part.bytes;
    }

    /// Replaces the size that a part had by the one that it has now. A mistake in the sizes must
    /// not stop the process, so a sum never falls below zero.
    pub fn replace(&mut self, before: Self, after: Self) {
        self.entries = (self.entries + after.entries).saturating_sub(before.entries);
        self.bytes = (self.bytes + after.bytes).saturating_sub(before.bytes);
    }
}

/// The state of an operator.
pub trait StateSizes {
    /// Adds the size of each of its structures. The time does not depend on the number of entries.
    fn add_sizes(&mut self, sizes: &mut Sizes);

    /// Moves up to about `bytes_wanted` bytes of this state to disk and returns how many bytes of
    /// memory that released.
    fn evict(&mut self, bytes_wanted: u64) -> u64 {
        let _ = bytes_wanted;
        0
    }
}

/// The sizes of the structures of a worker, by name.
#[derive(Debug, Default)]
pub struct Sizes(BTreeMap<String, (Size, Option<&'static str>)>);

/// The option that limits which records are read, and so the size of everything that depends on
/// them.
pub const COLLECTIONS: Option<&str> = Some("FIREHOSE_COLLECTIONS");
/// The option that sets for how many days interactions are retained.
pub const INTERACTIONS_DAYS: Option<&str> = Some("INDEXER_INTERACTIONS_DAYS");
/// The option that limits a batch.
pub const BATCH_EVENTS: Option<&str> = Some("INDEXER_BATCH_EVENTS_MAX");

impl Sizes {
    /// Adds the size of a structure. `option` is the environment variable of the option that
    /// changes it. Sizes under the same name are added up.
    pub fn add(&mut self, name: &str, size: Size, option: Option<&'static str>) {
        match self.0.get_mut(name) {
            Some((sum, _)) => sum.add(size),
            None => drop(self.0.insert(name.to_owned(), (size, option))),
        }
    }

    /// The sizes as a worker reports them.
    pub(crate) fn into_report(self, worker: usize) -> Vec<StateSize> {
        let sizes = self.0.into_iter();
        let sizes = sizes.map(|(name, (size, option))| StateSize {
            name: name.into(),
            worker: Some(worker),
            entries: size.entries as u64,
            bytes: size.bytes as u64,
            option: option.map(Into::into),
        });
        sizes.collect()
    }
}

/// The states of all operators of a worker. Clones share them.
#[derive(Clone, Default)]
pub struct StateRegistry(Rc<RefCell<Vec<Rc<RefCell<dyn StateSizes>>>>>);

impl StateRegistry {
    /// Registers a state that an operator shares.
    pub fn register<T: StateSizes + 'static>(&self, state: &Rc<RefCell<T>>) {
        self.0.borrow_mut().push(state.clone());
    }

    /// Shares a state with the registry. Returns what the operator keeps.
    pub fn share<T: StateSizes + 'static>(&self, state: T) -> Rc<RefCell<T>> {
        let state = Rc::new(RefCell::new(state));
        self.register(&state);
        state
    }

    /// The sizes of all structures, ordered by name. No operator may be running.
    pub fn sizes(&self, worker: usize) -> Vec<StateSize> {
        let mut sizes = Sizes::default();
        for state in self.0.borrow().iter() {
            state.borrow_mut().add_sizes(&mut sizes);
        }
        sizes.into_report(worker)
    }

    /// Moves about this many bytes of the states to disk, of one state after the other. Returns how
    /// many bytes of memory that released: fewer if no state can release more now. No operator may
    /// be running.
    pub fn evict(&self, bytes_wanted: u64) -> u64 {
        let mut released = 0;
        for state in self.0.borrow().iter() {
            while released < bytes_wanted {
                let more = state.borrow_mut().evict(bytes_wanted - released);
                if more == 0 {
                    break;
                }
                released += more;
            }
        }
        released
    }
}

impl fmt::Debug for StateRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StateRegistry")
            .field(&self.0.borrow().len())
            .finish()
    }
}

/// Bytes of a vector, without what its entries point to.
pub fn vec_bytes<T>(vec: &Vec<T>) -> usize {
    vec.capacity() * size_of::<T>()
}

/// Estimated bytes of a B-tree of the standard library, without what its entries point to: nodes of
/// 11 entries that are two thirds full, as after insertions in random order
/// (<https://doc.rust-lang.org/std/collections/struct.BTreeMap.html>).
pub fn btree_bytes<K, V>(entries: usize) -> usize {
    const NODE_ENTRIES: usize = 11;
    const NODE_HEAD: usize = 16;
    let nodes = (entries * 3).div_ceil(NODE_ENTRIES * 2);
    nodes * (NODE_HEAD + NODE_ENTRIES * (size_of::<K>() + size_of::<V>()))
}

/// The largest number of entries that [`sampled_heap_bytes`] reads.
const SAMPLES: usize = 256;

/// What the entries of slices point to, in bytes: exact for up to 256 entries, else projected from
/// about that many, which are spread evenly.
pub fn sampled_heap_bytes<'a, T: HeapSize + 'a>(
    slices: impl Iterator<Item = &'a [T]> + Clone,
) -> usize {
    let entries: usize = slices.clone().map(<[T]>::len).sum();
    let step = entries.div_ceil(SAMPLES).max(1);
    let (mut read, mut bytes, mut skip) = (0, 0, 0);
    for slice in slices {
        let mut at = skip;
        while let Some(entry) = slice.get(at) {
            bytes += entry.heap_bytes();
            read += 1;
            at += step;
        }
        skip = at - slice.len();
    }
    match read {
        0 => 0,
        _ => (bytes as u128 * entries as u128 / read as u128) as usize,
    }
}

/// Types without memory on the heap.
macro_rules! without_heap {
    ($($type:ty),*) => {
        $(impl HeapSize for $type {
            fn heap_bytes(&self) -> usize {
                0
            }
        })*
    };
}

without_heap!((), u8, u16, u32, u64, i32, i64, ViewId, Measure, Lang);

impl HeapSize for Did {
    fn heap_bytes(&self) -> usize {
        Self::heap_bytes(self)
    }
}

impl HeapSize for Rkey {
    fn heap_bytes(&self) -> usize {
        Self::heap_bytes(self)
    }
}

impl HeapSize for PostKey {
    fn heap_bytes(&self) -> usize {
        Self::heap_bytes(self)
    }
}

impl HeapSize for Handle {
    fn heap_bytes(&self) -> usize {
        self.as_str().len()
    }
}

impl HeapSize for Box<str> {
    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

impl HeapSize for String {
    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl<T: HeapSize> HeapSize for Vec<T> {
    fn heap_bytes(&self) -> usize {
        vec_bytes(self) + self.iter().map(T::heap_bytes).sum::<usize>()
    }
}

impl<T: HeapSize> HeapSize for Box<[T]> {
    fn heap_bytes(&self) -> usize {
        size_of_val(&**self) + self.iter().map(T::heap_bytes).sum::<usize>()
    }
}

impl<T: HeapSize> HeapSize for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl<A: HeapSize, B: HeapSize> HeapSize for (A, B) {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.1.heap_bytes()
    }
}

impl<A: HeapSize, B: HeapSize, C: HeapSize> HeapSize for (A, B, C) {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes() + self.1.heap_bytes() + self.2.heap_bytes()
    }
}

impl HeapSize for TrendKey {
    fn heap_bytes(&self) -> usize {
        self.key.len() + self.lang.len()
    }
}

impl HeapSize for ActivityKey {
    fn heap_bytes(&self) -> usize {
        self.collection.len()
    }
}

impl HeapSize for InteractionKey {
    fn heap_bytes(&self) -> usize {
        self.author.heap_bytes() + self.subject.heap_bytes()
    }
}

impl HeapSize for ListKey {
    fn heap_bytes(&self) -> usize {
        self.lang.len()
    }
}

impl HeapSize for ListEntry {
    fn heap_bytes(&self) -> usize {
        self.key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_equal_entries_gives_their_exact_sum() {
        let texts: Vec<Box<str>> = (0..10_000).map(|_| "12345".into()).collect();
        let parts = || texts.chunks(77);
        assert_eq!(sampled_heap_bytes(parts()), 50_000);
        assert_eq!(sampled_heap_bytes(parts().take(2)), 770);
        assert_eq!(sampled_heap_bytes(parts().take(0)), 0);
    }

    #[test]
    fn a_small_number_of_entries_is_read_completely() {
        let texts: Vec<Box<str>> = (0..SAMPLES).map(|n| "x".repeat(n).into()).collect();
        let sum: usize = (0..SAMPLES).sum();
        assert_eq!(sampled_heap_bytes(texts.chunks(10)), sum);
    }

    #[test]
    fn sizes_under_one_name_are_added_up() {
        struct State(&'static str);
        impl StateSizes for State {
            fn add_sizes(&mut self, sizes: &mut Sizes) {
                let size = Size {
                    entries: 1,
                    bytes: 8,
                };
                sizes.add(self.0, size, COLLECTIONS);
            }
        }
        let registry = StateRegistry::default();
        let _shared = ["b.table", "a.table", "b.table"].map(|name| registry.share(State(name)));
        let sizes = registry.sizes(3);
        let sizes = sizes.iter();
        let sizes: Vec<_> = sizes.map(|it| (&*it.name, it.worker, it.bytes)).collect();
        assert_eq!(sizes, [("a.table", Some(3), 8), ("b.table", Some(3), 16)]);
    }
}
