//! The content of a live record as plain owned values.

use std::collections::BTreeSet;

use skytide_core::event::{DropReason, Op};
use skytide_core::id::{AtUri, Did};
use skytide_core::record::{Post as ParsedPost, Record, UriRef, parse};
use skytide_core::time::Minute;

/// A live, visible record of known content.
#[derive(Debug)]
pub(super) struct Fact<'a> {
    pub(super) uri: &'a AtUri,
    /// The minute in which it was first seen. Edits do not change it.
    pub(super) minute: Minute,
    pub(super) content: &'a Content,
}

/// The content of a record. A subject is `None` if the record names no valid one.
#[derive(Debug)]
pub(super) enum Content {
    Post(Box<Post>),
    Like(Option<AtUri>),
    Repost(Option<AtUri>),
    Follow(Option<Did>),
    Block(Option<Did>),
    Profile(Profile),
    Other,
}

#[derive(Debug)]
pub(super) struct Profile {
    pub(super) display_name: Option<Box<str>>,
    pub(super) description: Option<Box<str>>,
    pub(super) avatar: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) struct Post {
    pub(super) parent: Option<AtUri>,
    pub(super) root: Option<AtUri>,
    pub(super) quoted: Option<AtUri>,
    pub(super) hashtags: BTreeSet<String>,
    pub(super) domains: BTreeSet<String>,
    pub(super) links: BTreeSet<String>,
    pub(super) mentions: BTreeSet<Did>,
    pub(super) characters: u64,
    /// The languages as the views count them; empty if the post names none.
    langs: BTreeSet<String>,
}

/// The language of a post that names none.
const UNDETERMINED: &str = "und";

/// Maximum size of an account's status in bytes. A longer status is truncated.
const STATUS_BYTES: usize = 64;

/// The status, truncated to [`STATUS_BYTES`], and whether it was longer.
pub(super) fn status(written: &str) -> (Box<str>, bool) {
    let mut kept = String::new();
    for character in written.chars() {
        if kept.len() + character.len_utf8() > STATUS_BYTES {
            return (kept.into(), true);
        }
        kept.push(character);
    }
    (kept.into(), false)
}

impl Post {
    /// The languages as the views count them; `und` if the post names none.
    pub(super) fn languages(&self) -> BTreeSet<String> {
        if self.langs.is_empty() {
            return BTreeSet::from([UNDETERMINED.to_owned()]);
        }
        self.langs.clone()
    }

    /// The primary subtags of the languages: `en` for `en-US`.
    pub(super) fn primary_languages(&self) -> BTreeSet<String> {
        let primary = |lang: String| lang.split('-').take(1).collect();
        self.languages().into_iter().map(primary).collect()
    }
}

/// What was left out of a record, and how often.
pub(super) type LeftOut = Vec<(DropReason, u64)>;

/// Reads the content of a created or updated record, and what is not counted of it.
pub(super) fn read(op: &Op) -> Result<(Content, LeftOut), DropReason> {
    let missing = match op.cid {
        Some(_) => DropReason::RecordMissing,
        None => DropReason::OpCid,
    };
    let bytes = op.record.as_deref().ok_or(missing)?;
    let is_self = op.rkey.with_str(|rkey| rkey == "self");
    Ok(match parse(op.collection.as_str(), bytes)? {
        Record::Post(post) => {
            let left_out = vec![
                (DropReason::KeyLength, u64::from(post.left_out.too_long)),
                (DropReason::ListLimit, u64::from(post.left_out.too_many)),
                (DropReason::LangSyntax, u64::from(post.left_out.malformed)),
            ];
            (Content::Post(Box::new(read_post(&post))), left_out)
        }
        Record::Like { subject } => (Content::Like(subject.as_ref().map(address)), vec![]),
        Record::Repost { subject } => (Content::Repost(subject.as_ref().map(address)), vec![]),
        Record::Follow { subject } => (Content::Follow(subject), vec![]),
        Record::Block { subject } => (Content::Block(subject), vec![]),
        Record::Profile(profile) if is_self => {
            let left_out = vec![(DropReason::TextLimit, u64::from(profile.truncated))];
            let profile = Profile {
                display_name: profile.display_name.map(Into::into),
                description: profile.description.map(Into::into),
                avatar: profile.avatar.map(|cid| cid.to_string().into()),
            };
            (Content::Profile(profile), left_out)
        }
        Record::Profile(_) | Record::Other => (Content::Other, vec![]),
    })
}

fn read_post(post: &ParsedPost<'_>) -> Post {
    Post {
        parent: post.reply_parent.as_ref().map(address),
        root: post.reply_root.as_ref().map(address),
        quoted: post.quote.as_ref().map(address),
        hashtags: post.tags.iter().map(ToString::to_string).collect(),
        domains: post.domains.iter().map(ToString::to_string).collect(),
        links: post.links.iter().map(ToString::to_string).collect(),
        mentions: post.mentions.iter().cloned().collect(),
        characters: u64::from(post.characters),
        langs: post.langs.iter().map(|lang| lang.to_string()).collect(),
    }
}

fn address(uri: &UriRef<'_>) -> AtUri {
    AtUri {
        did: uri.did(),
        collection: uri
            .collection()
            .parse()
            .expect("a valid address has a collection"),
        rkey: uri
            .rkey()
            .parse()
            .expect("a valid address has a record key"),
    }
}
