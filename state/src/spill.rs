//! State that leaves memory while a process runs: immutable pieces of sorted entries.
//!
//! ```text
//! sorted entries ─▶ PieceWriter ─▶ file 1: piece │ piece │ ...      file 2: piece │ ...
//!                                            └─ index and filter in memory
//!     get:    filter ─▶ index ─▶ one block
//!     Pieces: several pieces merged in the order of keys; a key may have a value in each
//! ```
//!
//! A piece is a [`Run`] within a file. A key may be in several pieces, and the caller combines its
//! values, for example by adding them up. A file is removed when its last piece is dropped.

use std::io;
use std::sync::Arc;

use skytide_core::port::scratch::{SpillFile, SpillFiles};

use crate::error::StateError;
use crate::merge::Cursor;
use crate::run::{Lookup, ReadFile, Run, RunWriter};

/// A file that has this many bytes gets no further piece. Fewer and larger files need fewer file
/// descriptors; smaller ones are removed earlier.
const FILE_BYTES: u64 = 64 << 20;
/// The writer writes blocks together up to this many bytes.
const WRITE_BYTES: usize = 64 << 10;

/// Why a piece could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// A new piece could not be written, for example because the disk is full. Nothing changed.
    #[error("cannot write spilled state")]
    Write(#[source] io::Error),
    /// A piece could not be read, or is damaged.
    #[error(transparent)]
    Read(#[from] StateError),
}

/// Writes pieces to files.
#[derive(Debug)]
pub struct Spill {
    files: Arc<dyn SpillFiles>,
    name: String,
    /// The file that the next piece goes to, and where its last piece ends.
    current: Option<(Arc<dyn SpillFile>, u64)>,
}

impl Spill {
    /// Writes to files whose names start with `name`.
    pub fn new(files: Arc<dyn SpillFiles>, name: &str) -> Self {
        Self {
            files,
            name: name.to_owned(),
            current: None,
        }
    }

    /// Writes a piece with the entries that `push_all` pushes; `None` if there are none. Memory is
    /// bounded by the index and the filter of the piece.
    ///
    /// # Errors
    /// Writing failed, or `push_all` did. Pieces that were written before remain intact.
    pub fn write(
        &mut self,
        push_all: impl FnOnce(&mut PieceWriter) -> Result<(), SpillError>,
    ) -> Result<Option<Piece>, SpillError> {
        let full = |(_, end): &(Arc<dyn SpillFile>, u64)| *end >= FILE_BYTES;
        if self.current.as_ref().is_none_or(full) {
            let file = self.files.create(&self.name).map_err(SpillError::Write)?;
            self.current = Some((file, 0));
        }
        let (file, end) = self.current.as_mut().expect("a file was created");
        let mut writer = PieceWriter {
            run: RunWriter::new(&run_name(file.as_ref(), *end)),
            file: file.clone(),
            start: *end,
            at: *end,
        };
        push_all(&mut writer)?;
        let Some(piece) = writer.finish().map_err(SpillError::Write)? else {
            return Ok(None);
        };
        *end += piece.bytes;
        Ok(Some(piece))
    }
}

/// The name of the run that starts at an offset of a file.
fn run_name(file: &dyn SpillFile, start: u64) -> String {
    format!("{}+{start}", file.name())
}

/// Writes a piece while entries are pushed.
#[derive(Debug)]
pub struct PieceWriter {
    run: RunWriter,
    file: Arc<dyn SpillFile>,
    start: u64,
    /// Where the next bytes are written.
    at: u64,
}

impl PieceWriter {
    /// Adds an entry.
    ///
    /// # Errors
    /// Writing failed. The piece must not be used.
    ///
    /// # Panics
    /// If the key is not above the previous one.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), SpillError> {
        self.run.push(key, Some(value));
        if self.run.pending_bytes() < WRITE_BYTES {
            return Ok(());
        }
        let bytes = self.run.take_bytes();
        self.write(&bytes).map_err(SpillError::Write)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self) -> io::Result<Option<Piece>> {
        let run = std::mem::replace(&mut self.run, RunWriter::new(""));
        let Some(bytes) = run.finish() else {
            return Ok(None);
        };
        self.write(&bytes)?;
        let piece = Piece::open(self.file, self.start, self.at - self.start);
        // Entries that cannot be read back were not written.
        piece.map(Some).map_err(io::Error::other)
    }
}

