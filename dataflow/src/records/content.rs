//! What a live record gave, in 16 bytes where it can be.

use std::sync::Arc;

use skytide_core::event::DropReason;
use skytide_core::id::{Collection, Did, PostKey, Rkey, Tid};
use skytide_core::record::{self, Record, UriRef};
use skytide_core::time::Minute;

use crate::fact::{Act, Edge, Fact, Post, Profile, Subject};
use crate::operators::interner::Interner;

/// What a live record gave.
#[derive(Debug)]
pub(crate) enum Content {
    /// Nothing that is counted beyond its being there.
    Nothing,
    /// A like of the post `tid` of the account `did`.
    Like { did: u32, tid: u64 },
    /// A repost of it.
    Repost { did: u32, tid: u64 },
    /// A follow of the account.
    Follow(u32),
    /// A block of the account.
    Block(u32),
    /// A post.
    Post(Arc<Post>),
    /// Anything else.
    Odd(Box<Fact>),
}

/// What was left out of a record, and how often; often nothing.
pub(crate) type LeftOut = [(DropReason, u32); 3];

fn left_out(reason: DropReason, count: u32) -> LeftOut {
    [(reason, count), (reason, 0), (reason, 0)]
}

const LIKE: &str = "app.bsky.feed.like";

/// A record's address and when it was first seen.
pub(crate) struct Place<'a> {
    pub did: &'a Did,
    pub collection: &'a str,
    pub rkey: &'a Rkey,
    pub first_seen: Minute,
}

impl Place<'_> {
    fn post_key(&self) -> PostKey {
        PostKey::new(self.did, self.rkey)
    }
}

impl Content {
    /// Reads a record. Returns the content and what was left out of it.
    pub fn read(
        place: &Place<'_>,
        record: Option<&[u8]>,
        dids: &mut Interner<Did>,
    ) -> (Self, LeftOut) {
        let parsed = match record.map(|bytes| record::parse(place.collection, bytes)) {
            None => return (Self::Nothing, left_out(DropReason::RecordMissing, 1)),
            Some(Err(reason)) => return (Self::Nothing, left_out(reason, 1)),
            Some(Ok(parsed)) => parsed,
        };
        let content = match parsed {
            Record::Like { subject } => Self::act(place, subject.as_ref(), dids),
            Record::Repost { subject } => Self::act(place, subject.as_ref(), dids),
            Record::Follow {
                subject: Some(subject),
            } => Self::Follow(dids.number(&subject)),
            Record::Block {
                subject: Some(subject),
            } => Self::Block(dids.number(&subject)),
            Record::Follow { subject: None } => Self::Odd(Box::new(Fact::Follow(edge(place)))),
            Record::Block { subject: None } => Self::Odd(Box::new(Fact::Block(edge(place)))),
            Record::Post(post) => {
                let left_out = [
                    (DropReason::KeyLength, post.left_out.too_long),
                    (DropReason::ListLimit, post.left_out.too_many),
                    (DropReason::LangSyntax, post.left_out.malformed),
                ];
                return (Self::Post(Arc::new(own(place, post))), left_out);
            }
            Record::Profile(profile) if place.rkey.with_str(|rkey| rkey == "self") => {
                let left_out = left_out(DropReason::TextLimit, profile.truncated);
                let profile = Profile {
                    did: place.did.clone(),
                    display_name: profile.display_name.map(Into::into),
                    description: profile.description.map(Into::into),
                    avatar: profile.avatar.map(|cid| cid.to_string().into()),
                };
                let fact = Fact::Profile(Arc::new(profile));
                return (Self::Odd(Box::new(fact)), left_out);
            }
            Record::Profile(_) | Record::Other => Self::Nothing,
        };
        (content, left_out(DropReason::RecordShape, 0))
    }

    fn act(place: &Place<'_>, subject: Option<&UriRef<'_>>, dids: &mut Interner<Did>) -> Self {
        let like = place.collection == LIKE;
        let usual = subject.filter(|subject| subject.collection() == Collection::POST);
        if let Some((subject, tid)) = usual.and_then(|s| Some((s, s.rkey().parse::<Tid>().ok()?))) {
            let (did, tid) = (dids.number(&subject.did()), tid.0);
            return if like {
                Self::Like { did, tid }
            } else {
                Self::Repost { did, tid }
            };
        }
        let act = Act {
            author: place.did.clone(),
            subject: subject.map(refers_to),
            first_seen: place.first_seen,
        };
        Self::Odd(Box::new(if like {
            Fact::Like(act)
        } else {
            Fact::Repost(act)
        }))
    }

    /// The fact that this content gives; the same each time.
    pub fn fact(&self, place: &Place<'_>, dids: &Interner<Did>) -> Option<Fact> {
        let act = |did: u32, tid: u64| Act {
            author: place.did.clone(),
            subject: Some(Subject::Post(PostKey::new(dids.key(did), &Tid(tid).into()))),
            first_seen: place.first_seen,
        };
        let edge = |did: u32| Edge {
            subject: Some(dids.key(did).clone()),
            ..edge(place)
        };
        Some(match self {
            Self::Nothing if place.collection == Collection::POST => {
                Fact::BarePost(place.post_key())
            }
            Self::Nothing => return None,
            Self::Like { did, tid } => Fact::Like(act(*did, *tid)),
            Self::Repost { did, tid } => Fact::Repost(act(*did, *tid)),
            Self::Follow(did) => Fact::Follow(edge(*did)),
            Self::Block(did) => Fact::Block(edge(*did)),
            Self::Post(post) => Fact::Post(post.clone()),
            Self::Odd(fact) => (**fact).clone(),
        })
    }
}

fn edge(place: &Place<'_>) -> Edge {
    Edge {
        author: place.did.clone(),
        subject: None,
        first_seen: place.first_seen,
    }
}

fn refers_to(uri: &UriRef<'_>) -> Subject {
    uri.post_key()
        .map_or_else(|| Subject::Other(uri.did()), Subject::Post)
}

fn own(place: &Place<'_>, post: record::Post<'_>) -> Post {
    fn texts<T: AsRef<str>>(texts: &[T]) -> Box<[Box<str>]> {
        texts.iter().map(|text| text.as_ref().into()).collect()
    }
    Post {
        key: place.post_key(),
        first_seen: place.first_seen,
        parent: post.reply_parent.as_ref().map(refers_to),
        root: post.reply_root.as_ref().map(refers_to),
        quote: post.quote.as_ref().map(refers_to),
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
    "there is one for each live record"
);
