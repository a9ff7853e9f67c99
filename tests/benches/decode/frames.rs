//! The recordings that are measured.

use std::path::Path;

/// `frames/pds.frames.zst`: a reference PDS, lengths big-endian.
pub(super) fn pds() -> Vec<Vec<u8>> {
    read("frames/pds.frames.zst", u32::from_be_bytes)
}

/// `vectors/relay-2026-07-04`: the public relay, lengths little-endian.
pub(super) fn relay() -> Vec<Vec<u8>> {
    read(
        "vectors/relay-2026-07-04/frames.bin.zst",
        u32::from_le_bytes,
    )
}

fn read(name: &str, length: fn([u8; 4]) -> u32) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    let file = std::fs::File::open(path).expect("the fixture is there");
    let bytes = zstd::decode_all(file).expect("the fixture is whole");
    let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
    while let Some((prefix, behind)) = rest.split_first_chunk() {
        let (frame, behind) = behind.split_at(length(*prefix) as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}
