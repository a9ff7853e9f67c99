//! What checkpoints see of the state: accounts by shard, and accounts that come back.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use skytide_core::id::{Collection, Did, PostKey, Rkey};
use skytide_core::limits::OTHER_COLLECTIONS;
use skytide_core::time::Minute;
use skytide_core::view::{ActivityKey, Span};

use super::{LiveRecords, OTHER, SHARDS};
use crate::fact::{Activity, Fact};
use crate::operators::interner::Interner;
use crate::records::activity::Open;
use crate::records::repo::Repo;

/// For writing.
impl LiveRecords {
    /// The numbers of a shard's accounts.
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

    pub(in crate::records) fn open_stretches(&self, shard: u16) -> &Open {
        self.activity.open(shard)
    }
}

/// For reading.
impl LiveRecords {
    pub(in crate::records) fn hasher(&self) -> &DefaultHashBuilder {
        &self.hasher
    }

    /// The number of a collection of which a record is about to come back.
    pub(in crate::records) fn collection(&mut self, name: &str) -> u32 {
        self.collections.number(&name.into())
    }

    /// The number of the name under which a collection is counted.
    pub(in crate::records) fn row_of(&self, name: &str) -> u32 {
        let found = self.collections.find(&name.into());
        found.map_or(OTHER, |collection| self.row(collection))
    }

    /// Takes back that an account was counted twice: in a checkpoint of an older version, collections that have no name of
    /// their own now had one each.
    pub(in crate::records) fn count_once(&mut self, (span, start_minute): (Span, u32)) {
        let key = ActivityKey {
            span,
            start_minute,
            collection: OTHER_COLLECTIONS.into(),
        };
        let once = Activity {
            accounts: -1,
            ..Activity::default()
        };
        self.facts.push((Fact::Activity(key, once), 1));
    }

    pub(in crate::records) fn number_of(&mut self, did: &Did) -> u32 {
        self.dids.number(did)
    }

    pub(in crate::records) fn numbers_of(&mut self, dids: &[Did]) -> Vec<u32> {
        self.dids.number_all(dids.iter())
    }

    pub(in crate::records) fn bury(&self, repo: &mut Repo, rkey: Rkey) {
        bury(&mut repo.gone, &self.hasher, rkey);
    }

    /// Notes that an account was counted in a stretch of time that is still open.
    pub(in crate::records) fn saw(&mut self, stretch: (Span, u32), (row, account): (u32, u32)) {
        let shard = self.repo_of(account).shard;
        if !self.activity.saw(shard, stretch, (row, account)) {
            self.count_once(stretch);
        }
    }

    /// Takes in an account as it was, hidden or shown as the policy in force says, and tells all of its facts.
    pub(in crate::records) fn take_repo(&mut self, did: &Did, mut repo: Repo) -> u32 {
        let hidden = repo.is_to_be_hidden(self.policy);
        repo.hidden = hidden;
        let counted = repo.collections.len();
        repo.collections.dedup();
        for _ in repo.collections.len()..counted {
            self.count_once((Span::All, 0));
        }
        self.records += repo.records.len() as u64;
        for record in repo.records.iter() {
            let collected = &mut self.collections[record.collection];
            collected.records += u32::from(!collected.is_named);
        }
        let (account, place) = self.repo(did);
        repo.shard = place.shard;
        *place = repo;
        self.tell_account(did, account);
        if !hidden {
            self.tell_all(did, account, 1);
        }
        account
    }

    /// Tells what is so of an account besides its visible records.
    fn tell_account(&mut self, did: &Did, account: u32) {
        let Self {
            repos,
            facts,
            collections,
            ..
        } = self;
        let Some(Some(repo)) = repos.get(account as usize) else {
            return;
        };
        let mut tell = |fact| facts.push((fact, 1));
        if let Some((handle, claimed)) = repo.identity.as_deref().cloned() {
            tell(Fact::Identity(did.clone(), handle, claimed));
        }
        if let Some((active, status)) = repo.status.as_deref().cloned() {
            tell(Fact::Status(did.clone(), active, status));
        }
        if repo.out_of_sync {
            tell(Fact::OutOfSync(did.clone()));
        }
        if repo.last_seen != Minute::default() {
            tell(Fact::LastSeen(did.clone(), repo.last_seen));
        }
        let posts = collections.find(&Collection::POST.into());
        let live = repo.records.iter();
        let live = live.filter(|record| Some(record.collection) == posts);
        let gone = repo.gone.iter().flat_map(|gone| gone.iter());
        for rkey in live.map(|record| &record.rkey).chain(gone) {
            tell(Fact::Seen(PostKey::new(did, rkey)));
        }
    }
}

/// Remembers that a post was live once.
pub(super) fn bury(
    gone: &mut Option<Box<HashTable<Rkey>>>,
    hasher: &DefaultHashBuilder,
    rkey: Rkey,
) {
    let gone = gone.get_or_insert_default();
    let hash_of = |rkey: &Rkey| hasher.hash_one(rkey);
    let hash = hash_of(&rkey);
    if gone.find(hash, |other| *other == rkey).is_none() {
        gone.insert_unique(hash, rkey, hash_of);
    }
}

/// A post that was live once is live again.
pub(super) fn raise(
    gone: &mut Option<Box<HashTable<Rkey>>>,
    hasher: &DefaultHashBuilder,
    rkey: &Rkey,
) {
    let Some(graves) = gone else {
        return;
    };
    if let Ok(grave) = graves.find_entry(hasher.hash_one(rkey), |other| other == rkey) {
        grave.remove();
    }
    if graves.is_empty() {
        *gone = None;
    }
}

const _: () = assert!(SHARDS <= 256, "a repo keeps its shard in a byte");
