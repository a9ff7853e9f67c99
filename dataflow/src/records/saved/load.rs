//! A shard of accounts is read back, and everything that is so of them told as facts.

use skytide_core::id::{Did, Rkey, Tid};
use skytide_core::limits::{STATUS_BYTES_MAX, truncated};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::Span;

use super::bytes::{Reader, Unreadable};
use super::save::ODD_KEY;
use super::{FORMAT, content, flag, unzigzag};
use crate::records::content::Place;
use crate::records::repo::{LiveRecord, Repo};
use crate::records::state::LiveRecords;
use crate::records::table::Records;

impl LiveRecords {
    /// Takes in the accounts of a section that are `mine`, or all: a section may come from another number of workers.
    /// Their facts are told as if all had just been written; nothing that is never taken back is counted.
    pub(crate) fn load(
        &mut self,
        section: &[u8],
        mine: Option<&impl Fn(&Did) -> bool>,
    ) -> Result<(), Unreadable> {
        let mut from = Reader(section);
        if from.byte()? != FORMAT {
            return Err(Unreadable);
        }
        let now = Minute(u32::try_from(from.number()?).map_err(|_| Unreadable)?);
        let collections = (0..from.count()?)
            .map(|_| {
                let name = from.text()?;
                Ok((name, self.row_of(name)))
            })
            .collect::<Result<Vec<_>, Unreadable>>()?;
        let dids = (0..from.count()?)
            .map(|_| from.did())
            .collect::<Result<Vec<Did>, Unreadable>>()?;
        let numbers = match mine {
            None => self.numbers_of(&dids).into_iter().map(Some).collect(),
            Some(_) => vec![None; dids.len()],
        };
        let mut section = Section {
            state: self,
            now,
            collections,
            numbers,
            dids,
            from,
        };
        section.repos(|did| mine.is_none_or(|mine| mine(did)))
    }
}

/// A section that is being read.
struct Section<'a> {
    state: &'a mut LiveRecords,
    now: Minute,
    /// Names, and the numbers of the names that they are counted under, by place in the section.
    collections: Vec<(&'a str, u32)>,
    dids: Vec<Did>,
    /// Numbers of those of `dids` that were asked for.
    numbers: Vec<Option<u32>>,
    from: Reader<'a>,
}

impl<'a> Section<'a> {
    fn repos(&mut self, mine: impl Fn(&Did) -> bool) -> Result<(), Unreadable> {
        let count = self.from.count()?;
        let mut accounts = Vec::with_capacity(count);
        for _ in 0..count {
            let did = self.from.did()?;
            let is_mine = mine(&did);
            let repo = self.repo(&did, is_mine)?;
            accounts.push(is_mine.then(|| self.state.take_repo(&did, repo)));
        }
        for _ in 0..self.from.count()? {
            let span = match self.from.byte()? {
                1 => Span::Hour,
                2 => Span::Minute,
                _ => return Err(Unreadable),
            };
            let start = u32::try_from(self.from.number()?).map_err(|_| Unreadable)?;
            for _ in 0..self.from.count()? {
                let (_, row) = self.collection()?;
                let place = self.from.number()? as usize;
                let account = accounts.get(place).ok_or(Unreadable)?;
                if let Some(account) = *account {
                    self.state.saw((span, start), (row, account));
                }
            }
        }
        self.from.0.is_empty().then_some(()).ok_or(Unreadable)
    }

    fn collection(&mut self) -> Result<(&'a str, u32), Unreadable> {
        let place = self.from.number()? as usize;
        self.collections.get(place).copied().ok_or(Unreadable)
    }

    /// One that is not this worker's is only read over: its subjects get no numbers here, which are never given back.
    fn repo(&mut self, did: &Did, is_mine: bool) -> Result<Repo, Unreadable> {
        let mut repo = self.about()?;
        let seen = (0..self.from.count()?).map(|_| Ok(self.collection()?.1));
        repo.collections = seen.collect::<Result<_, _>>()?;
        repo.collections.sort_unstable();
        let gone = self.from.count()?;
        for _ in 0..gone {
            let rkey = self.from.rkey()?;
            self.state.bury(&mut repo, rkey);
        }
        let count = self.from.count()?;
        repo.records = Records::with_capacity(count);
        for _ in 0..count {
            self.record((did, is_mine), &mut repo.records)?;
        }
        Ok(repo)
    }

