//! A table by number that grows piece by piece.
//!
//! A vector that is full is copied to a place twice as large: with millions of entries that stalls the stream for tenths of a
//! second, and for as long takes the memory of both. Here only the first piece is, while it is smaller than the others.
//! Room for entries that were taken out is used again, and never given back.

use std::ops::{Index, IndexMut};

/// Entries by number; a number that was given back is used again.
#[derive(Debug)]
pub struct Slab<T> {
    pieces: Vec<Vec<T>>,
    free: Vec<u32>,
}

/// Entries of a piece: a power of two. Large, as allocators round up what is a little more than a power of two.
const PIECE: usize = 16_384;

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Slab<T> {
    /// The number of a new entry, which is the default one. It is never `u32::MAX`.
    pub fn add(&mut self) -> u32 {
        if let Some(number) = self.free.pop() {
            return number;
        }
        let number = u32::try_from(self.used()).ok();
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(T::default()),
            before => {
                let room = if before.is_none() { 4 } else { PIECE };
                let mut piece = Vec::with_capacity(room);
                piece.push(T::default());
                self.pieces.push(piece);
            }
        }
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
        self.used() - self.free.len()
    }

    /// Numbers that were ever used.
    fn used(&self) -> usize {
        match self.pieces.split_last() {
            Some((last, full)) => full.len() * PIECE + last.len(),
            None => 0,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries with their numbers, among them default ones whose numbers are not in use.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0_u32..).zip(self.pieces.iter().flatten())
    }
}

/// Where the entry of an owner stands that may have one: few owners have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// Whether there is an entry.
    pub fn is_taken(self) -> bool {
        self.0 > 0
    }

    /// Its number; kept with one more, so that nothing is 0.
    fn number(self) -> Option<u32> {
        self.0.checked_sub(1)
    }
}

impl<T: Default + PartialEq> Slab<T> {
    /// The entry at a place, if there is one.
    pub fn at(&self, place: Place) -> Option<&T> {
        place.number().map(|number| &self[number])
    }

    /// The entry at a place, a new one if there was none.
    pub fn at_mut(&mut self, place: &mut Place) -> &mut T {
        let number = place.number().unwrap_or_else(|| self.add());
        *place = Place(number + 1);
        &mut self[number]
    }

    /// Takes out the entry at a place if it says no more than none would.
    pub fn tidy(&mut self, place: &mut Place) {
        let number = place.number();
        if let Some(number) = number.filter(|number| self[*number] == T::default()) {
            self.remove(number);
            *place = Place::default();
        }
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
            if number as usize + 1 == PIECE {
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
    fn an_owner_has_an_entry_only_while_it_says_something() {
        let mut slab = Slab::<u32>::default();
        let (mut one, mut other) = (Place::default(), Place::default());
        assert_eq!(slab.at(one), None);
        slab.tidy(&mut one);
        *slab.at_mut(&mut one) += 7;
        *slab.at_mut(&mut other) += 8;
        *slab.at_mut(&mut one) -= 6;
        slab.tidy(&mut one);
        assert_eq!((slab.at(one), slab.at(other)), (Some(&1), Some(&8)));
        *slab.at_mut(&mut one) = 0;
        slab.tidy(&mut one);
        assert_eq!((one, slab.at(one), slab.len()), (Place::default(), None, 1));
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
