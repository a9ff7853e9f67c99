//! The state of `live_records`, behind verbs that other storage could offer, too.

mod accounts;
mod operations;
mod shards;

use std::collections::BTreeMap;

use hashbrown::{DefaultHashBuilder, HashMap};
use serde::{Deserialize, Serialize};
use skytide_core::event::DropReason;
use skytide_core::id::{Did, Tid};
use skytide_core::limits::{KNOWN_COLLECTIONS, OTHER_COLLECTIONS};
use skytide_core::time::{Minute, Timestamp};

use super::activity::{ActivityCounts, Doer};
use super::names::is_known;
use super::repo::Repo;
use crate::fact::{Activity, Fact};
use crate::operators::interner::Interner;
use crate::operators::on_tick::keep_room;
use crate::types::Time;
use accounts::Before;

/// What an account's status does to its facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountPolicy {
    /// An inactive account's facts are hidden until it is active again; `deleted` erases them.
    #[default]
    ActiveAccountsOnly,
    /// `deleted` erases an account's records; nothing is hidden.
    DeletedAccountsRemoved,
    /// Only operations count.
    OpsOnly,
}

impl AccountPolicy {
    /// The name of the option's value. Part of stored formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActiveAccountsOnly => "active_accounts_only",
            Self::DeletedAccountsRemoved => "deleted_accounts_removed",
            Self::OpsOnly => "ops_only",
        }
    }
}

/// How often something was dropped, by reason.
pub type Drops = BTreeMap<DropReason, u64>;

/// Sizes of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Facts that the newest time gave.
    pub facts: u64,
    /// Live records, hidden ones included.
    pub records: u64,
    /// Accounts known, as author or subject.
    pub accounts: u64,
}

/// Parts into which accounts are divided for checkpoints: a stable hash of the DID, whatever the number of workers.
pub(crate) const SHARDS: u16 = 64;

/// Live records by repo, and the facts of the running time.
#[derive(Debug, Default)]
pub struct LiveRecords {
    policy: AccountPolicy,
    /// Up to this time counts of events are known from elsewhere: only facts of records and accounts are told.
    counted_through: Time,
    hasher: DefaultHashBuilder,
    dids: Interner<Did>,
    collections: Interner<Box<str>, Collected>,
    /// By the number of the DID; `None` for accounts that are only referred to.
    repos: Vec<Option<Box<Repo>>>,
    /// The numbers of the accounts that have a repo, by shard.
    members: Vec<Vec<u32>>,
    records: u64,
    activity: ActivityCounts,
    last_seen: HashMap<u32, Minute>,
    counters: BTreeMap<Box<str>, u64>,
    drops: Drops,
    /// Accounts of which something was announced in the running time.
    announced: BTreeMap<u32, Before>,
    facts: Vec<(Fact, i32)>,
    /// Facts that the newest time gave.
    emitted: u64,
}

impl LiveRecords {
    /// Nothing is live. What is only ever counted up to `counted_through` is not told: a checkpoint holds the sums.
    pub fn new(policy: AccountPolicy, counted_through: Time) -> Self {
        let mut state = Self {
            policy,
            counted_through,
            members: vec![Vec::new(); usize::from(SHARDS)],
            ..Self::default()
        };
        for (row, name) in ["", OTHER_COLLECTIONS].into_iter().enumerate() {
            let number = state.collections.number(&name.into());
            assert_eq!(number as usize, row, "these rows have the first numbers");
        }
        for name in ["#account", "#identity", "#sync"] {
            state.collections.number(&name.into());
        }
        for &name in KNOWN_COLLECTIONS {
            state.collections.number(&name.into());
        }
        for number in 0..state.collections.len() as u32 {
            state.collections[number].is_named = true;
        }
        state
    }

