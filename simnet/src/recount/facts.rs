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
    /// As written in the record, without empty ones.
    langs: BTreeSet<String>,
}

/// The language of a post that names none.
const UNDETERMINED: &str = "und";

impl Post {
    /// The languages as written in the record.
    pub(super) fn languages(&self) -> BTreeSet<String> {
        if self.langs.is_empty() {
            return BTreeSet::from([UNDETERMINED.to_owned()]);
        }
        self.langs.clone()
    }

    /// The primary subtags of the languages: `en` for `en-US`. A language that begins with a hyphen
    /// has none.
    pub(super) fn primary_languages(&self) -> BTreeSet<String> {
        let primary = |lang: String| {
            let end = lang.find(['-', '_']).unwrap_or(lang.len());
            match &lang[..end] {
                "" => UNDETERMINED.to_owned(),
                subtag => subtag.to_ascii_lowercase(),
            }
        };
        self.languages().into_iter().map(primary).collect()
    }
}

/// The content of a create or update, and the number of its keys that were too long to count.
pub(super) fn read(op: &Op) -> Result<(Content, u64), DropReason> {
    let bytes = op.record.as_deref().ok_or(DropReason::RecordMissing)?;
    Ok(match parse(op.collection.as_str(), bytes)? {
        Record::Post(post) => (
            Content::Post(Box::new(read_post(&post))),
            u64::from(post.dropped),
        ),
        Record::Like { subject } => (Content::Like(subject.as_ref().map(address)), 0),
        Record::Repost { subject } => (Content::Repost(subject.as_ref().map(address)), 0),
        Record::Follow { subject } => (Content::Follow(subject), 0),
        Record::Block { subject } => (Content::Block(subject), 0),
        Record::Profile(profile) => {
            let profile = Profile {
                display_name: profile.display_name.map(Into::into),
                description: profile.description.map(Into::into),
                avatar: profile.avatar.map(|cid| cid.to_string().into()),
            };
            (Content::Profile(profile), 0)
        }
        Record::Other => (Content::Other, 0),
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
        langs: post.langs.iter().map(ToString::to_string).collect(),
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
