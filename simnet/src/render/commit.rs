//! Real commits.

use std::collections::BTreeMap;

use skytide_core::event::{Action, Body, Moved, Op};
use skytide_core::id::{Cid, Did, Tid};

use super::spoil::{CIDLESS, bad_line, expected, extend};
use super::{Scene, commit_block, root, take_tree};
use crate::bad::Kind;
use crate::car::Car;
use crate::cbor::{Digest, digest};
use crate::content::Content;
use crate::envelope::{self, Header, Line};
use crate::frame::Frame;
use crate::mst::Tree;
use crate::record;
use crate::world::cast::{Class, Rec};
use crate::world::{Step, World};

/// One operation with its record.
pub(super) struct Made {
    pub(super) action: Action,
    pub(super) rec: Rec,
    line: Line,
    pub(super) bytes: Option<Vec<u8>>,
    content: Content,
}

/// A commit of operations.
pub(super) fn commit(world: &mut World, scene: &Scene<'_>, account: u32, steps: &[Step]) -> Frame {
    let mut tree = take_tree(world, account);
    let before = tree.root();
    let since = world.accounts[account as usize].rev;
    let mut made: Vec<Made> = Vec::with_capacity(steps.len());
    for step in steps {
        let next = make(world, account, step, &mut tree, &made);
        made.push(next);
    }
    world.apply(scene.plan);
    let rev = world.accounts[account as usize].rev;
    let kind = scene.plan.bad;
    if kind == Some(Kind::RecordMissing) {
        made.iter_mut().for_each(lose);
    }
    if kind == Some(Kind::PathGone) {
        lose(&mut made[0]);
    }
    let changed = Changed {
        account,
        rev,
        since,
        before,
    };
    let (commit, blocks) = changed.blocks(world, scene, &mut tree, &made);
    world.accounts[account as usize].tree = Some(tree);
    changed.frame(world, scene, made, (commit, &blocks))
}

/// Leaves the block of a record out.
fn lose(made: &mut Made) {
    made.bytes = None;
    made.content = Content::Unknown;
}

fn make(world: &mut World, account: u32, step: &Step, tree: &mut Tree, earlier: &[Made]) -> Made {
    let Step { action, rec } = *step;
    let path = rec.path();
    let written = (action != Action::Delete).then(|| record::render(world, account, rec));
    let cid = written.as_ref().map(|(bytes, _)| digest(bytes));
    if rec.class == Class::Post
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
    if earlier.iter().any(|made| made.line.path == path) {
        prev = None;
    }
    let action_text = envelope::action(action);
    let (bytes, content) = written.map_or((None, Content::Unknown), |(bytes, content)| {
        (Some(bytes), content)
    });
    Made {
        action,
        rec,
        line: Line {
            action: action_text,
            path,
            cid,
            prev,
        },
        bytes,
        content,
    }
}

/// A repo before and after.
struct Changed {
    account: u32,
    rev: Tid,
    since: Tid,
    before: Digest,
}

impl Changed {
    /// The commit's hash, and the CAR.
    fn blocks(
        &self,
        world: &World,
        scene: &Scene<'_>,
        tree: &mut Tree,
        made: &[Made],
    ) -> (Digest, Vec<u8>) {
        let keys: Vec<&[u8]> = made.iter().map(|made| made.line.path.as_bytes()).collect();
        let mut blocks: Vec<(Digest, Vec<u8>)> = Vec::with_capacity(16);
        let mut records = BTreeMap::new();
        for made in made {
            if let (Some(digest), Some(bytes)) = (made.line.cid, &made.bytes)
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
        // Mostly the last one, as the PDS of the network write it; sometimes the first.
        let place = if commit[0] < 24 { 0 } else { blocks.len() };
        blocks.insert(place, (commit, block));
        extend(&mut blocks, scene.plan.bad);
        let mut car = Car::new(&commit);
        for (digest, block) in &blocks {
            car.block(digest, block);
        }
        (commit, car.into_bytes())
    }

    fn frame(
        &self,
        world: &World,
        scene: &Scene<'_>,
        made: Vec<Made>,
        (commit, blocks): (Digest, &[u8]),
    ) -> Frame {
        let kind = scene.plan.bad;
        let since = match kind {
            Some(Kind::SinceOther) => Tid(self.since.0 - (7 << 10)),
            _ => self.since,
        };
        let prev_data = match kind {
            Some(Kind::PrevDataOther) => commit,
            _ => self.before,
        };
        let too_big = kind == Some(Kind::TooBig);
        let mut ops: Vec<Line> = made.iter().map(|made| made.line.clone()).collect();
        ops.extend(bad_line(kind));
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
                seq: scene.plan.seq,
                repo: Some(did),
                time: &scene.stamp,
                since: Some(&since.to_string()),
                blocks: match kind {
                    Some(Kind::TooBig) => Some(&[]),
                    Some(Kind::BlocksAbsent) => None,
                    _ => Some(blocks),
                },
                commit,
                too_big,
                prev_data: Some(prev_data),
            };
            message.write()
        });
        let mut frame = scene.frame(bytes, expected(kind, &made));
        if too_big || kind == Some(Kind::BlocksAbsent) {
            let (rev, why) = (self.rev, Moved::TooBig);
            frame
                .events
                .push(scene.event(world, &did, 0, Body::Moved { rev, why }));
            frame.contents.push(Content::Unknown);
        } else {
            self.tell((world, scene), (&did, since), made, &mut frame);
        }
        frame.did = Some(did);
        frame
    }

    /// Adds what a consumer makes of the operations.
    fn tell(
        &self,
        (world, scene): (&World, &Scene<'_>),
        (did, since): (&Did, Tid),
        made: Vec<Made>,
        frame: &mut Frame,
    ) {
        let good = made.len() as u32;
        for (index, made) in (0..).zip(made) {
            let op = Op {
                rev: self.rev,
                since: Some(since),
                action: made.action,
                collection: made.rec.class.collection().parse().expect("an NSID"),
                rkey: made.rec.rkey(),
                cid: made.line.cid.map(Cid::dag_cbor),
                record: made.bytes.map(Into::into),
            };
            let event = scene.event(world, did, index, Body::Op(op));
            frame.events.push(event);
            frame.contents.push(made.content);
        }
        if scene.plan.bad == Some(Kind::OpCid) {
            let op = Op {
                rev: self.rev,
                since: Some(since),
                action: Action::Create,
                collection: CIDLESS.0.parse().expect("an NSID"),
                rkey: CIDLESS.1.parse().expect("a key"),
                cid: None,
                record: None,
            };
            let event = scene.event(world, did, good, Body::Op(op));
            frame.events.push(event);
            frame.contents.push(Content::Unknown);
        }
    }
}

/// A commit without operations: the first one of a repo, or one that says nothing.
pub(super) fn empty(world: &mut World, scene: &Scene<'_>, account: u32) -> Frame {
    let first = !world.accounts[account as usize].told;
    let since = world.accounts[account as usize].rev;
    let data = root(world, account);
    world.apply(scene.plan);
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
            seq: scene.plan.seq,
            repo: Some(did),
            time: &scene.stamp,
            since: (!first).then_some(since.as_str()),
            blocks: Some(&blocks),
            commit,
            prev_data: (!first).then_some(data),
            ..envelope::Commit::default()
        };
        message.write()
    });
    let why = Moved::Empty;
    scene.single(world, (did, bytes), "#commit", Body::Moved { rev, why })
}
