//! The state after reading a part of a log: live records, accounts, operations. Events are applied
//! one after another.

use std::collections::{BTreeMap, BTreeSet};

use skytide_core::event::{Action, Body, DropReason, Event, Moved, Op};
use skytide_core::id::{AtUri, Collection, Did, PostKey, Tid};
use skytide_core::limits::KNOWN_COLLECTIONS;
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
    /// The state of each account from `#identity` and `#account` events, and whether operations of
    /// its repo were missed.
    pub(super) accounts: BTreeMap<Did, Account>,
    /// The newest minute in which an account's operation was applied.
    pub(super) last_seen: BTreeMap<Did, Minute>,
    /// Every applied operation and every account event, for the view `activity`.
    pub(super) activity: Vec<ActivityEntry>,
    /// Counters by name.
    pub(super) counters: BTreeMap<String, u64>,
    /// Every drop: time, counter and count.
    pub(super) drops: Vec<(Timestamp, String, u64)>,
    /// Time of the frame that is being applied.
    frame_time: Timestamp,
    /// Collections that `activity` counts under their own name, in addition to
    /// [`KNOWN_COLLECTIONS`].
    named: BTreeSet<String>,
}

/// Maximum number of collections in [`History::named`].
const NAMED_COLLECTIONS: usize = 500;

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

/// Whether a text in lower case has the syntax of a handle (<https://atproto.com/specs/handle>).
fn is_domain_name(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let inner = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    let label = |label: &&str| {
        (1..64).contains(&label.len())
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let top = labels.last().and_then(|top| top.chars().next());
    text.len() < 254
        && labels.len() > 1
        && labels.iter().all(label)
        && top.is_some_and(|first| first.is_ascii_lowercase())
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
            drops: Vec::new(),
            frame_time: Timestamp(0),
            named: BTreeSet::new(),
        }
    }

    /// Applies the events of one frame: the operations of one commit, or one event of another type.
    pub(super) fn apply(&mut self, frame: &[Event]) {
        self.frame_time = frame.first().map_or(self.frame_time, |event| event.time);
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

    /// Adds counts to the counters with the same names.
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
        let Some(handle) = handle.map(str::to_ascii_lowercase) else {
            return;
        };
        if is_domain_name(&handle) && handle != "handle.invalid" {
            account.handle = Some((handle.into(), event.time));
            return;
        }
        if handle == "handle.invalid" {
            account.handle = None;
        }
        self.dropped(DropReason::Handle, 1);
    }

    fn account(&mut self, event: &Event, active: bool, status: Option<&str>) {
        self.record_activity(event, "#account", Action::Create, 0);
        let account = self.accounts.entry(event.did.clone()).or_default();
        let limited = status.map(facts::status);
        account.active = active;
        account.status = limited.clone().map(|(status, _)| status);
        if limited.is_some_and(|(_, was_longer)| was_longer) {
            self.dropped(DropReason::TextLimit, 1);
        }
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

    /// The name under which operations on a collection are counted.
    pub(super) fn kind<'a>(&self, collection: &'a str) -> &'a str {
        let is_named = KNOWN_COLLECTIONS.contains(&collection) || self.named.contains(collection);
        if is_named { collection } else { "other" }
    }

    /// Adds a collection to those that are counted under their own name, up to the maximum number.
    /// This also happens if the operation is not applied.
    fn assign_name(&mut self, collection: &str) {
        let is_known = KNOWN_COLLECTIONS.contains(&collection);
        if !is_known && self.named.len() < NAMED_COLLECTIONS {
            self.named.insert(collection.to_owned());
        }
    }

    /// Applies a commit, or drops all of it if its revision is not newer than the repo's.
    fn commit(&mut self, ops: &[(&Event, &Op)]) {
        let Some((event, first)) = ops.first() else {
            return;
        };
        for (_, op) in ops {
            self.assign_name(op.collection.as_str());
        }
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
        let kind = self.kind(op.collection.as_str()).to_owned();
        self.record_activity(event, &kind, op.action, bytes);
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
            Ok((content, left_out)) => {
                for (reason, count) in left_out.into_iter().filter(|(_, count)| *count > 0) {
                    self.dropped(reason, count);
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
        *self.counters.entry(name.clone()).or_default() += count;
        self.drops.push((self.frame_time, name, count));
    }
}
