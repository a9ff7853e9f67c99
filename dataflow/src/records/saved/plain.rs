//! Reads a shard as plain values, without a state and without numbers in memory. The audit counts
//! them again.

use hashbrown::HashMap;
use skytide_core::id::{Collection, Did, PostKey, Rkey, Tid};
use skytide_core::live::{
    LiveAccount, LiveContent, LivePost, LiveProfile, LiveRecord, LiveSubject, all_time,
};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, Span};

use super::bytes::{Reader, Unreadable};
use super::entries::{Entry, read_name};
use super::former::TEXT_KEY;
use super::load::{OpenPeriods, read_origin};
use super::{FORMER_FORMAT, content, flag, unzigzag};
use crate::fact::{Fact, Subject};
use crate::records::content::{Content, RecordRef};
use crate::saved_shard::SavedShard;

/// Reads all accounts of a shard.
///
/// # Errors
/// A section or a run is not in a format of this version, or is damaged.
pub(crate) fn read_accounts(saved: &SavedShard) -> Result<Vec<LiveAccount>, Unreadable> {
    let mut accounts: Vec<LiveAccount> = Vec::new();
    let mut places = HashMap::new();
    saved.visit(|did, entry, value| match entry {
        Entry::Account => {
            let mut account = head(did.clone(), value)?;
            for _ in 0..value.count()? {
                account.counted.push(all_time(read_name(value)?));
            }
            places.insert(did.clone(), accounts.len());
            accounts.push(account);
            Ok(())
        }
        Entry::Record { collection, rkey } => {
            let record = record(did, (collection, rkey), value)?;
            let account = accounts.last_mut().ok_or(Unreadable)?;
            account.records.push(record);
            Ok(())
        }
        Entry::GonePost { rkey } => {
            let account = accounts.last_mut().ok_or(Unreadable)?;
            account.gone_posts.push(rkey);
            Ok(())
        }
    })?;
    for section in &saved.sections {
        if section.first() == Some(&FORMER_FORMAT) {
            accounts.extend(read_former(section)?);
            continue;
        }
        let mut periods = OpenPeriods::read(section)?;
        let names = periods.collections.clone();
        let dids = periods.dids.iter();
        let indices: Vec<Option<usize>> = dids.map(|did| places.get(did).copied()).collect();
        periods.visit(|(span, start_minute), collection, account| {
            if let Some(account) = indices[account] {
                accounts[account].counted.push(ActivityKey {
                    span,
                    start_minute,
                    collection: names[collection].into(),
                });
            }
        })?;
    }
    Ok(accounts)
}

/// Reads a record of a run.
fn record(
    did: &Did,
    (collection, rkey): (&str, Rkey),
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
    // Here an account has no number in memory: its index in this list stands for it.
    let mut dids = Vec::new();
    let content = content::read(kind, &address, value, |from| {
        dids.push(from.did()?);
        Ok(dids.len() as u32 - 1)
    })?;
    Ok(LiveRecord {
        collection: collection.parse().map_err(|_| Unreadable)?,
        content: plain_content(&dids, content)?,
        rkey,
        first_seen,
    })
}

/// Reads all accounts of a section of format 1.
fn read_former(section: &[u8]) -> Result<Vec<LiveAccount>, Unreadable> {
    let mut from = Reader(section);
    if from.byte()? != FORMER_FORMAT {
        return Err(Unreadable);
    }
    let now = Minute(u32::try_from(from.number()?).map_err(|_| Unreadable)?);
    let collections = (0..from.count()?).map(|_| Ok(from.text()?.into()));
    let collections = collections.collect::<Result<Vec<_>, Unreadable>>()?;
    let dids = (0..from.count()?).map(|_| from.did());
    let dids = dids.collect::<Result<_, _>>()?;
    let mut section = Section {
        now,
        collections,
        dids,
        from,
    };
    let count = section.from.count()?;
    let mut accounts = Vec::with_capacity(count);
    for _ in 0..count {
        accounts.push(section.account()?);
    }
    section.open_periods(&mut accounts)?;
    section
        .from
        .0
        .is_empty()
        .then_some(accounts)
        .ok_or(Unreadable)
}

/// A section that is being read.
struct Section<'a> {
    now: Minute,
    collections: Vec<Box<str>>,
    dids: Vec<Did>,
    from: Reader<'a>,
}

