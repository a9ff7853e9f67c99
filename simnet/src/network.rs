//! The network: frames one after the other, and what its servers say about accounts.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use skytide_core::id::{Cid, Did, Tid};
use skytide_core::time::Timestamp;

use crate::car::Car;
use crate::frame::Frame;
use crate::identity::account_of_handle;
use crate::options::Options;
use crate::record;
use crate::render;
use crate::truth::MedianTime;
use crate::world::cast::{Class, Status};
use crate::world::{Plan, World};

/// Frames before the one that is skipped to that are made all the same, as later ones may repeat them.
const FRAMES_BEFORE: u64 = 8;

/// A simulated network: a function of its [`Options`], byte for byte. It reads no clock.
#[derive(Debug)]
pub struct Network {
    world: World,
    next: Option<Plan>,
    clock: MedianTime,
    /// The newest good frame, and the one before.
    last: [Option<Frame>; 2],
    numbers: HashMap<Did, u32>,
}

/// What a network's servers say about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who it is.
    pub did: Did,
    /// Its handle as it is now.
    pub handle: String,
    /// The name of its profile; `None`: it has no profile.
    pub display_name: Option<String>,
    /// The text of its profile.
    pub description: Option<String>,
    /// The CID of its picture.
    pub avatar: Option<String>,
    /// Why it is not active: `deactivated`, `takendown`, `suspended`, `deleted`.
    pub status: Option<&'static str>,
    /// The key that signs its commits.
    pub did_key: String,
    /// Where it is hosted.
    pub pds: &'static str,
}

impl Network {
    /// The network of these options, before its first frame.
    pub fn new(options: Options) -> Self {
        let mut network = Self {
            world: World::new(options),
            next: None,
            clock: MedianTime::default(),
            last: [None, None],
            numbers: HashMap::new(),
        };
        network.decide();
        network
    }

    /// The options it was made of.
    pub fn options(&self) -> &Options {
        &self.world.options
    }

    /// The next frame; `None`: `events_max` is reached.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let plan = self.next.take()?;
        let last = self.last.each_ref().map(Option::as_ref);
        let frame = render::frame(&mut self.world, &plan, &mut self.clock, last);
        if plan.bad.is_none() {
            self.last.swap(0, 1);
            self.last[0] = Some(frame.clone());
        }
        self.decide();
        Some(frame)
    }

    /// Goes on until the next frame is the first one whose number is above `seq`, without making those before. What follows
    /// is the same as if they had been made.
    pub fn skip_to(&mut self, seq: u64) {
        while let Some(plan) = self.next.take_if(|plan| plan.seq + FRAMES_BEFORE <= seq) {
            if render::notes(&plan) {
                self.clock.note(plan.stamp);
            }
            self.world.apply(&plan);
            if let Some(account) = plan.deed.changes() {
                self.world.accounts[account as usize].tree = None;
            }
            self.decide();
        }
        while self.next.as_ref().is_some_and(|plan| plan.seq <= seq) {
            self.next_frame();
        }
    }

    /// Network time of the next frame.
    pub fn peek_time(&self) -> Option<Timestamp> {
        self.next.as_ref().map(|plan| Timestamp(plan.now / 1_000))
    }

    /// The number of the next frame.
    pub fn peek_seq(&self) -> Option<u64> {
        self.next.as_ref().map(|plan| plan.seq)
    }

    /// A repo as `com.atproto.sync.getRepo` sends it; `None`: there is no such account, or it was deleted.
    pub fn repo_car(&mut self, did: &Did) -> Option<Vec<u8>> {
        let account = self.hosted(did)?;
        let (commit, block) = self.commit(account);
        let mut car = Car::new(&commit);
        car.block(&commit, &block);
        let mut tree = render::take_tree(&mut self.world, account);
        let nodes = tree.blocks(|digest, block| car.block(digest, block));
        nodes.expect("a whole tree");
        self.world.accounts[account as usize].tree = Some(tree);
        let mut records = BTreeMap::new();
        for place in 0..self.world.accounts[account as usize].records.len() {
            let rec = self.world.accounts[account as usize].records[place];
            let (bytes, _) = record::render(&mut self.world, account, rec);
            records.insert(crate::cbor::digest(&bytes), bytes);
        }
        for (digest, bytes) in &records {
            car.block(digest, bytes);
        }
        Some(car.into_bytes())
    }

    /// A repo's newest commit, as `com.atproto.sync.getLatestCommit` tells it; `None` as for [`Self::repo_car`].
    pub fn latest_commit(&mut self, did: &Did) -> Option<(Cid, Tid)> {
        let account = self.hosted(did)?;
        let (commit, _) = self.commit(account);
        Some((
            Cid::dag_cbor(commit),
            self.world.accounts[account as usize].rev,
        ))
    }

    /// The live records of a repo by path; empty as [`Self::repo_car`] is `None`.
    pub fn record_cids(&mut self, did: &Did) -> BTreeMap<String, Cid> {
        let Some(account) = self.hosted(did) else {
            return BTreeMap::new();
        };
        let records = self.world.accounts[account as usize].records.clone();
        let cids = records.into_iter().map(|rec| {
            let digest = record::rec_digest(&mut self.world, account, rec);
            (rec.path(), Cid::dag_cbor(digest))
        });
        cids.collect()
    }

    /// An account, whatever its status.
    pub fn account(&self, did: &Did) -> Option<Account> {
        let account = self.number(did)?;
        let holder = &self.world.accounts[account as usize];
        let profile = holder
            .find(Class::Profile, Tid(0))
            .map(|place| holder.records[place]);
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

    /// Who has a handle now.
    pub fn did_of_handle(&self, handle: &str) -> Option<Did> {
        let account = account_of_handle(handle)?;
        let holder = self.world.accounts.get(account as usize)?;
        let current = holder.status != Status::Deleted
            && record::current_handle(&self.world, account) == handle;
        current.then(|| holder.identity.did.clone())
    }

    /// All accounts that there are so far, in the order in which they came.
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

    fn hosted(&self, did: &Did) -> Option<u32> {
        let account = self.number(did)?;
        let status = self.world.accounts[account as usize].status;
        (status != Status::Deleted).then_some(account)
    }

    fn number(&self, did: &Did) -> Option<u32> {
        self.numbers.get(did).copied()
    }

    /// Decides what comes next, and takes note of accounts that came with it.
    fn decide(&mut self) {
        self.next = self.world.decide();
        let known = self.numbers.len();
        for (number, account) in (known as u32..).zip(&self.world.accounts[known..]) {
            let did = account.identity.did.clone();
            self.numbers.insert(did, number);
        }
    }
}
