//! Events of an account as a whole: identity, status, moves of its repo.
//!
//! A *time* of the dataflow is one or more epochs that are processed in one step. Changes of
//! handles and statuses are emitted at the end of a time: the state at its end is compared with the
//! state at its start. Otherwise an account with many records that changes its status again and
//! again would emit all its facts for each change. Until the end of the time, operations count as
//! if the account were as visible as at the start. At the end, hiding or showing the account
//! retracts or inserts the facts of all records that are live then.

use skytide_core::event::{DropReason, Moved};
use skytide_core::id::{Collection, Did, Handle, Tid};
use skytide_core::limits::{STATUS_BYTES_MAX, truncate};
use skytide_core::time::Minute;

use super::shards::add_gone_post;
use super::{ALL, LiveRecords, OTHER};
use crate::fact::Fact;
use crate::records::announcement::{Announced, Identity, Order, Status};
use crate::records::content::{Content, RecordRef};
use crate::records::policy::AccountPolicy;
use crate::records::repo::Repo;
use crate::records::table::LiveRecord;

/// The identity and status of an account at the start of the current time.
#[derive(Debug)]
pub(super) struct PreviousAnnouncements {
    identity: Option<Fact>,
    status: Option<Fact>,
}

impl LiveRecords {
    /// Applies an `#identity`. If it has no handle or an invalid one, the account keeps its known
    /// handle. If it has [`Handle::INVALID`], the account has no handle afterwards.
    pub(in crate::records) fn identity(&mut self, did: &Did, named: Option<&str>, at: Announced) {
        let handle = named.and_then(|text| text.parse::<Handle>().ok());
        let has_handle = handle.is_some() || named.is_some_and(Handle::is_invalid);
        let origin = Some(at.origin);
        let known = self.repo(did).1.identity.as_deref();
        let order = Order::of(at.origin, known.and_then(|known| known.origin));
        if order != Order::Next {
            self.drop_one(DropReason::AnnouncementRepeated);
        } else {
            self.count_event("#identity", did, at.time.minute());
            if named.is_some() && handle.is_none() {
                self.drop_one(DropReason::Handle);
            }
        }
        if order == Order::Older {
            return;
        }
        let repo = self.begin_announcement(did);
        let before = repo.size();
        match repo.identity.as_deref_mut() {
            Some(known) if order == Order::Same && (!has_handle || known.handle == handle) => {
                known.origin = origin;
            }
            // Anyone may send an `#identity` without a handle. It must not decide about later ones.
            Some(known) if !has_handle => known.origin = known.origin.or(origin),
            _ => {
                let time = at.time;
                repo.identity = Some(Box::new(Identity {
                    handle,
                    time,
                    origin,
                }));
            }
        }
        let after = repo.size();
        self.sizes.replace(before, after);
    }

    /// Applies an `#account`. If the policy says so, a deletion erases the records at once. Hiding
    /// and showing happen at the end of the time. A status that is too long is truncated; no status
    /// with a defined meaning is that long.
    pub(in crate::records) fn account(
        &mut self,
        did: &Did,
        active: bool,
        mut text: Option<Box<str>>,
        at: Announced,
    ) {
        // Ingest truncates statuses, too, but a log of an older version has longer ones.
        let truncated = |text: &mut Box<str>| truncate(text, STATUS_BYTES_MAX);
        let is_truncated = text.as_mut().is_some_and(truncated);
        let known = self.repo(did).1.status.as_deref();
        let order = Order::of(at.origin, known.and_then(|known| known.origin));
        let is_known = known.is_some_and(|known| (known.active, &known.text) == (active, &text));
        if order != Order::Next {
            self.drop_one(DropReason::AnnouncementRepeated);
        } else {
            self.count_event("#account", did, at.time.minute());
            if is_truncated {
                self.drop_one(DropReason::TextLimit);
            }
        }
        if order == Order::Older {
            return;
        }
        let deleted = !active && text.as_deref() == Some("deleted");
        let repo = self.begin_announcement(did);
        let before = repo.size();
        repo.status = Some(Box::new(Status {
            active,
            text,
            origin: Some(at.origin),
        }));
        let after = repo.size();
        self.sizes.replace(before, after);
        let is_repeated = order == Order::Same && is_known;
        if deleted && !is_repeated && self.policy != AccountPolicy::OpsOnly {
            let (account, _) = self.repo(did);
            self.erase(did, account);
        }
    }

