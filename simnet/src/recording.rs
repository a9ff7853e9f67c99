//! A network into a file: the form of `docs/recordings.md`, which `skytide replay` reads.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::network::Network;

/// Bytes of frames in one zstd frame, at least.
const CHUNK_BYTES: usize = 4 << 20;
/// zstd's own default.
const LEVEL: i32 = 3;

/// Where a recording ends, unless the network ends before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind so many frames.
    Frames(u64),
    /// Behind the frame that brings it to so many bytes, before compression.
    Bytes(u64),
    /// With the network, which then must have an end.
    Network,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Frames.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// A recording could not be written.
#[derive(Debug, thiserror::Error)]
#[error("could not write the recording {}", path.display())]
pub struct RecordingError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Writes the next frames of a network into a new file, in zstd frames of 4 MiB with checksums. What is there already is
/// overwritten. The file is durable when this returns.
///
/// # Errors
/// The file cannot be made or written.
pub fn write_recording(
    network: &mut Network,
    path: &Path,
    end: End,
) -> Result<Written, RecordingError> {
    write(network, path, end).map_err(|source| RecordingError {
        path: path.to_owned(),
        source,
    })
}

fn write(network: &mut Network, path: &Path, end: End) -> io::Result<Written> {
    let mut file = File::create(path)?;
    let mut written = Written::default();
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

impl End {
    fn is_reached(self, written: &Written) -> bool {
        match self {
            Self::Frames(frames) => written.frames >= frames,
            Self::Bytes(bytes) => written.frame_bytes >= bytes,
            Self::Network => false,
        }
    }
}

/// Appends a chunk as one zstd frame; answers its bytes.
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

/// What the network's servers say about each account now, as JSON: by DID the `key` (`did:key`) that signs its commits, its
/// `handle`, its `status` if it is not active, and the `head` of its repo (`cid`, `rev`) with the `records` in it by path, as
/// CIDs. For programs that check a recording; all of it is in memory.
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
