//! The operations of a `#commit`, each checked by itself.

use skytide_core::cbor::{Error, Loose, Reader};
use skytide_core::event::{Action, DropReason};
use skytide_core::id::{Cid, is_nsid, is_rkey};
use smallvec::SmallVec;

use super::{OPS_MAX, Op};

/// The operations of a body, before their records are assigned.
#[derive(Default)]
pub(super) struct OpList<'a> {
    /// The number of operations, valid or not. `None` if the list is missing or contains anything
    /// but maps.
    pub(super) count: Option<u32>,
    pub(super) valid: SmallVec<[Op<'a>; 1]>,
    pub(super) drops: SmallVec<[DropReason; 8]>,
}

impl<'a> OpList<'a> {
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

    /// Reads one operation. Returns whether it is a map.
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
        match check_op(index, action, path, cid) {
            Ok(op) => {
                if op.action != Action::Delete && op.cid.is_none() {
                    self.drops.push(DropReason::OpCid);
                }
                self.valid.push(op);
            }
            Err(reason) => self.drops.push(reason),
        }
        Ok(map.is_some())
    }
}

fn check_op<'a>(
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
