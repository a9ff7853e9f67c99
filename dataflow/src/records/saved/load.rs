//! Restores the accounts of a shard and emits all their facts.

use skytide_core::event::Origin;
use skytide_core::id::{Did, Rkey, Tid};
use skytide_core::limits::{STATUS_BYTES_MAX, truncated};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::Span;

use super::bytes::{Reader, Unreadable};
use super::entries::{Entry, read_name};
use super::{FORMAT, FORMER_FORMAT, content, flag};
use crate::records::announcement::{Identity, Status};
use crate::records::content::RecordRef;
use crate::records::repo::Repo;
use crate::records::state::LiveRecords;
use crate::records::table::{LiveRecord, RecordTable};
use crate::saved_shard::SavedShard;

impl LiveRecords {
    /// Restores the accounts of a shard: those for which `is_own` is true, or all with `None`. A
    /// checkpoint may have been written by another number of workers, so a shard can contain
    /// accounts of several workers. The facts are emitted as if all records had just been written.
    /// Operations and events are not counted again.
    ///
    /// # Errors
    /// A section or a run is not in a format of this version, or is damaged.
    pub(crate) fn load(
        &mut self,
        saved: &SavedShard,
        is_own: Option<&impl Fn(&Did) -> bool>,
    ) -> Result<(), Unreadable> {
        let owns = |did: &Did| is_own.is_none_or(|is_own| is_own(did));
        let mut loading = Loading {
            state: self,
            current: None,
            records: Vec::new(),
            collection: None,
        };
        saved.visit(|did, entry, value| match entry {
            Entry::Account => loading.account(did, owns(did), value),
            Entry::Record { collection, rkey } => {
                let record = loading.record((did, collection), rkey, value)?;
                loading.records.extend(record);
                Ok(())
            }
            Entry::GonePost { rkey } => {
                if let Some((_, repo)) = &mut loading.current {
                    loading.state.add_gone_post(repo, rkey);
                }
                Ok(())
            }
        })?;
        loading.end_account();
        for section in &saved.sections {
            match section.first() {
                Some(&FORMER_FORMAT) => self.load_former(section, is_own)?,
                _ => self.load_periods(section, owns)?,
            }
        }
        Ok(())
    }

    /// Restores which accounts are already counted in the current hour and minute.
    fn load_periods(
        &mut self,
        section: &[u8],
        owns: impl Fn(&Did) -> bool,
    ) -> Result<(), Unreadable> {
        let mut periods = OpenPeriods::read(section)?;
        let rows = periods.collections.iter();
        let rows: Vec<u32> = rows.map(|name| self.activity_row_of(name)).collect();
        let accounts = periods.dids.iter();
        let accounts: Vec<Option<u32>> = accounts
            .map(|did| owns(did).then(|| self.number_of(did)))
            .collect();
        periods.visit(|period, collection, account| {
            if let Some(account) = accounts[account] {
                self.mark_counted(period, rows[collection], account);
            }
        })
    }
}

/// The accounts that are being restored.
struct Loading<'a> {
    state: &'a mut LiveRecords,
    /// The account whose entries are being read; `None` for an account of another worker.
    current: Option<(Did, Repo)>,
    /// Its records so far.
    records: Vec<LiveRecord>,
    /// The collection of the previous record, and its number.
    collection: Option<(Box<str>, u32)>,
}

impl Loading<'_> {
    fn account(
        &mut self,
        did: &Did,
        is_own: bool,
        value: &mut Reader<'_>,
    ) -> Result<(), Unreadable> {
        self.end_account();
        if !is_own {
            return Ok(());
        }
        let mut repo = read_head(value)?;
        let rows = (0..value.count()?).map(|_| Ok(self.state.activity_row_of(read_name(value)?)));
        repo.collections = rows.collect::<Result<_, _>>()?;
        repo.collections.sort_unstable();
        self.current = Some((did.clone(), repo));
        Ok(())
    }

    /// Reads a record; `None` for a record of another worker's account.
    fn record(
        &mut self,
        (did, collection): (&Did, &str),
        rkey: Rkey,
        value: &mut Reader<'_>,
    ) -> Result<Option<LiveRecord>, Unreadable> {
        if self.current.is_none() {
            return Ok(None);
        }
        let state = &mut *self.state;
        let known = self.collection.as_ref();
        let known = known.filter(|(name, _)| **name == *collection);
        let number = match known {
            Some((_, number)) => *number,
            None => {
                let number = state.collection(collection);
                self.collection = Some((collection.into(), number));
                number
            }
        };
        read_record(state, (did, number), rkey, value).map(Some)
    }

    /// Restores the account whose entries were read.
    fn end_account(&mut self) {
        let Some((did, mut repo)) = self.current.take() else {
            return;
        };
        repo.records = RecordTable::with_capacity(self.records.len());
        for record in self.records.drain(..) {
            repo.records.push(self.state.hasher(), record);
        }
        repo.records.mark_cut();
        repo.records.mark_complete(self.state.hasher());
        let account = self.state.restore_repo(&did, repo);
        self.state.restored_from_runs(account);
    }
}

