//! Access to the state for checkpoints: reads accounts by shard, and restores accounts.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use skytide_core::id::{Collection, Did, PostKey, Rkey};
use skytide_core::limits::OTHER_COLLECTIONS;
use skytide_core::time::Minute;
use skytide_core::view::{ActivityKey, Span};

use super::{LiveRecords, OTHER};
use crate::fact::{Activity, Fact};
use crate::operators::interner::Interner;
use crate::records::activity::{OpenPeriods, Period};
use crate::records::repo::Repo;

/// Access for writing a checkpoint.
impl LiveRecords {
    /// The numbers of the accounts of a shard.
    pub(in crate::records) fn members(&self, shard: u16) -> &[u32] {
        &self.members[usize::from(shard)]
    }

    pub(in crate::records) fn repo_of(&self, account: u32) -> &Repo {
        self.repos[account as usize]
            .as_ref()
            .expect("a member of a shard has a repo")
    }

    pub(in crate::records) fn dids(&self) -> &Interner<Did> {
        &self.dids
    }

    #[cfg(test)]
    pub(in crate::records) fn collections(&self) -> Vec<&str> {
        self.collections
            .iter()
            .map(|(_, name, _)| &**name)
            .collect()
    }

    pub(in crate::records) fn collection_name(&self, number: u32) -> &str {
        self.collections.key(number)
    }

    pub(in crate::records) fn open_periods(&self, shard: u16) -> &OpenPeriods {
        self.activity.open(shard)
    }
}

/// Access for restoring a checkpoint.
impl LiveRecords {
    pub(in crate::records) fn hasher(&self) -> &DefaultHashBuilder {
        &self.hasher
    }

    /// The number of a collection of which a record is about to be restored.
    pub(in crate::records) fn collection(&mut self, name: &str) -> u32 {
        self.collections.intern(&name.into())
    }

    /// The number of the activity row that counts a collection.
    pub(in crate::records) fn activity_row_of(&self, name: &str) -> u32 {
        let found = self.collections.find(&name.into());
        found.map_or(OTHER, |collection| self.activity_row(collection))
    }

    /// Subtracts an account that is counted twice in the row for other collections. In a checkpoint
    /// of an older version, each of these collections had a row of its own.
    pub(in crate::records) fn subtract_duplicate_account(&mut self, period: Period) {
        let (span, start_minute) = period;
        let key = ActivityKey {
            span,
            start_minute,
            collection: OTHER_COLLECTIONS.into(),
        };
        let correction = Activity {
            accounts: -1,
            ..Activity::default()
        };
        self.facts.push((Fact::Activity(key, correction), 1));
    }

    pub(in crate::records) fn number_of(&mut self, did: &Did) -> u32 {
        self.dids.intern(did)
    }

    pub(in crate::records) fn numbers_of(&mut self, dids: &[Did]) -> Vec<u32> {
        self.dids.intern_all(dids.iter())
    }

    pub(in crate::records) fn add_gone_post(&mut self, repo: &mut Repo, rkey: Rkey) {
        let added = add_gone_post(&mut repo.gone_posts, &self.hasher, rkey);
        self.sizes.add_gone_key(added);
    }

    /// Marks an account as counted in a row and an open period.
    pub(in crate::records) fn mark_counted(&mut self, period: Period, row: u32, account: u32) {
        let shard = self.repo_of(account).shard;
        let is_first = self.activity.mark_counted(shard, period, (row, account));
        if !is_first {
            self.subtract_duplicate_account(period);
        }
    }

    /// Restores an account and emits all its facts. The current policy decides whether it is
    /// hidden. Returns the number of the account.
    pub(in crate::records) fn restore_repo(&mut self, did: &Did, mut repo: Repo) -> u32 {
        let hidden = repo.must_hide(self.policy);
        repo.hidden = hidden;
        let counted = repo.collections.len();
        repo.collections.dedup();
        for _ in repo.collections.len()..counted {
            self.subtract_duplicate_account((Span::All, 0));
        }
        let has_duplicates = repo.collections.len() < counted;
        self.records += repo.records.len() as u64;
        for record in repo.records.iter() {
            self.sizes.add_record(record);
            let state = &mut self.collections[record.collection];
            state.records += u32::from(!state.is_named);
        }
        let account = self.add_repo(did);
        let new_repo = self.repos[account as usize]
            .as_mut()
            .expect("the account has a repo");
        repo.shard = new_repo.shard;
        let before = new_repo.size();
        **new_repo = repo;
        let after = new_repo.size();
        self.sizes.replace(before, after);
        if has_duplicates {
            // The next checkpoint must not have them.
            self.repo(did);
        }
        self.emit_account_facts(did, account);
        if !hidden {
            self.emit_record_facts(did, account, 1);
        }
        account
    }

    /// Emits the facts of an account that do not depend on its visible records.
    fn emit_account_facts(&mut self, did: &Did, account: u32) {
        let Self {
            repos,
            facts,
            collections,
            out_of_sync,
            ..
        } = self;
        let Some(Some(repo)) = repos.get(account as usize) else {
            return;
        };
        let mut emit = |fact| facts.push((fact, 1));
        if let Some(identity) = repo.identity.as_deref() {
            emit(identity.fact(did));
        }
        if let Some(status) = repo.status.as_deref() {
            emit(status.fact(did));
        }
        if repo.out_of_sync {
            emit(Fact::OutOfSync(did.clone()));
            *out_of_sync += 1;
        }
        if repo.last_seen != Minute::default() {
            emit(Fact::LastSeen(did.clone(), repo.last_seen));
        }
        let posts = collections.find(&Collection::POST.into());
        let live = repo.records.iter();
        let live = live.filter(|record| Some(record.collection) == posts);
        let gone = repo.gone_posts.iter().flat_map(|posts| posts.iter());
        for rkey in live.map(|record| &record.rkey).chain(gone) {
            emit(Fact::Seen(PostKey::new(did, rkey)));
        }
    }
}

/// Adds a post that was live once to the gone posts. Returns what a new key points to, in bytes.
pub(super) fn add_gone_post(
    gone_posts: &mut Option<Box<HashTable<Rkey>>>,
    hasher: &DefaultHashBuilder,
    rkey: Rkey,
) -> usize {
    let gone_posts = gone_posts.get_or_insert_default();
    let hash_of = |rkey: &Rkey| hasher.hash_one(rkey);
    let hash = hash_of(&rkey);
    if gone_posts.find(hash, |other| *other == rkey).is_some() {
        return 0;
    }
    let bytes = rkey.heap_bytes();
    gone_posts.insert_unique(hash, rkey, hash_of);
    bytes
}

/// Removes a post that is live again from the gone posts. Returns what its key pointed to, in bytes.
pub(super) fn remove_gone_post(
    gone_posts: &mut Option<Box<HashTable<Rkey>>>,
    hasher: &DefaultHashBuilder,
    rkey: &Rkey,
) -> usize {
    let Some(posts) = gone_posts else {
        return 0;
    };
    let found = posts.find_entry(hasher.hash_one(rkey), |other| other == rkey);
    let bytes = found.map_or(0, |post| post.remove().0.heap_bytes());
    if posts.is_empty() {
        *gone_posts = None;
    }
    bytes
}
