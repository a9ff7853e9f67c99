//! Plans to frames: records, tree, signed commit, CAR, message; and what a correct consumer makes of it.

mod commit;
mod forge;
mod spoil;

use bytes::Bytes;
use skytide_core::event::{Body, Event, Moved};
use skytide_core::id::{Cursor, Did, Tid};
use skytide_core::time::Timestamp;

use crate::bad::Kind;
use crate::car::Car;
use crate::cbor::{Cbor, Digest, digest};
use crate::content::Content;
use crate::envelope;
use crate::frame::Frame;
use crate::mst::Tree;
use crate::record::{current_handle, rec_digest};
use crate::truth::{Expected, MedianTime};
use crate::world::cast::Status;
use crate::world::{Deed, Plan, World};

/// Makes a frame of what a plan says, and applies it.
pub(crate) fn frame(
    world: &mut World,
    plan: &Plan,
    clock: &mut MedianTime,
    last: [Option<&Frame>; 2],
) -> Frame {
    if notes(plan) {
        clock.note(plan.stamp);
    }
    let scene = Scene {
        plan,
        time: clock.now(),
        stamp: plan.stamp.rfc3339(),
    };
    let mut frame = match &plan.deed {
        Deed::Commit { account, steps } => commit::commit(world, &scene, *account, steps),
        Deed::Empty { account, .. } => commit::empty(world, &scene, *account),
        Deed::Identity { account, named, .. } => {
            world.apply(plan);
            let handle = named.then(|| current_handle(world, *account));
            identity(world, &scene, *account, handle)
        }
        Deed::Status { account, status } => {
            world.apply(plan);
            announce(world, &scene, *account, *status)
        }
        Deed::Sync { account, .. } => sync(world, &scene, *account),
        Deed::Noise { account } => forge::noise(world, &scene, *account, last),
    };
    frame.expected.missing_seqs = plan.missing;
    frame
}

/// Whether a reader takes note of a frame's time: it is whole, new, and has one.
pub(crate) fn notes(plan: &Plan) -> bool {
    match (&plan.deed, plan.bad) {
        (Deed::Noise { .. }, Some(kind)) => matches!(kind, Kind::RevFuture | Kind::RevRepeated),
        _ => true,
    }
}

/// What all of a frame's parts need to know.
pub(crate) struct Scene<'a> {
    plan: &'a Plan,
    /// Network time.
    time: Timestamp,
    stamp: String,
}

impl Scene<'_> {
    fn frame(&self, bytes: Vec<u8>, expected: Expected) -> Frame {
        Frame {
            seq: self.plan.seq,
            time: Timestamp(self.plan.now / 1_000),
            bytes: Bytes::from(bytes),
            did: None,
            events: Vec::new(),
            contents: Vec::new(),
            bad: self.plan.bad,
            expected,
        }
    }

    fn event(&self, world: &World, did: &Did, index: u32, body: Body) -> Event {
        Event {
            host: world.options.host.clone(),
            seq: Cursor(self.plan.seq),
            index,
            time: self.time,
            did: did.clone(),
            body,
        }
    }

    /// A frame of one event that is no operation.
    fn single(
        &self,
        world: &World,
        (did, bytes): (Did, Vec<u8>),
        kind: &'static str,
        body: Body,
    ) -> Frame {
        let mut frame = self.frame(bytes, Expected::of(kind));
        frame.events.push(self.event(world, &did, 0, body));
        frame.contents.push(Content::Unknown);
        frame.did = Some(did);
        frame
    }
}

fn identity(world: &World, scene: &Scene<'_>, account: u32, handle: Option<String>) -> Frame {
    let did = world.accounts[account as usize].identity.did.clone();
    let bytes = did
        .with_str(|did| envelope::identity(scene.plan.seq, did, &scene.stamp, handle.as_deref()));
    let handle = handle.map(Into::into);
    scene.single(world, (did, bytes), "#identity", Body::Identity { handle })
}

fn announce(world: &World, scene: &Scene<'_>, account: u32, status: Status) -> Frame {
    let did = world.accounts[account as usize].identity.did.clone();
    let bytes =
        did.with_str(|did| envelope::account(scene.plan.seq, did, &scene.stamp, status.as_str()));
    let active = status == Status::Active;
    let status = status.as_str().map(Into::into);
    scene.single(
        world,
        (did, bytes),
        "#account",
        Body::Account { active, status },
    )
}

fn sync(world: &mut World, scene: &Scene<'_>, account: u32) -> Frame {
    world.apply(scene.plan);
    let data = root(world, account);
    let holder = &world.accounts[account as usize];
    let (did, rev) = (holder.identity.did.clone(), holder.rev);
    let (digest, block) = commit_block(world, account, rev, &data);
    let mut car = Car::new(&digest);
    car.block(&digest, &block);
    let blocks = car.into_bytes();
    let bytes = did.with_str(|did| {
        let sync = envelope::Sync {
            seq: scene.plan.seq,
            did,
            rev: &rev.to_string(),
            time: &scene.stamp,
            blocks: &blocks,
        };
        sync.write()
    });
    let why = Moved::Sync;
    scene.single(world, (did, bytes), "#sync", Body::Moved { rev, why })
}

/// A signed commit of version 3 (<https://atproto.com/specs/repository#commit-objects>), and its hash.
pub(crate) fn commit_block(
    world: &World,
    account: u32,
    rev: Tid,
    data: &Digest,
) -> (Digest, Vec<u8>) {
    let identity = &world.accounts[account as usize].identity;
    let write = |sig: Option<&[u8; 64]>| {
        let mut cbor = Cbor::with_capacity(240);
        cbor.map(5 + usize::from(sig.is_some())).text("did");
        identity.did.with_str(|did| cbor.text(did));
        cbor.text("rev").text(&rev.to_string());
        if let Some(sig) = sig {
            cbor.text("sig").bytes(sig);
        }
        cbor.text("data")
            .link(data)
            .text("prev")
            .null()
            .text("version")
            .uint(3);
        cbor.0
    };
    let block = write(Some(&identity.sign(&write(None))));
    (digest(&block), block)
}

/// The root of an account's tree.
pub(crate) fn root(world: &mut World, account: u32) -> Digest {
    let mut tree = take_tree(world, account);
    let root = tree.root();
    world.accounts[account as usize].tree = Some(tree);
    root
}

/// Takes an account's tree out of the world, to be put back; makes it if it is not there.
pub(crate) fn take_tree(world: &mut World, account: u32) -> Tree {
    if let Some(tree) = world.accounts[account as usize].tree.take() {
        return tree;
    }
    let mut tree = Tree::default();
    for place in 0..world.accounts[account as usize].records.len() {
        let rec = world.accounts[account as usize].records[place];
        let digest = rec_digest(world, account, rec);
        tree.insert(rec.path().as_bytes(), digest)
            .expect("a whole tree");
    }
    tree
}