/// Reads the value of a record.
pub(super) fn read_record(
    state: &mut LiveRecords,
    (did, collection): (&Did, u32),
    rkey: Rkey,
    value: &mut Reader<'_>,
) -> Result<LiveRecord, Unreadable> {
    let kind = value.byte()?;
    let first_seen = Minute(u32::try_from(value.number()?).map_err(|_| Unreadable)?);
    let address = RecordRef {
        did,
        collection: "",
        rkey: &rkey,
        first_seen,
    };
    let content = content::read(kind, &address, value, |from| {
        Ok(state.number_of(&from.did()?))
    })?;
    Ok(LiveRecord {
        rkey,
        collection,
        first_seen,
        content,
    })
}

/// Reads the flags of a repo, and the optional fields whose flags are set.
pub(super) fn read_head(from: &mut Reader<'_>) -> Result<Repo, Unreadable> {
    let flags = from.byte()?;
    let has = |bit: u8| flags & bit != 0;
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
        let time = Timestamp(from.number()?);
        repo.identity = Some(Box::new(Identity {
            handle,
            time,
            origin: read_origin(has(flag::ORIGINS), from)?,
        }));
    }
    if has(flag::STATUS) {
        let text = match has(flag::STATUS_TEXT) {
            true => Some(truncated(from.text()?, STATUS_BYTES_MAX).into()),
            false => None,
        };
        repo.status = Some(Box::new(Status {
            active: has(flag::ACTIVE),
            text,
            origin: read_origin(has(flag::ORIGINS), from)?,
        }));
    }
    Ok(repo)
}

/// Reads the origin of an announcement, if origins are stored.
pub(super) fn read_origin(
    is_stored: bool,
    from: &mut Reader<'_>,
) -> Result<Option<Origin>, Unreadable> {
    let sent = match is_stored {
        true => from.number()?,
        false => 0,
    };
    let Some(known) = sent.checked_sub(1) else {
        return Ok(None);
    };
    let relay = from.bytes(8)?.try_into().map_err(|_| Unreadable)?;
    Ok(Some(Origin {
        relay: u64::from_le_bytes(relay),
        sent: known.checked_sub(1).map(Timestamp),
    }))
}

/// A section of format 2: which accounts are already counted in open periods.
pub(super) struct OpenPeriods<'a> {
    pub collections: Vec<&'a str>,
    pub dids: Vec<Did>,
    from: Reader<'a>,
}

impl<'a> OpenPeriods<'a> {
    pub fn read(section: &'a [u8]) -> Result<Self, Unreadable> {
        let mut from = Reader(section);
        if from.byte()? != FORMAT {
            return Err(Unreadable);
        }
        let collections = (0..from.count()?).map(|_| from.text());
        let collections = collections.collect::<Result<_, _>>()?;
        let dids = (0..from.count()?).map(|_| from.did());
        Ok(Self {
            collections,
            dids: dids.collect::<Result<_, _>>()?,
            from,
        })
    }

    /// Visits each period with the indices of a collection and of an account, to the end of the
    /// section.
    pub fn visit(
        &mut self,
        mut visit: impl FnMut((Span, u32), usize, usize),
    ) -> Result<(), Unreadable> {
        let from = &mut self.from;
        for _ in 0..from.count()? {
            let span = match from.byte()? {
                1 => Span::Hour,
                2 => Span::Minute,
                _ => return Err(Unreadable),
            };
            let start = u32::try_from(from.number()?).map_err(|_| Unreadable)?;
            for _ in 0..from.count()? {
                let (collection, account) = (from.number()? as usize, from.number()? as usize);
                if collection >= self.collections.len() || account >= self.dids.len() {
                    return Err(Unreadable);
                }
                visit((span, start), collection, account);
            }
        }
        from.0.is_empty().then_some(()).ok_or(Unreadable)
    }
}

#[cfg(test)]
mod tests;
