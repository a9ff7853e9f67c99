//! A run: an immutable sequence of sorted entries.
//!
//! ```text
//! block │ block │ ... │ index │ filter │ summary │ length of the summary (u32) │ magic
//! ```
//!
//! All parts but the last two are sealed ([`seal`]). The index has a short key for each block: not
//! above its first key, and above all keys before the block.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::block::{
    BlockBuilder, BlockPosition, put_varint, seal, shared_prefix, take, take_length, unseal,
};
use crate::error::StateError;
use crate::filter::{Filter, hash};

/// The version of the format that is written. A reader accepts this one.
const FORMAT: u16 = 1;
const MAGIC: [u8; 8] = *b"SKYRUN\r\n";
const TAIL_BYTES: usize = 4 + MAGIC.len();

/// The bytes of a run, which are read at any offset. Reading blocks the thread.
pub trait ReadFile: Send + Sync {
    /// The length in bytes.
    fn length(&self) -> u64;

    /// Fills a buffer from an offset.
    ///
    /// # Errors
    /// `UnexpectedEof` if the bytes end before; else the system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadFile for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(buffer.len());
        let part = end.and_then(|end| self.get(start..end));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What a run contains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    format: u16,
    /// Keys with a value.
    pub entries: u64,
    /// Keys that are removed.
    pub tombstones: u64,
    index: Section,
    filter: Section,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Section {
    offset: u64,
    length: u64,
}

/// What a run knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing: an older run may have it.
    Unknown,
    /// It was removed.
    Removed,
    /// Its value.
    Found(Box<[u8]>),
}

/// Distinguishes the checksums of different places: `name` is the hash of the run's name.
fn place(name: u64, offset: u64) -> u64 {
    xxh3_64_with_seed(&offset.to_le_bytes(), name)
}

/// Writes a run. Keys must ascend, each once.
#[derive(Debug)]
pub struct RunWriter {
    name: u64,
    /// The number of bytes that were taken, which are those before `bytes`.
    taken: u64,
    bytes: Vec<u8>,
    block: BlockBuilder,
    index: Vec<u8>,
    index_key: Vec<u8>,
    hashes: Vec<u64>,
    last_key: Vec<u8>,
    summary: RunSummary,
}

impl RunWriter {
    /// An empty run. The bytes can only be read under the same name.
    pub fn new(name: &str) -> Self {
        Self {
            name: xxh3_64(name.as_bytes()),
            taken: 0,
            bytes: Vec::new(),
            block: BlockBuilder::default(),
            index: Vec::new(),
            index_key: Vec::new(),
            hashes: Vec::new(),
            last_key: Vec::new(),
            summary: RunSummary {
                format: FORMAT,
                ..RunSummary::default()
            },
        }
    }

    /// Adds an entry whose key is above all before; `None` removes the key.
    ///
    /// # Panics
    /// If the key is not above the previous one.
    pub fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        let is_first = self.hashes.is_empty();
        assert!(is_first || *self.last_key < *key, "keys of a run ascend");
        if self.block.is_empty() {
            let shared = shared_prefix(&self.last_key, key);
            let length = key.len().min(shared + 1);
            self.index_key.clear();
            if !is_first {
                self.index_key.extend_from_slice(&key[..length]);
            }
        }
        self.block.push(key, value);
        self.hashes.push(hash(key));
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        match value {
            Some(_) => self.summary.entries += 1,
            None => self.summary.tombstones += 1,
        }
        if self.block.is_full() {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let entries = self.block.take();
        let section = self.write(&entries);
        put_varint(&mut self.index, self.index_key.len() as u64);
        self.index.extend_from_slice(&self.index_key);
        put_varint(&mut self.index, section.length);
    }

    /// Seals and appends a section.
    fn write(&mut self, bytes: &[u8]) -> Section {
        let offset = self.taken + self.bytes.len() as u64;
        let sealed = seal(bytes, place(self.name, offset));
        self.bytes.extend_from_slice(&sealed);
        Section {
            offset,
            length: sealed.len() as u64,
        }
    }

