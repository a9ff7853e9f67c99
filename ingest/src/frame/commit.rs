//! `#commit`: its operations, each judged alone.

use skytide_core::cbor::{Error, Loose, Reader};
use skytide_core::event::{Action, DropReason};
use skytide_core::id::{Cid, is_nsid, is_rkey};
use smallvec::SmallVec;

use super::body::{Body, parse_did};
use super::{BLOCKS_BYTES_MAX, Commit, Frame, OPS_MAX, Op, Verify, blocks};

/// The operations as they stand in the body, before the blocks are looked at.
#[derive(Default)]
pub(super) struct Ops<'a> {
    /// How many there are, good and bad. `None`: the list is missing or has something else than
    /// maps in it.
    count: Option<u32>,
    good: SmallVec<[Op<'a>; 1]>,
    drops: SmallVec<[DropReason; 8]>,
}

impl<'a> Ops<'a> {
    pub(super) fn read(&mut self, reader: &mut Reader<'a, Loose>) -> Result<(), Error> {
        let (mut count, mut maps) = (0, 0);
        let list = reader.list(|reader| {
            if count < OPS_MAX {
                maps += u32::from(self.read_one(reader, count)?);
            } else {
                reader.skip()?;
                maps += 1;
            }
            count += 1;
            Ok(())
        })?;
        self.count = list.and((maps == count).then_some(count));
        Ok(())
    }

    /// Reads one operation; whether it is a map.
    fn read_one(&mut self, reader: &mut Reader<'a, Loose>, index: u32) -> Result<bool, Error> {
        let (mut action, mut path, mut cid) = (None, None, None);
        let map = reader.map(|reader, key| {
            match key {
                b"cid" => cid = reader.link()?,
                b"path" => path = reader.text()?,
                b"action" => action = reader.text()?,
                _ => reader.skip()?,
            }
            Ok(())
        })?;
        match judge(index, action, path, cid) {
            Ok(op) => {
                if op.action != Action::Delete && op.cid.is_none() {
                    self.drops.push(DropReason::OpCid);
                }
                self.good.push(op);
            }
            Err(reason) => self.drops.push(reason),
        }
        Ok(map.is_some())
    }
}

fn judge<'a>(
    index: u32,
    action: Option<&str>,
    path: Option<&'a str>,
    cid: Option<Cid>,
) -> Result<Op<'a>, DropReason> {
    let action = match action {
        Some("create") => Action::Create,
        Some("update") => Action::Update,
        Some("delete") => Action::Delete,
        _ => return Err(DropReason::OpAction),
    };
    let (collection, rkey) = path
        .and_then(|path| path.split_once('/'))
        .unwrap_or_default();
    if !(is_collection(collection) && is_rkey(rkey)) {
        return Err(DropReason::OpPath);
    }
    let cid = match action {
        Action::Delete => None,
        Action::Create | Action::Update => cid.filter(Cid::is_dag_cbor),
    };
    Ok(Op {
        index,
        action,
        collection,
        rkey,
        cid,
        record: None,
    })
}

fn is_collection(text: &str) -> bool {
    matches!(
        text,
        "app.bsky.feed.like"
            | "app.bsky.feed.post"
            | "app.bsky.feed.repost"
            | "app.bsky.graph.follow"
    ) || is_nsid(text)
}

/// Checks a commit and gives its operations their records.
pub(super) fn check<'a>(body: &mut Body<'a>, verify: Verify) -> Result<Frame<'a>, DropReason> {
    let (seq, time) = (body.seq()?, body.time());
    let (did, rev) = (parse_did(body.repo)?, body.rev()?);
    let mut ops = std::mem::take(&mut body.ops);
    let count = ops.count.ok_or(DropReason::FrameShape)?;
    let bytes = body.blocks.unwrap_or_default();
    if count > OPS_MAX || bytes.len() > BLOCKS_BYTES_MAX {
        return Err(DropReason::CommitSize);
    }
    // The flag is deprecated: only what is missing counts (https://atproto.com/specs/sync).
    let too_big = match count {
        0 => body.too_big == Some(true),
        _ => bytes.is_empty(),
    };
    if too_big {
        ops = Ops::default();
    } else if !bytes.is_empty() {
        let root = blocks::attach(&mut ops.good, bytes, verify == Verify::Blocks)?;
        if verify == Verify::Blocks {
            if root.cid.is_none() || root.cid != body.commit {
                return Err(DropReason::CommitRoot);
            }
            root.agrees(&did, rev)?;
        }
        let missing = ops
            .good
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
        ops: ops.good,
        drops: ops.drops,
    }))
}