    /// Stores the identity and status that an account had at the start of the time, before the
    /// first of them changes. Returns its repo.
    fn begin_announcement(&mut self, did: &Did) -> &mut Repo {
        let (account, _) = self.repo(did);
        let Self {
            repos, announced, ..
        } = self;
        let repo = repos[account as usize]
            .as_mut()
            .expect("an event creates its repo");
        announced
            .entry(account)
            .or_insert_with(|| PreviousAnnouncements {
                identity: repo.identity.as_deref().map(|it| it.fact(did)),
                status: repo.status.as_deref().map(|it| it.fact(did)),
            });
        repo
    }

    /// Emits the changes of identities and statuses in the current time, once for each account. An
    /// account that changed several times emits at most one retraction or insertion of each of its
    /// records, and none if its visibility is the same as before.
    pub(super) fn emit_announcements(&mut self) {
        for (account, previous) in std::mem::take(&mut self.announced) {
            let did = self.dids.key(account).clone();
            let policy = self.policy;
            let repo = self.repos[account as usize]
                .as_mut()
                .expect("an event creates its repo");
            let identity = repo.identity.as_deref().map(|it| it.fact(&did));
            let status = repo.status.as_deref().map(|it| it.fact(&did));
            let changes = [(previous.identity, identity), (previous.status, status)];
            for (old, new) in changes.into_iter().filter(|(old, new)| old != new) {
                self.facts.extend(old.map(|fact| (fact, -1)));
                self.facts.extend(new.map(|fact| (fact, 1)));
            }
            let hidden = repo.must_hide(policy);
            if repo.hidden != hidden {
                repo.hidden = hidden;
                self.emit_record_facts(&did, account, if hidden { -1 } else { 1 });
            }
        }
    }

    /// Removes all records of an account and retracts their facts. Its posts become gone posts.
    fn erase(&mut self, did: &Did, account: u32) {
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an event creates its repo");
        let hidden = repo.hidden;
        self.load_all_cold(account);
        if !hidden {
            self.emit_record_facts(did, account, -1);
        }
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an event creates its repo");
        let before = repo.size();
        self.records -= repo.records.len() as u64;
        let posts = self.collections.find(&Collection::POST.into());
        for record in repo.records.iter() {
            if Some(record.collection) == posts {
                let rkey = record.rkey.clone();
                let key = add_gone_post(&mut repo.gone_posts, &self.hasher, rkey);
                self.sizes.add_gone_key(key);
            }
        }
        let mut others = Vec::new();
        if self.changes[usize::from(repo.shard)].is_stored {
            for record in repo.records.remove_all() {
                self.sizes.replace_content(record, Content::Removed);
            }
        } else {
            for record in std::mem::take(&mut repo.records) {
                self.sizes.remove_record(&record);
                others.push(record.collection);
            }
        }
        let after = repo.size();
        self.sizes.replace(before, after);
        for collection in others {
            self.record_removed(collection);
        }
    }

    /// Inserts (+1) or retracts (-1) the facts of all records of an account.
    pub(super) fn emit_record_facts(&mut self, did: &Did, account: u32, diff: i32) {
        let cold = self.read_cold(account);
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
            .expect("an event creates its repo");
        for LiveRecord {
            rkey,
            collection,
            first_seen,
            content,
        } in repo.records.iter().chain(&cold)
        {
            let name = collections.key(*collection);
            let address = RecordRef {
                did,
                collection: name,
                rkey,
                first_seen: *first_seen,
            };
            facts.extend(content.fact(&address, dids).map(|fact| (fact, diff)));
            let row = match collections[*collection].is_named {
                true => *collection,
                false => OTHER,
            };
            activity.add_live(row, i64::from(diff));
            activity.add_live(ALL, i64::from(diff));
        }
    }

