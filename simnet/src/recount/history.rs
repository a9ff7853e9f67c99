//! The state after reading a log: live records, accounts, operations. Events are applied one after
//! another, in plain code.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::event::{Action, Body, DropReason, Event, Moved, Op};
use skytide_core::id::{AtUri, Collection, Did, PostKey, Tid};
use skytide_core::time::{Minute, Timestamp};

use super::Policy;
use super::facts::{self, Content, Fact};

/// Everything from which the views are computed.
#[derive(Debug)]
pub(super) struct History {
    policy: Policy,
    /// Live records by address, including hidden ones.
    records: BTreeMap<AtUri, Live>,
    /// Posts that were ever created or updated.
    pub(super) posts_seen: BTreeSet<PostKey>,
    /// The newest revision of each repo.
    revs: BTreeMap<Did, Tid>,
    /// The state from identity and account events, and which repos have missed operations.
    pub(super) accounts: BTreeMap<Did, Account>,
    /// The newest minute in which an account's operation was applied.
    pub(super) last_seen: BTreeMap<Did, Minute>,
    /// Every applied operation and every account event, for the view `activity`.
    pub(super) activity: Vec<ActivityEntry>,
    /// Counters by name.
    pub(super) counters: BTreeMap<String, u64>,
}

/// A live record.
#[derive(Debug)]
struct Live {
    first_seen: Minute,
    /// `None` if the content is unknown.
    content: Option<Content>,
}

/// The state of an account, without its records.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) handle: Option<(Box<str>, Timestamp)>,
    pub(super) active: bool,
    pub(super) status: Option<Box<str>>,
    pub(super) out_of_sync: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            handle: None,
            active: true,
            status: None,
            out_of_sync: false,
        }
    }
}

/// One entry that `activity` counts.
#[derive(Debug)]
pub(super) struct ActivityEntry {
    pub(super) did: Did,
    pub(super) minute: Minute,
    /// The collection, or the type of an account event, such as `#account`.
    pub(super) kind: String,
    pub(super) action: Action,
    pub(super) bytes: u64,
}

