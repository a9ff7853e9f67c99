//! The network: one frame after another, and what its servers know about accounts.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use skytide_core::id::{Cid, Did, Tid};
use skytide_core::time::Timestamp;

use crate::car::Car;
use crate::expected::MedianTime;
use crate::frame::Frame;
use crate::identity::account_of_handle;
use crate::options::Options;
use crate::record;
use crate::render;
use crate::world::accounts::{RecordClass, Status};
use crate::world::{FramePlan, World};

/// `skip_to` still renders this many frames before its target, because later frames may repeat
/// them.
const RENDERED_BEFORE: u64 = 8;

/// A simulated network: a function of its [`Options`], byte for byte. It reads no clock.
#[derive(Debug)]
pub struct Network {
    world: World,
    next: Option<FramePlan>,
    clock: MedianTime,
    /// The two newest well-formed frames, newest first.
    last_well_formed: [Option<Frame>; 2],
    account_indexes: HashMap<Did, u32>,
}

/// What the network's servers know about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The account's DID.
    pub did: Did,
    /// Its current handle.
    pub handle: String,
    /// The display name; `None` without a profile.
    pub display_name: Option<String>,
    /// The description of its profile.
    pub description: Option<String>,
    /// The CID of its picture.
    pub avatar: Option<String>,
    /// Why it is inactive: `deactivated`, `takendown`, `suspended`, `deleted`.
    pub status: Option<&'static str>,
    /// The key that signs its commits.
    pub did_key: String,
    /// The PDS that hosts it.
    pub pds: &'static str,
}

impl Network {
    /// A network with these options, before its first frame.
    pub fn new(options: Options) -> Self {
        let mut network = Self {
            world: World::new(options),
            next: None,
            clock: MedianTime::default(),
            last_well_formed: [None, None],
            account_indexes: HashMap::new(),
        };
        network.plan_next();
        network
    }

    /// The options of the network.
    pub fn options(&self) -> &Options {
        &self.world.options
    }

