//! The recordings that the benchmark reads.

use std::ops::Range;
use std::path::Path;

/// All frames of a recording, contiguous as in the uncompressed file.
pub(super) struct Recording {
    bytes: Vec<u8>,
    frames: Vec<Range<usize>>,
}

impl Recording {
    /// `frames/pds.frames.zst`: from a reference PDS, lengths big-endian.
    pub(super) fn pds() -> Self {
        Self::read("frames/pds.frames.zst", u32::from_be_bytes)
    }

    /// `vectors/relay-2026-07-04`: from the public relay, lengths little-endian.
    pub(super) fn relay() -> Self {
        Self::read(
            "vectors/relay-2026-07-04/frames.bin.zst",
            u32::from_le_bytes,
        )
    }

    pub(super) fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.frames.iter().map(|range| &self.bytes[range.clone()])
    }

    fn read(name: &str, length: fn([u8; 4]) -> u32) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(name);
        let file = std::fs::File::open(path).expect("the fixture exists");
        let bytes = zstd::decode_all(file).expect("an intact fixture");
        let (mut at, mut frames) = (0, Vec::new());
        while let Some(prefix) = bytes[at..].first_chunk() {
            let start = at + prefix.len();
            at = start + length(*prefix) as usize;
            frames.push(start..at);
        }
        Self { bytes, frames }
    }
}