impl History {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            records: BTreeMap::new(),
            posts_seen: BTreeSet::new(),
            revs: BTreeMap::new(),
            accounts: BTreeMap::new(),
            last_seen: BTreeMap::new(),
            activity: Vec::new(),
            counters: BTreeMap::new(),
        }
    }

    /// Applies the events of one frame: the operations of one commit, or one event of another type.
    pub(super) fn apply(&mut self, frame: &[Event]) {
        for event in frame {
            match &event.body {
                Body::Op(_) => {}
                Body::Identity { handle } => self.identity(event, handle.as_deref()),
                Body::Account { active, status } => {
                    self.account(event, *active, status.as_deref());
                }
                Body::Moved { rev, why } => self.repo_moved(event, *rev, *why),
            }
        }
        let ops = frame.iter().filter_map(|event| match &event.body {
            Body::Op(op) => Some((event, op)),
            _ => None,
        });
        self.commit(&ops.collect::<Vec<_>>());
    }

    /// Adds counts to the counters of the same names.
    pub(super) fn count(&mut self, counts: &BTreeMap<Box<str>, u64>) {
        for (name, count) in counts {
            *self.counters.entry(name.to_string()).or_default() += count;
        }
    }

    /// The facts of all visible live records.
    pub(super) fn facts(&self) -> impl Iterator<Item = Fact<'_>> {
        self.visible().filter_map(|(uri, live)| {
            let content = live.content.as_ref()?;
            Some(Fact {
                uri,
                minute: live.first_seen,
                content,
            })
        })
    }

    /// The addresses of all visible live records, including those of unknown content.
    pub(super) fn live(&self) -> impl Iterator<Item = &AtUri> {
        self.visible().map(|(uri, _)| uri)
    }

    /// The addresses of all live records, including hidden ones.
    pub(super) fn records(&self) -> impl Iterator<Item = &AtUri> {
        self.records.keys()
    }

    fn visible(&self) -> impl Iterator<Item = (&AtUri, &Live)> {
        self.records.iter().filter(|(uri, _)| !self.hides(&uri.did))
    }

    fn hides(&self, did: &Did) -> bool {
        self.policy == Policy::ActiveAccountsOnly
            && self
                .accounts
                .get(did)
                .is_some_and(|account| !account.active)
    }

    fn identity(&mut self, event: &Event, handle: Option<&str>) {
        self.record_activity(event, "#identity", Action::Create, 0);
        let account = self.accounts.entry(event.did.clone()).or_default();
        if let Some(handle) = handle {
            account.handle = Some((handle.into(), event.time));
        }
    }

    fn account(&mut self, event: &Event, active: bool, status: Option<&str>) {
        self.record_activity(event, "#account", Action::Create, 0);
        let account = self.accounts.entry(event.did.clone()).or_default();
        account.active = active;
        account.status = status.map(Into::into);
        if !active && status == Some("deleted") && self.policy != Policy::OpsOnly {
            self.records.retain(|uri, _| uri.did != event.did);
        }
    }

    fn repo_moved(&mut self, event: &Event, rev: Tid, why: Moved) {
        if why == Moved::Sync {
            self.record_activity(event, "#sync", Action::Create, 0);
        }
        let known = self.revs.get(&event.did).copied();
        if known.is_some_and(|known| rev <= known) {
            return;
        }
        let missed = match why {
            Moved::Sync => known.is_some(),
            Moved::Empty => false,
            Moved::TooBig => true,
        };
        if missed {
            self.out_of_sync(&event.did);
        }
        self.revs.insert(event.did.clone(), rev);
    }

    /// Applies a commit, or drops all of it if its revision is not newer than the repo's.
    fn commit(&mut self, ops: &[(&Event, &Op)]) {
        let Some((event, first)) = ops.first() else {
            return;
        };
        let known = self.revs.get(&event.did).copied();
        if known.is_some_and(|known| first.rev <= known) {
            self.dropped(DropReason::RevRepeated, ops.len() as u64);
            return;
        }
        if known.is_some() && first.since.is_some() && first.since != known {
            self.out_of_sync(&event.did);
        }
        self.revs.insert(event.did.clone(), first.rev);
        for (event, op) in ops {
            self.operation(event, op);
        }
    }

    fn operation(&mut self, event: &Event, op: &Op) {
        let bytes = op.record.as_ref().map_or(0, |record| record.len() as u64);
        self.record_activity(event, op.collection.as_str(), op.action, bytes);
        let minute = event.time.minute();
        let last_seen = self.last_seen.entry(event.did.clone()).or_default();
        *last_seen = minute.max(*last_seen);

        let uri = AtUri {
            did: event.did.clone(),
            collection: op.collection.clone(),
            rkey: op.rkey.clone(),
        };
        if op.action == Action::Delete {
            if self.records.remove(&uri).is_none() {
                self.dropped(DropReason::DeleteUnknown, 1);
            }
            return;
        }
        if op.collection.as_str() == Collection::POST {
            self.posts_seen.insert(PostKey::new(&uri.did, &uri.rkey));
        }
        let content = match facts::read(op) {
            Ok((content, keys_too_long)) => {
                if keys_too_long > 0 {
                    self.dropped(DropReason::KeyLength, keys_too_long);
                }
                Some(content)
            }
            Err(reason) => {
                self.dropped(reason, 1);
                None
            }
        };
        let first_seen = self
            .records
            .get(&uri)
            .map_or(minute, |live| live.first_seen);
        self.records.insert(
            uri,
            Live {
                first_seen,
                content,
            },
        );
    }

    fn out_of_sync(&mut self, did: &Did) {
        self.accounts.entry(did.clone()).or_default().out_of_sync = true;
    }

    fn record_activity(&mut self, event: &Event, kind: &str, action: Action, bytes: u64) {
        self.activity.push(ActivityEntry {
            did: event.did.clone(),
            minute: event.time.minute(),
            kind: kind.to_owned(),
            action,
            bytes,
        });
    }

    fn dropped(&mut self, reason: DropReason, count: u64) {
        let name = format!("dropped/{}", reason.as_str());
        *self.counters.entry(name).or_default() += count;
    }
}
