//! The state after reading a part of a log: accounts with their live records, and totals of
//! operations. Events are applied one after another.

mod events;

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::event::Origin;
use skytide_core::id::{AtUri, Collection, Did, PostKey, Rkey, Tid};
use skytide_core::limits::KNOWN_COLLECTIONS;
use skytide_core::live::{LiveAccount, LiveContent, LiveTotals};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::ActivityKey;

use super::Policy;
use super::facts::{self, Fact};
pub use events::EpochInput;

/// Everything from which the views are computed.
#[derive(Debug)]
pub struct History {
    policy: Policy,
    accounts: BTreeMap<Did, Account>,
    /// Counts of operations, except of live records, and counters. `names` is not used.
    pub(super) totals: LiveTotals,
    /// Whether operations add to the totals. If not, the totals include them already.
    counts_totals: bool,
    /// Every drop: time, counter and count; `None` if they are not recorded.
    drops: Option<Vec<(Timestamp, String, u64)>>,
    /// Time of the frame that is being applied.
    frame_time: Timestamp,
    /// Collections that `activity` counts under their own name, in addition to
    /// [`KNOWN_COLLECTIONS`].
    named: BTreeSet<String>,
}

/// The state of an account.
#[derive(Debug, Default)]
struct Account {
    /// Live records, also while the account is hidden.
    records: BTreeMap<(Collection, Rkey), Live>,
    /// Keys of the posts that were ever created or updated.
    posts_seen: BTreeSet<Rkey>,
    /// The newest revision of the repo.
    rev: Option<Tid>,
    /// What `#identity` and `#account` events said, and whether operations were missed.
    announced: Option<Announced>,
    /// The newest minute in which an operation was applied.
    last_seen: Option<Minute>,
    /// The rows of `activity` that count the account.
    counted: BTreeSet<ActivityKey>,
}

/// A live record.
#[derive(Debug)]
struct Live {
    first_seen: Minute,
    /// `None` if nothing of the content is counted.
    content: Option<LiveContent>,
}

/// The state of an account, without its records.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) handle: Option<(Box<str>, Timestamp)>,
    pub(super) active: bool,
    pub(super) status: Option<Box<str>>,
    pub(super) out_of_sync: bool,
    /// Where the newest `#identity` that named a handle or withdrew one came from.
    pub(super) identity_from: Option<Origin>,
    /// Where the newest `#account` came from.
    pub(super) status_from: Option<Origin>,
}

impl Default for Announced {
    fn default() -> Self {
        Self {
            handle: None,
            active: true,
            status: None,
            out_of_sync: false,
            identity_from: None,
            status_from: None,
        }
    }
}

/// An account as the views see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountView<'a> {
    pub(super) did: &'a Did,
    account: &'a Account,
    hidden: bool,
}

impl<'a> AccountView<'a> {
    /// The facts of the visible live records.
    pub(super) fn facts(&self) -> impl Iterator<Item = Fact<'a>> + use<'a> {
        let did = self.did;
        self.records().filter_map(move |((_, rkey), live)| {
            let content = live.content.as_ref()?;
            Some(Fact {
                did,
                rkey,
                minute: live.first_seen,
                content,
            })
        })
    }

    /// The collections and keys of the visible live records, including those of unknown content.
    pub(super) fn live(&self) -> impl Iterator<Item = (&'a Collection, &'a Rkey)> + use<'a> {
        self.records()
            .map(|((collection, rkey), _)| (collection, rkey))
    }

    fn records(&self) -> impl Iterator<Item = (&'a (Collection, Rkey), &'a Live)> + use<'a> {
        let hidden = self.hidden;
        self.account.records.iter().filter(move |_| !hidden)
    }

    /// The visible live posts, including those of unknown content.
    pub(super) fn live_posts(&self) -> impl Iterator<Item = PostKey> + use<'a> {
        let did = self.did;
        let posts = self.live();
        let posts = posts.filter(|(collection, _)| collection.as_str() == Collection::POST);
        posts.map(move |(_, rkey)| PostKey::new(did, rkey))
    }

    /// The posts that were ever created or updated.
    pub(super) fn posts_seen(&self) -> impl Iterator<Item = PostKey> + use<'a> {
        let did = self.did;
        let seen = self.account.posts_seen.iter();
        seen.map(move |rkey| PostKey::new(did, rkey))
    }

    /// What events said about the account; `None` if there were none.
    pub(super) fn announced(&self) -> Option<&'a Announced> {
        self.account.announced.as_ref()
    }

    /// The newest minute in which an operation was applied.
    pub(super) fn last_seen(&self) -> Option<Minute> {
        self.account.last_seen
    }
}

