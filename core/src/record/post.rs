//! The record type `app.bsky.feed.post`: replied-to and quoted records, languages, tags, links and
//! mentions.
//!
//! The type of a facet's feature or of an embed is in its `$type` key. DAG-CBOR sorts keys by
//! length, so shorter keys come before `$type`. The parser therefore reads all fields that may
//! matter, and selects by type at the end of the map.
//!
//! All lists are limited, so memory is bounded and each entry is compared with a bounded number of
//! others.

use std::borrow::Cow;

use super::{Lang, Langs, UriRef, is_well_formed, strong_ref, url};
use crate::cbor::{Error, Reader, Strict};
use crate::id::Did;
use crate::limits::{
    FACET_TAGS_MAX, KEY_BYTES_MAX, LINKS_MAX, MENTIONS_MAX, TAG_BYTES_MAX, TAGS_MAX,
};

/// The facts in a post.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post<'a> {
    /// The post to which it replies.
    pub reply_parent: Option<UriRef<'a>>,
    /// The first post of that thread.
    pub reply_root: Option<UriRef<'a>>,
    /// The quoted record, of any collection.
    pub quote: Option<UriRef<'a>>,
    /// The first distinct languages, as the views count them.
    pub langs: Langs,
    /// The first distinct hashtags, in lower case: those in `tags`, then further ones in the
    /// facets.
    pub tags: Vec<Cow<'a, str>>,
    /// The first distinct `http` and `https` links that have a host.
    pub links: Vec<&'a str>,
    /// The first distinct hosts of the links, in lower case.
    pub domains: Vec<Cow<'a, str>>,
    /// The first distinct mentioned accounts.
    pub mentions: Vec<Did>,
    /// Number of Unicode scalar values in the text.
    pub characters: u32,
    /// What was not counted.
    pub left_out: LeftOut,
}

/// Numbers of entries that exceed the [`limits`](crate::limits). Each occurrence counts, so an
/// entry that is written twice counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Tags, domains and links that are too long
    /// ([`DropReason::KeyLength`](crate::event::DropReason::KeyLength)).
    pub too_long: u32,
    /// Languages, tags, links and mentions after their list was full
    /// ([`DropReason::ListLimit`](crate::event::DropReason::ListLimit)).
    pub too_many: u32,
    /// Language tags that are not well-formed
    /// ([`DropReason::LangSyntax`](crate::event::DropReason::LangSyntax)).
    pub malformed: u32,
}

type StrictReader<'a> = Reader<'a, Strict>;

pub(super) fn read<'a>(reader: &mut StrictReader<'a>) -> Result<Post<'a>, Error> {
    let mut post = Post::default();
    reader.map(|reader, key| match key {
        b"tags" => read_tags(reader, &mut post),
        b"text" => {
            let text = reader.text()?.unwrap_or_default();
            post.characters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
            Ok(())
        }
        b"embed" => read_embed(reader, &mut post),
        b"langs" => read_langs(reader, &mut post),
        b"reply" => read_reply(reader, &mut post),
        b"facets" => read_facets(reader, &mut post),
        _ => reader.skip(),
    })?;
    Ok(post)
}

/// Adds an item unless the list contains it. Returns whether the list contains it afterwards: false
/// means that the list is full (`max` items).
fn insert<T: PartialEq>(list: &mut Vec<T>, item: T, max: usize) -> bool {
    let is_known = list.contains(&item);
    let is_new = !is_known && list.len() < max;
    if is_new {
        list.push(item);
    }
    is_known || is_new
}

impl<'a> Post<'a> {
    /// Adds a tag, unless `tags` already has `max` entries.
    fn add_tag(&mut self, tag: &'a str, max: usize) {
        if tag.is_empty() {
            return;
        }
        let tag = lower_case(tag);
        if self.check_length(tag.len(), TAG_BYTES_MAX) {
            let is_listed = insert(&mut self.tags, tag, max);
            self.count_if_full(is_listed);
        }
    }

    fn add_link(&mut self, link: &'a str) {
        let Some(host) = url::host(link) else {
            return;
        };
        let link_fits = self.check_length(link.len(), KEY_BYTES_MAX);
        let link_is_listed = !link_fits || insert(&mut self.links, link, LINKS_MAX);
        let domain = lower_case(host);
        let domain_fits = self.check_length(domain.len(), KEY_BYTES_MAX);
        let domain_is_listed = !domain_fits || insert(&mut self.domains, domain, LINKS_MAX);
        self.count_if_full(link_is_listed && domain_is_listed);
    }

    fn add_mention(&mut self, did: Did) {
        let is_listed = insert(&mut self.mentions, did, MENTIONS_MAX);
        self.count_if_full(is_listed);
    }

    fn add_lang(&mut self, lang: &str) {
        self.left_out.malformed += u32::from(!is_well_formed(lang));
        let is_listed = self.langs.insert(Lang::of(lang));
        self.count_if_full(is_listed);
    }

    fn check_length(&mut self, bytes: usize, max: usize) -> bool {
        self.left_out.too_long += u32::from(bytes > max);
        bytes <= max
    }

    fn count_if_full(&mut self, is_listed: bool) {
        self.left_out.too_many += u32::from(!is_listed);
    }
}

