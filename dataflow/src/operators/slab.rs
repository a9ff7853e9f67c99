//! A table by number that grows piece by piece.
//!
//! A vector that is full is copied to a place twice as large: with millions of entries that stalls the stream for tenths of a
//! second, and for as long takes the memory of both. Here nothing that is there is ever moved. Room for entries that were
//! taken out is used again, and never given back.

use std::ops::{Index, IndexMut};

/// Entries by number; a number that was given back is used again.
#[derive(Debug)]
pub struct Slab<T> {
    pieces: Vec<Box<[T]>>,
    /// Numbers that were ever used.
    len: usize,
    free: Vec<u32>,
}

/// Entries of a piece: a power of two.
const PIECE: usize = 4_096;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
            free: Vec::new(),
        }
    }
}

impl<T: Clone + Default> Slab<T> {
    /// The number of a new entry, which is the default one. It is never `u32::MAX`.
    pub fn add(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        if self.len == self.pieces.len() * PIECE {
            self.pieces.push(vec![T::default(); PIECE].into());
        }
        let number = u32::try_from(self.len).ok();
        self.len += 1;
        let number = number.filter(|number| *number != u32::MAX);
        number.expect("fewer than 2^32 - 1 entries fit into memory")
    }

    /// Takes an entry out.
    pub fn remove(&mut self, number: u32) -> T {
        self.free.push(number);
        std::mem::take(&mut self[number])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries with their numbers, among them default ones whose numbers are not in use.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0_u32..).zip(self.pieces.iter().flatten().take(self.len))
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        let place = number as usize;
        &self.pieces[place / PIECE][place % PIECE]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        let place = number as usize;
        &mut self.pieces[place / PIECE][place % PIECE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_where_they_are_while_it_grows() {
        let mut slab = Slab::<u32>::default();
        assert!(slab.is_empty());
        let count = 3 * PIECE as u32 + 7;
        let mut first = None;
        for expected in 0..count {
            let number = slab.add();
            assert_eq!((number, slab[number]), (expected, 0));
            slab[number] = number;
            first = first.or(Some(&raw const slab[0]));
        }
        assert_eq!(first, Some(&raw const slab[0]));
        assert_eq!(slab.len(), count as usize);
        assert!(
            slab.iter()
                .eq((0..count).zip(&(0..count).collect::<Vec<_>>()))
        );
    }

    #[test]
    fn a_number_that_was_given_back_is_used_again_for_a_new_entry() {
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