impl Section<'_> {
    /// Reads the index of a collection.
    fn collection(&mut self) -> Result<Box<str>, Unreadable> {
        let index = self.from.number()? as usize;
        self.collections.get(index).cloned().ok_or(Unreadable)
    }

    fn account(&mut self) -> Result<LiveAccount, Unreadable> {
        let did = self.from.did()?;
        let mut account = head(did, &mut self.from)?;
        for _ in 0..self.from.count()? {
            account.counted.push(all_time(&self.collection()?));
        }
        for _ in 0..self.from.count()? {
            account.gone_posts.push(self.from.rkey()?);
        }
        let count = self.from.count()?;
        account.records.reserve(count);
        for _ in 0..count {
            let record = self.record(&account.did)?;
            account.records.push(record);
        }
        Ok(account)
    }

    fn record(&mut self, did: &Did) -> Result<LiveRecord, Unreadable> {
        let head = self.from.byte()?;
        let collection = self.collection()?;
        let distance = unzigzag(self.from.number()?);
        let first_seen = u32::try_from(i64::from(self.now.0) - distance);
        let first_seen = Minute(first_seen.map_err(|_| Unreadable)?);
        let rkey: Rkey = match head & TEXT_KEY {
            0 => Tid(self.from.tid()?).into(),
            _ => self.from.text()?.parse().map_err(|_| Unreadable)?,
        };
        let address = RecordRef {
            did,
            collection: "",
            rkey: &rkey,
            first_seen,
        };
        // Here an account has no number in memory: its index in the section stands for it.
        let index = |from: &mut Reader<'_>| u32::try_from(from.number()?).map_err(|_| Unreadable);
        let content = content::read(head & content::KIND, &address, &mut self.from, index)?;
        let content = plain_content(&self.dids, content)?;
        let collection: Collection = collection.parse().map_err(|_| Unreadable)?;
        Ok(LiveRecord {
            collection,
            rkey,
            first_seen,
            content,
        })
    }

    /// Reads in which rows of the open hour and the open minute accounts are counted.
    fn open_periods(&mut self, accounts: &mut [LiveAccount]) -> Result<(), Unreadable> {
        for _ in 0..self.from.count()? {
            let span = match self.from.byte()? {
                1 => Span::Hour,
                2 => Span::Minute,
                _ => return Err(Unreadable),
            };
            let start_minute = u32::try_from(self.from.number()?).map_err(|_| Unreadable)?;
            for _ in 0..self.from.count()? {
                let collection = self.collection()?;
                let index = self.from.number()? as usize;
                let account = accounts.get_mut(index).ok_or(Unreadable)?;
                account.counted.push(ActivityKey {
                    span,
                    start_minute,
                    collection,
                });
            }
        }
        Ok(())
    }
}

/// Reads the fields of the account itself.
fn head(did: Did, from: &mut Reader<'_>) -> Result<LiveAccount, Unreadable> {
    let flags = from.byte()?;
    let has = |bit: u8| flags & bit != 0;
    let last_seen = Minute(u32::try_from(from.number()?).map_err(|_| Unreadable)?);
    let rev = match has(flag::REV) {
        true => Some(Tid(from.tid()?)),
        false => None,
    };
    let (mut identity_origin, mut status_origin) = (None, None);
    let identity = match has(flag::IDENTITY) {
        true => {
            let handle = match has(flag::HANDLE) {
                true => Some(from.text()?.into()),
                false => None,
            };
            let time = Timestamp(from.number()?);
            identity_origin = read_origin(has(flag::ORIGINS), from)?;
            Some((handle, time))
        }
        false => None,
    };
    let status = match has(flag::STATUS) {
        true => {
            let text = match has(flag::STATUS_TEXT) {
                true => Some(from.text()?.into()),
                false => None,
            };
            status_origin = read_origin(has(flag::ORIGINS), from)?;
            Some((has(flag::ACTIVE), text))
        }
        false => None,
    };
    Ok(LiveAccount {
        did,
        rev,
        out_of_sync: has(flag::OUT_OF_SYNC),
        identity,
        identity_origin,
        status,
        status_origin,
        last_seen: (last_seen != Minute::default()).then_some(last_seen),
        counted: Vec::new(),
        gone_posts: Vec::new(),
        records: Vec::new(),
    })
}

/// The content of a record as plain values. It refers to accounts by their index in `dids`.
fn plain_content(dids: &[Did], content: Content) -> Result<Option<LiveContent>, Unreadable> {
    let account = |index: u32| {
        let did = dids.get(index as usize);
        did.cloned().ok_or(Unreadable)
    };
    let post = |index: u32, tid: u64| {
        let did = account(index)?;
        let post = Some(PostKey::new(&did, &Tid(tid).into()));
        Ok(Some(LiveSubject { did, post }))
    };
    Ok(Some(match content {
        Content::Nothing | Content::Removed => return Ok(None),
        Content::Like { did, tid } => LiveContent::Like(post(did, tid)?),
        Content::Repost { did, tid } => LiveContent::Repost(post(did, tid)?),
        Content::Follow(did) => LiveContent::Follow(Some(account(did)?)),
        Content::Block(did) => LiveContent::Block(Some(account(did)?)),
        Content::Post(post) => LiveContent::Post(Box::new(LivePost {
            parent: post.parent.as_ref().map(subject_of),
            root: post.root.as_ref().map(subject_of),
            quoted: post.quote.as_ref().map(subject_of),
            hashtags: post.tags.to_vec(),
            domains: post.domains.to_vec(),
            links: post.links.to_vec(),
            mentions: post.mentions.to_vec(),
            langs: post.langs.iter().map(|lang| lang.tag().into()).collect(),
            characters: u64::from(post.characters),
        })),
        Content::Other(fact) => match *fact {
            Fact::Like(like) => LiveContent::Like(like.subject.as_ref().map(subject_of)),
            Fact::Repost(repost) => LiveContent::Repost(repost.subject.as_ref().map(subject_of)),
            Fact::Follow(edge) => LiveContent::Follow(edge.subject),
            Fact::Block(edge) => LiveContent::Block(edge.subject),
            Fact::Profile(profile) => LiveContent::Profile(LiveProfile {
                display_name: profile.display_name.clone(),
                description: profile.description.clone(),
                avatar: profile.avatar.clone(),
            }),
            _ => return Err(Unreadable),
        },
    }))
}

fn subject_of(subject: &Subject) -> LiveSubject {
    LiveSubject {
        did: subject.did(),
        post: subject.post().cloned(),
    }
}
