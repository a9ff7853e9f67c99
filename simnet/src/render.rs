//! Renders planned frames: records, tree, signed commit, CAR, message; and what a correct consumer
//! makes of them.

mod commit;
mod malformed_commit;
mod noise;
mod rendered_op;

use bytes::Bytes;
use skytide_core::event::{Body, Event, Moved};
use skytide_core::id::{Cursor, Did, Tid};
use skytide_core::time::Timestamp;

use crate::car::Car;
use crate::cbor::{Cbor, Digest, digest};
use crate::content::Content;
use crate::envelope;
use crate::expected::{Expected, MedianTime};
use crate::frame::Frame;
use crate::malformed::Kind;
use crate::mst::Tree;
use crate::record::{current_handle, record_digest};
use crate::world::accounts::Status;
use crate::world::{AccountAction, FramePlan, World};

/// Applies a planned frame to the world and renders it.
pub(crate) fn frame(
    world: &mut World,
    plan: &FramePlan,
    clock: &mut MedianTime,
    last: [Option<&Frame>; 2],
) -> Frame {
    if advances_clock(plan) {
        clock.observe(plan.stamp);
    }
    let context = FrameContext {
        plan,
        time: clock.now(),
        stamp: plan.stamp.rfc3339(),
    };
    let mut frame = match &plan.action {
        AccountAction::Commit { account, ops } => commit::commit(world, &context, *account, ops),
        AccountAction::EmptyCommit { account, .. } => commit::empty(world, &context, *account),
        AccountAction::Identity {
            account,
            includes_handle,
            ..
        } => {
            world.apply(plan);
            let handle = includes_handle.then(|| current_handle(world, *account));
            identity(world, &context, *account, handle)
        }
        AccountAction::Status { account, status } => {
            world.apply(plan);
            account_status(world, &context, *account, *status)
        }
        AccountAction::Sync { account, .. } => sync(world, &context, *account),
        AccountAction::Noise { account } => noise::noise(world, &context, *account, last),
    };
    frame.expected.missing_seqs = plan.missing;
    frame
}

/// Whether a consumer's network time includes this frame: it is complete, new, and has a time.
pub(crate) fn advances_clock(plan: &FramePlan) -> bool {
    match (&plan.action, plan.malformed) {
        (AccountAction::Noise { .. }, Some(kind)) => {
            matches!(kind, Kind::RevFuture | Kind::RevRepeated)
        }
        _ => true,
    }
}

/// What the parts of one frame share.
pub(crate) struct FrameContext<'a> {
    plan: &'a FramePlan,
    /// Network time as a consumer knows it.
    time: Timestamp,
    stamp: String,
}

impl FrameContext<'_> {
    fn frame(&self, bytes: Vec<u8>, expected: Expected) -> Frame {
        Frame {
            seq: self.plan.seq,
            time: Timestamp(self.plan.now / 1_000),
            bytes: Bytes::from(bytes),
            did: None,
            events: Vec::new(),
            contents: Vec::new(),
            malformed: self.plan.malformed,
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

    /// A frame of one event other than an operation.
    fn single_event(&self, world: &World, event: SingleEvent) -> Frame {
        let mut frame = self.frame(event.bytes, Expected::of(event.kind));
        let logged = self.event(world, &event.did, 0, event.body);
        frame.events.push(logged);
        frame.contents.push(Content::Unknown);
        frame.did = Some(event.did);
        frame
    }
}

/// A message with one event other than an operation.
struct SingleEvent {
    did: Did,
    /// The message.
    bytes: Vec<u8>,
    /// The type of the message, such as `#account`.
    kind: &'static str,
    body: Body,
}

fn identity(
    world: &World,
    context: &FrameContext<'_>,
    account: u32,
    handle: Option<String>,
) -> Frame {
    let did = world.accounts[account as usize].identity.did.clone();
    let bytes = did.with_str(|did| {
        envelope::identity(context.plan.seq, did, &context.stamp, handle.as_deref())
    });
    let handle = handle.map(Into::into);
    let event = SingleEvent {
        did,
        bytes,
        kind: "#identity",
        body: Body::Identity {
            handle,
            sent: Some(context.plan.stamp),
        },
    };
    context.single_event(world, event)
}

fn account_status(
    world: &World,
    context: &FrameContext<'_>,
    account: u32,
    status: Status,
) -> Frame {
    let did = world.accounts[account as usize].identity.did.clone();
    let bytes = did
        .with_str(|did| envelope::account(context.plan.seq, did, &context.stamp, status.as_str()));
    let active = status == Status::Active;
    let status = status.as_str().map(Into::into);
    let event = SingleEvent {
        did,
        bytes,
        kind: "#account",
        body: Body::Account {
            active,
            status,
            sent: Some(context.plan.stamp),
        },
    };
    context.single_event(world, event)
}

fn sync(world: &mut World, context: &FrameContext<'_>, account: u32) -> Frame {
    world.apply(context.plan);
    let data = root(world, account);
    let holder = &world.accounts[account as usize];
    let (did, rev) = (holder.identity.did.clone(), holder.rev);
    let (digest, block) = commit_block(world, account, rev, &data);
    let mut car = Car::new(&digest);
    car.block(&digest, &block);
    let blocks = car.into_bytes();
    let bytes = did.with_str(|did| {
        let sync = envelope::Sync {
            seq: context.plan.seq,
            did,
            rev: &rev.to_string(),
            time: &context.stamp,
            blocks: &blocks,
        };
        sync.write()
    });
    let event = SingleEvent {
        did,
        bytes,
        kind: "#sync",
        body: Body::Moved {
            rev,
            why: Moved::Sync,
        },
    };
    context.single_event(world, event)
}

/// A signed commit of version 3 (<https://atproto.com/specs/repository#commit-objects>), and its
/// hash.
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

/// Takes an account's tree out of the world; builds it if it is not cached. The caller puts it
/// back.
pub(crate) fn take_tree(world: &mut World, account: u32) -> Tree {
    if let Some(tree) = world.accounts[account as usize].tree.take() {
        return tree;
    }
    let mut tree = Tree::default();
    for index in 0..world.accounts[account as usize].records.len() {
        let rec = world.accounts[account as usize].records[index];
        let digest = record_digest(world, account, rec);
        tree.insert(rec.path().as_bytes(), digest)
            .expect("a whole tree");
    }
    tree
}
