//! Checks a `#commit` and assigns the records in its blocks to its operations.

use skytide_core::event::DropReason;

use super::body::{Body, parse_did};
use super::ops::OpList;
use super::{BLOCKS_BYTES_MAX, Commit, Frame, OPS_MAX, Verify, blocks};

/// Checks a commit and assigns records to its operations.
pub(super) fn check<'a>(body: &mut Body<'a>, verify: Verify) -> Result<Frame<'a>, DropReason> {
    let (seq, time) = (body.seq()?, body.time());
    let (did, rev) = (parse_did(body.repo)?, body.rev()?);
    let mut ops = std::mem::take(&mut body.ops);
    let count = ops.count.ok_or(DropReason::FrameShape)?;
    let bytes = body.blocks.unwrap_or_default();
    if count > OPS_MAX || bytes.len() > BLOCKS_BYTES_MAX {
        return Err(DropReason::CommitSize);
    }
    // `tooBig` is deprecated and counts only without operations. With operations, a commit is too
    // big if its blocks are missing (https://atproto.com/specs/sync).
    let too_big = match count {
        0 => body.too_big == Some(true),
        _ => bytes.is_empty(),
    };
    if too_big {
        ops = OpList::default();
    } else if !bytes.is_empty() {
        let root = blocks::attach_records(&mut ops.valid, bytes, verify == Verify::Blocks)?;
        if verify == Verify::Blocks {
            if root.cid.is_none() || root.cid != body.commit {
                return Err(DropReason::CommitRoot);
            }
            root.check_commit(&did, rev)?;
        }
        let missing = ops
            .valid
            .iter()
            .filter(|op| op.cid.is_some() && op.record.is_none());
        ops.drops.extend(missing.map(|_| DropReason::RecordMissing));
    }
    Ok(Frame::Commit(Commit {
        seq,
        time,
        did,
        rev,
        since: body.since.and_then(|since| since.parse().ok()),
        too_big,
        ops: ops.valid,
        drops: ops.drops,
    }))
}
