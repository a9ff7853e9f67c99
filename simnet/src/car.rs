//! Writer for CAR version 1 (<https://ipld.io/specs/transport/car/carv1/>).

use skytide_core::id::Cid;

use crate::cbor::{Cbor, Digest};

/// A CAR under construction.
#[derive(Clone, Debug)]
pub struct Car(Vec<u8>);

/// The binary CID of a DAG-CBOR block is this prefix followed by the block's SHA-256.
const CID_HEAD: [u8; 4] = [1, 0x71, 0x12, 0x20];

impl Car {
    /// A CAR with one root and no blocks.
    pub fn new(root: &Digest) -> Self {
        Self::with_roots(&[*root])
    }

    /// A CAR with any number of roots and no blocks.
    pub fn with_roots(roots: &[Digest]) -> Self {
        let mut header = Cbor::with_capacity(64);
        header.map(2).text("roots").list(roots.len());
        for root in roots {
            header.link(root);
        }
        header.text("version").uint(1);
        let mut car = Self(Vec::with_capacity(6_000));
        car.length(header.0.len());
        car.0.extend_from_slice(&header.0);
        car
    }

    /// Appends a DAG-CBOR block under a digest. The digest is not checked, so a caller can build a
    /// malformed CAR.
    pub fn block(&mut self, digest: &Digest, data: &[u8]) {
        self.length(Cid::LENGTH + data.len());
        self.0.extend(CID_HEAD);
        self.0.extend_from_slice(digest);
        self.0.extend_from_slice(data);
    }

    /// The bytes of the CAR.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends a length as unsigned LEB128.
    fn length(&mut self, mut length: usize) {
        while length >= 0x80 {
            self.0.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.0.push(length as u8);
    }
}
