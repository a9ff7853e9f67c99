//! One file of the log: a header, then messages without a gap.
//!
//! ```text
//!   0  "SKYTLOG\n" │ format u32 │ 0 u32 │ log id u64 │ position of the first message u64 │ CRC-32
//!  64  synced slot: end u64 │ next position u64 │ newest tick: offset u64, position u64 │ CRC-32
//! 128  the other slot
//! 256  messages ...
//! ```
//!
//! All offsets are in bytes, from the start of the file. A tick is a message that ends an epoch.
//!
//! A slot records how far the file is durable. It is written after the messages were synced, and
//! becomes durable itself with the next sync. The writer alternates between the two slots, so a
//! torn slot leaves the other one intact. Of the valid slots, the one with the larger end counts.
//! In a segment that has a successor, both slots record the segment's end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use skytide_core::port::log::LogError;

use super::{damaged, failed};
use crate::durable::replace_file;

/// Bytes of the header: the offset of the first message.
pub const HEADER_BYTES: u64 = 256;
/// Version of the segment format.
pub const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"SKYTLOG\n";
/// Bytes at the start of the header that identify the log and the segment, with their checksum.
const IDENTITY_BYTES: usize = 36;
const SLOT_OFFSETS: [u64; 2] = [64, 128];
const SLOT_BYTES: usize = 36;

/// One of the two slots of a segment's header. Writers alternate between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The slot at offset 64.
    First,
    /// The slot at offset 128.
    Second,
}

impl Slot {
    /// The slot to write after this one.
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// A prefix of a segment that ends with a complete message: its synced, its recovered, or its
/// written messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the end of its last message.
    pub end: u64,
    /// Position in the log of the message after it.
    pub next: u64,
    /// Offset and position of its newest tick.
    pub tick: Option<(u64, u64)>,
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    /// Position of its first message in the log.
    pub first: u64,
    /// Identity of the log that it belongs to.
    pub log_id: u64,
    /// The open file.
    pub file: File,
}

impl Segment {
    /// Creates an empty segment. The file and its name are durable when this returns.
    pub fn create(folder: &Path, log_id: u64, first: u64) -> Result<Self, LogError> {
        let path = path(folder, first);
        let unfinished = path.with_extension("new");
        let mut header = [0; HEADER_BYTES as usize];
        header[..IDENTITY_BYTES].copy_from_slice(&identity(log_id, first));
        let synced = Extent {
            end: HEADER_BYTES,
            next: first,
            tick: None,
        };
        for offset in SLOT_OFFSETS {
            header[offset as usize..][..SLOT_BYTES].copy_from_slice(&slot(log_id, first, synced));
        }
        let file = replace_file(&path, &unfinished, |file| file.write_all_at(&header, 0));
        let file = file.map_err(failed("create a segment"))?;
        Ok(Self {
            first,
            log_id,
            file,
        })
    }

    /// Opens the segment whose first message has position `first`. Returns `None` if there is no
    /// such file.
    pub fn open(folder: &Path, first: u64, write: bool) -> Result<Option<Self>, LogError> {
        let opened = OpenOptions::new()
            .read(true)
            .write(write)
            .open(path(folder, first));
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed("open a segment"))?,
        };
        let mut bytes = [0; IDENTITY_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged(first, 0, "the header is truncated"));
            }
            read => read.map_err(failed("read a segment"))?,
        }
        let format = u32::from_le_bytes(bytes[8..12].try_into().expect("4 bytes"));
        let whole = crc32fast::hash(&bytes[..32]).to_le_bytes() == bytes[32..];
        if whole && &bytes[..8] == MAGIC && format > FORMAT {
            return Err(LogError::Newer(format!(
                "segment {first:020}.log has format {format}, this version reads format {FORMAT}"
            )));
        }
        let log_id = u64::from_le_bytes(bytes[16..24].try_into().expect("8 bytes"));
        if bytes != identity(log_id, first) {
            return Err(damaged(first, 0, "the header is invalid"));
        }
        Ok(Some(Self {
            first,
            log_id,
            file,
        }))
    }

    /// Reads from the slots how far the segment is durable.
    pub fn synced(&self) -> Result<Extent, LogError> {
        let mut newest: Option<Extent> = None;
        for offset in SLOT_OFFSETS {
            let mut bytes = [0; SLOT_BYTES];
            self.file
                .read_exact_at(&mut bytes, offset)
                .map_err(failed("read a segment"))?;
            let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8"));
            let synced = Extent {
                end: number(0),
                next: number(8),
                tick: (number(16) > 0).then(|| (number(16), number(24))),
            };
            if bytes == slot(self.log_id, self.first, synced)
                && newest.is_none_or(|newest| newest.end <= synced.end)
            {
                newest = Some(synced);
            }
        }
        newest.ok_or_else(|| {
            damaged(
                self.first,
                SLOT_OFFSETS[0],
                "neither slot of the synced position is valid",
            )
        })
    }

    /// Records in one of the slots how far the segment is durable.
    pub fn write_slot(&self, which: Slot, synced: Extent) -> io::Result<()> {
        let bytes = slot(self.log_id, self.first, synced);
        self.file.write_all_at(&bytes, SLOT_OFFSETS[which as usize])
    }

    /// Length of the file in bytes.
    pub fn bytes(&self) -> Result<u64, LogError> {
        let about = self
            .file
            .metadata()
            .map_err(failed("read the length of a segment"))?;
        Ok(about.len())
    }
}

/// The first positions of all segments, in ascending order.
pub fn list(folder: &Path) -> Result<Vec<u64>, LogError> {
    let read = || -> io::Result<Vec<u64>> {
        let mut firsts = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".log"));
            firsts.extend(
                digits
                    .filter(|it| it.len() == 20)
                    .and_then(|it| it.parse::<u64>().ok()),
            );
        }
        firsts.sort_unstable();
        Ok(firsts)
    };
    read().map_err(failed("list the segments"))
}

/// Total length of all segments in bytes.
pub fn total_bytes(folder: &Path) -> Result<u64, LogError> {
    let mut total = 0;
    for first in list(folder)? {
        // A segment that another process trimmed in the meantime counts as 0 bytes.
        total += std::fs::metadata(path(folder, first)).map_or(0, |about| about.len());
    }
    Ok(total)
}

/// Path of the segment whose first message has position `first`.
pub fn path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.log"))
}

/// Encodes the start of the header: it identifies the log and the segment.
fn identity(log_id: u64, first: u64) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    bytes[16..24].copy_from_slice(&log_id.to_le_bytes());
    bytes[24..32].copy_from_slice(&first.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..32]);
    bytes[32..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Encodes a slot. The checksum covers the identity of the log and of the segment: a slot that was
/// copied from another segment is invalid.
fn slot(log_id: u64, first: u64, synced: Extent) -> [u8; SLOT_BYTES] {
    let (tick_offset, tick_position) = synced.tick.unwrap_or((0, 0));
    let mut bytes = [0; SLOT_BYTES];
    for (at, number) in [synced.end, synced.next, tick_offset, tick_position]
        .iter()
        .enumerate()
    {
        bytes[at * 8..][..8].copy_from_slice(&number.to_le_bytes());
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&identity(log_id, first));
    hasher.update(&bytes[..32]);
    bytes[32..].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}
