//! `app.bsky.feed.post`.

use super::text::{Feature, Text, evergreen_link, story_link};
use super::{created_at, fault, post_digest, post_key, strong_ref, write_blob};
use crate::cbor::{Cbor, Digest};
use crate::content::{Content, PostContent};
use crate::malformed::Kind;
use crate::random::{Random, mix};
use crate::words::{language, names};
use crate::world::World;
use crate::world::accounts::{NONE, Post};

/// Length in bytes of a hashtag that is too long to count.
const LONG_TAG_BYTES: usize = 5_000;

/// A version of a post: its bytes and its content.
pub(super) fn render(world: &mut World, index: u32, version: u8) -> (Vec<u8>, Content) {
    let post = world.posts[index as usize].clone();
    let referred = [post.parent, post.root, post.quote];
    let mut digests = [[0; 32]; 3];
    for ((digest, other), version) in digests.iter_mut().zip(referred).zip(post.refers) {
        if other != NONE {
            *digest = post_digest(world, other, version);
        }
    }
    let kind = Kind::of_code(post.fault.0).filter(|_| post.fault.1 == version);
    let writer = PostWriter::new(world, &post, version, kind);
    let (bytes, content) = writer.write(digests);
    fault::apply(bytes, Content::Post(Box::new(content)), kind)
}

/// What a post shows below its text.
enum Embed {
    Nothing,
    Images(u64),
    External(String),
    Quote,
    QuoteAndExternal(String),
}

struct PostWriter<'a> {
    world: &'a World,
    post: &'a Post,
    fault: Option<Kind>,
    seed: u64,
    text: Text,
    langs: Vec<&'static str>,
    embed: Embed,
}

impl<'a> PostWriter<'a> {
    fn new(world: &'a World, post: &'a Post, version: u8, fault: Option<Kind>) -> Self {
        let seed = mix(&[
            world.options.seed,
            31,
            u64::from(post.author),
            post.tid.0,
            u64::from(version),
        ]);
        let mut random = Random::new(seed);
        let text = Text::write(world, post, &mut random);
        let mut langs = vec![language(post.lang).code];
        match random.below(100) {
            0..12 => langs.clear(),
            12 => langs.push("en-GB"),
            13 => langs.push("mul"),
            _ => {}
        }
        let embed = match (post.quote != NONE, random.below(100)) {
            (true, 0..4) => {
                Embed::QuoteAndExternal(evergreen_link(world.options.seed, &mut random))
            }
            (true, _) => Embed::Quote,
            (false, 0..9) if post.story > 0 => {
                Embed::External(story_link(world.options.seed, post.story, post.lang))
            }
            (false, 0..12) => Embed::External(evergreen_link(world.options.seed, &mut random)),
            (false, 12..46) => Embed::Images(1 + random.zipf(4)),
            _ => Embed::Nothing,
        };
        Self {
            world,
            post,
            fault,
            seed,
            text,
            langs,
            embed,
        }
    }

    /// Encodes the record, with its keys in DAG-CBOR order.
    fn write(&self, [parent, root, quote]: [Digest; 3]) -> (Vec<u8>, PostContent) {
        let mut cbor = Cbor::with_capacity(900);
        let created = created_at(self.post.tid, self.seed, self.fault);
        let (long_tag, answers) = (
            self.fault == Some(Kind::KeyLength),
            self.post.parent != NONE,
        );
        let embeds = !matches!(self.embed, Embed::Nothing);
        let features = !self.text.features.is_empty();
        let optional = [
            long_tag,
            embeds,
            !self.langs.is_empty(),
            answers,
            features,
            created.is_some(),
        ];
        cbor.map(2 + optional.iter().filter(|&&there| there).count());
        if long_tag {
            cbor.text("tags").list(1).text(&"x".repeat(LONG_TAG_BYTES));
        }
        cbor.text("text").text(&self.text.text);
        cbor.text("$type").text("app.bsky.feed.post");
        if embeds {
            cbor.text("embed");
            self.write_embed(&mut cbor, &quote);
        }
        if !self.langs.is_empty() {
            cbor.text("langs").list(self.langs.len());
            self.langs.iter().for_each(|lang| {
                cbor.text(lang);
            });
        }
        if answers {
            cbor.text("reply").map(2).text("root");
            strong_ref(&mut cbor, &post_key(self.world, self.post.root), &root);
            cbor.text("parent");
            strong_ref(&mut cbor, &post_key(self.world, self.post.parent), &parent);
        }
        if features {
            cbor.text("facets");
            self.write_facets(&mut cbor);
        }
        if let Some(created) = created {
            cbor.text("createdAt").text(&created);
        }
        (cbor.0, self.content())
    }

