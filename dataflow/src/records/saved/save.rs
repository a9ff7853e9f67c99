//! A shard of accounts is written down.

use hashbrown::{HashMap, HashTable};
use skytide_core::id::Rkey;
use skytide_core::time::Minute;

use super::bytes::Writer;
use super::content;
use super::{FORMAT, flag, zigzag};
use crate::records::repo::{LiveRecord, Repo};
use crate::records::state::LiveRecords;

impl LiveRecords {
    /// The accounts of a shard with all that is known of them; `None` if this worker has none. `now` is any minute
    /// near those of most records. Costs a few milliseconds per 100,000 records, and nothing in the state changes.
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
            collections: Places::default(),
            dids: Places::default(),
            body: Writer(Vec::with_capacity(64 + members.len() * 64 + records * 32)),
            now,
        };
        let mut accounts = Places::default();
        for &account in members {
            accounts.of(account);
            section.repo(self, account);
        }
        section.open(self, shard, &mut accounts);

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

/// What is written of a shard so far.
struct Section {
    collections: Places,
    dids: Places,
    body: Writer,
    now: Minute,
}

impl Section {
    fn minute(&mut self, minute: Minute) {
        let distance = i64::from(self.now.0) - i64::from(minute.0);
        self.body.number(zigzag(distance));
    }

    fn repo(&mut self, state: &LiveRecords, account: u32) {
        let repo = state.repo_of(account);
        self.body.did(state.dids().key(account));
        self.about(repo);
        self.body.count(repo.collections.len());
        for &collection in &repo.collections {
            self.body.number(self.collections.of(collection));
        }
        self.body
            .count(repo.gone.as_deref().map_or(0, HashTable::len));
        for rkey in repo.gone.iter().flat_map(|gone| gone.iter()) {
            self.body.rkey(rkey);
        }
        self.body.count(repo.records.len());
        for record in repo.records.iter() {
            self.record(record);
        }
    }

    fn about(&mut self, repo: &Repo) {
        let mut flags = 0;
        let mut set = |bit: u8, is: bool| flags |= if is { bit } else { 0 };
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
        if let Some((handle, claimed)) = identity {
            handle.iter().for_each(|it| self.body.text(it.as_str()));
            self.body.number(claimed.0);
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
        let odd_key = if tid.is_none() { ODD_KEY } else { 0 };
        self.body.byte(content::kind(content) | odd_key);
        self.body.number(self.collections.of(*collection));
        self.minute(*first_seen);
        self.rkey(rkey);
        let Self { dids, body, .. } = self;
        content::write(content, body, |did| dids.of(did));
    }

    fn rkey(&mut self, rkey: &Rkey) {
        match rkey.as_tid() {
            Some(tid) => self.body.tid(tid.0),
            None => rkey.with_str(|text| self.body.text(text)),
        }
    }

    /// Who was counted already in the stretches of time that are still open.
    fn open(&mut self, state: &LiveRecords, shard: u16, accounts: &mut Places) {
        let open = state.open_stretches(shard);
        self.body.count(open.len());
        for (&(span, start), seen) in open {
            self.body.byte(span as u8);
            self.body.number(u64::from(start));
            self.body.count(seen.len());
            for &(collection, account) in seen {
                self.body.number(self.collections.of(collection));
                self.body.number(accounts.of(account));
            }
        }
    }
}

/// The bit of a record's first byte that says that its key is a text and no TID.
pub(super) const ODD_KEY: u8 = 1 << 3;

/// Numbers of the state to places in a list of the section.
#[derive(Default)]
struct Places {
    places: HashMap<u32, u32>,
    order: Vec<u32>,
}

impl Places {
    fn of(&mut self, number: u32) -> u64 {
        let next = self.order.len() as u32;
        let place = *self.places.entry(number).or_insert(next);
        if place == next {
            self.order.push(number);
        }
        u64::from(place)
    }

    fn write(&self, to: &mut Writer, mut item: impl FnMut(u32, &mut Writer)) {
        to.count(self.order.len());
        for &number in &self.order {
            item(number, to);
        }
    }
}
