//! Messages that change nothing: garbage, repetitions, commits that nobody made.

use skytide_core::event::{Action, Body, DropReason, Op};
use skytide_core::id::{Cid, Rkey, Tid};

use super::Scene;
use crate::bad::Kind;
use crate::car::Car;
use crate::cbor::{Cbor, Digest, digest};
use crate::content::Content;
use crate::envelope::{self, Line};
use crate::frame::Frame;
use crate::truth::Expected;
use crate::world::World;

const LIKE: &str = "app.bsky.feed.like";
/// More than the protocol allows, by one.
const BLOCKS_BYTES: usize = 2_000_001;
const OPS: usize = 201;

pub(super) fn noise(
    world: &mut World,
    scene: &Scene<'_>,
    account: u32,
    last: [Option<&Frame>; 2],
) -> Frame {
    let kind = scene.plan.bad.expect("noise is of a kind");
    let unreadable = |reason| Expected::of("unreadable").dropping(reason);
    let (bytes, expected) = match kind {
        Kind::SeqRepeated | Kind::SeqBack => {
            return again(scene, last[usize::from(kind == Kind::SeqBack)]);
        }
        Kind::TypeUnknown => {
            let expected = Expected::of("other").dropping(DropReason::FrameType);
            (unknown_type(scene), expected)
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
        _ => return forged(world, scene, account, kind),
    };
    scene.frame(bytes, expected)
}

/// A frame of before. It belongs behind the newest one.
fn again(scene: &Scene<'_>, frame: Option<&Frame>) -> Frame {
    let frame = frame.expect("good frames came right before");
    let expected = Expected::of(frame.expected.kind).dropping(DropReason::SeqRepeated);
    let mut again = scene.frame(Vec::new(), expected);
    again.bytes = frame.bytes.clone();
    again
}

fn unknown_type(scene: &Scene<'_>) -> Vec<u8> {
    let mut cbor = envelope::Header::Usual.write("#labels");
    cbor.map(3).text("seq").uint(scene.plan.seq);
    cbor.text("time").text(&scene.stamp).text("labels").list(0);
    cbor.0
}

/// A commit that its account never made: one like, under a tree of which nothing is shown.
struct Forgery {
    did: String,
    rev: Tid,
    inner_rev: Tid,
    record: Vec<u8>,
}

impl Forgery {
    fn new(world: &World, scene: &Scene<'_>, account: u32, kind: Kind) -> Self {
        let holder = &world.accounts[account as usize];
        let now = Tid(scene.plan.now << 10);
        let rev = match kind {
            Kind::RevRepeated => holder.rev,
            Kind::RevFuture => Tid((scene.plan.now + 3_600_000_000) << 10),
            _ => Tid(now.0.max(holder.rev.0 + (1 << 10))),
        };
        let mut record = Cbor::default();
        record
            .map(2)
            .text("$type")
            .text(LIKE)
            .text("createdAt")
            .text(&scene.stamp);
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

    /// Its commit object, signed by nobody.
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

    /// The commit's hash, and the CAR.
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

fn forged(world: &World, scene: &Scene<'_>, account: u32, kind: Kind) -> Frame {
    let forgery = Forgery::new(world, scene, account, kind);
    let (commit, blocks) = forgery.blocks(kind);
    let rkey: Rkey = Tid(scene.plan.now << 10 | 1_000).into();
    let line = |count: usize| Line {
        action: "create",
        path: match count {
            0 => format!("{LIKE}/{rkey}"),
            _ => format!("{LIKE}/{rkey}-{count}"),
        },
        cid: Some(digest(&forgery.record)),
        prev: None,
    };
    let ops = if kind == Kind::CommitOps { OPS } else { 1 };
    let rev = forgery.rev.to_string();
    let message = envelope::Commit {
        ops: (0..ops).map(line).collect(),
        rev: if kind == Kind::RevBad {
            "not-a-tid"
        } else {
            &rev
        },
        seq: scene.plan.seq,
        repo: match kind {
            Kind::BodyShape => None,
            Kind::DidBad => Some("did:plc:"),
            _ => Some(&forgery.did),
        },
        time: &scene.stamp,
        blocks: Some(&blocks),
        commit,
        ..envelope::Commit::default()
    };
    let mut bytes = message.write();
    match kind {
        Kind::TrailingObject => bytes.push(0xa0),
        // Behind the header, and before anything can be read of it.
        Kind::BodyCut => bytes.truncate(20),
        _ => {}
    }
    let mut frame = scene.frame(bytes, Expected::of("#commit").dropping(reason(kind)));
    if kind == Kind::RevRepeated {
        let op = Op {
            rev: forgery.rev,
            since: None,
            action: Action::Create,
            collection: LIKE.parse().expect("an NSID"),
            rkey,
            cid: Some(Cid::dag_cbor(digest(&forgery.record))),
            record: Some(forgery.record.into()),
        };
        let did = world.accounts[account as usize].identity.did.clone();
        frame.events.push(scene.event(world, &did, 0, Body::Op(op)));
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
        _ => unreachable!("{kind} is no forged commit"),
    }
}
