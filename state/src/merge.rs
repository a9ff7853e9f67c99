//! Several runs as one sorted sequence. Of a key in several runs, the newest counts.

use std::sync::Arc;

use crate::block::BlockPosition;
use crate::error::StateError;
use crate::run::{Run, RunWriter};

/// A position in a run.
pub(crate) struct Cursor {
    run: Arc<Run>,
    /// The block after the one in `entries`.
    next_block: usize,
    entries: Vec<u8>,
    position: BlockPosition,
    at_end: bool,
}

impl Cursor {
    /// The first entry whose key is not below `from`.
    pub(crate) fn open(run: Arc<Run>, from: &[u8]) -> Result<Self, StateError> {
        let mut cursor = Self {
            next_block: run.first_block(from),
            run,
            entries: Vec::new(),
            position: BlockPosition::default(),
            at_end: false,
        };
        cursor.advance()?;
        while !cursor.at_end && cursor.position.key() < from {
            cursor.advance()?;
        }
        Ok(cursor)
    }

    pub(crate) fn advance(&mut self) -> Result<(), StateError> {
        loop {
            let block = self.next_block.saturating_sub(1);
            let moved = self.position.advance(&self.entries);
            if moved.map_err(|what| self.run.damaged(block, what))? {
                return Ok(());
            }
            if self.next_block == self.run.blocks() {
                self.at_end = true;
                return Ok(());
            }
            self.entries = self.run.read_block(self.next_block)?;
            self.next_block += 1;
            self.position = BlockPosition::default();
        }
    }
}

impl Cursor {
    /// The key of the current entry; `None` at the end.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        (!self.at_end).then(|| self.position.key())
    }

    /// The value of the current entry.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.position.value(&self.entries)
    }
}

/// Several runs as one sequence of entries in the order of keys. Memory is bounded by one block a
/// run.
pub struct Merge {
    cursors: Vec<Cursor>,
    /// The cursor of the current entry.
    current: Option<usize>,
}

impl Merge {
    /// All entries from a key on, of these runs, newest first.
    ///
    /// # Errors
    /// A run cannot be read, or is damaged.
    pub fn open(runs: &[Arc<Run>], from: &[u8]) -> Result<Self, StateError> {
        let cursors = runs.iter().map(|run| Cursor::open(run.clone(), from));
        Ok(Self {
            cursors: cursors.collect::<Result<_, _>>()?,
            current: None,
        })
    }

    /// Moves to the next entry and returns its key and value; the value of a removed key is `None`.
    /// Returns `None` at the end.
    ///
    /// # Errors
    /// A run cannot be read, or is damaged.
    #[expect(
        clippy::type_complexity,
        reason = "an entry of a run: a key, and a value unless it is removed"
    )]
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], Option<&[u8]>)>, StateError> {
        if let Some(current) = self.current.take() {
            // The older entries of the key are skipped.
            let (newer, older) = self.cursors.split_at_mut(current + 1);
            let cursor = &mut newer[current];
            for other in older {
                if !other.at_end && other.position.key() == cursor.position.key() {
                    other.advance()?;
                }
            }
            cursor.advance()?;
        }
        self.current = self.smallest();
        Ok(self.current.map(|at| {
            let Cursor {
                position, entries, ..
            } = &self.cursors[at];
            (position.key(), position.value(entries))
        }))
    }

    /// The newest cursor at the smallest key.
    fn smallest(&self) -> Option<usize> {
        let cursors = self.cursors.iter().enumerate();
        let open = cursors.filter(|(_, cursor)| !cursor.at_end);
        // The first of equal keys, which is the newest.
        let first = open.min_by(|one, other| one.1.position.key().cmp(other.1.position.key()));
        first.map(|(at, _)| at)
    }
}

/// Merges adjacent runs, newest first, to one with this name. Returns its bytes; `None` if it has no
/// entry. If the table has no older run, removed keys are dropped.
///
/// # Errors
/// A run cannot be read, or is damaged.
pub fn merge_runs(
    name: &str,
    runs: &[Arc<Run>],
    has_older: bool,
) -> Result<Option<Vec<u8>>, StateError> {
    let mut merge = Merge::open(runs, b"")?;
    let mut writer = RunWriter::new(name);
    while let Some((key, value)) = merge.next_entry()? {
        // A removed key matters only while an older run may have it.
        if value.is_some() || has_older {
            writer.push(key, value);
        }
    }
    Ok(writer.finish())
}

#[cfg(test)]
mod tests;
