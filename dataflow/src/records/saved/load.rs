//! Restores the accounts of a section and emits all their facts.

use skytide_core::id::{Did, Rkey, Tid};
use skytide_core::limits::{STATUS_BYTES_MAX, truncated};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::Span;

use super::bytes::{Reader, Unreadable};
use super::save::TEXT_KEY;
use super::{FORMAT, content, flag, unzigzag};
use crate::records::content::RecordRef;
use crate::records::repo::Repo;
use crate::records::state::LiveRecords;
use crate::records::table::{LiveRecord, RecordTable};

impl LiveRecords {
    /// Restores the accounts of a section: those for which `is_own` is true, or all with `None`. A
    /// checkpoint may have been written by another number of workers, so a section can contain
    /// accounts of several workers. The facts are emitted as if all records had just been written.
    /// Operations and events are not counted again.
    ///
    /// # Errors
    /// The section does not have the format that this version writes.
    pub(crate) fn load(
        &mut self,
        section: &[u8],
        is_own: Option<&impl Fn(&Did) -> bool>,
    ) -> Result<(), Unreadable> {
        let mut from = Reader(section);
        if from.byte()? != FORMAT {
            return Err(Unreadable);
        }
        let now = Minute(u32::try_from(from.number()?).map_err(|_| Unreadable)?);
        let collections = (0..from.count()?)
            .map(|_| {
                let name = from.text()?;
                Ok((name, self.activity_row_of(name)))
            })
            .collect::<Result<Vec<_>, Unreadable>>()?;
        let dids = (0..from.count()?)
            .map(|_| from.did())
            .collect::<Result<Vec<Did>, Unreadable>>()?;
        let numbers = match is_own {
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
        section.repos(|did| is_own.is_none_or(|is_own| is_own(did)))
    }
}

/// A section that is being read.
struct Section<'a> {
    state: &'a mut LiveRecords,
    now: Minute,
    /// The collections of the section: their names, and the numbers of the activity rows that count
    /// them.
    collections: Vec<(&'a str, u32)>,
    dids: Vec<Did>,
    /// The numbers of `dids`; `None` for those that are not needed so far.
    numbers: Vec<Option<u32>>,
    from: Reader<'a>,
}

impl<'a> Section<'a> {
    /// Reads the repos and the open periods, up to the end of the section.
    fn repos(&mut self, is_own: impl Fn(&Did) -> bool) -> Result<(), Unreadable> {
        let count = self.from.count()?;
        let mut accounts = Vec::with_capacity(count);
        for _ in 0..count {
            let did = self.from.did()?;
            let is_own = is_own(&did);
            let repo = self.repo(&did, is_own)?;
            accounts.push(is_own.then(|| self.state.restore_repo(&did, repo)));
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
                let index = self.from.number()? as usize;
                let account = accounts.get(index).ok_or(Unreadable)?;
                if let Some(account) = *account {
                    self.state.mark_counted((span, start), row, account);
                }
            }
        }
        self.from.0.is_empty().then_some(()).ok_or(Unreadable)
    }

    /// Reads the index of a collection. Returns its name and the activity row that counts it.
    fn collection(&mut self) -> Result<(&'a str, u32), Unreadable> {
        let index = self.from.number()? as usize;
        self.collections.get(index).copied().ok_or(Unreadable)
    }

    /// Reads a repo. The repo of another worker's account is read only to skip it: its subjects get
    /// no numbers here, because numbers of accounts are never released.
    fn repo(&mut self, did: &Did, is_own: bool) -> Result<Repo, Unreadable> {
        let mut repo = self.repo_head()?;
        let rows = (0..self.from.count()?).map(|_| Ok(self.collection()?.1));
        repo.collections = rows.collect::<Result<_, _>>()?;
        repo.collections.sort_unstable();
        let gone_posts = self.from.count()?;
        for _ in 0..gone_posts {
            let rkey = self.from.rkey()?;
            self.state.add_gone_post(&mut repo, rkey);
        }
        let count = self.from.count()?;
        repo.records = RecordTable::with_capacity(count);
        for _ in 0..count {
            self.record(did, is_own, &mut repo.records)?;
        }
        Ok(repo)
    }

    /// Reads the flags of a repo, and the optional fields whose flags are set.
    fn repo_head(&mut self) -> Result<Repo, Unreadable> {
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
            // An older version also stored texts that are not valid handles.
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

    /// Reads a record and adds it to `records`.
    fn record(
        &mut self,
        did: &Did,
        is_own: bool,
        records: &mut RecordTable,
    ) -> Result<(), Unreadable> {
        let head = self.from.byte()?;
        let (name, _) = self.collection()?;
        let distance = unzigzag(self.from.number()?);
        let first_seen = u32::try_from(i64::from(self.now.0) - distance);
        let first_seen = Minute(first_seen.map_err(|_| Unreadable)?);
        let rkey: Rkey = match head & TEXT_KEY {
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
        let account_at = |index: u64| {
            let index = usize::try_from(index).map_err(|_| Unreadable)?;
            let number = numbers.get_mut(index).ok_or(Unreadable)?;
            if !is_own {
                return Ok(0);
            }
            Ok(*number.get_or_insert_with(|| state.number_of(&dids[index])))
        };
        let address = RecordRef {
            did,
            collection: "",
            rkey: &rkey,
            first_seen,
        };
        let content = content::read(head & content::KIND, &address, from, account_at)?;
        let collection = if is_own { state.collection(name) } else { 0 };
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
    fn subjects_of_another_workers_repo_get_no_numbers() {
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
        for (is_own, accounts) in [(true, 2), (false, 0)] {
            let mut state = new();
            let loaded = state.load(&section, Some(&|_: &Did| is_own));
            assert!(loaded.is_ok());
            assert_eq!(state.gauges().accounts, accounts);
        }
    }
}
