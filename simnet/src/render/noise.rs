//! Renders messages that change nothing: garbage, repetitions, forged commits.

use skytide_core::event::{Action, Body, DropReason, Op};
use skytide_core::id::{Cid, Rkey, Tid};

use super::FrameContext;
use crate::car::Car;
use crate::cbor::{Cbor, Digest, digest};
use crate::content::Content;
use crate::envelope::{self, CommitOp};
use crate::expected::Expected;
use crate::frame::Frame;
use crate::malformed::Kind;
use crate::world::World;

const LIKE: &str = "app.bsky.feed.like";
/// The protocol's limit plus one.
const BLOCKS_BYTES: usize = 2_000_001;
const OPS: usize = 201;

/// Renders the message of a malformed kind. `last` are the newest well-formed frame and the one
/// before it.
pub(super) fn noise(
    world: &mut World,
    context: &FrameContext<'_>,
    account: u32,
    last: [Option<&Frame>; 2],
) -> Frame {
    let kind = context.plan.malformed.expect("a noise frame has a kind");
    let unreadable = |reason| Expected::of("unreadable").dropping(reason);
    let (bytes, expected) = match kind {
        Kind::SeqRepeated | Kind::SeqBack => {
            return repeated(context, last[usize::from(kind == Kind::SeqBack)]);
        }
        Kind::TypeUnknown => {
            let expected = Expected::of("other").dropping(DropReason::FrameType);
            (unknown_type(context), expected)
        }
        Kind::OpUnknown => {
            let mut cbor = Cbor::default();
            cbor.map(2)
                .text("t")
                .text("#commit")
                .text("op")
                .uint(2)
                .map(0);
            (cbor.0, unreadable(DropReason::FrameOp))
        }
        Kind::HeaderGarbage => (
            b"<html>busy</html>".to_vec(),
            unreadable(DropReason::FrameCbor),
        ),
        Kind::HeaderShape => {
            let mut cbor = Cbor::default();
            cbor.map(1).text("t").text("#commit").map(0);
            (cbor.0, unreadable(DropReason::FrameShape))
        }
        Kind::InfoOutdated => {
            let name = "OutdatedCursor";
            let expected = Expected {
                info: Some(name),
                ..Expected::of("#info")
            };
            (
                envelope::info(name, Some("older messages are gone")),
                expected,
            )
        }
        Kind::ErrorFrame => {
            let expected = Expected {
                error: Some("other"),
                ..Expected::of("error").dropping(DropReason::FrameError)
            };
            let message = Some("something went wrong");
            (
                envelope::error("InternalError", message, Some("#info")),
                expected,
            )
        }
        _ => return forged(world, context, account, kind),
    };
    context.frame(bytes, expected)
}

/// An earlier frame, sent again after the newest one.
fn repeated(context: &FrameContext<'_>, frame: Option<&Frame>) -> Frame {
    let frame = frame.expect("the last frames were well-formed");
    let expected = Expected::of(frame.expected.kind).dropping(DropReason::SeqRepeated);
    let mut again = context.frame(Vec::new(), expected);
    again.bytes = frame.bytes.clone();
    again
}

fn unknown_type(context: &FrameContext<'_>) -> Vec<u8> {
    let mut cbor = envelope::Header::Usual.write("#labels");
    cbor.map(3).text("seq").uint(context.plan.seq);
    cbor.text("time")
        .text(&context.stamp)
        .text("labels")
        .list(0);
    cbor.0
}

/// A commit that its account never made: one like, and a tree without any of its nodes.
struct ForgedCommit {
    did: String,
    rev: Tid,
    inner_rev: Tid,
    record: Vec<u8>,
}

impl ForgedCommit {
    fn new(world: &World, context: &FrameContext<'_>, account: u32, kind: Kind) -> Self {
        let holder = &world.accounts[account as usize];
        let now = Tid(context.plan.now << 10);
        let rev = match kind {
            Kind::RevRepeated => holder.rev,
            Kind::RevFuture => Tid((context.plan.now + 3_600_000_000) << 10),
            _ => Tid(now.0.max(holder.rev.0 + (1 << 10))),
        };
        let mut record = Cbor::default();
        record
            .map(2)
            .text("$type")
            .text(LIKE)
            .text("createdAt")
            .text(&context.stamp);
        Self {
            did: holder.identity.did.to_string(),
            rev,
            inner_rev: if kind == Kind::CommitInner {
                Tid(rev.0 + (5 << 10))
            } else {
                rev
            },
            record: record.0,
        }
    }

