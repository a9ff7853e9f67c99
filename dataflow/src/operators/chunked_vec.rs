//! A list that grows piece by piece.
//!
//! A vector that is full is copied to a place twice as large. Of thousands of lists that grow side by side, as those of the
//! minutes of a week, many are full at about the same time: then all of them are copied at once, and until they are full
//! again half of their room is of no use. Here nothing is moved but a first piece that is smaller than the others.

/// Bytes of a piece: a power of two, which allocators have a size for.
const BYTES: usize = 1_024;

/// A list to add to, and to take as a whole.
#[derive(Clone, Debug)]
pub struct ChunkedVec<T>(Vec<Vec<T>>);

impl<T> Default for ChunkedVec<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ChunkedVec<T> {
    /// Entries of a piece.
    const ROOM: usize = {
        assert!(0 < size_of::<T>() && size_of::<T>() <= BYTES / 8);
        BYTES / size_of::<T>()
    };

    /// Adds an entry.
    pub fn push(&mut self, entry: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < last.capacity() => last.push(entry),
            Some(last) if last.len() < Self::ROOM => {
                last.reserve_exact(last.len().min(Self::ROOM - last.len()));
                last.push(entry);
            }
            // The first one grows: most lists are short.
            before => {
                let room = if before.is_none() { 4 } else { Self::ROOM };
                let mut piece = Vec::with_capacity(room);
                piece.push(entry);
                self.0.push(piece);
            }
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// All of them, in the order in which they were added, some at once.
    pub fn pieces(&self) -> impl Iterator<Item = &[T]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_was_added_in_that_order_and_little_room_for_more() {
        let mut list = ChunkedVec::<(u32, u32, i32)>::default();
        assert!(list.is_empty());
        for count in 1..=1_000_usize {
            list.push((count as u32, 7, -1));
            assert_eq!(list.len(), count);
            let room: usize = list.0.iter().map(Vec::capacity).sum();
            let enough = (2 * count).min(count + ChunkedVec::<(u32, u32, i32)>::ROOM);
            assert!(room <= enough.max(4), "room for {room}, {count} are there");
        }
        assert!(list.iter().map(|(n, ..)| *n).eq(1..=1_000));
    }

    #[test]
    fn full_pieces_stay_where_they_are() {
        let mut list = ChunkedVec::<u64>::default();
        let room = ChunkedVec::<u64>::ROOM as u64;
        (0..room).for_each(|n| list.push(n));
        let first: *const u64 = list.iter().next().expect("it has some");
        (room..10 * room).for_each(|n| list.push(n));
        assert_eq!(first, list.iter().next().expect("it has some"));
    }
}
