//! A table of numbered entries that grows chunk by chunk.
//!
//! A full `Vec` moves to an allocation of twice the size. With millions of entries, the copy stalls
//! the stream for tenths of a second and needs the memory of both allocations meanwhile. A slab
//! moves only its first chunk, while that is smaller than the others. The memory of removed entries
//! is reused and never returned to the allocator.

use std::ops::{Index, IndexMut};

use crate::sizes::{Size, vec_bytes};

/// Entries by number. The number of a removed entry is reused.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
}

/// Entries of a full chunk: a power of two. It is large because allocators round up a size that is
/// slightly above a power of two.
const CHUNK_LEN: usize = 16_384;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Slab<T> {
    /// Adds an entry with the default value. Returns its number, which is never `u32::MAX`.
    pub fn add(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        let number = u32::try_from(self.allocated()).ok();
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_LEN => last.push(T::default()),
            last => {
                let capacity = if last.is_none() { 4 } else { CHUNK_LEN };
                let mut chunk = Vec::with_capacity(capacity);
                chunk.push(T::default());
                self.chunks.push(chunk);
            }
        }
        let number = number.filter(|number| *number != u32::MAX);
        number.expect("fewer than 2^32 - 1 entries fit into memory")
    }

    /// Removes an entry and returns it. Its number becomes free.
    pub fn remove(&mut self, number: u32) -> T {
        self.free.push(number);
        std::mem::take(&mut self[number])
    }

    /// The number of entries in use.
    pub fn len(&self) -> usize {
        self.allocated() - self.free.len()
    }

    /// The number of entries ever allocated, in use or free.
    fn allocated(&self) -> usize {
        match self.chunks.split_last() {
            Some((last, full)) => full.len() * CHUNK_LEN + last.len(),
            None => 0,
        }
    }

    /// The size, without what entries point to.
    pub fn size(&self) -> Size {
        // A chunk after the first one has its full capacity from the start.
        let first = self.chunks.first().map_or(0, Vec::capacity);
        let others = self.chunks.len().saturating_sub(1) * CHUNK_LEN;
        let bytes = (first + others) * size_of::<T>();
        Size {
            entries: self.len(),
            bytes: bytes + vec_bytes(&self.chunks) + vec_bytes(&self.free),
        }
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries with their numbers. Free entries are included, with the default value.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0_u32..).zip(self.chunks.iter().flatten())
    }
}

/// An optional reference of an owner to its entry in a slab, for data that few owners have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// Whether the owner has an entry.
    pub fn is_some(self) -> bool {
        self.0 > 0
    }

    /// The number of the entry. It is stored plus one, so that 0 means no entry.
    fn number(self) -> Option<u32> {
        self.0.checked_sub(1)
    }
}

impl<T: Default + PartialEq> Slab<T> {
    /// The entry of a slot, if it has one.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        slot.number().map(|number| &self[number])
    }

    /// The entry of a slot to change, if it has one.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        slot.number().map(|number| &mut self[number])
    }

    /// The entry of a slot; adds one if the slot has none.
    pub fn get_or_add(&mut self, slot: &mut Slot) -> &mut T {
        let number = slot.number().unwrap_or_else(|| self.add());
        *slot = Slot(number + 1);
        &mut self[number]
    }

    /// Removes the entry of a slot if it has the default value.
    pub fn remove_default(&mut self, slot: &mut Slot) {
        let number = slot.number();
        if let Some(number) = number.filter(|number| self[*number] == T::default()) {
            self.remove(number);
            *slot = Slot::default();
        }
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        let index = number as usize;
        &self.chunks[index / CHUNK_LEN][index % CHUNK_LEN]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        let index = number as usize;
        &mut self.chunks[index / CHUNK_LEN][index % CHUNK_LEN]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_full_chunks_are_not_moved() {
        let mut slab = Slab::<u32>::default();
        assert!(slab.is_empty());
        let count = 3 * CHUNK_LEN as u32 + 7;
        let mut first = None;
        for expected in 0..count {
            let number = slab.add();
            assert_eq!((number, slab[number]), (expected, 0));
            slab[number] = number;
            if number as usize + 1 == CHUNK_LEN {
                first = Some(&raw const slab[0]);
            }
        }
        assert_eq!(first, Some(&raw const slab[0]));
        assert_eq!(slab.len(), count as usize);
        assert!(
            slab.iter()
                .eq((0..count).zip(&(0..count).collect::<Vec<_>>()))
        );
    }

    #[test]
    fn a_slot_has_an_entry_only_while_its_value_is_not_the_default() {
        let mut slab = Slab::<u32>::default();
        let (mut one, mut other) = (Slot::default(), Slot::default());
        assert_eq!(slab.get(one), None);
        slab.remove_default(&mut one);
        *slab.get_or_add(&mut one) += 7;
        *slab.get_or_add(&mut other) += 8;
        *slab.get_or_add(&mut one) -= 6;
        slab.remove_default(&mut one);
        assert_eq!((slab.get(one), slab.get(other)), (Some(&1), Some(&8)));
        *slab.get_or_add(&mut one) = 0;
        slab.remove_default(&mut one);
        assert_eq!((one, slab.get(one), slab.len()), (Slot::default(), None, 1));
    }

    #[test]
    fn the_size_is_the_capacity_of_all_chunks() {
        let mut slab = Slab::<[u64; 5]>::default();
        for count in 1..2 * CHUNK_LEN {
            let number = slab.add();
            if count % 3 == 0 {
                slab.remove(number);
            }
            if count % 997 == 0 {
                let chunks = slab.chunks.iter().map(|chunk| 24 + chunk.capacity() * 40);
                let spare = (slab.chunks.capacity() - slab.chunks.len()) * 24;
                let free = slab.free.capacity() * 4;
                assert_eq!(slab.size().bytes, chunks.sum::<usize>() + spare + free);
                assert_eq!(slab.size().entries, slab.len());
            }
        }
    }

    #[test]
    fn the_number_of_a_removed_entry_is_reused() {
        let mut slab = Slab::<u32>::default();
        for number in 0..3 {
            assert_eq!(slab.add(), number);
            slab[number] = 10 + number;
        }
        assert_eq!(slab.remove(1), 11);
        assert_eq!(slab.len(), 2);
        assert!(slab.iter().eq([(0, &10), (1, &0), (2, &12)]));
        assert_eq!((slab.add(), slab[1]), (1, 0));
        assert_eq!((slab.add(), slab.len()), (3, 4));
    }
}