    /// The next frame; `None` after `events_max` frames.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let plan = self.next.take()?;
        let last = self.last_well_formed.each_ref().map(Option::as_ref);
        let frame = render::frame(&mut self.world, &plan, &mut self.clock, last);
        if plan.malformed.is_none() {
            self.last_well_formed.swap(0, 1);
            self.last_well_formed[0] = Some(frame.clone());
        }
        self.plan_next();
        Some(frame)
    }

    /// Advances until the next frame is the first with a sequence number above `seq`, without
    /// rendering the frames before it. The frames that follow are the same as if all had been
    /// rendered.
    pub fn skip_to(&mut self, seq: u64) {
        while let Some(plan) = self.next.take_if(|plan| plan.seq + RENDERED_BEFORE <= seq) {
            if render::advances_clock(&plan) {
                self.clock.observe(plan.stamp);
            }
            self.world.apply(&plan);
            if let Some(account) = plan.action.changed_account() {
                self.world.accounts[account as usize].tree = None;
            }
            self.plan_next();
        }
        while self.next.as_ref().is_some_and(|plan| plan.seq <= seq) {
            self.next_frame();
        }
    }

    /// Network time of the next frame.
    pub fn peek_time(&self) -> Option<Timestamp> {
        self.next.as_ref().map(|plan| Timestamp(plan.now / 1_000))
    }

    /// The sequence number of the next frame.
    pub fn peek_seq(&self) -> Option<u64> {
        self.next.as_ref().map(|plan| plan.seq)
    }

    /// A repo as `com.atproto.sync.getRepo` sends it. `None` if the account is unknown or deleted.
    pub fn repo_car(&mut self, did: &Did) -> Option<Vec<u8>> {
        let account = self.repo_owner(did)?;
        let (commit, block) = self.commit(account);
        let mut car = Car::new(&commit);
        car.block(&commit, &block);
        let mut tree = render::take_tree(&mut self.world, account);
        let nodes = tree.blocks(|digest, block| car.block(digest, block));
        nodes.expect("a whole tree");
        self.world.accounts[account as usize].tree = Some(tree);
        let mut records = BTreeMap::new();
        for position in 0..self.world.accounts[account as usize].records.len() {
            let rec = self.world.accounts[account as usize].records[position];
            let (bytes, _) = record::render(&mut self.world, account, rec);
            records.insert(crate::cbor::digest(&bytes), bytes);
        }
        for (digest, bytes) in &records {
            car.block(digest, bytes);
        }
        Some(car.into_bytes())
    }

    /// A repo's newest commit, as `com.atproto.sync.getLatestCommit` returns it. `None` as for
    /// [`Self::repo_car`].
    pub fn latest_commit(&mut self, did: &Did) -> Option<(Cid, Tid)> {
        let account = self.repo_owner(did)?;
        let (commit, _) = self.commit(account);
        Some((
            Cid::dag_cbor(commit),
            self.world.accounts[account as usize].rev,
        ))
    }

    /// The live records of a repo by path. Empty where [`Self::repo_car`] is `None`.
    pub fn record_cids(&mut self, did: &Did) -> BTreeMap<String, Cid> {
        let Some(account) = self.repo_owner(did) else {
            return BTreeMap::new();
        };
        let records = self.world.accounts[account as usize].records.clone();
        let cids = records.into_iter().map(|rec| {
            let digest = record::record_digest(&mut self.world, account, rec);
            (rec.path(), Cid::dag_cbor(digest))
        });
        cids.collect()
    }

    /// An account of any status.
    pub fn account(&self, did: &Did) -> Option<Account> {
        let account = self.account_index(did)?;
        let holder = &self.world.accounts[account as usize];
        let profile = holder
            .find(RecordClass::Profile, Tid(0))
            .map(|position| holder.records[position]);
        let profile =
            profile.map(|rec| record::profile::content(&self.world, account, rec.version));
        let (display_name, description, avatar) = match profile {
            Some(profile) => (
                Some(profile.display_name),
                Some(profile.description),
                profile.avatar,
            ),
            None => (None, None, None),
        };
        Some(Account {
            did: did.clone(),
            handle: record::current_handle(&self.world, account),
            display_name,
            description,
            avatar,
            status: holder.status.as_str(),
            did_key: self.world.registry.did_key(account),
            pds: crate::identity::PDS,
        })
    }

    /// The account that currently has a handle.
    pub fn did_of_handle(&self, handle: &str) -> Option<Did> {
        let account = account_of_handle(handle)?;
        let holder = self.world.accounts.get(account as usize)?;
        let current = holder.status != Status::Deleted
            && record::current_handle(&self.world, account) == handle;
        current.then(|| holder.identity.did.clone())
    }

    /// All accounts so far, in the order of their creation.
    pub fn dids(&self) -> impl Iterator<Item = Did> {
        self.world
            .accounts
            .iter()
            .map(|account| account.identity.did.clone())
    }

    fn commit(&mut self, account: u32) -> ([u8; 32], Vec<u8>) {
        let data = render::root(&mut self.world, account);
        let rev = self.world.accounts[account as usize].rev;
        render::commit_block(&self.world, account, rev, &data)
    }

    /// The account that owns a repo; `None` if it is unknown or deleted.
    fn repo_owner(&self, did: &Did) -> Option<u32> {
        let account = self.account_index(did)?;
        let status = self.world.accounts[account as usize].status;
        (status != Status::Deleted).then_some(account)
    }

    fn account_index(&self, did: &Did) -> Option<u32> {
        self.account_indexes.get(did).copied()
    }

    /// Plans the next frame, and indexes the accounts created by it.
    fn plan_next(&mut self) {
        self.next = self.world.plan_next();
        let known = self.account_indexes.len();
        for (number, account) in (known as u32..).zip(&self.world.accounts[known..]) {
            let did = account.identity.did.clone();
            self.account_indexes.insert(did, number);
        }
    }
}