    /// Applies an event that changes the revision of a repo without operations.
    pub(in crate::records) fn moved(&mut self, did: &Did, minute: Minute, rev: Tid, why: Moved) {
        if why == Moved::Sync {
            self.count_event("#sync", did, minute);
        }
        let known = self.rev(did);
        if known.is_some_and(|known| rev <= known) {
            return;
        }
        if why == Moved::TooBig || (why == Moved::Sync && known.is_some()) {
            self.mark_out_of_sync(did);
        }
        self.set_rev(did, rev);
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::event::{Action, Op};
    use skytide_core::time::Timestamp;

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

    /// An account with likes, after the end of the time in which it wrote them.
    fn account_with_likes(policy: AccountPolicy) -> (LiveRecords, Did) {
        let did: Did = "did:web:a.example".parse().expect("it is a DID");
        let mut state = LiveRecords::new(policy, 0);
        for rev in 0..RECORDS {
            state.operation(&did, op(rev, Action::Create), Minute(1));
        }
        end_of_time(&mut state);
        (state, did)
    }

    /// Ends the time. Returns how many likes were inserted, and how many were retracted.
    fn end_of_time(state: &mut LiveRecords) -> (u64, u64) {
        state.end_of_time(1, Timestamp(60_000));
        let (mut inserted, mut retracted) = (0, 0);
        state.take_facts(|(fact, diff)| {
            if matches!(fact, Fact::Like(_)) {
                inserted += u64::from(diff > 0);
                retracted += u64::from(diff < 0);
            }
        });
        (inserted, retracted)
    }

    /// Changes the status of an account `times` times, to inactive first.
    fn flap(state: &mut LiveRecords, did: &Did, times: u64) {
        for time in 0..times {
            state.account(did, time % 2 == 1, None, Announced::at(Timestamp(60_000)));
        }
    }

    #[test]
    fn an_account_that_changes_its_status_repeatedly_emits_its_facts_once_per_time() {
        let (mut state, did) = account_with_likes(AccountPolicy::ActiveAccountsOnly);
        flap(&mut state, &did, 400);
        assert_eq!(end_of_time(&mut state), (0, 0));
        flap(&mut state, &did, 401);
        assert_eq!(end_of_time(&mut state), (0, RECORDS));
        flap(&mut state, &did, 401);
        assert_eq!(end_of_time(&mut state), (0, 0));
        flap(&mut state, &did, 400);
        assert_eq!(end_of_time(&mut state), (RECORDS, 0));
    }

    #[test]
    fn records_written_while_the_status_changes_repeatedly_count_once() {
        let (mut state, did) = account_with_likes(AccountPolicy::ActiveAccountsOnly);
        let mut net = RECORDS as i64;
        for (times, expected) in [(2, 1_001), (3, 0), (2, 0), (1, 0), (4, 1_005)] {
            flap(&mut state, &did, times);
            let rev = 10_000 + state.gauges().records;
            state.operation(&did, op(rev, Action::Create), Minute(2));
            flap(&mut state, &did, 2 * (times % 2));
            let active = expected > 0;
            state.account(&did, active, None, Announced::at(Timestamp(60_000)));
            let (inserted, retracted) = end_of_time(&mut state);
            net += inserted as i64 - retracted as i64;
            assert_eq!(net, expected, "{times} changes");
        }
    }

    #[test]
    fn the_facts_of_a_deleted_account_are_retracted_once() {
        for policy in [
            AccountPolicy::ActiveAccountsOnly,
            AccountPolicy::DeletedAccountsRemoved,
        ] {
            let (mut state, did) = account_with_likes(policy);
            for _ in 0..50 {
                state.account(
                    &did,
                    false,
                    Some("deleted".into()),
                    Announced::at(Timestamp(60_000)),
                );
                state.account(&did, true, None, Announced::at(Timestamp(60_000)));
            }
            assert_eq!(end_of_time(&mut state), (0, RECORDS));
            assert_eq!(state.gauges().records, 0);
        }
    }
}
