//! Reads the blocks of a commit: the records that its operations name, and the signed commit.

use sha2::{Digest, Sha256};
use skytide_core::cbor::{Error, Reader, Strict};
use skytide_core::event::DropReason;
use skytide_core::id::{Cid, Did, Tid};
use smallvec::SmallVec;

use super::Op;
use crate::car::{Block, Car};

/// The root of a CAR.
pub(super) struct Root<'a> {
    /// The CID of the CAR's first root.
    pub(super) cid: Option<Cid>,
    /// The block of that CID, if every block was checked.
    block: Option<&'a [u8]>,
}

/// Assigns each operation its record. Checks the CIDs of these records, or of `every` block. The
/// CAR is always read to its end, because a truncated one is refused.
pub(super) fn attach_records<'a>(
    ops: &mut [Op<'a>],
    bytes: &'a [u8],
    every: bool,
) -> Result<Root<'a>, DropReason> {
    let mut ops_by_digest: SmallVec<[(u64, usize); 4]> = ops
        .iter()
        .enumerate()
        .filter_map(|(i, op)| Some((sort_key(op.cid.as_ref()?.digest()), i)))
        .collect();
    ops_by_digest.sort_unstable();
    let car = Car::open(bytes).map_err(|_| DropReason::Car)?;
    let (cid, mut block) = (car.root(), None);
    for next in car {
        let next = next.map_err(|_| DropReason::Car)?;
        let Some(digest) = dag_cbor_digest(next.cid) else {
            // This is a blob or a block of another network, which no operation can name.
            if every {
                check_foreign(&next)?;
            }
            continue;
        };
        let used = assign(ops, &ops_by_digest, digest, next.data);
        if (every || used) && Sha256::digest(next.data).as_slice() != digest {
            return Err(DropReason::CidMismatch);
        }
        if every && cid.is_some_and(|root| root.is_dag_cbor() && root.digest() == digest) {
            block = Some(next.data);
        }
    }
    Ok(Root { cid, block })
}

/// Assigns a block to the operations that name it and have no record yet. Returns whether there are
/// any.
#[inline]
fn assign<'a>(
    ops: &mut [Op<'a>],
    ops_by_digest: &[(u64, usize)],
    digest: &[u8; 32],
    data: &'a [u8],
) -> bool {
    let at = sort_key(digest);
    let first = match ops_by_digest {
        [] => return false,
        [(only, _)] => usize::from(*only != at),
        _ => ops_by_digest.partition_point(|&(other, _)| other < at),
    };
    let mut assigned = false;
    for &(_, i) in ops_by_digest[first..]
        .iter()
        .take_while(|&&(other, _)| other == at)
    {
        let op = &mut ops[i];
        if op.record.is_none() && op.cid.is_some_and(|cid| cid.digest() == digest) {
            op.record = Some(data);
            assigned = true;
        }
    }
    assigned
}

/// The sort key of a digest: its first eight bytes, which are nearly always distinct.
#[inline]
fn sort_key(digest: &[u8; 32]) -> u64 {
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

/// The SHA-256 in the binary CID of a DAG-CBOR block.
#[inline]
fn dag_cbor_digest(cid: &[u8]) -> Option<&[u8; 32]> {
    match cid {
        [1, 0x71, 0x12, 0x20, digest @ ..] => digest.try_into().ok(),
        _ => None,
    }
}

/// Checks the hash of a block that is not DAG-CBOR. A CID that the protocol does not know is
/// refused.
fn check_foreign(block: &Block<'_>) -> Result<(), DropReason> {
    let cid = Cid::from_bytes(block.cid).ok_or(DropReason::CidMismatch)?;
    if Sha256::digest(block.data).as_slice() != cid.digest() {
        return Err(DropReason::CidMismatch);
    }
    Ok(())
}

/// Checks the blocks of a `#sync`: every hash, and the signed commit that is the root.
pub(super) fn check_sync(bytes: &[u8], did: &Did, rev: Tid) -> Result<(), DropReason> {
    let root = attach_records(&mut [], bytes, true)?;
    root.cid.ok_or(DropReason::CommitRoot)?;
    root.check_commit(did, rev)
}

impl Root<'_> {
    /// Checks that the root is a signed commit of version 3, of this account and revision.
    pub(super) fn check_commit(&self, did: &Did, rev: Tid) -> Result<(), DropReason> {
        let inner = self.block.and_then(|block| read_commit(block).ok());
        let inner = inner.ok_or(DropReason::CommitInner)?;
        let same = inner.version == Some(3)
            && inner.did.and_then(|text| text.parse().ok()).as_ref() == Some(did)
            && inner.rev.and_then(|text| text.parse().ok()) == Some(rev);
        if !same {
            return Err(DropReason::CommitInner);
        }
        Ok(())
    }
}

/// The fields of a signed commit (<https://atproto.com/specs/repository#commit-objects>).
#[derive(Default)]
struct SignedCommit<'a> {
    version: Option<i64>,
    did: Option<&'a str>,
    rev: Option<&'a str>,
}

fn read_commit(bytes: &[u8]) -> Result<SignedCommit<'_>, Error> {
    let mut inner = SignedCommit::default();
    let mut reader = Reader::<Strict>::new(bytes);
    reader.map(|reader, key| {
        match key {
            b"did" => inner.did = reader.text()?,
            b"rev" => inner.rev = reader.text()?,
            b"version" => inner.version = reader.integer()?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(inner)
}
