//! Operations on records: create, update and delete.

use skytide_core::event::{Action, DropReason, Op};
use skytide_core::id::{Collection, Did, PostKey, Rkey};
use skytide_core::time::Minute;

use super::shards::{add_gone_post, remove_gone_post};
use super::{ALL, LiveRecords, OTHER};
use crate::fact::{Activity, Fact};
use crate::records::activity::ActivitySource;
use crate::records::content::{Content, LeftOut, RecordRef};
use crate::records::table::{Found, LiveRecord};

/// A collection of an account, by the numbers of both.
#[derive(Clone, Copy)]
struct RepoCollection<'a> {
    did: &'a Did,
    account: u32,
    collection: u32,
}

impl LiveRecords {
    /// Applies one operation of an accepted commit.
    pub(in crate::records) fn operation(&mut self, did: &Did, op: Op, minute: Minute) {
        let (account, _) = self.repo(did);
        let name: Box<str> = op.collection.as_str().into();
        match op.action {
            Action::Create | Action::Update => {
                let collection = self.collections.intern(&name);
                self.count_operation(account, self.activity_row(collection), &op, minute);
                let target = RepoCollection {
                    did,
                    account,
                    collection,
                };
                self.load_cold(account, (collection, &name), &op.rkey);
                self.put(target, op, minute);
            }
            Action::Delete => {
                // A collection without live records and without a row of its own has no number.
                let collection = self.collections.find(&name);
                let row = collection.map_or(OTHER, |collection| self.activity_row(collection));
                self.count_operation(account, row, &op, minute);
                let was_live = collection.is_some_and(|collection| {
                    self.load_cold(account, (collection, &name), &op.rkey);
                    let target = RepoCollection {
                        did,
                        account,
                        collection,
                    };
                    self.remove(target, &op.collection, &op.rkey)
                });
                if !was_live {
                    self.drop_one(DropReason::DeleteUnknown);
                }
            }
        }
    }

    fn count_operation(&mut self, account: u32, row: u32, op: &Op, minute: Minute) {
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
            .expect("an operation creates its repo");
        repo.last_seen = minute.max(repo.last_seen);
        let before = repo.size();
        for collection in [row, ALL] {
            let source = ActivitySource {
                collection,
                account,
                shard: repo.shard,
                is_new: repo.mark_counted_in(collection),
            };
            self.activity.add(minute, source, &activity);
        }
        self.sizes.replace(before, repo.size());
        self.last_seen.insert(account, repo.last_seen);
    }

    /// Creates or replaces a record. The previous content is retracted, the new one is inserted.
    fn put(&mut self, target: RepoCollection<'_>, op: Op, minute: Minute) {
        let RepoCollection {
            did,
            account,
            collection,
        } = target;
        let row = self.activity_row(collection);
        let Self {
            hasher,
            dids,
            repos,
            facts,
            activity,
            sizes,
            ..
        } = self;
        let repo = repos[account as usize]
            .as_mut()
            .expect("an operation creates its repo");
        let before = repo.size();
        let name = op.collection.as_str();
        let visible = !repo.hidden;
        let found = repo.records.find(hasher, (collection, &op.rkey));
        let first_seen = repo.records.first_seen(found).unwrap_or(minute);
        let address = RecordRef {
            did,
            collection: name,
            rkey: &op.rkey,
            first_seen,
        };
        let (content, mut left_out) = Content::read(&address, op.record.as_deref(), dids);
        if op.cid.is_none() {
            set_cid_reason(&mut left_out);
        }
        if visible {
            facts.extend(content.fact(&address, dids).map(|fact| (fact, 1)));
        }
        match found {
            Found::Live(at) => {
                let old = sizes.replace_content(repo.records.change(hasher, at), content);
                if visible {
                    facts.extend(old.fact(&address, dids).map(|fact| (fact, -1)));
                }
            }
            Found::Removed(_) | Found::Absent => {
                if name == Collection::POST {
                    facts.push((Fact::Seen(PostKey::new(did, &op.rkey)), 1));
                    sizes.remove_gone_key(remove_gone_post(&mut repo.gone_posts, hasher, &op.rkey));
                }
                let record = LiveRecord {
                    rkey: op.rkey.clone(),
                    collection,
                    first_seen,
                    content,
                };
                sizes.add_record(&record);
                match repo.records.insert(hasher, found, record) {
                    Some(removed) => sizes.remove_record(&removed),
                    None => self.collections[collection].records += u32::from(row == OTHER),
                }
                self.records += 1;
                if visible {
                    activity.add_live(row, 1);
                    activity.add_live(ALL, 1);
                }
            }
        }
        sizes.replace(before, repo.size());
        self.drop_left_out(left_out);
    }

    fn drop_left_out(&mut self, left_out: LeftOut) {
        for (reason, count) in left_out.into_iter().filter(|(_, count)| *count > 0) {
            self.drop_many(reason, count);
        }
    }

    /// Removes a record and retracts its content. Returns whether the record was live.
    fn remove(&mut self, target: RepoCollection<'_>, name: &Collection, rkey: &Rkey) -> bool {
        let RepoCollection {
            did,
            account,
            collection,
        } = target;
        let row = self.activity_row(collection);
        let Self {
            hasher,
            dids,
            repos,
            facts,
            activity,
            sizes,
            changes,
            ..
        } = self;
        let repo = repos[account as usize]
            .as_mut()
            .expect("an operation creates its repo");
        let before = repo.size();
        let Found::Live(at) = repo.records.find(hasher, (collection, rkey)) else {
            sizes.replace(before, repo.size());
            return false;
        };
        let first_seen = repo.records.at(at).first_seen;
        let stays = changes[usize::from(repo.shard)].is_stored;
        let content = if stays {
            let record = repo.records.mark_removed(hasher, at);
            sizes.replace_content(record, Content::Removed)
        } else {
            let record = repo.records.take(hasher, at);
            sizes.remove_record(&record);
            record.content
        };
        self.records -= 1;
        if name.as_str() == Collection::POST {
            let added = add_gone_post(&mut repo.gone_posts, hasher, rkey.clone());
            sizes.add_gone_key(added);
        }
        sizes.replace(before, repo.size());
        if !repo.hidden {
            let address = RecordRef {
                did,
                collection: name.as_str(),
                rkey,
                first_seen,
            };
            facts.extend(content.fact(&address, dids).map(|fact| (fact, -1)));
            activity.add_live(row, -1);
            activity.add_live(ALL, -1);
        }
        if !stays {
            self.record_removed(collection);
        }
        true
    }
}

/// Corrects the drop reason of an operation without a valid CID: it is unknown which block is
/// missing.
fn set_cid_reason(left_out: &mut LeftOut) {
    for (reason, _) in left_out {
        if *reason == DropReason::RecordMissing {
            *reason = DropReason::OpCid;
        }
    }
}
