//! Pairs of a part that are on disk.
//!
//! A piece has a part of the counts of its pairs. The counts of a pair are the sum over all pieces
//! and what is in memory. Keys are the numbers of the author and the subject, so pieces are valid
//! as long as the process runs.

use std::error::Error;

use skytide_state::{Piece, Pieces, Spill, SpillError, StateError};

use super::counts::{Pair, Totals};
use crate::sizes::{Size, vec_bytes};

/// The pieces of a part.
#[derive(Debug, Default)]
pub(super) struct SpilledPairs {
    /// The oldest first.
    pieces: Vec<Piece>,
}

/// Older pieces are merged with a new one if they are at most this many times as large.
const MERGE_FACTOR: u64 = 2;

impl SpilledPairs {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The pairs on disk, a pair in several pieces more than once, and the memory that finds them.
    pub fn size(&self) -> Size {
        let mut size = Size {
            entries: 0,
            bytes: vec_bytes(&self.pieces),
        };
        for piece in &self.pieces {
            size.entries += piece.entries() as usize;
            size.bytes += piece.memory_bytes();
        }
        size
    }

    /// The counts of a pair on disk.
    ///
    /// # Panics
    /// See [`intact`].
    pub fn totals(&self, pair: Pair) -> Totals {
        let mut totals = Totals::default();
        let key = encode(pair);
        for piece in &self.pieces {
            if let Some(value) = intact(piece.get(&key)) {
                totals.add(Totals::decode(&value));
            }
        }
        totals
    }

    /// Adds a piece with these pairs, which ascend. Merges it with newer pieces so that their
    /// number grows with the logarithm of the number of pairs. After an error, nothing has changed.
    ///
    /// # Errors
    /// Writing failed.
    ///
    /// # Panics
    /// See [`intact`].
    pub fn push(
        &mut self,
        spill: &mut Spill,
        hot: impl ExactSizeIterator<Item = (Pair, Totals)>,
    ) -> Result<(), SpillError> {
        let mut entries = hot.len() as u64;
        let mut kept = self.pieces.len();
        while let Some(older) = kept.checked_sub(1).map(|at| self.pieces[at].entries())
            && older <= entries * MERGE_FACTOR
        {
            entries += older;
            kept -= 1;
        }
        let piece = spill.write(|writer| {
            merge(&self.pieces[kept..], hot, |pair, totals| {
                let mut buffer = [0; Totals::BYTES_MAX];
                match totals.is_zero() {
                    true => Ok(()),
                    false => writer.push(&encode(pair), totals.encode(&mut buffer)),
                }
            })
        })?;
        self.pieces.truncate(kept);
        self.pieces.extend(piece);
        Ok(())
    }

    /// Visits each pair on disk or in `hot` with its counts. The pairs of `hot` ascend.
    ///
    /// # Panics
    /// See [`intact`].
    pub fn visit(
        &self,
        hot: impl Iterator<Item = (Pair, Totals)>,
        mut visit: impl FnMut(Pair, Totals),
    ) {
        let visited = merge(&self.pieces, hot, |pair, totals| {
            visit(pair, totals);
            Ok(())
        });
        visited.expect("nothing is written");
    }
}

/// Visits the pairs of pieces and of memory in order.
fn merge(
    pieces: &[Piece],
    hot: impl Iterator<Item = (Pair, Totals)>,
    mut visit: impl FnMut(Pair, Totals) -> Result<(), SpillError>,
) -> Result<(), SpillError> {
    let mut cold = intact(Pieces::open(pieces));
    let mut hot = hot.peekable();
    loop {
        let hot_pair = hot.peek().map(|(pair, _)| *pair);
        let pairs = [hot_pair, cold.key().map(decode)];
        let Some(pair) = pairs.into_iter().flatten().min() else {
            return Ok(());
        };
        let mut totals = Totals::default();
        intact(cold.visit(&encode(pair), |value| totals.add(Totals::decode(value))));
        if let Some((_, more)) = hot.next_if(|(hot_pair, _)| *hot_pair == pair) {
            totals.add(more);
        }
        visit(pair, totals)?;
    }
}

/// The key of a pair. Keys are ordered like pairs.
fn encode((author, subject): Pair) -> [u8; 8] {
    ((u64::from(author) << 32) + u64::from(subject)).to_be_bytes()
}

fn decode(key: &[u8]) -> Pair {
    let pair = u64::from_be_bytes(key.try_into().expect("a key has 8 bytes"));
    ((pair >> 32) as u32, pair as u32)
}

/// What was read from a piece.
///
/// # Panics
/// If reading failed. The counts of the pairs are lost then, so the process must stop. The next
/// start restores them from the checkpoint.
fn intact<T>(read: Result<T, StateError>) -> T {
    read.unwrap_or_else(|error| {
        let causes = std::iter::successors(error.source(), |&it| it.source());
        let causes: String = causes.map(|it| format!(": {it}")).collect();
        panic!("cannot read interactions that were moved to disk: {error}{causes}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_like_pairs() {
        let numbers = [0, 1, 255, 256, 1 << 24, u32::MAX];
        let pairs = numbers.map(|author| numbers.map(|subject| (author, subject)));
        let pairs = pairs.as_flattened();
        assert!(pairs.is_sorted());
        assert!(pairs.iter().map(|&pair| encode(pair)).is_sorted());
        assert!(pairs.iter().all(|&pair| decode(&encode(pair)) == pair));
    }
}