/// Reading and restoring.
impl History {
    /// A history without accounts.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            accounts: BTreeMap::new(),
            totals: LiveTotals::default(),
            counts_totals: true,
            drops: None,
            frame_time: Timestamp(0),
            named: BTreeSet::new(),
        }
    }

    /// Records each drop, for the view `coverage`.
    #[must_use]
    pub(super) fn with_drops(mut self) -> Self {
        self.drops = Some(Vec::new());
        self
    }

    /// Every drop that was recorded: time, counter and count.
    pub(super) fn drops(&self) -> &[(Timestamp, String, u64)] {
        self.drops.as_deref().unwrap_or_default()
    }

    /// Sets the totals that a checkpoint stores, and the collections that have names of their own.
    pub fn load_totals(&mut self, totals: LiveTotals) {
        let names = totals.names.iter().map(ToString::to_string);
        self.named.extend(names);
        self.totals = totals;
    }

    /// Adds an account of a checkpoint.
    pub fn load(&mut self, saved: LiveAccount) {
        let posts = saved.records.iter();
        let posts = posts.filter(|record| record.collection.as_str() == Collection::POST);
        let posts = posts.map(|record| record.rkey.clone());
        let announced = saved.identity.is_some() || saved.status.is_some() || saved.out_of_sync;
        let (active, status) = saved.status.unwrap_or((true, None));
        // An older version also stored longer texts, and texts that are not handles.
        let status = status.map(|status| facts::status(&status).0);
        let handle = saved.identity.and_then(|(handle, at)| Some((handle?, at)));
        let handle = handle.filter(|(handle, _)| events::is_domain_name(handle));
        let counted = saved.counted.into_iter().map(|key| ActivityKey {
            collection: self.kind(&key.collection).into(),
            ..key
        });
        let account = Account {
            posts_seen: posts.chain(saved.gone_posts).collect(),
            rev: saved.rev,
            announced: announced.then_some(Announced {
                handle,
                active,
                status,
                out_of_sync: saved.out_of_sync,
                identity_from: saved.identity_origin,
                status_from: saved.status_origin,
            }),
            last_seen: saved.last_seen,
            counted: counted.collect(),
            records: saved
                .records
                .into_iter()
                .map(|record| {
                    let live = Live {
                        first_seen: record.first_seen,
                        content: record.content,
                    };
                    ((record.collection, record.rkey), live)
                })
                .collect(),
        };
        let before = self.accounts.insert(saved.did, account);
        assert!(before.is_none(), "a checkpoint stores an account once");
    }

    /// A copy of everything except the accounts.
    pub fn without_accounts(&self) -> Self {
        Self {
            policy: self.policy,
            accounts: BTreeMap::new(),
            totals: self.totals.clone(),
            counts_totals: self.counts_totals,
            drops: self.drops.clone(),
            frame_time: self.frame_time,
            named: self.named.clone(),
        }
    }

    /// Chooses whether operations add to the totals from now on.
    pub fn count_totals(&mut self, counts_totals: bool) {
        self.counts_totals = counts_totals;
    }

    /// Removes all accounts; the totals and names stay.
    pub fn clear_accounts(&mut self) {
        self.accounts.clear();
    }

    /// The number of live records, including hidden ones.
    pub fn live_records(&self) -> usize {
        let accounts = self.accounts.values();
        accounts.map(|account| account.records.len()).sum()
    }

    /// The accounts, with the number of their live records.
    pub fn account_sizes(&self) -> Vec<(Did, usize)> {
        let accounts = self.accounts.iter();
        let sizes = accounts.map(|(did, account)| (did.clone(), account.records.len()));
        sizes.collect()
    }

    /// Keeps only these accounts, and at most `records_max` records of each.
    pub fn keep_accounts(&mut self, accounts: &BTreeSet<Did>, records_max: usize) {
        self.accounts.retain(|did, _| accounts.contains(did));
        for account in self.accounts.values_mut() {
            while account.records.len() > records_max {
                account.records.pop_first();
            }
        }
    }
}

/// What the views read.
impl History {
    pub(super) fn accounts(&self) -> impl Iterator<Item = AccountView<'_>> {
        self.accounts.iter().map(|(did, account)| AccountView {
            did,
            account,
            hidden: self.hides(account),
        })
    }

    /// The addresses of all live records, including hidden ones.
    pub(super) fn records(&self) -> impl Iterator<Item = AtUri> {
        self.accounts.iter().flat_map(|(did, account)| {
            account.records.keys().map(|(collection, rkey)| AtUri {
                did: did.clone(),
                collection: collection.clone(),
                rkey: rkey.clone(),
            })
        })
    }

    fn hides(&self, account: &Account) -> bool {
        let announced = account.announced.as_ref();
        self.policy == Policy::ActiveAccountsOnly && announced.is_some_and(|it| !it.active)
    }

    /// The name under which operations on a collection, or events, are counted.
    pub(super) fn kind<'a>(&self, collection: &'a str) -> &'a str {
        let is_named = collection.is_empty()
            || collection.starts_with('#')
            || KNOWN_COLLECTIONS.contains(&collection)
            || self.named.contains(collection);
        if is_named { collection } else { "other" }
    }
}