    /// The number of bytes that can be taken.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the bytes that are complete, so that they can be written while entries are added.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        self.taken += self.bytes.len() as u64;
        std::mem::take(&mut self.bytes)
    }

    /// The bytes of the run that were not taken; `None` if it has no entry.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.hashes.is_empty() {
            return None;
        }
        if !self.block.is_empty() {
            self.end_block();
        }
        let index = std::mem::take(&mut self.index);
        self.summary.index = self.write(&index);
        let filter = Filter::of(&self.hashes).encode();
        self.summary.filter = self.write(&filter);
        let summary = postcard::to_stdvec(&self.summary).expect("a summary can be encoded");
        let length = self.write(&summary).length;
        let length = u32::try_from(length).expect("a summary is short");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&MAGIC);
        Some(self.bytes)
    }
}

/// A run that can be read.
pub struct Run {
    name: String,
    name_hash: u64,
    file: Arc<dyn ReadFile>,
    summary: RunSummary,
    index: Index,
    filter: Filter,
}

/// Where the blocks of a run are.
#[derive(Default)]
struct Index {
    keys: Box<[u8]>,
    /// Where the key of each block ends in `keys`.
    key_ends: Box<[u32]>,
    /// Where each block ends in the run.
    block_ends: Box<[u64]>,
}

impl Run {
    /// Opens the run of this name: reads its summary, index and filter.
    ///
    /// # Errors
    /// The bytes cannot be read, or are not those of this run.
    pub fn open(name: &str, file: Arc<dyn ReadFile>) -> Result<Self, StateError> {
        let mut run = Self {
            name: name.to_owned(),
            name_hash: xxh3_64(name.as_bytes()),
            file,
            summary: RunSummary::default(),
            index: Index::default(),
            filter: Filter::of(&[]),
        };
        run.summary = run.read_summary()?;
        let RunSummary { index, filter, .. } = run.summary;
        run.index = Index::decode(&run.read_section(index)?)
            .ok()
            .filter(|it| it.block_ends.last() == Some(&index.offset))
            .ok_or_else(|| StateError::damaged(name, index.offset, "the index is invalid"))?;
        run.filter = Filter::decode(&run.read_section(filter)?)
            .map_err(|what| StateError::damaged(name, filter.offset, what))?;
        Ok(run)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the run contains.
    pub fn summary(&self) -> &RunSummary {
        &self.summary
    }

    /// Memory that the index and the filter hold, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let index = &self.index;
        index.keys.len()
            + index.key_ends.len() * 4
            + index.block_ends.len() * 8
            + self.filter.bytes()
    }

    /// Whether the run may contain a key. `false` is certain, and reads nothing.
    pub fn may_contain(&self, key: &[u8]) -> bool {
        self.filter.may_contain(hash(key))
    }

    /// Looks up a key. Reads at most one block.
    ///
    /// # Errors
    /// The block cannot be read, or is damaged.
    pub fn get(&self, key: &[u8]) -> Result<Lookup, StateError> {
        let block = self.index.block_of(key).filter(|_| self.may_contain(key));
        let Some(block) = block else {
            return Ok(Lookup::Unknown);
        };
        let entries = self.read_block(block)?;
        let mut position = BlockPosition::default();
        let damaged = |what| self.damaged(block, what);
        while position.advance(&entries).map_err(damaged)? {
            if position.key() == key {
                let value = position.value(&entries);
                return Ok(value.map_or(Lookup::Removed, |it| Lookup::Found(it.into())));
            }
            if position.key() > key {
                break;
            }
        }
        Ok(Lookup::Unknown)
    }

    /// Reads the whole run and compares all checksums.
    ///
    /// # Errors
    /// A block cannot be read, or is damaged.
    pub fn verify(&self) -> Result<(), StateError> {
        (0..self.blocks()).try_for_each(|block| self.read_block(block).map(drop))
    }