    fn about(&mut self) -> Result<Repo, Unreadable> {
        let flags = self.from.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let from = &mut self.from;
        let last_seen = Minute(u32::try_from(from.number()?).map_err(|_| Unreadable)?);
        let mut repo = Repo {
            last_seen,
            out_of_sync: has(flag::OUT_OF_SYNC),
            ..Repo::default()
        };
        if has(flag::REV) {
            repo.rev = Some(Tid(from.tid()?));
        }
        if has(flag::IDENTITY) {
            // An older version saved whatever an `#identity` named.
            let handle = match has(flag::HANDLE) {
                true => from.text()?.parse().ok(),
                false => None,
            };
            repo.identity = Some(Box::new((handle, Timestamp(from.number()?))));
        }
        if has(flag::STATUS) {
            let text = match has(flag::STATUS_TEXT) {
                true => Some(truncated(from.text()?, STATUS_BYTES_MAX).into()),
                false => None,
            };
            repo.status = Some(Box::new((has(flag::ACTIVE), text)));
        }
        Ok(repo)
    }

    fn record(
        &mut self,
        (did, is_mine): (&Did, bool),
        records: &mut Records,
    ) -> Result<(), Unreadable> {
        let head = self.from.byte()?;
        let (name, _) = self.collection()?;
        let distance = unzigzag(self.from.number()?);
        let first_seen = u32::try_from(i64::from(self.now.0) - distance);
        let first_seen = Minute(first_seen.map_err(|_| Unreadable)?);
        let rkey: Rkey = match head & ODD_KEY {
            0 => Tid(self.from.tid()?).into(),
            _ => self.from.text()?.parse().map_err(|_| Unreadable)?,
        };
        let Self {
            state,
            dids,
            numbers,
            from,
            ..
        } = self;
        let number_of = |place: u64| {
            let place = usize::try_from(place).map_err(|_| Unreadable)?;
            let number = numbers.get_mut(place).ok_or(Unreadable)?;
            if !is_mine {
                return Ok(0);
            }
            Ok(*number.get_or_insert_with(|| state.number_of(&dids[place])))
        };
        let place = Place {
            did,
            collection: "",
            rkey: &rkey,
            first_seen,
        };
        let content = content::read(head & content::KIND, &place, from, number_of)?;
        let collection = if is_mine { state.collection(name) } else { 0 };
        let record = LiveRecord {
            rkey,
            collection,
            first_seen,
            content,
        };
        records.push(state.hasher(), record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::event::{Action, Op};

    use super::*;
    use crate::records::{AccountPolicy, SHARDS};

    #[test]
    fn the_subjects_of_a_repo_of_another_worker_get_no_numbers() {
        let dids: [Did; 2] =
            ["did:web:a.example", "did:web:b.example"].map(|did| did.parse().expect("it is a DID"));
        let [author, subject] = &dids;
        let mut record = b"\xa1\x67subject\x71".to_vec();
        record.extend(subject.to_string().bytes());
        let follow = Op {
            rev: Tid(1),
            since: None,
            action: Action::Create,
            collection: "app.bsky.graph.follow".parse().expect("it is an NSID"),
            rkey: Tid(1).into(),
            cid: None,
            record: Some(record.into()),
        };
        let new = || LiveRecords::new(AccountPolicy::default(), 0);
        let mut state = new();
        state.operation(author, follow, Minute(1));
        let mut sections = (0..SHARDS).filter_map(|shard| state.save(shard, Minute(1)));
        let section = sections.next().expect("there is one account");
        for (mine, accounts) in [(true, 2), (false, 0)] {
            let mut state = new();
            let loaded = state.load(&section, Some(&|_: &Did| mine));
            assert!(loaded.is_ok());
            assert_eq!(state.gauges().accounts, accounts);
        }
    }
}
