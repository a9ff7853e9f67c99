//! What is believed after a start.
//!
//! Bytes below a segment's synced position were durable once: whatever is wrong there is damage, and refused. Bytes
//! behind it were under way when the writer ended: the complete messages in front are kept and made durable, the rest
//! is cut off. The last segment is checked here; one that has a successor, when it is read.

use std::os::unix::fs::FileExt;
use std::path::Path;

use skytide_core::port::log::LogError;

use super::frame::{self, Frame};
use super::segment::{self, HEADER_BYTES, Segment, Slot, Synced};
use super::{damaged, failed};

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Checks that all segments are of one log and join without a gap; answers the last one, if there is any.
pub fn check_chain(folder: &Path, write: bool) -> Result<Option<Segment>, LogError> {
    let mut last: Option<Segment> = None;
    for first in segment::list(folder)? {
        let Some(next) = Segment::open(folder, first, write)? else {
            // Trimmed meanwhile by another process: only segments in front of all others are.
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
            "it ends before {}, the next begins at {}",
            synced.next, next.first
        );
        return Err(damaged(sealed.first, synced.end, &why));
    }
    let bytes = sealed.bytes()?;
    if bytes != synced.end {
        let why = format!("it was {} bytes long, now it is {bytes}", synced.end);
        return Err(damaged(sealed.first, bytes.min(synced.end), &why));
    }
    Ok(())
}

/// Checks the last segment, cuts off its torn tail and makes what is left durable.
pub fn recover(segment: &Segment) -> Result<Synced, LogError> {
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
            "a durable message is not valid",
        ));
    }
    let complete = scan(segment, durable, bytes)?;
    let repair = || -> std::io::Result<()> {
        // Written again: after a failed sync the system may hold pages as clean that never reached the disk.
        rewrite(segment, synced.end, complete.end)?;
        segment.file.set_len(complete.end)?;
        segment.file.sync_data()?;
        segment.write_slot(Slot::First, complete)?;
        segment.write_slot(Slot::Second, complete)?;
        segment.file.sync_data()
    };
    if (complete.end, bytes) != (synced.end, synced.end) {
        repair().map_err(failed("cut off the torn tail"))?;
        tracing::info!(
            segment = segment.first,
            kept_messages = complete.next - synced.next,
            cut_bytes = bytes - complete.end,
            "recovered what was written behind the last sync"
        );
    }
    Ok(complete)
}

fn segment_start(segment: &Segment) -> Synced {
    Synced {
        end: HEADER_BYTES,
        next: segment.first,
        tick: None,
    }
}

/// The complete messages between `from` and the offset `end`.
fn scan(segment: &Segment, from: Synced, end: u64) -> Result<Synced, LogError> {
    let mut found = from;
    let mut chunk = Vec::new();
    let mut wanted = CHUNK_BYTES;
    while found.end < end {
        chunk.resize(wanted.min((end - found.end) as usize), 0);
        let read = segment.file.read_exact_at(&mut chunk, found.end);
        read.map_err(failed("read a segment"))?;
        let (mut rest, before) = (&chunk[..], found.end);
        let missing = loop {
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
                Frame::Incomplete(bytes) => break bytes,
                Frame::Invalid => return Ok(found),
            }
        };
        if found.end + missing as u64 > end {
            return Ok(found);
        }
        wanted = if found.end == before {
            missing
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
