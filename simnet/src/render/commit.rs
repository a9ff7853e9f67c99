//! Renders real commits.

use std::collections::BTreeMap;

use skytide_core::event::{Action, Body, Moved, Op};
use skytide_core::id::{Cid, Tid};

use super::malformed_commit::{CIDLESS, add_extra_blocks, expected, malformed_op};
use super::rendered_op::RenderedOp;
use super::{FrameContext, SingleEvent, commit_block, root, take_tree};
use crate::car::Car;
use crate::cbor::{Digest, digest};
use crate::content::Content;
use crate::envelope::{self, CommitOp, Header};
use crate::frame::Frame;
use crate::malformed::Kind;
use crate::mst::Tree;
use crate::record;
use crate::world::accounts::RecordClass;
use crate::world::{RecordOp, World};

/// Renders a commit with operations.
pub(super) fn commit(
    world: &mut World,
    context: &FrameContext<'_>,
    account: u32,
    ops: &[RecordOp],
) -> Frame {
    let mut tree = take_tree(world, account);
    let before = tree.root();
    let since = world.accounts[account as usize].rev;
    let mut rendered: Vec<RenderedOp> = Vec::with_capacity(ops.len());
    for op in ops {
        let next = render_op(world, account, op, &mut tree, &rendered);
        rendered.push(next);
    }
    world.apply(context.plan);
    let rev = world.accounts[account as usize].rev;
    let kind = context.plan.malformed;
    if kind == Some(Kind::RecordMissing) {
        rendered.iter_mut().for_each(omit_block);
    }
    if kind == Some(Kind::PathGone) {
        omit_block(&mut rendered[0]);
    }
    let change = CommitChange {
        account,
        rev,
        since,
        before,
    };
    let blocks = change.blocks(world, context, &mut tree, &rendered);
    world.accounts[account as usize].tree = Some(tree);
    change.frame(world, context, rendered, &blocks)
}

/// Omits the block of a record.
fn omit_block(op: &mut RenderedOp) {
    op.bytes = None;
    op.content = Content::Unknown;
}

/// Renders an operation and applies it to the tree. `earlier` are the operations before it in the
/// commit.
fn render_op(
    world: &mut World,
    account: u32,
    op: &RecordOp,
    tree: &mut Tree,
    earlier: &[RenderedOp],
) -> RenderedOp {
    let RecordOp { action, rec } = *op;
    let path = rec.path();
    let written = (action != Action::Delete).then(|| record::render(world, account, rec));
    let cid = written.as_ref().map(|(bytes, _)| digest(bytes));
    if rec.class == RecordClass::Post
        && let Some(digest) = cid
    {
        let post = &mut world.posts[rec.subject as usize];
        if post.version == rec.version {
            post.digest = Some(digest);
        }
    }
    let old = match &cid {
        Some(digest) => tree.insert(path.as_bytes(), *digest),
        None => tree.remove(path.as_bytes()),
    };
    let mut prev = old.expect("a whole tree");
    if earlier.iter().any(|op| op.encoded.path == path) {
        prev = None;
    }
    let action_text = action.as_str();
    let (bytes, content) = written.map_or((None, Content::Unknown), |(bytes, content)| {
        (Some(bytes), content)
    });
    RenderedOp {
        action,
        rec,
        encoded: CommitOp {
            action: action_text,
            path,
            cid,
            prev,
        },
        bytes,
        content,
    }
}

/// A repo before and after a commit.
struct CommitChange {
    account: u32,
    rev: Tid,
    since: Tid,
    before: Digest,
}

/// The blocks of a commit.
struct CommitBlocks {
    /// The hash of the commit.
    commit: Digest,
    car: Vec<u8>,
}

impl CommitChange {
    /// Encodes the blocks of the commit.
    fn blocks(
        &self,
        world: &World,
        context: &FrameContext<'_>,
        tree: &mut Tree,
        rendered: &[RenderedOp],
    ) -> CommitBlocks {
        let keys: Vec<&[u8]> = rendered
            .iter()
            .map(|op| op.encoded.path.as_bytes())
            .collect();
        let mut blocks: Vec<(Digest, Vec<u8>)> = Vec::with_capacity(16);
        let mut records = BTreeMap::new();
        for op in rendered {
            if let (Some(digest), Some(bytes)) = (op.encoded.cid, &op.bytes)
                && records.insert(digest, ()).is_none()
            {
                blocks.push((digest, bytes.clone()));
            }
        }
        let proof = tree.prove(&keys, |digest, block| {
            blocks.push((*digest, block.to_vec()));
        });
        let data = proof.expect("a whole tree");
        let (commit, block) = commit_block(world, self.account, self.rev, &data);
        // Usually the commit is the last block, as the network's PDS writes it; sometimes it is the
        // first.
        let index = if commit[0] < 24 { 0 } else { blocks.len() };
        blocks.insert(index, (commit, block));
        add_extra_blocks(&mut blocks, context.plan.malformed);
        let mut car = Car::new(&commit);
        for (digest, block) in &blocks {
            car.block(digest, block);
        }
        CommitBlocks {
            commit,
            car: car.into_bytes(),
        }
    }

