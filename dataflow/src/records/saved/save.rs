//! Writes a section: the accounts of one shard.
//!
//! In memory, accounts and collections are interned, and a number identifies one. These numbers
//! differ between workers and restarts. So a section contains a list of the accounts and a list of
//! the collections that it refers to, and then only their indices ([`SectionList`]).

use hashbrown::{HashMap, HashTable};
use skytide_core::id::Rkey;
use skytide_core::time::Minute;

use super::bytes::Writer;
use super::content;
use super::{FORMAT, flag, zigzag};
use crate::records::repo::Repo;
use crate::records::state::LiveRecords;
use crate::records::table::LiveRecord;

impl LiveRecords {
    /// The section of a shard: its accounts with their whole state; `None` if this worker has no
    /// account of the shard. Minutes are stored as their distance to `now`, so the section is
    /// smallest if `now` is near the minutes of most records. This takes a few milliseconds per
    /// 100,000 records and does not change the state.
    pub(crate) fn save(&self, shard: u16, now: Minute) -> Option<Vec<u8>> {
        let members = self.members(shard);
        if members.is_empty() {
            return None;
        }
        let records: usize = members
            .iter()
            .map(|&it| self.repo_of(it).records.len())
            .sum();
        let mut section = Section {
            collections: SectionList::default(),
            dids: SectionList::default(),
            body: Writer(Vec::with_capacity(64 + members.len() * 64 + records * 32)),
            now,
        };
        let mut accounts = SectionList::default();
        for &account in members {
            accounts.index_of(account);
            section.repo(self, account);
        }
        section.open_periods(self, shard, &mut accounts);

        let mut head = Writer::default();
        head.byte(FORMAT);
        head.number(u64::from(now.0));
        section
            .collections
            .write(&mut head, |it, to| to.text(self.collection_name(it)));
        section
            .dids
            .write(&mut head, |it, to| to.did(self.dids().key(it)));
        head.count(members.len());
        head.0.append(&mut section.body.0);
        Some(head.0)
    }
}

/// A section that is being written.
struct Section {
    collections: SectionList,
    dids: SectionList,
    body: Writer,
    now: Minute,
}

impl Section {
    /// Writes a minute as its distance to `now`.
    fn minute(&mut self, minute: Minute) {
        let distance = i64::from(self.now.0) - i64::from(minute.0);
        self.body.number(zigzag(distance));
    }

    fn repo(&mut self, state: &LiveRecords, account: u32) {
        let repo = state.repo_of(account);
        self.body.did(state.dids().key(account));
        self.repo_head(repo);
        self.body.count(repo.collections.len());
        for &collection in &repo.collections {
            self.body.number(self.collections.index_of(collection));
        }
        self.body
            .count(repo.gone_posts.as_deref().map_or(0, HashTable::len));
        for rkey in repo.gone_posts.iter().flat_map(|posts| posts.iter()) {
            self.body.rkey(rkey);
        }
        self.body.count(repo.records.len());
        for record in repo.records.iter() {
            self.record(record);
        }
    }

    /// Writes the flags of a repo, and the optional fields whose flags are set.
    fn repo_head(&mut self, repo: &Repo) {
        let mut flags = 0;
        let mut set = |bit: u8, value: bool| flags |= if value { bit } else { 0 };
        let (identity, status) = (repo.identity.as_deref(), repo.status.as_deref());
        set(flag::REV, repo.rev.is_some());
        set(flag::OUT_OF_SYNC, repo.out_of_sync);
        set(flag::IDENTITY, identity.is_some());
        set(flag::HANDLE, identity.is_some_and(|it| it.0.is_some()));
        set(flag::STATUS, status.is_some());
        set(flag::ACTIVE, status.is_some_and(|it| it.0));
        set(flag::STATUS_TEXT, status.is_some_and(|it| it.1.is_some()));
        self.body.byte(flags);
        self.body.number(u64::from(repo.last_seen.0));
        repo.rev.iter().for_each(|rev| self.body.tid(rev.0));
        if let Some((handle, time)) = identity {
            handle.iter().for_each(|it| self.body.text(it.as_str()));
            self.body.number(time.0);
        }
        if let Some((_, Some(status))) = status {
            self.body.text(status);
        }
    }

    fn record(&mut self, record: &LiveRecord) {
        let LiveRecord {
            rkey,
            collection,
            first_seen,
            content,
        } = record;
        let tid = rkey.as_tid();
        let text_key = if tid.is_none() { TEXT_KEY } else { 0 };
        self.body.byte(content::kind(content) | text_key);
        self.body.number(self.collections.index_of(*collection));
        self.minute(*first_seen);
        self.rkey(rkey);
        let Self { dids, body, .. } = self;
        content::write(content, body, |did| dids.index_of(did));
    }

    fn rkey(&mut self, rkey: &Rkey) {
        match rkey.as_tid() {
            Some(tid) => self.body.tid(tid.0),
            None => rkey.with_str(|text| self.body.text(text)),
        }
    }

    /// Writes which accounts are already counted in the current hour and minute, so that none is
    /// counted twice after a restart.
    fn open_periods(&mut self, state: &LiveRecords, shard: u16, accounts: &mut SectionList) {
        let open = state.open_periods(shard);
        self.body.count(open.len());
        for (&(span, start), counted) in open {
            self.body.byte(span as u8);
            self.body.number(u64::from(start));
            self.body.count(counted.len());
            for &(collection, account) in counted {
                self.body.number(self.collections.index_of(collection));
                self.body.number(accounts.index_of(account));
            }
        }
    }
}

/// The bit of a record's first byte that is set if the record key is stored as text, because it is
/// not a TID.
pub(super) const TEXT_KEY: u8 = 1 << 3;

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
