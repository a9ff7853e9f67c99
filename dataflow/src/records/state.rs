//! The state of `live_records`, behind verbs that other storage could offer, too.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashMap};
use skytide_core::event::{Action, DropReason, Moved, Op};
use skytide_core::id::{Collection, Did, PostKey, Rkey, Tid};
use skytide_core::time::{Minute, Timestamp};

use super::activity::ActivityCounts;
use super::content::{Content, Place};
use super::repo::{LiveRecord, Repo};
use crate::fact::{Activity, Fact};
use crate::operators::interner::Interner;

/// What an account's status does to its facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountPolicy {
    /// An inactive account's facts are hidden until it is active again; `deleted` erases them.
    #[default]
    ActiveAccountsOnly,
    /// `deleted` erases an account's records; nothing is hidden.
    DeletedAccountsRemoved,
    /// Only operations count.
    OpsOnly,
}

/// Sizes of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Live records, hidden ones included.
    pub records: u64,
    /// Accounts known, as author or subject.
    pub accounts: u64,
}

/// Live records by repo, and the facts of the running time.
#[derive(Debug, Default)]
pub struct LiveRecords {
    policy: AccountPolicy,
    hasher: DefaultHashBuilder,
    dids: Interner<Did>,
    collections: Interner<Box<str>>,
    /// By the number of the DID; `None` for accounts that are only referred to.
    repos: Vec<Option<Box<Repo>>>,
    records: u64,
    activity: ActivityCounts,
    last_seen: HashMap<u32, Minute>,
    counters: BTreeMap<Box<str>, u64>,
    facts: Vec<(Fact, i32)>,
}

impl LiveRecords {
    /// Nothing is live.
    pub fn new(policy: AccountPolicy) -> Self {
        let mut state = Self {
            policy,
            ..Self::default()
        };
        let all = state.collections.number(&"".into());
        assert_eq!(
            all, ALL,
            "the empty name, all collections together, has number 0"
        );
        state
    }

