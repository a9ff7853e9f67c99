//! `app.bsky.feed.post`: who is answered and quoted, and what is written in it.
//!
//! Features of a text and embeds say what they are in `$type`, which stands behind shorter keys; so
//! what may matter is read first and sorted out at the end of the map.

use std::borrow::Cow;

use super::distinct::distinct;
use super::{KEY_BYTES_MAX, UriRef, reference, url};
use crate::cbor::{Error, Reader, Strict};
use crate::id::Did;

/// What a post says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post<'a> {
    /// What it answers.
    pub reply_parent: Option<UriRef<'a>>,
    /// Where that thread began.
    pub reply_root: Option<UriRef<'a>>,
    /// The record it quotes, of any collection.
    pub quote: Option<UriRef<'a>>,
    /// Its distinct languages, as written and in that order.
    pub langs: Vec<&'a str>,
    /// Its distinct hashtags, in lower case.
    pub tags: Vec<Cow<'a, str>>,
    /// Its distinct `http` and `https` links that have a host.
    pub links: Vec<&'a str>,
    /// The distinct hosts of its links, in lower case.
    pub domains: Vec<Cow<'a, str>>,
    /// The distinct accounts it mentions.
    pub mentions: Vec<Did>,
    /// Unicode scalar values of its text.
    pub characters: u32,
    /// Languages, tags, domains and links left out as longer than [`KEY_BYTES_MAX`]
    /// ([`DropReason::KeyLength`](crate::event::DropReason::KeyLength), once for each time one is
    /// written).
    pub dropped: u32,
}

type Strictly<'a> = Reader<'a, Strict>;

pub(super) fn read<'a>(reader: &mut Strictly<'a>) -> Result<Post<'a>, Error> {
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
    distinct(&mut post.langs);
    distinct(&mut post.tags);
    distinct(&mut post.links);
    distinct(&mut post.domains);
    distinct(&mut post.mentions);
    Ok(post)
}

impl<'a> Post<'a> {
    fn add_tag(&mut self, tag: &'a str) {
        if tag.is_empty() {
            return;
        }
        let tag = lower_case(tag);
        if self.fits(tag.len()) {
            self.tags.push(tag);
        }
    }

    fn add_link(&mut self, link: &'a str) {
        let Some(host) = url::host(link) else {
            return;
        };
        if self.fits(link.len()) {
            self.links.push(link);
        }
        let domain = lower_case(host);
        if self.fits(domain.len()) {
            self.domains.push(domain);
        }
    }

    fn fits(&mut self, bytes: usize) -> bool {
        let fits = bytes <= KEY_BYTES_MAX;
        self.dropped += u32::from(!fits);
        fits
    }
}

/// Lower case by the full Unicode mapping; borrowed where nothing changes.
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

fn read_tags<'a>(reader: &mut Strictly<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    reader.list(|reader| {
        if let Some(tag) = reader.text()? {
            post.add_tag(tag);
        }
        Ok(())
    })?;
    Ok(())
}

fn read_langs<'a>(reader: &mut Strictly<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    reader.list(|reader| {
        let lang = reader.text()?.filter(|lang| !lang.is_empty());
        if let Some(lang) = lang.filter(|lang| post.fits(lang.len())) {
            post.langs.push(lang);
        }
        Ok(())
    })?;
    Ok(())
}

fn read_reply<'a>(reader: &mut Strictly<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    reader.map(|reader, key| {
        match key {
            b"root" => post.reply_root = reference(reader)?,
            b"parent" => post.reply_parent = reference(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok(())
}

fn read_facets<'a>(reader: &mut Strictly<'a>, post: &mut Post<'a>) -> Result<(), Error> {
    reader.list(|reader| {
        reader.map(|reader, key| match key {
            b"features" => reader.list(|reader| read_feature(reader, post)).map(|_| ()),
            _ => reader.skip(),
        })?;
        Ok(())
    })?;
    Ok(())
}

fn read_feature<'a>(reader: &mut Strictly<'a>, post: &mut Post<'a>) -> Result<(), Error> {
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
        (Some("app.bsky.richtext.facet#tag"), Some(tag), _, _) => post.add_tag(tag),
        (Some("app.bsky.richtext.facet#link"), _, Some(uri), _) => post.add_link(uri),
        (Some("app.bsky.richtext.facet#mention"), _, _, Some(did)) => {
            post.mentions.extend(did.parse::<Did>());
        }
        _ => {}
    }
    Ok(())
}

/// What an embed may hold, whatever its type.
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

fn read_embed<'a>(reader: &mut Strictly<'a>, post: &mut Post<'a>) -> Result<(), Error> {
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

/// `uri` and `record.uri` of an embedded record.
fn read_embedded_record<'a>(
    reader: &mut Strictly<'a>,
) -> Result<(Option<UriRef<'a>>, Option<UriRef<'a>>), Error> {
    let (mut direct, mut inner) = (None, None);
    reader.map(|reader, key| {
        match key {
            b"uri" => direct = reader.text()?.and_then(UriRef::parse),
            b"record" => inner = reference(reader)?,
            _ => reader.skip()?,
        }
        Ok(())
    })?;
    Ok((direct, inner))
}

/// `external.uri` of the media beside a record, if they are an external embed.
fn read_media<'a>(reader: &mut Strictly<'a>) -> Result<Option<&'a str>, Error> {
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

/// `uri` of a map, whatever it names.
fn read_uri<'a>(reader: &mut Strictly<'a>) -> Result<Option<&'a str>, Error> {
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
