//! Copies of recorded frames: as many events as a benchmark needs. Each copy is a separate network.
//!
//! In copy `n` every did:plc is replaced by another one of the same length, wherever it occurs
//! (also inside records, so that likes refer to posts of the same copy). `seq` continues to count,
//! and all times are later by the duration of the recording. The CIDs of the records are computed
//! again, so that verification at level `records` succeeds. Tree nodes, signatures and commits are
//! not updated and no longer verify.

use skytide_core::base32;
use skytide_core::time::Timestamp;
use skytide_ingest::frame::{self, Frame, Verify};

use ring::digest::{SHA256, digest};

/// Makes copies of one recording.
#[derive(Debug)]
pub struct Copies {
    frames: Vec<Original>,
    seq_span: u64,
    time_span_ms: u64,
}

#[derive(Debug)]
struct Original {
    bytes: Vec<u8>,
    /// The offsets of the 24 characters after `did:plc:`.
    dids: Vec<usize>,
    /// The offset of the frame's `time`, and its value.
    time: Option<(usize, Timestamp)>,
    /// The offset of the integer `seq`, its length in bytes and its value.
    seq: Option<(usize, usize, u64)>,
    /// For each used record, its range and the offsets of its CID's hash outside of the record.
    records: Vec<(std::ops::Range<usize>, Vec<usize>)>,
}

impl Copies {
    /// Prepares the frames of a recording. Every frame must be readable.
    pub fn of(frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let frames: Vec<Original> = frames.into_iter().map(Original::of).collect();
        let seqs = frames
            .iter()
            .filter_map(|frame| frame.seq.map(|(_, _, seq)| seq));
        let seq_span = seqs.clone().max().unwrap_or(0) + 1 - seqs.min().unwrap_or(0);
        let times = frames
            .iter()
            .filter_map(|frame| frame.time.map(|(_, time)| time.0));
        let time_span_ms = times.clone().max().unwrap_or(0) + 100 - times.min().unwrap_or(0);
        Self {
            frames,
            seq_span,
            time_span_ms,
        }
    }

    /// The frames of copy `n`; copy 0 is the recording itself.
    pub fn copy(&self, n: u64) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.frames.iter().map(move |frame| frame.copy(n, self))
    }
}

impl Original {
    fn of(bytes: Vec<u8>) -> Self {
        let decoded = frame::decode(&bytes, Verify::Records).expect("the recording is readable");
        let mut records = Vec::new();
        let time = match &decoded {
            Frame::Commit(commit) => {
                for op in &commit.ops {
                    if let (Some(cid), Some(record)) = (op.cid, op.record) {
                        let start = record.as_ptr() as usize - bytes.as_ptr() as usize;
                        let place = start..start + record.len();
                        let hashes = find_all(&bytes, cid.digest());
                        records.push((place, hashes));
                    }
                }
                Some(commit.time)
            }
            Frame::Identity { time, .. }
            | Frame::Account { time, .. }
            | Frame::Sync { time, .. } => Some(*time),
            _ => None,
        };
        let time = time.map(|text| {
            let at = text.as_ptr() as usize - bytes.as_ptr() as usize;
            let time = Timestamp::parse(text).expect("the recording's times are valid");
            assert_eq!(
                time.rfc3339(),
                text,
                "a shifted time must have the same length"
            );
            (at, time)
        });
        let dids = find_all(&bytes, b"did:plc:").into_iter().map(|at| at + 8);
        let dids = dids
            .filter(|&at| bytes.get(at..at + 24).is_some_and(is_plc))
            .collect();
        let seq = find_all(&bytes, b"\x63seq")
            .first()
            .map(|&at| integer(&bytes, at + 4));
        drop(decoded);
        Self {
            dids,
            time,
            seq,
            records,
            bytes,
        }
    }

    fn copy(&self, n: u64, copies: &Copies) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if n == 0 {
            return bytes;
        }
        for &at in &self.dids {
            // The last four characters distinguish a million copies from each other and from the
            // recording.
            for (i, character) in bytes[at + 20..at + 24].iter_mut().enumerate() {
                let value = base32::value(*character).expect("checked to be base32");
                *character = base32::digit(value.wrapping_add(n >> (5 * i)));
            }
        }
        if let Some((at, time)) = self.time {
            let later = Timestamp(time.0 + n * copies.time_span_ms).rfc3339();
            bytes[at..at + later.len()].copy_from_slice(later.as_bytes());
        }
        for (record, hashes) in &self.records {
            let hash = digest(&SHA256, &bytes[record.clone()]);
            for &at in hashes {
                bytes[at..at + 32].copy_from_slice(hash.as_ref());
            }
        }
        if let Some((at, length, seq)) = self.seq {
            let seq = seq + n * copies.seq_span;
            let mut integer = vec![0x1a];
            integer.extend((seq as u32).to_be_bytes());
            bytes.splice(at..at + length, integer);
        }
        bytes
    }
}

fn is_plc(text: &[u8]) -> bool {
    text.iter().all(|&byte| base32::value(byte).is_some())
}

fn find_all(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    bytes
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, w)| *w == wanted)
        .map(|(at, _)| at)
        .collect()
}

/// The unsigned CBOR integer at `at`: its offset, its length and its value.
fn integer(bytes: &[u8], at: usize) -> (usize, usize, u64) {
    let length = match bytes[at] {
        0x18 => 1,
        0x19 => 2,
        0x1a => 4,
        0x1b => 8,
        small => return (at, 1, u64::from(small)),
    };
    let digits = &bytes[at + 1..at + 1 + length];
    (
        at,
        1 + length,
        digits
            .iter()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
    )
}

/// The same frame as another relay sends it: with a `seq` that is higher by so much.
pub fn renumbered(frame: &[u8], by: u64) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if let Some(&at) = find_all(&bytes, b"\x63seq").first() {
        let (at, length, seq) = integer(&bytes, at + 4);
        let mut number = vec![0x1b];
        number.extend((seq + by).to_be_bytes());
        bytes.splice(at..at + length, number);
    }
    bytes
}

/// The frames of a recording as it is kept under `tests/fixtures`: big-endian length, frame.
pub fn frames(recording: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (recording, Vec::new());
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (frame, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_readable_and_a_separate_network() {
        let recording = include_bytes!("../fixtures/frames/pds.frames.zst");
        let originals = frames(&zstd::decode_all(&recording[..]).unwrap());
        let copies = Copies::of(originals.clone());
        let facts = |bytes: &[u8]| match frame::decode(bytes, Verify::Records).unwrap() {
            Frame::Commit(commit) => (commit.seq, commit.did, commit.ops.len(), commit.drops.len()),
            Frame::Identity { seq, did, .. }
            | Frame::Account { seq, did, .. }
            | Frame::Sync { seq, did, .. } => (seq, did, 0, 0),
            other => panic!("{other:?}"),
        };
        for (n, copy) in [(1, copies.copy(1)), (33, copies.copy(33))] {
            for (original, copy) in originals.iter().zip(copy) {
                let (seq, did, ops, drops) = facts(original);
                let (copy_seq, copy_did, copy_ops, copy_drops) = facts(&copy);
                assert_eq!(copy_seq.0, seq.0 + n * originals.len() as u64);
                assert_ne!(copy_did, did);
                assert_eq!((copy_ops, copy_drops), (ops, drops));
            }
        }
    }
}
