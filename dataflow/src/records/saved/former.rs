//! Restores the accounts of a section of format 1, which older versions wrote.
//!
//! ```text
//! format │ minute of the cut │ collections │ accounts referred to │ repos │ open periods
//! of a repo: rev, status, activity rows, keys of deleted posts, records
//! ```
//!
//! Collections, and the subjects of likes, reposts, follows and blocks, are indices into lists of
//! the section. Minutes are stored as their distance to the minute of the cut.

use skytide_core::id::{Did, Rkey, Tid};
use skytide_core::time::Minute;
use skytide_core::view::Span;

use super::bytes::{Reader, Unreadable};
use super::load::read_head;
use super::{FORMER_FORMAT, content, unzigzag};
use crate::records::content::RecordRef;
use crate::records::repo::Repo;
use crate::records::state::LiveRecords;
use crate::records::table::{LiveRecord, RecordTable};

impl LiveRecords {
    /// Restores the accounts of a section: those for which `is_own` is true, or all with `None`.
    ///
    /// # Errors
    /// The section is not in format 1.
    pub(super) fn load_former(
        &mut self,
        section: &[u8],
        is_own: Option<&impl Fn(&Did) -> bool>,
    ) -> Result<(), Unreadable> {
        let mut from = Reader(section);
        if from.byte()? != FORMER_FORMAT {
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

/// The bit of a record's first byte that is set if the record key is stored as text, because it is
/// not a TID.
pub(super) const TEXT_KEY: u8 = 1 << 3;

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
        let mut repo = read_head(&mut self.from)?;
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
        let read_account = |from: &mut Reader<'_>| {
            let index = usize::try_from(from.number()?).map_err(|_| Unreadable)?;
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
        let content = content::read(head & content::KIND, &address, from, read_account)?;
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