/// Lower case by the full Unicode mapping. Borrows if the text does not change.
fn lower_case(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        return Cow::Borrowed(text);
    }
    let lower = text.to_lowercase();
    if lower == text {
        return Cow::Borrowed(text);
    }
    Cow::Owned(lower)
}

fn read_tags<'a>(reader: &mut StrictReader<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    reader.list(|reader| {
        if let Some(tag) = reader.text()? {
            post.add_tag(tag, TAGS_MAX);
        }
        Ok(())
    })?;
    Ok(())
}

fn read_langs<'a>(reader: &mut StrictReader<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    reader.list(|reader| {
        if let Some(lang) = reader.text()?.filter(|lang| !lang.is_empty()) {
            post.add_lang(lang);
        }
        Ok(())
    })?;
    Ok(())
}

fn read_reply<'a>(reader: &mut StrictReader<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    reader.map(|reader, key| {
        match key {
            b"root" => post.reply_root = strong_ref(reader)?,
            b"parent" => post.reply_parent = strong_ref(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(())
}

/// Reads `facets`. Map keys are sorted, so `tags` has already been read.
fn read_facets<'a>(reader: &mut StrictReader<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    let tags_max = post.tags.len() + FACET_TAGS_MAX;
    reader.list(|reader| {
        reader.map(|reader, key| match key {
            b"features" => reader
                .list(|reader| read_feature(reader, post, tags_max))
                .map(|_| ()),
            _ => reader.skip(),
        })?;
        Ok(())
    })?;
    Ok(())
}

fn read_feature<'a>(
    reader: &mut StrictReader<'a>,
    post: &mut Post<'a>,
    tags_max: usize,
) -> Result<(), Error> {
    let (mut kind, mut tag, mut uri, mut did) = (None, None, None, None);
    reader.map(|reader, key| {
        match key {
            b"$type" => kind = reader.text()?,
            b"tag" => tag = reader.text()?,
            b"uri" => uri = reader.text()?,
            b"did" => did = reader.text()?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    match (kind, tag, uri, did) {
        (Some("app.bsky.richtext.facet#tag"), Some(tag), _, _) => post.add_tag(tag, tags_max),
        (Some("app.bsky.richtext.facet#link"), _, Some(uri), _) => post.add_link(uri),
        (Some("app.bsky.richtext.facet#mention"), _, _, Some(did)) => {
            did.parse()
                .into_iter()
                .for_each(|did| post.add_mention(did));
        }
        _ => {}
    }
    Ok(())
}

/// The fields of all known types of embeds.
#[derive(Default)]
struct Embed<'a> {
    kind: Option<&'a str>,
    /// `record.uri`
    record: Option<UriRef<'a>>,
    /// `record.record.uri`
    inner_record: Option<UriRef<'a>>,
    /// `external.uri`
    external: Option<&'a str>,
    /// `media.external.uri`, if `media` is an external embed
    media_external: Option<&'a str>,
}

fn read_embed<'a>(reader: &mut StrictReader<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    let mut embed = Embed::default();
    reader.map(|reader, key| {
        match key {
            b"$type" => embed.kind = reader.text()?,
            b"record" => (embed.record, embed.inner_record) = read_embedded_record(reader)?,
            b"external" => embed.external = read_uri(reader)?,
            b"media" => embed.media_external = read_media(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    match embed.kind {
        Some("app.bsky.embed.record") => post.quote = embed.record,
        Some("app.bsky.embed.recordWithMedia") => {
            post.quote = embed.inner_record;
            embed
                .media_external
                .into_iter()
                .for_each(|uri| post.add_link(uri));
        }
        Some(EXTERNAL) => embed
            .external
            .into_iter()
            .for_each(|uri| post.add_link(uri)),
        _ => {}
    }
    Ok(())
}

const EXTERNAL: &str = "app.bsky.embed.external";

/// Reads `uri` and `record.uri` of an embedded record.
fn read_embedded_record<'a>(
    reader: &mut StrictReader<'a>,
) -> Result<(Option<UriRef<'a>>, Option<UriRef<'a>>), Error> {
    let (mut direct, mut inner) = (None, None);
    reader.map(|reader, key| {
        match key {
            b"uri" => direct = reader.text()?.and_then(UriRef::parse),
            b"record" => inner = strong_ref(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok((direct, inner))
}

/// Reads `external.uri` of the `media` in a `recordWithMedia` embed, if its type is an external
/// embed.
fn read_media<'a>(reader: &mut StrictReader<'a>) -> Result<Option<&'a str>, Error> {
    let (mut kind, mut external) = (None, None);
    reader.map(|reader, key| {
        match key {
            b"$type" => kind = reader.text()?,
            b"external" => external = read_uri(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(external.filter(|_| kind == Some(EXTERNAL)))
}

/// Reads `uri` of a map, whatever the URI refers to.
fn read_uri<'a>(reader: &mut StrictReader<'a>) -> Result<Option<&'a str>, Error> {
    let mut uri = None;
    reader.map(|reader, key| match key {
        b"uri" => {
            uri = reader.text()?;
            Ok(())
        }
        _ => reader.skip(),
    })?;
    Ok(uri)
}
