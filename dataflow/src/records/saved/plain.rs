//! Reads a section as plain values, without a state and without numbers in memory. The audit counts
//! them again.

use skytide_core::id::{Collection, Did, PostKey, Rkey, Tid};
use skytide_core::live::{
    LiveAccount, LiveContent, LivePost, LiveProfile, LiveRecord, LiveSubject, all_time,
};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{ActivityKey, Span};

use super::bytes::{Reader, Unreadable};
use super::save::TEXT_KEY;
use super::{FORMAT, content, flag, unzigzag};
use crate::fact::{Fact, Subject};
use crate::records::content::{Content, RecordRef};

/// Reads all accounts of a section.
///
/// # Errors
/// The section does not have the format that this version writes.
pub(crate) fn read_accounts(section: &[u8]) -> Result<Vec<LiveAccount>, Unreadable> {
    let mut from = Reader(section);
    if from.byte()? != FORMAT {
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
        let mut account = self.head()?;
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

    /// Reads the DID and the fields of the account itself.
    fn head(&mut self) -> Result<LiveAccount, Unreadable> {
        let from = &mut self.from;
        let did = from.did()?;
        let flags = from.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let last_seen = Minute(u32::try_from(from.number()?).map_err(|_| Unreadable)?);
        let rev = match has(flag::REV) {
            true => Some(Tid(from.tid()?)),
            false => None,
        };
        let identity = match has(flag::IDENTITY) {
            true => {
                let handle = match has(flag::HANDLE) {
                    true => Some(from.text()?.into()),
                    false => None,
                };
                Some((handle, Timestamp(from.number()?)))
            }
            false => None,
        };
        let status = match has(flag::STATUS) {
            true => {
                let text = match has(flag::STATUS_TEXT) {
                    true => Some(from.text()?.into()),
                    false => None,
                };
                Some((has(flag::ACTIVE), text))
            }
            false => None,
        };
        Ok(LiveAccount {
            did,
            rev,
            out_of_sync: has(flag::OUT_OF_SYNC),
            identity,
            status,
            last_seen: (last_seen != Minute::default()).then_some(last_seen),
            counted: Vec::new(),
            gone_posts: Vec::new(),
            records: Vec::new(),
        })
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
        let index = |index: u64| u32::try_from(index).map_err(|_| Unreadable);
        let content = content::read(head & content::KIND, &address, &mut self.from, index)?;
        let content = self.content(content)?;
        let collection: Collection = collection.parse().map_err(|_| Unreadable)?;
        Ok(LiveRecord {
            collection,
            rkey,
            first_seen,
            content,
        })
    }

    fn content(&self, content: Content) -> Result<Option<LiveContent>, Unreadable> {
        let account = |index: u32| {
            let did = self.dids.get(index as usize);
            did.cloned().ok_or(Unreadable)
        };
        let post = |index: u32, tid: u64| {
            let did = account(index)?;
            let post = Some(PostKey::new(&did, &Tid(tid).into()));
            Ok(Some(LiveSubject { did, post }))
        };
        Ok(Some(match content {
            Content::Nothing => return Ok(None),
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
                Fact::Repost(repost) => {
                    LiveContent::Repost(repost.subject.as_ref().map(subject_of))
                }
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

fn subject_of(subject: &Subject) -> LiveSubject {
    LiveSubject {
        did: subject.did(),
        post: subject.post().cloned(),
    }
}