    /// The commit object, with a signature of zeros.
    fn commit(&self) -> Vec<u8> {
        let mut cbor = Cbor::default();
        cbor.map(6)
            .text("did")
            .text(&self.did)
            .text("rev")
            .text(&self.inner_rev.to_string());
        cbor.text("sig").bytes(&[0; 64]).text("data").link(&[9; 32]);
        cbor.text("prev").null().text("version").uint(3);
        cbor.0
    }

    /// The hash of the commit, and the CAR.
    fn blocks(&self, kind: Kind) -> (Digest, Vec<u8>) {
        let block = self.commit();
        let commit = digest(&block);
        let record = digest(&self.record);
        let root = if kind == Kind::CommitRoot {
            record
        } else {
            commit
        };
        let mut car = Car::new(&root);
        match kind {
            Kind::CidMismatch => {
                let mut other = self.record.clone();
                *other.last_mut().expect("a record has bytes") ^= 1;
                car.block(&record, &other);
            }
            _ => car.block(&record, &self.record),
        }
        if kind == Kind::CommitBytes {
            let filling = vec![0x40; BLOCKS_BYTES];
            car.block(&digest(&filling), &filling);
        }
        car.block(&commit, &block);
        let mut bytes = car.into_bytes();
        if kind == Kind::CarBroken {
            bytes.truncate(bytes.len() - 20);
        }
        (commit, bytes)
    }
}

fn forged(world: &World, context: &FrameContext<'_>, account: u32, kind: Kind) -> Frame {
    let forged = ForgedCommit::new(world, context, account, kind);
    let (commit, blocks) = forged.blocks(kind);
    let rkey: Rkey = Tid(context.plan.now << 10 | 1_000).into();
    let op = |index: usize| CommitOp {
        action: "create",
        path: match index {
            0 => format!("{LIKE}/{rkey}"),
            _ => format!("{LIKE}/{rkey}-{index}"),
        },
        cid: Some(digest(&forged.record)),
        prev: None,
    };
    let ops = if kind == Kind::CommitOps { OPS } else { 1 };
    let rev = forged.rev.to_string();
    let message = envelope::Commit {
        ops: (0..ops).map(op).collect(),
        rev: if kind == Kind::RevBad {
            "not-a-tid"
        } else {
            &rev
        },
        seq: context.plan.seq,
        repo: match kind {
            Kind::BodyShape => None,
            Kind::DidBad => Some("did:plc:"),
            _ => Some(&forged.did),
        },
        time: &context.stamp,
        blocks: Some(&blocks),
        commit,
        ..envelope::Commit::default()
    };
    let mut bytes = message.write();
    match kind {
        Kind::TrailingObject => bytes.push(0xa0),
        // Within the body, before the first field ends.
        Kind::BodyCut => bytes.truncate(20),
        _ => {}
    }
    let mut frame = context.frame(bytes, Expected::of("#commit").dropping(reason(kind)));
    // Ingest does not know the repo's revision, so it logs this commit. The dataflow drops it.
    if kind == Kind::RevRepeated {
        let op = Op {
            rev: forged.rev,
            since: None,
            action: Action::Create,
            collection: LIKE.parse().expect("an NSID"),
            rkey,
            cid: Some(Cid::dag_cbor(digest(&forged.record))),
            record: Some(forged.record.into()),
        };
        let did = world.accounts[account as usize].identity.did.clone();
        frame
            .events
            .push(context.event(world, &did, 0, Body::Op(op)));
        frame.contents.push(Content::Unknown);
        frame.did = Some(did);
    }
    frame
}

fn reason(kind: Kind) -> DropReason {
    match kind {
        Kind::BodyCut | Kind::TrailingObject => DropReason::FrameCbor,
        Kind::BodyShape => DropReason::FrameShape,
        Kind::DidBad => DropReason::Did,
        Kind::RevBad => DropReason::Rev,
        Kind::RevFuture => DropReason::RevFuture,
        Kind::RevRepeated => DropReason::RevRepeated,
        Kind::CommitBytes | Kind::CommitOps => DropReason::CommitSize,
        Kind::CarBroken => DropReason::Car,
        Kind::CidMismatch => DropReason::CidMismatch,
        Kind::CommitRoot => DropReason::CommitRoot,
        Kind::CommitInner => DropReason::CommitInner,
        _ => unreachable!("{kind} is not a forged commit"),
    }
}
