//! The state of `live_records`. Callers use only its methods, so another storage could replace it.

mod accounts;
mod changes;
mod cold;
mod operations;
mod report;
mod shards;

use std::collections::BTreeMap;

use hashbrown::{DefaultHashBuilder, HashMap};
use serde::{Deserialize, Serialize};
use skytide_core::event::DropReason;
use skytide_core::id::{Did, Tid};
use skytide_core::limits::{KNOWN_COLLECTIONS, OTHER_COLLECTIONS};
use skytide_core::time::{Minute, Timestamp};

use super::activity::{ActivityCounts, ActivitySource};
use super::names::is_known;
use super::partition::SHARDS;
use super::policy::AccountPolicy;
use super::repo::Repo;
use super::sizes::RecordSizes;
use crate::fact::{Activity, CoverageFact, Fact, TickCoverage};
use crate::operators::interner::Interner;
use crate::operators::on_tick::shrink_spare;
use crate::types::Time;
use accounts::PreviousAnnouncements;
pub(crate) use changes::CheckpointId;
use changes::ShardChanges;
use cold::Cold;

/// The number of dropped inputs, by reason.
pub type Drops = BTreeMap<DropReason, u64>;

/// Sizes of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gauges {
    /// Facts that were emitted at the newest time.
    pub facts: u64,
    /// Live records, including hidden ones.
    pub records: u64,
    /// Accounts known as an author or a subject.
    pub accounts: u64,
    /// Accounts whose records may be incomplete.
    pub out_of_sync: u64,
    /// Live records that are only on disk.
    pub evicted: u64,
    /// Look-ups in runs since the previous time.
    pub look_ups: u64,
    /// Blocks that these look-ups read.
    pub reads: u64,
    /// Look-ups among these that found a record.
    pub found: u64,
}

/// Live records by repo, and the facts of the current time. A time is one or more epochs of a
/// batch, which are processed in one step.
#[derive(Debug, Default)]
pub struct LiveRecords {
    policy: AccountPolicy,
    /// Up to this time, counts of events come from a checkpoint, and only facts of records and
    /// accounts are emitted.
    counted_through: Time,
    hasher: DefaultHashBuilder,
    dids: Interner<Did>,
    collections: Interner<Box<str>, CollectionState>,
    /// Repos by the number of their DID; `None` for accounts that are known as subjects only.
    repos: Vec<Option<Box<Repo>>>,
    /// The accounts that have a repo, by checkpoint shard. An account is identified by the number
    /// of its DID.
    members: Vec<Vec<u32>>,
    /// For each checkpoint shard, what its last cut did not write.
    changes: Vec<ShardChanges>,
    cold: Cold,
    /// The sizes of what accounts hold.
    sizes: RecordSizes,
    records: u64,
    out_of_sync: u64,
    activity: ActivityCounts,
    last_seen: HashMap<u32, Minute>,
    counters: BTreeMap<Box<str>, u64>,
    /// Drops of the current time by the hour of the event, in hours since 1970.
    drops: BTreeMap<(u64, DropReason), u64>,
    /// The hour of the event that is being applied.
    hour: u64,
    /// What the ticks of the current time say of missing events.
    coverage: Vec<TickCoverage>,
    /// The accounts with an `#identity` or `#account` in the current time, and what they had
    /// announced before.
    announced: BTreeMap<u32, PreviousAnnouncements>,
    facts: Vec<(Fact, i32)>,
    /// The number of facts that were emitted at the newest time.
    emitted: u64,
}

