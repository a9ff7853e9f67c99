//! An append-only list that grows chunk by chunk.
//!
//! A full `Vec` moves to an allocation of twice the size. When thousands of lists grow in parallel,
//! such as those of the minutes of a week, many become full at about the same time. All of them are
//! then copied at once, and until they fill up again, half of their memory is unused. A chunked
//! list moves no entries, except those of a first chunk that is smaller than the others.

use crate::sizes::{Size, vec_bytes};

/// Bytes of a chunk: a power of two, which is a size class of allocators.
const CHUNK_BYTES: usize = 1_024;

/// A list that is appended to and read as a whole.
#[derive(Clone, Debug)]
pub struct ChunkedVec<T>(Vec<Vec<T>>);

impl<T> Default for ChunkedVec<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ChunkedVec<T> {
    /// Entries of a full chunk.
    const CHUNK_LEN: usize = {
        assert!(0 < size_of::<T>() && size_of::<T>() <= CHUNK_BYTES / 8);
        CHUNK_BYTES / size_of::<T>()
    };

    /// Adds an entry.
    pub fn push(&mut self, entry: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < last.capacity() => last.push(entry),
            Some(last) if last.len() < Self::CHUNK_LEN => {
                last.reserve_exact(last.len().min(Self::CHUNK_LEN - last.len()));
                last.push(entry);
            }
            // The first chunk starts small, because most lists are short.
            last => {
                let capacity = if last.is_none() { 4 } else { Self::CHUNK_LEN };
                let mut chunk = Vec::with_capacity(capacity);
                chunk.push(entry);
                self.0.push(chunk);
            }
        }
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        // All chunks before the last one are full.
        let last = self.0.last().map_or(0, Vec::len);
        self.0.len().saturating_sub(1) * Self::CHUNK_LEN + last
    }

    /// The size, without what entries point to.
    pub fn size(&self) -> Size {
        // A chunk after the first one has its full capacity from the start.
        let first = self.0.first().map_or(0, Vec::capacity);
        let others = self.0.len().saturating_sub(1) * Self::CHUNK_LEN;
        Size {
            entries: self.len(),
            bytes: vec_bytes(&self.0) + (first + others) * size_of::<T>(),
        }
    }

    /// The chunks, in the order in which their entries were added.
    pub fn chunks(&self) -> impl Iterator<Item = &[T]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// All entries, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_order_and_spare_capacity_is_small() {
        let mut list = ChunkedVec::<(u32, u32, i32)>::default();
        assert!(list.is_empty());
        for count in 1..=1_000_usize {
            list.push((count as u32, 7, -1));
            assert_eq!(list.len(), count);
            let capacity: usize = list.0.iter().map(Vec::capacity).sum();
            let bytes = list.0.capacity() * size_of::<Vec<()>>() + capacity * 12;
            let entries: usize = list.0.iter().map(Vec::len).sum();
            assert_eq!(list.size(), Size { entries, bytes });
            let enough = (2 * count).min(count + ChunkedVec::<(u32, u32, i32)>::CHUNK_LEN);
            assert!(
                capacity <= enough.max(4),
                "capacity {capacity} for {count} entries"
            );
        }
        assert!(list.iter().map(|(n, ..)| *n).eq(1..=1_000));
    }

    #[test]
    fn full_chunks_are_not_moved() {
        let mut list = ChunkedVec::<u64>::default();
        let chunk_len = ChunkedVec::<u64>::CHUNK_LEN as u64;
        (0..chunk_len).for_each(|n| list.push(n));
        let first: *const u64 = list.iter().next().expect("the list has entries");
        (chunk_len..10 * chunk_len).for_each(|n| list.push(n));
        assert_eq!(first, list.iter().next().expect("the list has entries"));
    }
}
