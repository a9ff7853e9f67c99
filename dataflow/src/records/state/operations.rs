//! Operations on records: put and remove.

use skytide_core::event::{Action, DropReason, Op};
use skytide_core::id::{Collection, Did, PostKey, Rkey};
use skytide_core::time::Minute;

use super::shards::{bury, raise};
use super::{ALL, LiveRecords, OTHER};
use crate::fact::{Activity, Fact};
use crate::records::activity::Doer;
use crate::records::content::{Content, Place};
use crate::records::repo::LiveRecord;

impl LiveRecords {
    /// Applies one operation of an accepted commit.
    pub(in crate::records) fn operation(&mut self, did: &Did, op: Op, minute: Minute) {
        let (account, _) = self.repo(did);
        let name: Box<str> = op.collection.as_str().into();
        match op.action {
            Action::Create | Action::Update => {
                let collection = self.collections.number(&name);
                self.count_operation((account, self.row(collection)), &op, minute);
                self.put((did, account, collection), op, minute);
            }
            Action::Delete => {
                // A collection without records and without a name has no number.
                let collection = self.collections.find(&name);
                let row = collection.map_or(OTHER, |collection| self.row(collection));
                self.count_operation((account, row), &op, minute);
                let was_there = collection
                    .is_some_and(|it| self.remove((did, account, it), &op.collection, &op.rkey));
                if !was_there {
                    self.drop_one(DropReason::DeleteUnknown);
                }
            }
        }
    }

    fn count_operation(&mut self, (account, row): (u32, u32), op: &Op, minute: Minute) {
        let mut activity = Activity {
            bytes: op.record.as_ref().map_or(0, |record| record.len() as i64),
            ..Activity::default()
        };
        match op.action {
            Action::Create => activity.creates = 1,
            Action::Update => activity.updates = 1,
            Action::Delete => activity.deletes = 1,
        }
        let repo = self.repos[account as usize]
            .as_mut()
            .expect("an operation makes its repo");
        repo.last_seen = minute.max(repo.last_seen);
        for collection in [row, ALL] {
            let doer = Doer {
                collection,
                account,
                shard: repo.shard,
                new: repo.is_new_in(collection),
            };
            self.activity.add(minute, doer, &activity);
        }
        self.last_seen.insert(account, repo.last_seen);
    }

    fn put(&mut self, (did, account, collection): (&Did, u32, u32), op: Op, minute: Minute) {
        let row = self.row(collection);
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
        let visible = !repo.hidden;
        let found = repo.records.find(hasher, (collection, &op.rkey));
        let first_seen = match found {
            Some(at) => repo.records.at(at).first_seen,
            None => minute,
        };
        let place = Place {
            did,
            collection: name,
            rkey: &op.rkey,
            first_seen,
        };
        let (content, mut left_out) = Content::read(&place, op.record.as_deref(), dids);
        for (reason, _) in &mut left_out {
            // Which block is missing is unknown: the operation has no valid CID.
            if *reason == DropReason::RecordMissing && op.cid.is_none() {
                *reason = DropReason::OpCid;
            }
        }
        if visible {
            facts.extend(content.fact(&place, dids).map(|fact| (fact, 1)));
        }
        match found {
            Some(at) => {
                let old = std::mem::replace(&mut repo.records.at(at).content, content);
                if visible {
                    facts.extend(old.fact(&place, dids).map(|fact| (fact, -1)));
                }
            }
            None => {
                if name == Collection::POST {
                    facts.push((Fact::Seen(PostKey::new(did, &op.rkey)), 1));
                    raise(&mut repo.gone, hasher, &op.rkey);
                }
                let rkey = op.rkey.clone();
                let record = LiveRecord {
                    rkey,
                    collection,
                    first_seen,
                    content,
                };
                repo.records.push(hasher, record);
                self.records += 1;
                self.collections[collection].records += u32::from(row == OTHER);
                if visible {
                    activity.live(row, 1);
                    activity.live(ALL, 1);
                }
            }
        }
        for (reason, count) in left_out.into_iter().filter(|(_, count)| *count > 0) {
            self.drop_many(reason, count);
        }
    }

    fn remove(
        &mut self,
        (did, account, collection): (&Did, u32, u32),
        name: &Collection,
        rkey: &Rkey,
    ) -> bool {
        let row = self.row(collection);
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
        let Some(at) = repo.records.find(hasher, (collection, rkey)) else {
            return false;
        };
        let LiveRecord {
            first_seen,
            content,
            ..
        } = repo.records.remove(hasher, at);
        self.records -= 1;
        if name.as_str() == Collection::POST {
            bury(&mut repo.gone, hasher, rkey.clone());
        }
        if !repo.hidden {
            let place = Place {
                did,
                collection: name.as_str(),
                rkey,
                first_seen,
            };
            facts.extend(content.fact(&place, dids).map(|fact| (fact, -1)));
            activity.live(row, -1);
            activity.live(ALL, -1);
        }
        self.record_went(collection);
        true
    }
}