    fn write_facets(&self, cbor: &mut Cbor) {
        cbor.list(self.text.features.len());
        for (range, feature) in &self.text.features {
            cbor.map(2).text("index").map(2);
            cbor.text("byteEnd").uint(range.end as u64);
            cbor.text("byteStart").uint(range.start as u64);
            cbor.text("features").list(1).map(2);
            let kind = match feature {
                Feature::Tag(tag) => {
                    cbor.text("tag").text(tag);
                    "app.bsky.richtext.facet#tag"
                }
                Feature::Link(uri) => {
                    cbor.text("uri").text(uri);
                    "app.bsky.richtext.facet#link"
                }
                Feature::Mention(did) => {
                    cbor.text("did");
                    did.with_str(|did| cbor.text(did));
                    "app.bsky.richtext.facet#mention"
                }
            };
            // "$type" is longer than the other keys.
            cbor.text("$type").text(kind);
        }
    }

    fn write_embed(&self, cbor: &mut Cbor, quote: &Digest) {
        let quoted = |cbor: &mut Cbor| {
            cbor.map(2)
                .text("$type")
                .text("app.bsky.embed.record")
                .text("record");
            strong_ref(cbor, &post_key(self.world, self.post.quote), quote);
        };
        match &self.embed {
            Embed::Nothing => {}
            Embed::Images(count) => {
                cbor.map(2).text("$type").text("app.bsky.embed.images");
                cbor.text("images").list(*count as usize);
                for image in 0..*count {
                    cbor.map(3).text("alt").text(&self.alt(image));
                    cbor.text("image");
                    write_blob(cbor, self.seed + image, "image/jpeg");
                    cbor.text("aspectRatio")
                        .map(2)
                        .text("width")
                        .uint(2_000)
                        .text("height")
                        .uint(1_500);
                }
            }
            Embed::External(uri) => self.write_external(cbor, uri),
            Embed::Quote => quoted(cbor),
            Embed::QuoteAndExternal(uri) => {
                cbor.map(3)
                    .text("$type")
                    .text("app.bsky.embed.recordWithMedia")
                    .text("media");
                self.write_external(cbor, uri);
                cbor.text("record");
                quoted(cbor);
            }
        }
    }

    /// The alternative text of an image; most images have none.
    fn alt(&self, image: u64) -> String {
        let mut random = Random::new(self.seed ^ image.wrapping_add(1));
        let (mut alt, language) = (String::new(), language(self.post.lang));
        if random.percent(45) {
            alt = names::display(self.seed + image);
            for _ in 0..random.below(22) {
                alt.push_str(language.space);
                language.word(&mut random, &mut alt);
            }
        }
        alt
    }

    fn write_external(&self, cbor: &mut Cbor, uri: &str) {
        let title = names::display(self.seed);
        cbor.map(2)
            .text("$type")
            .text("app.bsky.embed.external")
            .text("external")
            .map(4);
        cbor.text("uri").text(uri).text("thumb");
        write_blob(cbor, self.seed, "image/jpeg");
        cbor.text("title").text(&title);
        let words = self.text.text.chars().take(120).collect::<String>();
        cbor.text("description").text(&format!("{title}: {words}"));
    }

    fn content(&self) -> PostContent {
        let key = |post: u32| (post != NONE).then(|| post_key(self.world, post));
        let mut content = PostContent {
            parent: key(self.post.parent),
            root: key(self.post.root),
            quote: key(self.post.quote),
            langs: self.langs.iter().map(|&lang| lang.to_owned()).collect(),
            characters: self.text.text.chars().count() as u32,
            ..PostContent::default()
        };
        for (_, feature) in &self.text.features {
            match feature {
                Feature::Tag(tag) => content.tags.push(tag.to_lowercase()),
                Feature::Link(uri) => content.link(uri),
                Feature::Mention(did) => content.mentions.push(did.clone()),
            }
        }
        if let Embed::External(uri) | Embed::QuoteAndExternal(uri) = &self.embed {
            content.link(uri);
        }
        for list in [&mut content.tags, &mut content.links, &mut content.domains] {
            let mut seen = std::collections::BTreeSet::new();
            list.retain(|item| seen.insert(item.clone()));
        }
        content
    }
}

impl PostContent {
    fn link(&mut self, uri: &str) {
        let host = uri.split('/').nth(2).unwrap_or_default();
        self.links.push(uri.to_owned());
        self.domains.push(host.to_owned());
    }
}
