//! Events of an account as a whole: identity, status, moves of its repo.

use skytide_core::event::{DropReason, Moved};
use skytide_core::id::{Collection, Did, Tid};
use skytide_core::limits::{STATUS_BYTES_MAX, truncate};
use skytide_core::time::{Minute, Timestamp};

use super::shards::bury;
use super::{ALL, AccountPolicy, LiveRecords, OTHER};
use crate::fact::Fact;
use crate::records::content::Place;
use crate::records::repo::LiveRecord;

impl LiveRecords {
    /// Applies an `#identity`: one without a handle leaves the handle that is known.
    pub(in crate::records) fn identity(
        &mut self,
        did: &Did,
        handle: Option<Box<str>>,
        time: Timestamp,
    ) {
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

    /// Applies an `#account`: hides, shows or erases, as the policy says. A status that is too long is truncated, and so is
    /// none that has a meaning.
    pub(in crate::records) fn account(
        &mut self,
        did: &Did,
        active: bool,
        mut status: Option<Box<str>>,
    ) {
        // Ingest truncates it, too; a log of an older version has longer ones.
        let is_longer = |status: &mut Box<str>| truncate(status, STATUS_BYTES_MAX);
        if status.as_mut().is_some_and(is_longer) {
            self.drop_one(DropReason::TextLimit);
        }
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
        let posts = self.collections.find(&Collection::POST.into());
        let mut others = Vec::new();
        for record in std::mem::take(&mut repo.records) {
            if Some(record.collection) == posts {
                bury(&mut repo.gone, &self.hasher, record.rkey);
            } else {
                others.push(record.collection);
            }
        }
        for collection in others {
            self.record_went(collection);
        }
    }

    /// Gives or takes back the facts of all records of an account.
    pub(super) fn tell_all(&mut self, did: &Did, account: u32, diff: i32) {
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
        } in repo.records.iter()
        {
            let name = collections.key(*collection);
            let place = Place {
                did,
                collection: name,
                rkey,
                first_seen: *first_seen,
            };
            facts.extend(content.fact(&place, dids).map(|fact| (fact, diff)));
            let row = match collections[*collection].is_named {
                true => *collection,
                false => OTHER,
            };
            activity.live(row, i64::from(diff));
            activity.live(ALL, i64::from(diff));
        }
    }

    /// Applies a move of a repo without operations.
    pub(in crate::records) fn moved(
        &mut self,
        (did, minute): (&Did, Minute),
        rev: Tid,
        why: Moved,
    ) {
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
}
