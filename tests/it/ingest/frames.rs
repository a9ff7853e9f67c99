//! Hand-made frames, and the recorded ones.

use std::path::{Path, PathBuf};

use ciborium::Value;
use ciborium::cbor;
use sha2::{Digest, Sha256};
use skytide_core::id::{Cid, Tid};
use skytide_core::time::Timestamp;

/// 2026-07-04T14:38:00Z.
pub const NOON: u64 = 1_783_175_880_000;

/// The revision of a commit made at this time.
pub fn rev_at(time: u64) -> Tid {
    Tid((time * 1_000) << 10)
}

/// A frame with this type and body.
pub fn frame(t: &str, body: &Value) -> Vec<u8> {
    encode(&cbor!({"t" => t, "op" => 1}).unwrap(), body)
}

/// The encoding of a header followed by a body.
pub fn encode(header: &Value, body: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(header, &mut bytes).unwrap();
    ciborium::into_writer(body, &mut bytes).unwrap();
    bytes
}

/// An error frame.
pub fn error(name: &str) -> Vec<u8> {
    encode(
        &cbor!({"op" => -1}).unwrap(),
        &cbor!({"error" => name, "message" => "why"}).unwrap(),
    )
}

/// An `#info` frame.
pub fn info(name: &str) -> Vec<u8> {
    frame(
        "#info",
        &cbor!({"name" => name, "message" => "why"}).unwrap(),
    )
}

/// The DID of account `n`.
pub fn did(n: u64) -> String {
    let digits = b"abcdefghijklmnopqrstuvwxyz234567";
    let id = (0..24).map(|i| char::from(digits[(n >> (5 * (i % 12)) & 31) as usize]));
    format!("did:plc:{}", id.collect::<String>())
}

/// An `#identity` frame of account `seq`.
pub fn identity(seq: u64, time: u64) -> Vec<u8> {
    let (did, time) = (did(seq), Timestamp(time).rfc3339());
    let body = cbor!({"seq" => seq, "did" => did, "time" => time, "handle" => "a.example"});
    frame("#identity", &body.unwrap())
}

/// This many `#identity` frames, a second apart, the first with this `seq`.
pub fn identities(first: u64, count: u64) -> Vec<Vec<u8>> {
    (first..first + count)
        .map(|seq| identity(seq, NOON + seq * 1_000))
        .collect()
}

/// The content of a commit frame.
#[derive(Clone)]
pub struct Commit<'a> {
    pub seq: u64,
    pub time: u64,
    pub did: String,
    pub rev: Tid,
    pub since: Option<Tid>,
    /// The action and path of each operation.
    pub ops: Vec<(&'a str, &'a str)>,
    pub too_big: bool,
}

impl<'a> Commit<'a> {
    pub fn new(seq: u64, ops: &[(&'a str, &'a str)]) -> Self {
        let time = NOON + seq * 1_000;
        Self {
            seq,
            time,
            did: did(1),
            rev: rev_at(time),
            since: None,
            ops: ops.to_vec(),
            too_big: false,
        }
    }

    /// The frame. Each record contains its own path; there is no tree and no signature.
    pub fn frame(&self) -> Vec<u8> {
        let mut blocks = car_section(&[&b"\xa2eroots\x80gversion\x01"[..]]);
        let mut ops = Vec::new();
        for (action, path) in &self.ops {
            let cid = (*action != "delete").then(|| {
                let mut record = Vec::new();
                ciborium::into_writer(&cbor!({"$type" => *path}).unwrap(), &mut record).unwrap();
                let cid = Cid::dag_cbor(Sha256::digest(&record).into());
                blocks.extend(car_section(&[&cid.to_bytes(), &record]));
                link(&cid)
            });
            let cid = cid.unwrap_or(Value::Null);
            ops.push(cbor!({"action" => *action, "path" => *path, "cid" => cid}).unwrap());
        }
        let since = self.since.map_or(Value::Null, |rev| rev.to_string().into());
        let root = link(&Cid::dag_cbor([7; 32]));
        let body = cbor!({
            "seq" => self.seq, "time" => Timestamp(self.time).rfc3339(), "repo" => self.did.clone(),
            "rev" => self.rev.to_string(), "since" => since, "commit" => root,
            "blocks" => Value::Bytes(blocks), "ops" => ops, "tooBig" => self.too_big,
            "rebase" => false, "blobs" => Vec::<Value>::new()
        });
        frame("#commit", &body.unwrap())
    }
}

fn link(cid: &Cid) -> Value {
    let mut bytes = vec![0];
    bytes.extend(cid.to_bytes());
    Value::Tag(42, Box::new(Value::Bytes(bytes)))
}

fn car_section(parts: &[&[u8]]) -> Vec<u8> {
    let mut length: usize = parts.iter().map(|part| part.len()).sum();
    let mut section = Vec::new();
    while length >= 0x80 {
        section.push(length as u8 | 0x80);
        length >>= 7;
    }
    section.push(length as u8);
    section.extend(parts.concat());
    section
}

/// The path of a file of the fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// 150 frames of the public relay.
pub fn relay() -> Vec<Vec<u8>> {
    let path = fixture("vectors/relay-2026-07-04/frames.bin.zst");
    let file = std::fs::File::open(path).unwrap();
    split(&zstd::decode_all(file).unwrap(), u32::from_le_bytes)
}

/// The frames in the bytes of a recording.
pub fn split(mut rest: &[u8], length: fn([u8; 4]) -> u32) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((prefix, after)) = rest.split_first_chunk() {
        let (frame, after) = after.split_at(length(*prefix) as usize);
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

/// The bytes of a recording: each frame follows its length.
pub fn join(frames: &[Vec<u8>], length: fn(u32) -> [u8; 4]) -> Vec<u8> {
    let with_length = frames.iter().flat_map(|frame| {
        let prefix = length(frame.len() as u32);
        prefix.into_iter().chain(frame.iter().copied())
    });
    with_length.collect()
}
