//! Decodes recorded frames and published vectors and compares the results with those of other
//! implementations.
//!
//! The PROVENANCE.md of each folder of `fixtures/vectors` names its origin and its expected
//! results; so does `fixtures/frames/README.md`. Signatures and the tree of a repository are not
//! verified yet, so vectors for these are not used here.

mod cars;
mod codec;
mod edge;
mod facts;
mod hostile;
mod messages;
mod recount;
mod relay;
mod syntax;
mod value;

use std::path::{Path, PathBuf};

use data_encoding::{BASE64_NOPAD, HEXLOWER_PERMISSIVE};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use skytide_core::id::Cid;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// The bytes of a fixture, unpacked if its name ends in `.zst`.
fn bytes(name: &str) -> Vec<u8> {
    let packed = std::fs::read(fixture(name)).expect(name);
    if name.ends_with(".zst") {
        return zstd::decode_all(packed.as_slice()).expect(name);
    }
    packed
}

pub(crate) fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).expect(name)
}

pub(crate) fn json(name: &str) -> Json {
    serde_json::from_str(&text(name)).expect(name)
}

/// The items of a JSON list.
pub(crate) fn list(json: &Json) -> &[Json] {
    json.as_array().expect("a list")
}

/// The messages of a recording. `length` reads the length before each message.
fn frames(name: &str, length: fn([u8; 4]) -> u32) -> Vec<Vec<u8>> {
    let recording = bytes(name);
    let (mut rest, mut frames) = (recording.as_slice(), Vec::new());
    while let Some((prefix, after)) = rest.split_first_chunk() {
        let (frame, after) = after.split_at(length(*prefix) as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    assert!(rest.is_empty(), "{name} ends within a frame");
    frames
}

fn base64(text: &str) -> Vec<u8> {
    let digits = text.trim_end_matches('=').as_bytes();
    BASE64_NOPAD.decode(digits).expect(text)
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE
        .decode(text.trim().as_bytes())
        .expect(text)
}

/// The CID of a DAG-CBOR block.
fn cid_of(block: &[u8]) -> Cid {
    Cid::dag_cbor(Sha256::digest(block).into())
}