impl LiveRecords {
    /// A state without live records. Up to `counted_through`, counts of events are not emitted,
    /// because they are restored from a checkpoint.
    pub fn new(policy: AccountPolicy, counted_through: Time) -> Self {
        let mut state = Self {
            policy,
            counted_through,
            members: vec![Vec::new(); usize::from(SHARDS)],
            changes: vec![ShardChanges::default(); usize::from(SHARDS)],
            cold: Cold::new(usize::from(SHARDS)),
            ..Self::default()
        };
        for (row, name) in ["", OTHER_COLLECTIONS].into_iter().enumerate() {
            let number = state.collections.intern(&name.into());
            assert_eq!(
                number as usize, row,
                "these two rows have the first numbers"
            );
        }
        for name in ["#account", "#identity", "#sync"] {
            state.collections.intern(&name.into());
        }
        for &name in KNOWN_COLLECTIONS {
            state.collections.intern(&name.into());
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
            out_of_sync: self.out_of_sync,
            evicted: self.cold.records,
            look_ups: self.cold.counts.look_ups,
            reads: self.cold.counts.reads,
            found: self.cold.counts.found,
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

    pub(super) fn mark_out_of_sync(&mut self, did: &Did) {
        if !std::mem::replace(&mut self.repo(did).1.out_of_sync, true) {
            self.facts.push((Fact::OutOfSync(did.clone()), 1));
            self.out_of_sync += 1;
        }
    }

    pub(super) fn drop_one(&mut self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    fn drop_many(&mut self, reason: DropReason, count: u32) {
        let hourly = self.drops.entry((self.hour, reason)).or_default();
        *hourly += u64::from(count);
    }

    /// Adds to the counters of ingest.
    pub(super) fn add_counters(&mut self, counts: BTreeMap<Box<str>, u64>) {
        for (name, count) in counts {
            *self.counters.entry(name).or_default() += count;
        }
    }

    /// Adds what a tick says of missing events.
    pub(super) fn add_coverage(&mut self, tick: TickCoverage) {
        self.coverage.push(tick);
    }

    /// Sets network time of the event that is applied next.
    pub(super) fn set_time(&mut self, time: Timestamp) {
        self.hour = time.0 / HOUR_MS;
    }

    /// The collections that `activity` counts under their own name, in order, without those that
    /// always have one.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        let named = self.collections.iter().filter(|(.., it)| it.is_named);
        let names = named.map(|(_, name, _)| name);
        // Only a collection has a dot in its name. The other rows count all operations together,
        // other collections, or events.
        let assigned = names.filter(|name| name.contains('.') && !is_known(name));
        let mut names: Vec<Box<str>> = assigned.cloned().collect();
        names.sort_unstable();
        names
    }

    /// From now on, counts these collections under their own names.
    pub(super) fn assign_names(&mut self, names: &[Box<str>]) {
        for name in names {
            let number = self.collections.intern(name);
            let collection = &mut self.collections[number];
            assert_eq!(
                collection.records, 0,
                "a name is assigned before the first operation"
            );
            collection.is_named = true;
        }
    }

    /// The number of the activity row that counts a collection.
    fn activity_row(&self, collection: u32) -> u32 {
        match self.collections[collection].is_named {
            true => collection,
            false => OTHER,
        }
    }

    /// Lowers the number of live records of a collection without a row of its own. Releases the
    /// collection's number after its last record.
    fn record_removed(&mut self, collection: u32) {
        let state = &mut self.collections[collection];
        if !state.is_named {
            state.records -= 1;
            if state.records == 0 {
                self.collections.release(collection);
            }
        }
    }

    /// Counts an event that is not an operation, in the activity row of its kind.
    pub(super) fn count_event(&mut self, kind: &str, did: &Did, minute: Minute) {
        let collection = self.collections.intern(&kind.into());
        let (account, repo) = self.repo(did);
        let before = repo.size();
        let source = ActivitySource {
            collection,
            account,
            shard: repo.shard,
            is_new: repo.mark_counted_in(collection),
        };
        let after = repo.size();
        self.sizes.replace(before, after);
        let activity = Activity {
            creates: 1,
            ..Activity::default()
        };
        self.activity.add(minute, source, &activity);
    }

    /// Ends the current time. Returns the inputs that were dropped in it.
    pub(super) fn end_of_time(&mut self, time: Time, now: Timestamp) -> Drops {
        self.emit_announcements();
        let emits_counts = time > self.counted_through;
        let Self {
            activity,
            collections,
            facts,
            counters,
            drops,
            coverage,
            last_seen,
            dids,
            ..
        } = self;
        let names = |number: u32| collections.key(number).clone();
        // The number of live records follows from the facts, so it is emitted at any time.
        let counted = activity.take(now, names).filter_map(|(key, all)| {
            let live = Activity {
                live: all.live,
                ..Activity::default()
            };
            let emitted = if emits_counts { all } else { live };
            (emitted != Activity::default()).then_some((key, emitted))
        });
        facts.extend(counted.map(|(key, activity)| (Fact::Activity(key, activity), 1)));
        let seen = last_seen.drain();
        facts.extend(seen.map(|(did, at)| (Fact::LastSeen(dids.key(did).clone(), at), 1)));
        let hourly = std::mem::take(drops);
        let mut drops = Drops::new();
        for ((_, reason), count) in &hourly {
            *drops.entry(*reason).or_default() += count;
        }
        let counters = std::mem::take(counters).into_iter();
        let coverage = std::mem::take(coverage).into_iter();
        if !emits_counts {
            return drops;
        }
        let hourly = hourly.into_iter().map(|((hour, reason), count)| {
            CoverageFact::Dropped(hour, reason.as_str().into(), count)
        });
        let coverage = coverage.map(CoverageFact::Tick).chain(hourly);
        facts.extend(coverage.map(|it| (Fact::Coverage(it), 1)));
        facts.extend(counters.map(|(name, count)| (Fact::Counter(name, count), 1)));
        facts.extend(drops.iter().map(|(reason, &count)| {
            let name = format!("dropped/{}", reason.as_str());
            (Fact::Counter(name.into(), count), 1)
        }));
        drops
    }

    /// Calls `take` with each fact since the last call.
    pub(super) fn take_facts(&mut self, take: impl FnMut((Fact, i32))) {
        self.cold.end_of_time();
        let count = self.facts.len();
        self.emitted = count as u64;
        self.facts.drain(..).for_each(take);
        shrink_spare(&mut self.facts, count);
    }

    /// The number and repo of an account that is about to change; adds a repo if the account has
    /// none.
    fn repo(&mut self, did: &Did) -> (u32, &mut Repo) {
        let number = self.add_repo(did);
        let repo = self.repos[number as usize]
            .as_mut()
            .expect("the account has a repo");
        if !std::mem::replace(&mut repo.changed, true) {
            self.changes[usize::from(repo.shard)].changed.push(number);
        }
        (number, repo)
    }

    /// The number of an account; adds a repo if the account has none.
    fn add_repo(&mut self, did: &Did) -> u32 {
        let number = self.dids.intern(did);
        let index = number as usize;
        if self.repos.len() <= index {
            self.repos.resize_with(index + 1, || None);
        }
        self.repos[index].get_or_insert_with(|| {
            let shard = did.partition(SHARDS);
            self.members[usize::from(shard)].push(number);
            Box::new(Repo {
                shard: shard as u8,
                ..Repo::default()
            })
        });
        number
    }
}

/// An hour in ms.
const HOUR_MS: u64 = 3_600_000;

/// How a collection is counted in `activity`.
#[derive(Clone, Copy, Debug, Default)]
struct CollectionState {
    /// Whether `activity` has a row of this name, for a collection or a kind of event. Then its
    /// number is never released.
    is_named: bool,
    /// The number of live records of a collection without a row of its own. With the last record,
    /// the collection's number is released.
    records: u32,
}

/// The number of the row for all collections together.
const ALL: u32 = 0;
/// The number of the row for all collections that have no row of their own.
const OTHER: u32 = 1;