    /// Sizes of the state.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            facts: self.emitted,
            records: self.records,
            accounts: self.dids.len() as u64,
        }
    }

    /// The newest revision of a repo.
    pub fn rev(&self, did: &Did) -> Option<Tid> {
        let number = self.dids.find(did)?;
        self.repos.get(number as usize)?.as_ref()?.rev
    }

    pub(super) fn set_rev(&mut self, did: &Did, rev: Tid) {
        self.repo(did).1.rev = Some(rev);
    }

    pub(super) fn out_of_sync(&mut self, did: &Did) {
        if !std::mem::replace(&mut self.repo(did).1.out_of_sync, true) {
            self.facts.push((Fact::OutOfSync(did.clone()), 1));
        }
    }

    pub(super) fn drop_one(&mut self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    fn drop_many(&mut self, reason: DropReason, count: u32) {
        *self.drops.entry(reason).or_default() += u64::from(count);
    }

    pub(super) fn count_all(&mut self, counts: BTreeMap<Box<str>, u64>) {
        for (name, count) in counts {
            *self.counters.entry(name).or_default() += count;
        }
    }

    /// Collections that have a name of their own besides the known ones, in order.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        let named = self.collections.iter().filter(|(.., it)| it.is_named);
        let names = named.map(|(_, name, _)| name);
        let given = names.filter(|name| name.contains('.') && !is_known(name));
        let mut names: Vec<Box<str>> = given.cloned().collect();
        names.sort_unstable();
        names
    }

    /// Gives collections names of their own.
    pub(super) fn name(&mut self, names: &[Box<str>]) {
        for name in names {
            let number = self.collections.number(name);
            let collection = &mut self.collections[number];
            assert_eq!(collection.records, 0, "names are given before operations");
            collection.is_named = true;
        }
    }

    /// The number of the name under which a collection is counted.
    fn row(&self, collection: u32) -> u32 {
        match self.collections[collection].is_named {
            true => collection,
            false => OTHER,
        }
    }

    /// Notes that a record of a collection went.
    fn record_went(&mut self, collection: u32) {
        let collected = &mut self.collections[collection];
        if !collected.is_named {
            collected.records -= 1;
            if collected.records == 0 {
                self.collections.release(collection);
            }
        }
    }

    /// Counts an event that is no operation, under its type.
    pub(super) fn count_event(&mut self, kind: &str, did: &Did, minute: Minute) {
        let collection = self.collections.number(&kind.into());
        let (account, repo) = self.repo(did);
        let doer = Doer {
            collection,
            account,
            shard: repo.shard,
            new: repo.is_new_in(collection),
        };
        let activity = Activity {
            creates: 1,
            ..Activity::default()
        };
        self.activity.add(minute, doer, &activity);
    }

    /// Closes the running time; answers what was dropped in it.
    pub(super) fn end_of_time(&mut self, time: Time, now: Timestamp) -> Drops {
        self.settle_announcements();
        let counts = time > self.counted_through;
        let Self {
            activity,
            collections,
            facts,
            counters,
            drops,
            last_seen,
            dids,
            ..
        } = self;
        let names = |number: u32| collections.key(number).clone();
        // How many records are live follows from the facts, at any time.
        let counted = activity.take(now, names).filter_map(|(key, all)| {
            let live = Activity {
                live: all.live,
                ..Activity::default()
            };
            let told = if counts { all } else { live };
            (told != Activity::default()).then_some((key, told))
        });
        facts.extend(counted.map(|(key, activity)| (Fact::Activity(key, activity), 1)));
        let seen = last_seen.drain();
        facts.extend(seen.map(|(did, at)| (Fact::LastSeen(dids.key(did).clone(), at), 1)));
        let drops = std::mem::take(drops);
        let counted = std::mem::take(counters).into_iter();
        if !counts {
            return drops;
        }
        facts.extend(counted.map(|(name, count)| (Fact::Counter(name, count), 1)));
        facts.extend(drops.iter().map(|(reason, &count)| {
            let name = format!("dropped/{}", reason.as_str());
            (Fact::Counter(name.into(), count), 1)
        }));
        drops
    }

    /// Gives away the facts since they were last taken.
    pub(super) fn take_facts(&mut self, take: impl FnMut((Fact, i32))) {
        let count = self.facts.len();
        self.emitted = count as u64;
        self.facts.drain(..).for_each(take);
        keep_room(&mut self.facts, count);
    }

    fn repo(&mut self, did: &Did) -> (u32, &mut Repo) {
        let number = self.dids.number(did);
        let place = number as usize;
        if self.repos.len() <= place {
            self.repos.resize_with(place + 1, || None);
        }
        let repo = self.repos[place].get_or_insert_with(|| {
            let shard = did.partition(SHARDS);
            self.members[usize::from(shard)].push(number);
            Box::new(Repo {
                shard: shard as u8,
                ..Repo::default()
            })
        });
        (number, repo)
    }
}

/// How a collection is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Collected {
    /// It has a name of its own in `activity`, or is a name there besides the collections. It keeps its number.
    is_named: bool,
    /// Live records of one without: the number is released with the last of them.
    records: u32,
}

/// The number of all collections together.
const ALL: u32 = 0;
/// The number of all collections that have no name of their own.
const OTHER: u32 = 1;
