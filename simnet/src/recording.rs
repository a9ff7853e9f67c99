//! Writes a network into a recording, in the format of `docs/recordings.md` that `skytide replay`
//! reads.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::network::Network;

/// Minimum size in bytes of the frames in one zstd frame, except the last one.
const CHUNK_BYTES: usize = 4 << 20;
/// The default level of zstd.
const LEVEL: i32 = 3;

/// Where a recording ends, unless the network ends earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    /// After this many frames.
    Frames(u64),
    /// After the frame that brings the recording to this many bytes before compression.
    Bytes(u64),
    /// At the end of the network, which must have one.
    Network,
}

/// The size of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingStats {
    /// Number of frames.
    pub frames: u64,
    /// Total size of the frames in bytes, before compression.
    pub frame_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// The recording could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the recording {}", path.display())]
pub struct RecordingError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Writes the next frames of a network into a file, in zstd frames of about 4 MiB with checksums.
/// Overwrites an existing file. The file is durable when this returns.
///
/// # Errors
///
/// The file cannot be created or written.
pub fn write_recording(
    network: &mut Network,
    path: &Path,
    end: RecordingEnd,
) -> Result<RecordingStats, RecordingError> {
    write(network, path, end).map_err(|source| RecordingError {
        path: path.to_owned(),
        source,
    })
}

fn write(network: &mut Network, path: &Path, end: RecordingEnd) -> io::Result<RecordingStats> {
    let mut file = File::create(path)?;
    let mut written = RecordingStats::default();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + (1 << 20));
    while !end.is_reached(&written) {
        let Some(frame) = network.next_frame() else {
            break;
        };
        chunk.extend((frame.bytes.len() as u32).to_be_bytes());
        chunk.extend_from_slice(&frame.bytes);
        written.frames += 1;
        written.frame_bytes += frame.bytes.len() as u64;
        if chunk.len() >= CHUNK_BYTES {
            written.file_bytes += flush(&mut file, &mut chunk)?;
        }
    }
    written.file_bytes += flush(&mut file, &mut chunk)?;
    file.sync_all()?;
    Ok(written)
}

impl RecordingEnd {
    fn is_reached(self, written: &RecordingStats) -> bool {
        match self {
            Self::Frames(frames) => written.frames >= frames,
            Self::Bytes(bytes) => written.frame_bytes >= bytes,
            Self::Network => false,
        }
    }
}

/// Appends a chunk as one zstd frame and returns its size in bytes.
fn flush(file: &mut File, chunk: &mut Vec<u8>) -> io::Result<u64> {
    if chunk.is_empty() {
        return Ok(0);
    }
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(chunk.len() as u64))?;
    encoder.write_all(chunk)?;
    let packed = encoder.finish()?;
    file.write_all(&packed)?;
    chunk.clear();
    Ok(packed.len() as u64)
}

/// The current state of each account, by DID, as JSON. An account has the `key` (`did:key`) that
/// signs its commits, its `handle`, its `status` if it is inactive, and the `head` of its repo
/// (`cid`, `rev`) with the CIDs of its `records` by path. Programs that check a recording use it.
/// The whole document is built in memory.
pub fn identities(network: &mut Network) -> serde_json::Value {
    let dids: Vec<_> = network.dids().collect();
    let mut all = serde_json::Map::new();
    for did in dids {
        let Some(account) = network.account(&did) else {
            continue;
        };
        let head = network.latest_commit(&did);
        let head = head.map(|(cid, rev)| {
            let records = network.record_cids(&did).into_iter();
            let records: serde_json::Map<_, _> = records
                .map(|(path, cid)| (path, cid.to_string().into()))
                .collect();
            serde_json::json!({ "cid": cid.to_string(), "rev": rev.to_string(), "records": records })
        });
        let known = serde_json::json!({
            "key": account.did_key,
            "handle": account.handle,
            "status": account.status,
            "head": head,
        });
        all.insert(did.to_string(), known);
    }
    all.into()
}
