//! The content of a live record as plain owned values.

use std::collections::BTreeSet;

use skytide_core::event::{DropReason, Op};
use skytide_core::id::{Collection, Did, PostKey, Rkey};
use skytide_core::live::{LiveContent, LivePost, LiveProfile, LiveSubject};
use skytide_core::record::{Post as ParsedPost, Record, UriRef, parse};
use skytide_core::time::Minute;

/// A live, visible record of known content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact<'a> {
    pub(super) did: &'a Did,
    pub(super) rkey: &'a Rkey,
    /// The minute in which it was first seen. Edits do not change it.
    pub(super) minute: Minute,
    pub(super) content: &'a LiveContent,
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

/// The languages of a post as the views count them; `und` if the post names none.
pub(super) fn languages(post: &LivePost) -> BTreeSet<&str> {
    if post.langs.is_empty() {
        return BTreeSet::from([UNDETERMINED]);
    }
    post.langs.iter().map(|lang| &**lang).collect()
}

/// The primary subtags of the languages: `en` for `en-US`.
pub(super) fn primary_languages(post: &LivePost) -> BTreeSet<&str> {
    let primary = |lang: &'_ str| lang.split('-').next().map(str::len).unwrap_or_default();
    let languages = languages(post).into_iter();
    languages.map(|lang| &lang[..primary(lang)]).collect()
}

/// What was left out of a record, and how often.
pub(super) type LeftOut = Vec<(DropReason, u64)>;

/// Reads the content of a created or updated record, and what is not counted of it. The content is
/// `None` if nothing of it is counted.
pub(super) fn read(op: &Op) -> Result<(Option<LiveContent>, LeftOut), DropReason> {
    let missing = match op.cid {
        Some(_) => DropReason::RecordMissing,
        None => DropReason::OpCid,
    };
    let bytes = op.record.as_deref().ok_or(missing)?;
    let is_self = op.rkey.with_str(|rkey| rkey == "self");
    let (content, left_out) = match parse(op.collection.as_str(), bytes)? {
        Record::Post(post) => {
            let left_out = vec![
                (DropReason::KeyLength, u64::from(post.left_out.too_long)),
                (DropReason::ListLimit, u64::from(post.left_out.too_many)),
                (DropReason::LangSyntax, u64::from(post.left_out.malformed)),
            ];
            (LiveContent::Post(Box::new(read_post(&post))), left_out)
        }
        Record::Like { subject } => (LiveContent::Like(subject.as_ref().map(subject_of)), vec![]),
        Record::Repost { subject } => (
            LiveContent::Repost(subject.as_ref().map(subject_of)),
            vec![],
        ),
        Record::Follow { subject } => (LiveContent::Follow(subject), vec![]),
        Record::Block { subject } => (LiveContent::Block(subject), vec![]),
        Record::Profile(profile) if is_self => {
            let left_out = vec![(DropReason::TextLimit, u64::from(profile.truncated))];
            let profile = LiveProfile {
                display_name: profile.display_name.map(Into::into),
                description: profile.description.map(Into::into),
                avatar: profile.avatar.map(|cid| cid.to_string().into()),
            };
            (LiveContent::Profile(profile), left_out)
        }
        Record::Profile(_) | Record::Other => return Ok((None, vec![])),
    };
    Ok((Some(content), left_out))
}

fn read_post(post: &ParsedPost<'_>) -> LivePost {
    fn texts(texts: &[impl ToString]) -> Vec<Box<str>> {
        let texts: BTreeSet<_> = texts.iter().map(ToString::to_string).collect();
        texts.into_iter().map(Into::into).collect()
    }
    let langs: BTreeSet<_> = post.langs.iter().map(|lang| lang.to_string()).collect();
    let mentions: BTreeSet<_> = post.mentions.iter().cloned().collect();
    LivePost {
        parent: post.reply_parent.as_ref().map(subject_of),
        root: post.reply_root.as_ref().map(subject_of),
        quoted: post.quote.as_ref().map(subject_of),
        hashtags: texts(&post.tags),
        domains: texts(&post.domains),
        links: texts(&post.links),
        mentions: mentions.into_iter().collect(),
        langs: langs.into_iter().map(Into::into).collect(),
        characters: u64::from(post.characters),
    }
}

fn subject_of(uri: &UriRef<'_>) -> LiveSubject {
    let did = uri.did();
    let rkey = || uri.rkey().parse::<Rkey>();
    let post = (uri.collection() == Collection::POST).then(|| {
        let rkey = rkey().expect("a valid address has a record key");
        PostKey::new(&did, &rkey)
    });
    LiveSubject { did, post }
}
