//! Writes the seed inputs of each target from the project's test recordings:
//! `fuzz/corpus/<target>/<hash of the input>`.

use std::io::Result;
use std::path::{Path, PathBuf};

use skytide_core::cbor::{Loose, Reader};
use skytide_ingest::car::Car;

/// Maximum number of frames of one recording that become seeds: more frames of the same kind slow a
/// fuzzer down.
const FRAMES_MAX: usize = 400;

/// The factor of multiplicative hashing: 2^32 divided by the golden ratio.
const HASH_FACTOR: u32 = 2_654_435_761;

fn main() -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let relay = fixtures.join("vectors/relay-2026-07-04/frames.bin.zst");
    let pds = fixtures.join("frames/pds.frames.zst");
    let edge = std::fs::read(fixtures.join("frames/edge.frames"))?;
    let frames = [
        split(
            &zstd::decode_all(std::fs::File::open(relay)?)?,
            u32::from_le_bytes,
        ),
        split(
            &zstd::decode_all(std::fs::File::open(pds)?)?,
            u32::from_be_bytes,
        ),
        split(&edge, u32::from_be_bytes),
    ];
    // The target `rows` reads its input as the decisions of hostile accounts, so any bytes are a
    // valid input. These are pseudo-random.
    for length in [64, 512, 4_096] {
        let bytes: Vec<u8> = (0..length)
            .map(|i: u32| (i.wrapping_mul(HASH_FACTOR) >> 24) as u8)
            .collect();
        write("rows", &bytes)?;
    }
    for frame in frames
        .iter()
        .flat_map(|frames| frames.iter().take(FRAMES_MAX))
    {
        write("frame", frame)?;
        write("cbor", frame)?;
        let car = blocks(frame);
        write("car", car)?;
        for block in Car::open(car).into_iter().flatten().flatten() {
            write("cbor", block.data)?;
            write("record", block.data)?;
        }
    }
    Ok(())
}

/// Splits a recording into frames. `length` decodes the length before each frame.
fn split(bytes: &[u8], length: fn([u8; 4]) -> u32) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (bytes, Vec::new());
    while let Some((prefix, after)) = rest.split_first_chunk() {
        let (frame, after) = after.split_at(length(*prefix) as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// The `blocks` of a commit; empty if it has none.
fn blocks(frame: &[u8]) -> &[u8] {
    let mut blocks: &[u8] = &[];
    let mut reader = Reader::<Loose>::new(frame);
    let read = reader.skip().and_then(|()| {
        reader.map(|reader, key| {
            match key {
                b"blocks" => blocks = reader.bytes()?.unwrap_or_default(),
                _ => reader.skip()?,
            }
            Ok(())
        })
    });
    read.map(|_| blocks).unwrap_or_default()
}

/// Writes a seed. Its name is the FNV-1a hash of the input.
fn write(target: &str, input: &[u8]) -> Result<()> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    std::fs::create_dir_all(&folder)?;
    let name = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    std::fs::write(folder.join(format!("{name:016x}")), input)
}
