//! The content of a live record, in 16 bytes where possible. Together with the record's address it
//! is enough to emit the record's fact again.

use std::sync::Arc;

use skytide_core::event::DropReason;
use skytide_core::id::{Collection, Did, PostKey, Rkey, Tid};
use skytide_core::record::{self, Record, UriRef};
use skytide_core::time::Minute;

use crate::fact::{Edge, Fact, Post, Profile, Reaction, Subject};
use crate::operators::interner::Interner;

/// The content of a live record.
#[derive(Debug)]
pub(crate) enum Content {
    /// No part of the content is counted, only that the record exists.
    Nothing,
    /// A like of the post `tid` of the account `did`.
    Like { did: u32, tid: u64 },
    /// A repost of the post `tid` of the account `did`.
    Repost { did: u32, tid: u64 },
    /// A follow of this account.
    Follow(u32),
    /// A block of this account.
    Block(u32),
    /// A post.
    Post(Arc<Post>),
    /// Any other record, as its fact.
    Other(Box<Fact>),
    /// The record was removed, which no complete checkpoint has recorded so far.
    Removed,
}

/// How many parts of a record were left out, by reason; usually none.
pub(crate) type LeftOut = [(DropReason, u32); 3];

fn left_out(reason: DropReason, count: u32) -> LeftOut {
    [(reason, count), (reason, 0), (reason, 0)]
}

const LIKE: &str = "app.bsky.feed.like";

/// The address of a record, and when it was first seen.
pub(crate) struct RecordRef<'a> {
    pub did: &'a Did,
    pub collection: &'a str,
    pub rkey: &'a Rkey,
    pub first_seen: Minute,
}

impl RecordRef<'_> {
    fn post_key(&self) -> PostKey {
        PostKey::new(self.did, self.rkey)
    }
}

impl Content {
    /// Parses a record. Returns its content and what was left out of it.
    pub fn read(
        address: &RecordRef<'_>,
        record: Option<&[u8]>,
        dids: &mut Interner<Did>,
    ) -> (Self, LeftOut) {
        let parsed = match record.map(|bytes| record::parse(address.collection, bytes)) {
            None => return (Self::Nothing, left_out(DropReason::RecordMissing, 1)),
            Some(Err(reason)) => return (Self::Nothing, left_out(reason, 1)),
            Some(Ok(parsed)) => parsed,
        };
        let content = match parsed {
            Record::Like { subject } => Self::reaction(address, subject.as_ref(), dids),
            Record::Repost { subject } => Self::reaction(address, subject.as_ref(), dids),
            Record::Follow {
                subject: Some(subject),
            } => Self::Follow(dids.intern(&subject)),
            Record::Block {
                subject: Some(subject),
            } => Self::Block(dids.intern(&subject)),
            Record::Follow { subject: None } => Self::Other(Box::new(Fact::Follow(edge(address)))),
            Record::Block { subject: None } => Self::Other(Box::new(Fact::Block(edge(address)))),
            Record::Post(post) => {
                let left_out = [
                    (DropReason::KeyLength, post.left_out.too_long),
                    (DropReason::ListLimit, post.left_out.too_many),
                    (DropReason::LangSyntax, post.left_out.malformed),
                ];
                return (Self::Post(Arc::new(to_fact(address, post))), left_out);
            }
            Record::Profile(profile) if address.rkey.with_str(|rkey| rkey == "self") => {
                let left_out = left_out(DropReason::TextLimit, profile.truncated);
                let profile = Profile {
                    did: address.did.clone(),
                    display_name: profile.display_name.map(Into::into),
                    description: profile.description.map(Into::into),
                    avatar: profile.avatar.map(|cid| cid.to_string().into()),
                };
                let fact = Fact::Profile(Arc::new(profile));
                return (Self::Other(Box::new(fact)), left_out);
            }
            Record::Profile(_) | Record::Other => Self::Nothing,
        };
        (content, left_out(DropReason::RecordShape, 0))
    }

    fn reaction(
        address: &RecordRef<'_>,
        subject: Option<&UriRef<'_>>,
        dids: &mut Interner<Did>,
    ) -> Self {
        let is_like = address.collection == LIKE;
        // A subject that is a post with a TID as its key fits in 16 bytes.
        let compact = subject.filter(|subject| subject.collection() == Collection::POST);
        if let Some((subject, tid)) = compact.and_then(|s| Some((s, s.rkey().parse::<Tid>().ok()?)))
        {
            let (did, tid) = (dids.intern(&subject.did()), tid.0);
            return if is_like {
                Self::Like { did, tid }
            } else {
                Self::Repost { did, tid }
            };
        }
        let reaction = Reaction {
            author: address.did.clone(),
            subject: subject.map(subject_of),
            first_seen: address.first_seen,
        };
        Self::Other(Box::new(if is_like {
            Fact::Like(reaction)
        } else {
            Fact::Repost(reaction)
        }))
    }

    /// The fact that this content gives: the same one at each call.
    pub fn fact(&self, address: &RecordRef<'_>, dids: &Interner<Did>) -> Option<Fact> {
        let reaction = |did: u32, tid: u64| Reaction {
            author: address.did.clone(),
            subject: Some(Subject::Post(PostKey::new(dids.key(did), &Tid(tid).into()))),
            first_seen: address.first_seen,
        };
        let edge = |did: u32| Edge {
            subject: Some(dids.key(did).clone()),
            ..edge(address)
        };
        Some(match self {
            Self::Nothing if address.collection == Collection::POST => {
                Fact::BarePost(address.post_key())
            }
            Self::Nothing | Self::Removed => return None,
            Self::Like { did, tid } => Fact::Like(reaction(*did, *tid)),
            Self::Repost { did, tid } => Fact::Repost(reaction(*did, *tid)),
            Self::Follow(did) => Fact::Follow(edge(*did)),
            Self::Block(did) => Fact::Block(edge(*did)),
            Self::Post(post) => Fact::Post(post.clone()),
            Self::Other(fact) => (**fact).clone(),
        })
    }
}

fn edge(address: &RecordRef<'_>) -> Edge {
    Edge {
        author: address.did.clone(),
        subject: None,
        first_seen: address.first_seen,
    }
}

fn subject_of(uri: &UriRef<'_>) -> Subject {
    uri.post_key()
        .map_or_else(|| Subject::Other(uri.did()), Subject::Post)
}

fn to_fact(address: &RecordRef<'_>, post: record::Post<'_>) -> Post {
    fn texts<T: AsRef<str>>(texts: &[T]) -> Box<[Box<str>]> {
        texts.iter().map(|text| text.as_ref().into()).collect()
    }
    Post {
        key: address.post_key(),
        first_seen: address.first_seen,
        parent: post.reply_parent.as_ref().map(subject_of),
        root: post.reply_root.as_ref().map(subject_of),
        quote: post.quote.as_ref().map(subject_of),
        langs: post.langs,
        tags: texts(&post.tags),
        domains: texts(&post.domains),
        links: texts(&post.links),
        mentions: post.mentions.into(),
        characters: post.characters,
    }
}

const _: () = assert!(
    size_of::<Content>() == 16,
    "one is stored for each live record"
);
