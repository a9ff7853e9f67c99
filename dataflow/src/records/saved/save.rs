//! Writes the accounts of one shard: what changed since the checkpoint on which the cut builds.
//!
//! In memory, accounts and collections are interned, and a number identifies one. These numbers
//! differ between workers and restarts. So entries contain DIDs and names, and the section of open
//! periods contains lists of them and then only their indices ([`SectionList`]).

use hashbrown::HashMap;
use skytide_core::event::Origin;
use skytide_core::id::Collection;

use super::bytes::Writer;
use super::entries::{Changes, GONE, write_name};
use super::{FORMAT, content, flag};
use crate::records::repo::Repo;
use crate::records::state::{CheckpointId, LiveRecords};
use crate::records::table::LiveRecord;

/// A worker's part of a shard.
#[derive(Debug)]
pub(crate) struct SavedChanges {
    /// The section with the open periods.
    pub section: Vec<u8>,
    /// The changed entries of a run, in no order.
    pub changes: Vec<u8>,
}

impl LiveRecords {
    /// Writes what changed in a shard since `base`, or everything if there is none; `None` if this
    /// worker has no account of the shard. This takes a few milliseconds per 100,000 changed
    /// records.
    pub(crate) fn save(
        &mut self,
        shard: u16,
        cut: CheckpointId,
        base: Option<CheckpointId>,
    ) -> Option<SavedChanges> {
        let (accounts, all) = self.begin_cut(shard, (cut, base));
        if self.members(shard).is_empty() {
            return None;
        }
        let mut changes = Changes::default();
        for account in accounts {
            let cold = match all {
                true => self.read_cold(account),
                false => Vec::new(),
            };
            self.save_account(account, all, &mut changes);
            cold.iter()
                .for_each(|record| self.save_record(record, &mut changes));
            self.end_cut(account);
        }
        Some(SavedChanges {
            section: self.open_periods_section(shard),
            changes: changes.into_bytes(),
        })
    }

    /// Writes an account, and its records: those that changed, or all.
    fn save_account(&self, account: u32, all: bool, to: &mut Changes) {
        let repo = self.repo_of(account);
        to.account(self.dids().key(account));
        repo_head(repo, &mut to.value);
        to.value.count(repo.collections.len());
        for &collection in &repo.collections {
            write_name(self.collection_name(collection), &mut to.value);
        }
        to.end_account();
        if !all {
            for record in repo.records.changed() {
                self.save_record(record, to);
            }
            return;
        }
        for record in repo.records.iter() {
            self.save_record(record, to);
        }
        for rkey in repo.gone_posts.iter().flat_map(|posts| posts.iter()) {
            to.value.byte(GONE);
            to.end_record(Collection::POST, rkey, true);
        }
    }

    fn save_record(&self, record: &LiveRecord, to: &mut Changes) {
        let LiveRecord {
            rkey,
            collection,
            first_seen,
            content,
        } = record;
        let name = self.collection_name(*collection);
        if record.is_removed() {
            let is_post = name == Collection::POST;
            if is_post {
                to.value.byte(GONE);
            }
            to.end_record(name, rkey, is_post);
            return;
        }
        to.value.byte(content::kind(content));
        to.value.number(u64::from(first_seen.0));
        let account = |did: u32, to: &mut Writer| to.did(self.dids().key(did));
        content::write(content, &mut to.value, account);
        to.end_record(name, rkey, true);
    }

    /// Writes which accounts are already counted in the current hour and minute, so that none is
    /// counted twice after a restart.
    fn open_periods_section(&self, shard: u16) -> Vec<u8> {
        let mut collections = SectionList::default();
        let mut accounts = SectionList::default();
        let mut periods = Writer::default();
        let open = self.open_periods(shard);
        periods.count(open.len());
        for (&(span, start), counted) in open {
            periods.byte(span as u8);
            periods.number(u64::from(start));
            periods.count(counted.len());
            for &(collection, account) in counted {
                periods.number(collections.index_of(collection));
                periods.number(accounts.index_of(account));
            }
        }
        let mut section = Writer::default();
        section.byte(FORMAT);
        collections.write(&mut section, |it, to| to.text(self.collection_name(it)));
        accounts.write(&mut section, |it, to| to.did(self.dids().key(it)));
        section.0.append(&mut periods.0);
        section.0
    }
}

/// Writes the flags of a repo, and the optional fields whose flags are set.
fn repo_head(repo: &Repo, to: &mut Writer) {
    let mut flags = 0;
    let mut set = |bit: u8, value: bool| flags |= if value { bit } else { 0 };
    let (identity, status) = (repo.identity.as_deref(), repo.status.as_deref());
    set(flag::REV, repo.rev.is_some());
    set(flag::OUT_OF_SYNC, repo.out_of_sync);
    set(flag::IDENTITY, identity.is_some());
    set(flag::HANDLE, identity.is_some_and(|it| it.handle.is_some()));
    set(flag::STATUS, status.is_some());
    set(flag::ACTIVE, status.is_some_and(|it| it.active));
    set(
        flag::STATUS_TEXT,
        status.is_some_and(|it| it.text.is_some()),
    );
    set(flag::ORIGINS, identity.is_some() || status.is_some());
    to.byte(flags);
    to.number(u64::from(repo.last_seen.0));
    repo.rev.iter().for_each(|rev| to.tid(rev.0));
    if let Some(identity) = identity {
        identity.handle.iter().for_each(|it| to.text(it.as_str()));
        to.number(identity.time.0);
        write_origin(identity.origin, to);
    }
    if let Some(status) = status {
        status.text.iter().for_each(|text| to.text(text));
        write_origin(status.origin, to);
    }
}

/// Writes 0 for an unknown origin, 1 and the relay if only the time is unknown, or 2 plus the time,
/// in ms, and the relay.
fn write_origin(origin: Option<Origin>, to: &mut Writer) {
    let Some(Origin { relay, sent }) = origin else {
        return to.number(0);
    };
    to.number(sent.map_or(1, |time| time.0.saturating_add(2)));
    to.0.extend_from_slice(&relay.to_le_bytes());
}

/// A list of accounts or collections in a section. `numbers` identify them in memory; `indices`
/// gives the index of each number in the list.
#[derive(Default)]
struct SectionList {
    indices: HashMap<u32, u32>,
    numbers: Vec<u32>,
}

impl SectionList {
    /// The index of a number in the list; appends the number if it is new.
    fn index_of(&mut self, number: u32) -> u64 {
        let next = self.numbers.len() as u32;
        let index = *self.indices.entry(number).or_insert(next);
        if index == next {
            self.numbers.push(number);
        }
        u64::from(index)
    }

    fn write(&self, to: &mut Writer, mut item: impl FnMut(u32, &mut Writer)) {
        to.count(self.numbers.len());
        for &number in &self.numbers {
            item(number, to);
        }
    }
}
