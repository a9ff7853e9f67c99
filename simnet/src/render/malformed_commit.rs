//! How a kind of malformed input changes a real commit, and the counts expected for it.

use skytide_core::event::{Action, DropReason};

use super::rendered_op::RenderedOp;
use crate::cbor::{Cbor, Digest, digest};
use crate::envelope::CommitOp;
use crate::expected::Expected;
use crate::malformed::Kind;

/// The counts expected for a commit.
pub(super) fn expected(kind: Option<Kind>, made: &[RenderedOp]) -> Expected {
    let expected = Expected::of("#commit");
    let whole = match kind {
        Some(Kind::TooBig | Kind::BlocksAbsent) => {
            return expected.dropping(DropReason::CommitTooBig);
        }
        Some(Kind::OpPath) => expected.dropping(DropReason::OpPath),
        Some(Kind::OpAction) => expected.dropping(DropReason::OpAction),
        Some(Kind::OpCid) => expected.dropping(DropReason::OpCid),
        Some(Kind::PathTwice | Kind::PathGone) => Expected {
            paths_repeated: 1,
            ..expected
        },
        _ => expected,
    };
    made.iter()
        .fold(whole, |expected, made| match (made.action, &made.bytes) {
            (Action::Delete, _) if !made.rec.is_streamed() => {
                expected.dropping(DropReason::DeleteUnknown)
            }
            (Action::Delete, _) => expected,
            (_, None) => expected.dropping(DropReason::RecordMissing),
            (_, Some(_)) => match made.rec.fault() {
                Some(Kind::RecordList) => expected.dropping(DropReason::RecordShape),
                Some(Kind::KeyLength) => expected.dropping(DropReason::KeyLength),
                Some(fault) if fault.is_unreadable() => expected.dropping(DropReason::RecordCbor),
                _ => expected,
            },
        })
}

/// Collection and key of the operation without a CID.
pub(super) const CIDLESS: (&str, &str) = ("app.bsky.feed.like", "3kbad2222aab2");

/// A malformed operation, sent beside the valid one.
pub(super) fn malformed_op(kind: Option<Kind>) -> Option<CommitOp> {
    let (action, path, cid) = match kind? {
        Kind::OpPath => ("create", "notAnNsid/..".to_owned(), Some([7; 32])),
        Kind::OpAction => {
            let path = "app.bsky.feed.like/3kbad2222aaa2".to_owned();
            ("replace", path, Some([7; 32]))
        }
        Kind::OpCid => ("create", format!("{}/{}", CIDLESS.0, CIDLESS.1), None),
        _ => return None,
    };
    let prev = None;
    Some(CommitOp {
        action,
        path,
        cid,
        prev,
    })
}

/// Adds blocks that a consumer ignores.
pub(super) fn add_extra_blocks(blocks: &mut Vec<(Digest, Vec<u8>)>, kind: Option<Kind>) {
    match kind {
        Some(Kind::BlocksTwice) => blocks.extend(blocks.clone().into_iter().rev()),
        Some(Kind::BlocksSpare) => {
            let mut spare = Cbor::default();
            spare.map(1).text("spare").boolean(true);
            blocks.insert(0, (digest(&spare.0), spare.0));
        }
        Some(Kind::TreeBomb) => {
            const NODES: usize = 1_000;
            let mut below: Option<Digest> = None;
            for _ in 0..NODES {
                let mut node = Cbor::default();
                node.map(2)
                    .text("e")
                    .list(0)
                    .text("l")
                    .link_or_null(below.as_ref());
                let hash = digest(&node.0);
                blocks.push((hash, node.0));
                below = Some(hash);
            }
        }
        _ => {}
    }
}