    /// Sizes of the state.
    pub fn gauges(&self) -> Gauges {
        Gauges {
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
        let name = format!("dropped/{}", reason.as_str());
        *self.counters.entry(name.into()).or_default() += u64::from(count);
    }

    pub(super) fn count_all(&mut self, counts: BTreeMap<Box<str>, u64>) {
        for (name, count) in counts {
            *self.counters.entry(name).or_default() += count;
        }
    }

    /// Counts an event that is no operation, under its type.
    pub(super) fn count_event(&mut self, kind: &str, did: &Did, minute: Minute) {
        let (account, _) = self.repo(did);
        let kind = self.collections.number(&kind.into());
        self.activity.add(
            minute,
            (kind, account),
            &Activity {
                creates: 1,
                ..Activity::default()
            },
        );
    }

    /// Applies one operation of an accepted commit.
    pub(super) fn operation(&mut self, did: &Did, op: Op, minute: Minute) {
        let (account, _) = self.repo(did);
        let collection = self.collections.number(&op.collection.as_str().into());
        self.count_operation((account, collection), &op, minute);
        match op.action {
            Action::Create | Action::Update => self.put((did, account, collection), op, minute),
            Action::Delete => {
                if !self.remove((did, account, collection), &op.collection, &op.rkey) {
                    self.drop_one(DropReason::DeleteUnknown);
                }
            }
        }
    }

    fn count_operation(&mut self, (account, collection): (u32, u32), op: &Op, minute: Minute) {
        let mut activity = Activity {
            bytes: op.record.as_ref().map_or(0, |record| record.len() as i64),
            ..Activity::default()
        };
        match op.action {
            Action::Create => activity.creates = 1,
            Action::Update => activity.updates = 1,
            Action::Delete => activity.deletes = 1,
        }
        for collection in [collection, ALL] {
            self.activity.add(minute, (collection, account), &activity);
        }
        let newest = self.last_seen.entry(account).or_insert(minute);
        *newest = minute.max(*newest);
    }

    fn put(&mut self, (did, account, collection): (&Did, u32, u32), op: Op, minute: Minute) {
        let Self {
            hasher,
            dids,
            repos,
            facts,
            activity,
            ..
        } = self;
        let repo = repos[account as usize]
            .as_mut()
            .expect("an operation makes its repo");
        let name = op.collection.as_str();
        let same = |record: &LiveRecord| record.collection == collection && record.rkey == op.rkey;
        let rehash = |record: &LiveRecord| hasher.hash_one((record.collection, &record.rkey));
        let visible = !repo.hidden;
        let hash = hasher.hash_one((collection, &op.rkey));
        let entry = repo.records.entry(hash, same, rehash);
        let first_seen = match &entry {
            Entry::Occupied(entry) => entry.get().first_seen,
            Entry::Vacant(_) => minute,
        };
        let place = Place {
            did,
            collection: name,
            rkey: &op.rkey,
            first_seen,
        };
        let (content, dropped) = Content::read(&place, op.record.as_deref(), dids);
        if visible {
            facts.extend(content.fact(&place, dids).map(|fact| (fact, 1)));
        }
        match entry {
            Entry::Occupied(mut entry) => {
                let old = std::mem::replace(&mut entry.get_mut().content, content);
                if visible {
                    facts.extend(old.fact(&place, dids).map(|fact| (fact, -1)));
                }
            }
            Entry::Vacant(entry) => {
                if name == Collection::POST {
                    facts.push((Fact::Seen(PostKey::new(did, &op.rkey)), 1));
                }
                let rkey = op.rkey.clone();
                entry.insert(LiveRecord {
                    rkey,
                    collection,
                    first_seen,
                    content,
                });
                self.records += 1;
                if visible {
                    activity.live(collection, 1);
                    activity.live(ALL, 1);
                }
            }
        }
        if let Some((reason, count)) = dropped {
            self.drop_many(reason, count);
        }
    }

    fn remove(
        &mut self,
        (did, account, collection): (&Did, u32, u32),
        name: &Collection,
        rkey: &Rkey,
    ) -> bool {
        let Self {
            hasher,
            dids,
            repos,
            facts,
            activity,
            ..
        } = self;
        let repo = repos[account as usize]
            .as_mut()
            .expect("an operation makes its repo");
        let same = |record: &LiveRecord| record.collection == collection && record.rkey == *rkey;
        let Ok(entry) = repo
            .records
            .find_entry(hasher.hash_one((collection, rkey)), same)
        else {
            return false;
        };
        let (
            LiveRecord {
                first_seen,
                content,
                ..
            },
            _,
        ) = entry.remove();
        self.records -= 1;
        if !repo.hidden {
            let place = Place {
                did,
                collection: name.as_str(),
                rkey,
                first_seen,
            };
            facts.extend(content.fact(&place, dids).map(|fact| (fact, -1)));
            activity.live(collection, -1);
            activity.live(ALL, -1);
        }
        true
    }

    /// Applies an `#identity`: one without a handle leaves the handle that is known.
    pub(super) fn identity(&mut self, did: &Did, handle: Option<Box<str>>, time: Timestamp) {
        let (_, repo) = self.repo(did);
        if repo.identity.is_some() && handle.is_none() {
            return;
        }
        let new = Box::new((handle, time));
        let old = repo.identity.replace(new.clone());
        let fact = |identity: (Option<Box<str>>, Timestamp)| {
            Fact::Identity(did.clone(), identity.0, identity.1)
        };
        self.facts.extend(old.map(|old| (fact(*old), -1)));
        self.facts.push((fact(*new), 1));
    }

    /// Applies an `#account`: hides, shows or erases, as the policy says.
    pub(super) fn account(&mut self, did: &Did, active: bool, status: Option<Box<str>>) {
        let deleted = !active && status.as_deref() == Some("deleted");
        let policy = self.policy;
        let (account, repo) = self.repo(did);
        let new = Box::new((active, status));
        let old = repo.status.replace(new.clone());
        let fact = |status: (bool, Option<Box<str>>)| Fact::Status(did.clone(), status.0, status.1);
        self.facts.extend(old.map(|old| (fact(*old), -1)));
        self.facts.push((fact(*new), 1));
        if policy == AccountPolicy::ActiveAccountsOnly {
            self.show(did, account, active);
        }
        if deleted && policy != AccountPolicy::OpsOnly {
            self.erase(did, account);
        }
    }

    fn show(&mut self, did: &Did, account: u32, visible: bool) {
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an event makes its repo");
        if repo.hidden == visible {
            repo.hidden = !visible;
            self.tell_all(did, account, if visible { 1 } else { -1 });
        }
    }

    fn erase(&mut self, did: &Did, account: u32) {
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an event makes its repo");
        if !repo.hidden {
            self.tell_all(did, account, -1);
        }
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an event makes its repo");
        self.records -= repo.records.len() as u64;
        repo.records = hashbrown::HashTable::new();
    }

    /// Gives or takes back the facts of all records of an account.
    fn tell_all(&mut self, did: &Did, account: u32, diff: i32) {
        let Self {
            dids,
            collections,
            repos,
            facts,
            activity,
            ..
        } = self;
        let repo = repos[account as usize]
            .as_ref()
            .expect("an event makes its repo");
        for LiveRecord {
            rkey,
            collection,
            first_seen,
            content,
        } in &repo.records
        {
            let name = collections.key(*collection);
            let place = Place {
                did,
                collection: name,
                rkey,
                first_seen: *first_seen,
            };
            facts.extend(content.fact(&place, dids).map(|fact| (fact, diff)));
            activity.live(*collection, i64::from(diff));
            activity.live(ALL, i64::from(diff));
        }
    }

    /// Applies a move of a repo without operations.
    pub(super) fn moved(&mut self, (did, minute): (&Did, Minute), rev: Tid, why: Moved) {
        if why == Moved::Sync {
            self.count_event("#sync", did, minute);
        }
        let known = self.rev(did);
        if known.is_some_and(|known| rev <= known) {
            return;
        }
        if why == Moved::TooBig || (why == Moved::Sync && known.is_some()) {
            self.out_of_sync(did);
        }
        self.set_rev(did, rev);
    }

    /// Closes the running time.
    pub(super) fn end_of_time(&mut self, now: Timestamp) {
        let Self {
            activity,
            collections,
            facts,
            counters,
            last_seen,
            dids,
            ..
        } = self;
        let names = |number: u32| collections.key(number).clone();
        let counted = activity.take(now, names);
        facts.extend(counted.map(|(key, activity)| (Fact::Activity(key, activity), 1)));
        let seen = last_seen.drain();
        facts.extend(seen.map(|(did, at)| (Fact::LastSeen(dids.key(did).clone(), at), 1)));
        let counted = std::mem::take(counters).into_iter();
        facts.extend(counted.map(|(name, count)| (Fact::Counter(name, count), 1)));
    }

    /// The facts since they were last taken.
    pub(super) fn take_facts(&mut self) -> impl Iterator<Item = (Fact, i32)> {
        std::mem::take(&mut self.facts).into_iter()
    }

    fn repo(&mut self, did: &Did) -> (u32, &mut Repo) {
        let number = self.dids.number(did);
        let place = number as usize;
        if self.repos.len() <= place {
            self.repos.resize_with(place + 1, || None);
        }
        (number, self.repos[place].get_or_insert_default())
    }
}

/// The number of all collections together.
const ALL: u32 = 0;