    /// The entries of a block.
    pub(crate) fn read_block(&self, block: usize) -> Result<Vec<u8>, StateError> {
        self.read_section(self.index.section(block))
    }

    pub(crate) fn blocks(&self) -> usize {
        self.index.block_ends.len()
    }

    /// The first block that may contain a key not below this one.
    pub(crate) fn first_block(&self, key: &[u8]) -> usize {
        self.index.block_of(key).unwrap_or(0)
    }

    pub(crate) fn damaged(&self, block: usize, what: &'static str) -> StateError {
        StateError::damaged(&self.name, self.index.section(block).offset, what)
    }

    fn read_section(&self, section: Section) -> Result<Vec<u8>, StateError> {
        let damaged = |what| StateError::damaged(&self.name, section.offset, what);
        let end = section.offset.checked_add(section.length);
        if end.is_none_or(|end| end > self.file.length()) {
            return Err(damaged("it ends before this part"));
        }
        let mut sealed = vec![0; usize::try_from(section.length).unwrap_or(usize::MAX)];
        self.read_at(&mut sealed, section.offset)?;
        unseal(&sealed, place(self.name_hash, section.offset)).map_err(damaged)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StateError> {
        let read = self.file.read_at(buffer, offset);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StateError::damaged(&self.name, offset, "it ends before this part")
            }
            _ => StateError::Read {
                run: self.name.clone(),
                offset,
                source: error,
            },
        })
    }

    fn read_summary(&self) -> Result<RunSummary, StateError> {
        let length = self.file.length();
        let short = || StateError::damaged(&self.name, length, "it is too short");
        let tail_at = length.checked_sub(TAIL_BYTES as u64).ok_or_else(short)?;
        let mut tail = [0; TAIL_BYTES];
        self.read_at(&mut tail, tail_at)?;
        if tail[4..] != MAGIC {
            let what = "the end is not that of a run";
            return Err(StateError::damaged(&self.name, tail_at, what));
        }
        let [a, b, c, d, ..] = tail;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        let offset = tail_at.checked_sub(length).ok_or_else(short)?;
        let plain = self.read_section(Section { offset, length })?;
        let damaged = |what| StateError::damaged(&self.name, offset, what);
        let summary: RunSummary =
            postcard::from_bytes(&plain).map_err(|_| damaged("the summary cannot be decoded"))?;
        match summary {
            it if it.format != FORMAT => Err(damaged("the format is of another version")),
            it => Ok(it),
        }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut tuple = to.debug_tuple("Run");
        tuple.field(&self.name).field(&self.summary).finish()
    }
}

impl Index {
    fn decode(mut bytes: &[u8]) -> Result<Self, &'static str> {
        let (mut keys, mut key_ends, mut block_ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut end = 0_u64;
        while !bytes.is_empty() {
            let length = take_length(&mut bytes)?;
            keys.extend_from_slice(take(&mut bytes, length)?);
            key_ends.push(u32::try_from(keys.len()).map_err(|_| "the index is too long")?);
            let length = take_length(&mut bytes)?;
            end = end
                .checked_add(length as u64)
                .ok_or("the index is too long")?;
            block_ends.push(end);
        }
        Ok(Self {
            keys: keys.into(),
            key_ends: key_ends.into(),
            block_ends: block_ends.into(),
        })
    }

    fn key(&self, block: usize) -> &[u8] {
        let start = block
            .checked_sub(1)
            .map_or(0, |before| self.key_ends[before]);
        &self.keys[start as usize..self.key_ends[block] as usize]
    }

    /// The only block that may contain a key.
    fn block_of(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.key_ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle) <= key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low.checked_sub(1)
    }

    fn section(&self, block: usize) -> Section {
        let offset = block
            .checked_sub(1)
            .map_or(0, |before| self.block_ends[before]);
        Section {
            offset,
            length: self.block_ends[block] - offset,
        }
    }
}