    fn frame(
        &self,
        world: &World,
        context: &FrameContext<'_>,
        rendered: Vec<RenderedOp>,
        blocks: &CommitBlocks,
    ) -> Frame {
        let kind = context.plan.malformed;
        let since = self.message_since(kind);
        let prev_data = match kind {
            Some(Kind::PrevDataOther) => blocks.commit,
            _ => self.before,
        };
        let too_big = kind == Some(Kind::TooBig);
        let mut ops: Vec<CommitOp> = rendered.iter().map(|op| op.encoded.clone()).collect();
        ops.extend(malformed_op(kind));
        if too_big {
            ops.clear();
        }
        let did = world.accounts[self.account as usize].identity.did.clone();
        let bytes = did.with_str(|did| {
            let message = envelope::Commit {
                header: match kind {
                    Some(Kind::HeaderOrder) => Header::OpFirst,
                    Some(Kind::FieldsUnknown) => Header::Extended,
                    _ => Header::Usual,
                },
                ops,
                rev: &self.rev.to_string(),
                seq: context.plan.seq,
                repo: Some(did),
                time: &context.stamp,
                since: Some(&since.to_string()),
                blocks: match kind {
                    Some(Kind::TooBig) => Some(&[]),
                    Some(Kind::BlocksAbsent) => None,
                    _ => Some(&blocks.car),
                },
                commit: blocks.commit,
                too_big,
                prev_data: Some(prev_data),
            };
            message.write()
        });
        let mut frame = context.frame(bytes, expected(kind, &rendered));
        if too_big || kind == Some(Kind::BlocksAbsent) {
            let (rev, why) = (self.rev, Moved::TooBig);
            frame
                .events
                .push(context.event(world, &did, 0, Body::Moved { rev, why }));
            frame.contents.push(Content::Unknown);
        } else {
            self.push_events(world, context, rendered, &mut frame);
        }
        frame.did = Some(did);
        frame
    }

    /// The `since` of the message, which may be wrong on purpose.
    fn message_since(&self, kind: Option<Kind>) -> Tid {
        match kind {
            Some(Kind::SinceOther) => Tid(self.since.0 - (7 << 10)),
            _ => self.since,
        }
    }

    /// Adds the events that a consumer derives from the operations.
    fn push_events(
        &self,
        world: &World,
        context: &FrameContext<'_>,
        rendered: Vec<RenderedOp>,
        frame: &mut Frame,
    ) {
        let did = &world.accounts[self.account as usize].identity.did;
        let since = self.message_since(context.plan.malformed);
        let valid = rendered.len() as u32;
        for (index, op) in (0..).zip(rendered) {
            let logged = Op {
                rev: self.rev,
                since: Some(since),
                action: op.action,
                collection: op.rec.class.collection().parse().expect("an NSID"),
                rkey: op.rec.rkey(),
                cid: op.encoded.cid.map(Cid::dag_cbor),
                record: op.bytes.map(Into::into),
            };
            let event = context.event(world, did, index, Body::Op(logged));
            frame.events.push(event);
            frame.contents.push(op.content);
        }
        if context.plan.malformed == Some(Kind::OpCid) {
            let op = Op {
                rev: self.rev,
                since: Some(since),
                action: Action::Create,
                collection: CIDLESS.0.parse().expect("an NSID"),
                rkey: CIDLESS.1.parse().expect("a key"),
                cid: None,
                record: None,
            };
            let event = context.event(world, did, valid, Body::Op(op));
            frame.events.push(event);
            frame.contents.push(Content::Unknown);
        }
    }
}

/// Renders a commit without operations: the first one of a repo, or one that only has a new
/// revision.
pub(super) fn empty(world: &mut World, context: &FrameContext<'_>, account: u32) -> Frame {
    let first = !world.accounts[account as usize].announced;
    let since = world.accounts[account as usize].rev;
    let data = root(world, account);
    world.apply(context.plan);
    let rev = world.accounts[account as usize].rev;
    let (commit, block) = commit_block(world, account, rev, &data);
    let mut tree = take_tree(world, account);
    let mut car = Car::new(&commit);
    let proof = tree.prove(&[], |digest, block| car.block(digest, block));
    proof.expect("a whole tree");
    world.accounts[account as usize].tree = Some(tree);
    car.block(&commit, &block);
    let blocks = car.into_bytes();
    let did = world.accounts[account as usize].identity.did.clone();
    let since = since.to_string();
    let bytes = did.with_str(|did| {
        let message = envelope::Commit {
            rev: &rev.to_string(),
            seq: context.plan.seq,
            repo: Some(did),
            time: &context.stamp,
            since: (!first).then_some(since.as_str()),
            blocks: Some(&blocks),
            commit,
            prev_data: (!first).then_some(data),
            ..envelope::Commit::default()
        };
        message.write()
    });
    let event = SingleEvent {
        did,
        bytes,
        kind: "#commit",
        body: Body::Moved {
            rev,
            why: Moved::Empty,
        },
    };
    context.single_event(world, event)
}
