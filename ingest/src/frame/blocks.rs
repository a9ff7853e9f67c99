//! The blocks of a commit: the records that its operations name, and the signed commit.

use ring::digest::{SHA256, digest};
use skytide_core::cbor::{Error, Reader, Strict};
use skytide_core::event::DropReason;
use skytide_core::id::{Cid, Did, Tid};
use smallvec::SmallVec;

use super::Op;
use crate::car::{Block, Car};

/// Gives each operation its record and checks the CIDs: of these records, or of `every` block. Reads the CAR to its
/// end in any case, as one that breaks off is refused.
pub(super) fn attach<'a>(
    ops: &mut [Op<'a>],
    bytes: &'a [u8],
    every: bool,
) -> Result<(), DropReason> {
    let mut wanted: SmallVec<[(u64, usize); 4]> = ops
        .iter()
        .enumerate()
        .filter_map(|(i, op)| Some((order(op.cid.as_ref()?.digest()), i)))
        .collect();
    wanted.sort_unstable();
    for block in Car::open(bytes).map_err(|_| DropReason::Car)? {
        let block = block.map_err(|_| DropReason::Car)?;
        let mut check = every;
        if let Some(cid) = Cid::from_bytes(block.cid) {
            let first = wanted.partition_point(|&(at, _)| at < order(cid.digest()));
            let alike = wanted[first..]
                .iter()
                .take_while(|&&(at, _)| at == order(cid.digest()));
            for &(_, i) in alike {
                if ops[i].cid == Some(cid) && ops[i].record.is_none() {
                    ops[i].record = Some(block.data);
                    check = true;
                }
            }
        }
        if check {
            check_hash(&block)?;
        }
    }
    Ok(())
}

/// Where a digest stands among others: its first eight bytes are nearly always enough to tell it from all of them.
fn order(digest: &[u8; 32]) -> u64 {
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

fn check_hash(block: &Block<'_>) -> Result<(), DropReason> {
    let cid = Cid::from_bytes(block.cid).ok_or(DropReason::CidMismatch)?;
    match digest(&SHA256, block.data).as_ref() == cid.digest() {
        true => Ok(()),
        false => Err(DropReason::CidMismatch),
    }
}

/// Checks that the CAR's root is `commit` and that this block agrees with the frame. The hashes are [`attach`]'s.
pub(super) fn check_commit(
    bytes: &[u8],
    commit: Option<Cid>,
    did: &Did,
    rev: Tid,
) -> Result<(), DropReason> {
    let car = Car::open(bytes).map_err(|_| DropReason::Car)?;
    let root = car.root().ok_or(DropReason::CommitRoot)?;
    if commit != Some(root) {
        return Err(DropReason::CommitRoot);
    }
    agree(car, root, did, rev)
}

/// Checks the blocks of a `#sync`: every hash, and the signed commit that is the root.
pub(super) fn check_sync(bytes: &[u8], did: &Did, rev: Tid) -> Result<(), DropReason> {
    attach(&mut [], bytes, true)?;
    let car = Car::open(bytes).map_err(|_| DropReason::Car)?;
    let root = car.root().ok_or(DropReason::CommitRoot)?;
    agree(car, root, did, rev)
}

/// Checks that the block `root` is a signed commit of version 3 and of this account and revision.
fn agree(mut car: Car<'_>, root: Cid, did: &Did, rev: Tid) -> Result<(), DropReason> {
    let block = car
        .find_map(|block| block.ok().filter(|block| block.cid == root.to_bytes()))
        .ok_or(DropReason::CommitInner)?;
    let inner = read_commit(block.data).map_err(|_| DropReason::CommitInner)?;
    let same = inner.version == Some(3)
        && inner.did.and_then(|text| text.parse().ok()).as_ref() == Some(did)
        && inner.rev.and_then(|text| text.parse().ok()) == Some(rev);
    match same {
        true => Ok(()),
        false => Err(DropReason::CommitInner),
    }
}

/// What a signed commit says (<https://atproto.com/specs/repository#commit-objects>).
#[derive(Default)]
struct Inner<'a> {
    version: Option<i64>,
    did: Option<&'a str>,
    rev: Option<&'a str>,
}

fn read_commit(bytes: &[u8]) -> Result<Inner<'_>, Error> {
    let mut inner = Inner::default();
    let mut reader = Reader::<Strict>::new(bytes);
    reader.map(|reader, key| {
        match key {
            "did" => inner.did = reader.text()?,
            "rev" => inner.rev = reader.text()?,
            "version" => inner.version = reader.integer()?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    reader.end()?;
    Ok(inner)
}
