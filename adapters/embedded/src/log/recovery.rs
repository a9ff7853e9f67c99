//! Recovery of the log at a start: which bytes count as messages.
//!
//! Bytes before a segment's synced position were durable once. If any of them is invalid, the log
//! is damaged, and it is not opened.
//!
//! Bytes after the synced position were being written when the writer ended. Recovery keeps the
//! complete messages at their start, makes them durable, and truncates the rest.
//!
//! Only the last segment is checked here. A segment that has a successor is checked when it is
//! read.

use std::os::unix::fs::FileExt;
use std::path::Path;

use skytide_core::port::log::LogError;

use super::frame::{self, Frame};
use super::segment::{self, Extent, HEADER_BYTES, Segment, Slot};
use super::{damaged, failed};

/// The number of bytes to read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Checks that all segments belong to one log and follow each other without a gap. Returns the last
/// segment, if there is one.
pub fn check_chain(folder: &Path, write: bool) -> Result<Option<Segment>, LogError> {
    let mut last: Option<Segment> = None;
    for first in segment::list(folder)? {
        let Some(next) = Segment::open(folder, first, write)? else {
            // Another process trimmed this segment in the meantime. Trimming removes only the
            // oldest segments, so all earlier ones are gone too.
            last = None;
            continue;
        };
        if let Some(sealed) = &last {
            check_adjacent(sealed, &next)?;
        }
        last = Some(next);
    }
    Ok(last)
}

fn check_adjacent(sealed: &Segment, next: &Segment) -> Result<(), LogError> {
    let synced = sealed.synced()?;
    if sealed.log_id != next.log_id {
        return Err(damaged(next.first, 0, "it belongs to another log"));
    }
    if synced.next != next.first {
        let why = format!(
            "it ends before position {}, the next segment begins at {}",
            synced.next, next.first
        );
        return Err(damaged(sealed.first, synced.end, &why));
    }
    let bytes = sealed.bytes()?;
    if bytes != synced.end {
        let why = format!("it was {} bytes long and is now {bytes}", synced.end);
        return Err(damaged(sealed.first, bytes.min(synced.end), &why));
    }
    Ok(())
}

/// Checks the last segment, truncates its torn tail, and makes the remaining messages durable.
/// Returns their extent.
pub fn recover(segment: &Segment) -> Result<Extent, LogError> {
    let synced = segment.synced()?;
    let bytes = segment.bytes()?;
    if bytes < synced.end {
        let why = format!("{} durable bytes are missing", synced.end - bytes);
        return Err(damaged(segment.first, bytes, &why));
    }
    let durable = scan(segment, segment_start(segment), synced.end)?;
    if (durable.end, durable.next) != (synced.end, synced.next) {
        return Err(damaged(
            segment.first,
            durable.end,
            "a durable message is invalid",
        ));
    }
    let complete = scan(segment, durable, bytes)?;
    let repair = || -> std::io::Result<()> {
        // The bytes are written again: after a failed sync, the page cache may mark pages as clean
        // although they never reached the disk.
        rewrite(segment, synced.end, complete.end)?;
        segment.file.set_len(complete.end)?;
        segment.file.sync_data()?;
        segment.write_slot(Slot::First, complete)?;
        segment.write_slot(Slot::Second, complete)?;
        segment.file.sync_data()
    };
    if bytes > synced.end {
        repair().map_err(failed("truncate the torn tail"))?;
        tracing::info!(
            segment = segment.first,
            recovered_messages = complete.next - synced.next,
            truncated_bytes = bytes - complete.end,
            "recovered messages after the last synced position and truncated the rest"
        );
    }
    Ok(complete)
}

fn segment_start(segment: &Segment) -> Extent {
    Extent {
        end: HEADER_BYTES,
        next: segment.first,
        tick: None,
    }
}

/// Finds the complete messages between the end of `from` and the offset `end`. Returns `from`
/// extended by them.
fn scan(segment: &Segment, from: Extent, end: u64) -> Result<Extent, LogError> {
    let mut found = from;
    let mut chunk = Vec::new();
    let mut wanted = CHUNK_BYTES;
    while found.end < end {
        chunk.resize(wanted.min((end - found.end) as usize), 0);
        let read = segment.file.read_exact_at(&mut chunk, found.end);
        read.map_err(failed("read a segment"))?;
        let (mut rest, before) = (&chunk[..], found.end);
        // Bytes that the next message needs, counted from its start.
        let needed = loop {
            match frame::read(rest, found.next) {
                Frame::Complete { tick, message } => {
                    if tick {
                        found.tick = Some((found.end, found.next));
                    }
                    let bytes = frame::HEAD_BYTES + message.len();
                    found.end += bytes as u64;
                    found.next += 1;
                    rest = &rest[bytes..];
                }
                Frame::Incomplete { needed } => break needed,
                Frame::Invalid => return Ok(found),
            }
        };
        if found.end + needed as u64 > end {
            return Ok(found);
        }
        wanted = if found.end == before {
            needed
        } else {
            CHUNK_BYTES
        };
    }
    Ok(found)
}

fn rewrite(segment: &Segment, from: u64, end: u64) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = from;
    while at < end {
        let part = &mut chunk[..CHUNK_BYTES.min((end - at) as usize)];
        segment.file.read_exact_at(part, at)?;
        segment.file.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(())
}
