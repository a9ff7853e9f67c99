//! A message of the log encoded by serde's derive and ciborium: the alternative that was rejected
//! (see `docs/log.md`).

use serde::{Deserialize, Serialize};

/// The fields of an operation.
#[derive(Serialize, Deserialize)]
pub struct Wire {
    kind: String,
    host: String,
    seq: u64,
    #[serde(skip_serializing_if = "is_zero", default)]
    index: u32,
    time: u64,
    #[serde(with = "serde_bytes")]
    did: Vec<u8>,
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    collection: String,
    rkey: u64,
    #[serde(with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    cid: Option<Vec<u8>>,
    #[serde(with = "serde_bytes", skip_serializing_if = "Option::is_none")]
    record: Option<Vec<u8>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Encodes as CBOR.
pub fn encode(wire: &Wire, buffer: &mut Vec<u8>) {
    ciborium::into_writer(wire, buffer).expect("a vector accepts every byte");
}

/// Decodes the CBOR.
pub fn decode(bytes: &[u8]) -> Wire {
    ciborium::from_reader(bytes).expect("valid CBOR")
}
