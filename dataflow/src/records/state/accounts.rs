//! Events of an account as a whole: identity, status, moves of its repo.
//!
//! Handles and statuses are told at the end of the time, as the difference to its beginning: else an account of many records
//! that changes its status again and again would give all of its facts each time. Until then operations count as the
//! account was shown when the time began, and what is told at the end covers the records there are then.

use skytide_core::event::{DropReason, Moved};
use skytide_core::id::{Collection, Did, Handle, Tid};
use skytide_core::limits::{STATUS_BYTES_MAX, truncate};
use skytide_core::time::{Minute, Timestamp};

use super::shards::bury;
use super::{ALL, AccountPolicy, LiveRecords, OTHER};
use crate::fact::Fact;
use crate::records::content::Place;
use crate::records::repo::{LiveRecord, Repo};

/// What was announced of an account before the running time.
#[derive(Debug)]
pub(super) struct Before {
    identity: Option<Box<(Option<Handle>, Timestamp)>>,
    status: Option<Box<(bool, Option<Box<str>>)>>,
}

impl LiveRecords {
    /// Applies an `#identity`. One without a handle, or with a text that is no handle, leaves the handle that is known; after
    /// [`Handle::INVALID`] the account has none.
    pub(in crate::records) fn identity(&mut self, did: &Did, named: Option<&str>, time: Timestamp) {
        let handle = named.and_then(|text| text.parse::<Handle>().ok());
        if named.is_some() && handle.is_none() {
            self.drop_one(DropReason::Handle);
        }
        let withdrawn = named.is_some_and(Handle::is_invalid);
        let repo = self.announced(did);
        if repo.identity.is_none() || handle.is_some() || withdrawn {
            repo.identity = Some(Box::new((handle, time)));
        }
    }

    /// Applies an `#account`: erases at once, as the policy says; hides and shows at the end of the
    /// time. A status that is too long is truncated; no status that has a meaning is.
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
        self.announced(did).status = Some(Box::new((active, status)));
        if deleted && self.policy != AccountPolicy::OpsOnly {
            let (account, _) = self.repo(did);
            self.erase(did, account);
        }
    }

    /// The repo of an account of which something is announced: what was known before is kept until the end of the time.
    fn announced(&mut self, did: &Did) -> &mut Repo {
        let (account, _) = self.repo(did);
        let Self {
            repos, announced, ..
        } = self;
        let repo = repos[account as usize]
            .as_mut()
            .expect("an event makes its repo");
        announced.entry(account).or_insert_with(|| Before {
            identity: repo.identity.clone(),
            status: repo.status.clone(),
        });
        repo
    }

    /// Emits what the announcements of the running time changed, each account once: an account that went back and forth
    /// gives at most one retraction or insertion of each of its records, and none if it is back where it was.
    pub(super) fn settle_announcements(&mut self) {
        for (account, before) in std::mem::take(&mut self.announced) {
            let did = self.dids.key(account).clone();
            let policy = self.policy;
            let repo = self.repos[account as usize]
                .as_mut()
                .expect("an event makes its repo");
            let identity =
                |it: Box<(Option<Handle>, Timestamp)>| Fact::Identity(did.clone(), it.0, it.1);
            let status = |it: Box<(bool, Option<Box<str>>)>| Fact::Status(did.clone(), it.0, it.1);
            if before.identity != repo.identity {
                self.facts
                    .extend(before.identity.map(|it| (identity(it), -1)));
                let new = repo.identity.clone();
                self.facts.extend(new.map(|it| (identity(it), 1)));
            }
            if before.status != repo.status {
                self.facts.extend(before.status.map(|it| (status(it), -1)));
                let new = repo.status.clone();
                self.facts.extend(new.map(|it| (status(it), 1)));
            }
            let hidden = repo.is_to_be_hidden(policy);
            if repo.hidden != hidden {
                repo.hidden = hidden;
                self.tell_all(&did, account, if hidden { -1 } else { 1 });
            }
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

#[cfg(test)]
mod tests {
    use skytide_core::event::{Action, Op};

    use super::*;

    const RECORDS: u64 = 1_000;

    fn op(rev: u64, action: Action) -> Op {
        let record = b"\xa1\x67subject\xa1\x63uri\x78\x46at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post/3n2xril3jyo2a";
        Op {
            rev: Tid(rev),
            since: None,
            action,
            collection: "app.bsky.feed.like".parse().expect("it is an NSID"),
            rkey: Tid(rev).into(),
            cid: None,
            record: (action == Action::Create).then(|| record[..].into()),
        }
    }

    /// An account with likes, after the time in which it wrote them.
    fn liking(policy: AccountPolicy) -> (LiveRecords, Did) {
        let did: Did = "did:web:a.example".parse().expect("it is a DID");
        let mut state = LiveRecords::new(policy, 0);
        for rev in 0..RECORDS {
            state.operation(&did, op(rev, Action::Create), Minute(1));
        }
        likes(&mut state);
        (state, did)
    }

    /// Ends the time: how many likes came, and how many went.
    fn likes(state: &mut LiveRecords) -> (u64, u64) {
        state.end_of_time(1, Timestamp(60_000));
        let (mut came, mut went) = (0, 0);
        state.take_facts(|(fact, diff)| {
            if matches!(fact, Fact::Like(_)) {
                came += u64::from(diff > 0);
                went += u64::from(diff < 0);
            }
        });
        (came, went)
    }

    fn flap(state: &mut LiveRecords, did: &Did, times: u64) {
        for time in 0..times {
            state.account(did, time % 2 == 1, None);
        }
    }

    #[test]
    fn an_account_that_changes_its_status_again_and_again_gives_its_facts_once_a_time() {
        let (mut state, did) = liking(AccountPolicy::ActiveAccountsOnly);
        flap(&mut state, &did, 400);
        assert_eq!(likes(&mut state), (0, 0));
        flap(&mut state, &did, 401);
        assert_eq!(likes(&mut state), (0, RECORDS));
        flap(&mut state, &did, 401);
        assert_eq!(likes(&mut state), (0, 0));
        flap(&mut state, &did, 400);
        assert_eq!(likes(&mut state), (RECORDS, 0));
    }

    #[test]
    fn what_is_written_and_deleted_while_an_account_goes_back_and_forth_counts_once() {
        let (mut state, did) = liking(AccountPolicy::ActiveAccountsOnly);
        let mut net = RECORDS as i64;
        for (times, wanted) in [(2, 1_001), (3, 0), (2, 0), (1, 0), (4, 1_005)] {
            flap(&mut state, &did, times);
            let rev = 10_000 + state.gauges().records;
            state.operation(&did, op(rev, Action::Create), Minute(2));
            flap(&mut state, &did, 2 * (times % 2));
            let active = wanted > 0;
            state.account(&did, active, None);
            let (came, went) = likes(&mut state);
            net += came as i64 - went as i64;
            assert_eq!(net, wanted, "{times} changes");
        }
    }

    #[test]
    fn a_deleted_account_takes_its_facts_back_once() {
        for policy in [
            AccountPolicy::ActiveAccountsOnly,
            AccountPolicy::DeletedAccountsRemoved,
        ] {
            let (mut state, did) = liking(policy);
            for _ in 0..50 {
                state.account(&did, false, Some("deleted".into()));
                state.account(&did, true, None);
            }
            assert_eq!(likes(&mut state), (0, RECORDS));
            assert_eq!(state.gauges().records, 0);
        }
    }
}