/// An immutable piece. Clones share it.
#[derive(Clone, Debug)]
pub struct Piece {
    run: Arc<Run>,
    file: Arc<dyn SpillFile>,
    start: u64,
    bytes: u64,
}

impl Piece {
    fn open(file: Arc<dyn SpillFile>, start: u64, bytes: u64) -> Result<Self, StateError> {
        let name = run_name(file.as_ref(), start);
        let section = FileSection {
            file: file.clone(),
            start,
            bytes,
        };
        let run = Arc::new(Run::open(&name, Arc::new(section))?);
        Ok(Self {
            run,
            file,
            start,
            bytes,
        })
    }

    /// The number of keys.
    pub fn entries(&self) -> u64 {
        self.run.summary().entries
    }

    /// The bytes in the file.
    pub fn disk_bytes(&self) -> u64 {
        self.bytes
    }

    /// Memory that the index and the filter hold, in bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Run>() + self.run.memory_bytes()
    }

    /// The value of a key. Reads at most one block.
    ///
    /// # Errors
    /// The block cannot be read, or is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Option<Box<[u8]>>, StateError> {
        match self.run.get(key).map_err(|error| self.in_file(error))? {
            Lookup::Found(value) => Ok(Some(value)),
            Lookup::Unknown | Lookup::Removed => Ok(None),
        }
    }

    /// The error with the name of the file and the offset in it.
    fn in_file(&self, error: StateError) -> StateError {
        let (file, start) = (self.file.name().to_owned(), self.start);
        match error {
            StateError::Read { offset, source, .. } => StateError::Read {
                run: file,
                offset: start + offset,
                source,
            },
            StateError::Damaged { offset, what, .. } => StateError::Damaged {
                run: file,
                offset: start + offset,
                what,
            },
        }
    }
}

/// A part of a file.
struct FileSection {
    file: Arc<dyn SpillFile>,
    start: u64,
    bytes: u64,
}

impl ReadFile for FileSection {
    fn length(&self) -> u64 {
        self.bytes
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_at(buffer, self.start + offset)
    }
}

/// Several pieces as one sequence of keys in order. Memory is bounded by one block a piece.
pub struct Pieces {
    cursors: Vec<(Cursor, Piece)>,
}

impl Pieces {
    /// All entries of these pieces.
    ///
    /// # Errors
    /// A piece cannot be read, or is damaged.
    pub fn open(pieces: &[Piece]) -> Result<Self, StateError> {
        let open = |piece: &Piece| {
            let cursor = Cursor::open(piece.run.clone(), b"");
            let cursor = cursor.map_err(|error| piece.in_file(error))?;
            Ok((cursor, piece.clone()))
        };
        let cursors = pieces.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { cursors })
    }

    /// The smallest key that was not visited; `None` at the end.
    pub fn key(&self) -> Option<&[u8]> {
        self.cursors
            .iter()
            .filter_map(|(cursor, _)| cursor.key())
            .min()
    }

    /// Visits the value that each piece has for a key, and moves past the key. `key` is the
    /// smallest key that was not visited.
    ///
    /// # Errors
    /// A piece cannot be read, or is damaged.
    pub fn visit(&mut self, key: &[u8], mut visit: impl FnMut(&[u8])) -> Result<(), StateError> {
        for (cursor, piece) in &mut self.cursors {
            if cursor.key() == Some(key) {
                cursor.value().into_iter().for_each(&mut visit);
                cursor.advance().map_err(|error| piece.in_file(error))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_tuple("Pieces").field(&self.cursors.len()).finish()
    }
}

#[cfg(test)]
mod tests;
