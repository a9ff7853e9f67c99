//! The text of a post, and which byte ranges of it are a hashtag, a link or a mention.

use skytide_core::id::Did;

use crate::random::{Random, mix};
use crate::words::{self, LanguageId, language};
use crate::world::World;
use crate::world::accounts::Post;

/// A text with its features by byte range
/// (<https://docs.bsky.app/docs/advanced-guides/post-richtext>).
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) features: Vec<(std::ops::Range<usize>, Feature)>,
}

#[derive(Debug)]
pub(super) enum Feature {
    Tag(String),
    Link(String),
    Mention(Did),
}

/// The first number of *evergreen* hashtags, which belong to no story, and of domains. Lower
/// numbers are the hashtags of stories.
const EVERGREEN: u32 = 1 << 24;

impl Text {
    /// Writes the text of a version of a post. The caller continues with the same random numbers.
    pub(super) fn write(world: &World, post: &Post, random: &mut Random) -> Self {
        let mut text = Self::default();
        let language = language(post.lang);
        let words = (random.normal() * 0.75 + 2.65).exp().clamp(1.0, 52.0) as u64;
        if post.parent != crate::world::accounts::NONE && random.percent(8) {
            text.mention(world, random);
        }
        for word in 0..words {
            text.space(language.space);
            language.word(random, &mut text.text);
            if word > 3 && random.percent(9) {
                text.text.push_str(language.stop);
            }
        }
        text.text.push_str(language.stop);
        if random.percent(14) {
            text.text
                .push_str(random.pick(&[" 🙂", " ✨", " 😂", " 🎉"]));
        }
        text.links_and_tags(world, post, random);
        text
    }

    fn links_and_tags(&mut self, world: &World, post: &Post, random: &mut Random) {
        let seed = world.options.seed;
        if post.story > 0 {
            if random.percent(85) {
                self.tag(words::hashtag(seed, post.story, post.lang));
            }
            if random.percent(25) {
                self.link(story_link(seed, post.story, post.lang));
            }
        } else if random.percent(7) {
            for _ in 0..1 + random.below(3) {
                let number = EVERGREEN + random.zipf(800) as u32;
                self.tag(words::hashtag(seed, number, post.lang));
            }
        } else if random.percent(4) {
            self.link(evergreen_link(seed, random));
        }
    }

    fn space(&mut self, space: &str) {
        if !self.text.is_empty() {
            self.text.push_str(space);
        }
    }

    fn tag(&mut self, tag: String) {
        self.space(" ");
        let begin = self.text.len();
        self.text.push('#');
        self.text.push_str(&tag);
        self.features
            .push((begin..self.text.len(), Feature::Tag(tag)));
    }

    /// Appends a link. The text shows it without its scheme, as clients do.
    fn link(&mut self, uri: String) {
        self.space(" ");
        let begin = self.text.len();
        let shown = uri.split_once("://").map_or(uri.as_str(), |(_, rest)| rest);
        self.text.extend(shown.chars().take(28));
        self.features
            .push((begin..self.text.len(), Feature::Link(uri)));
    }

    fn mention(&mut self, world: &World, random: &mut Random) {
        let account = random.below(u64::from(world.options.accounts.max(1))) as u32;
        let begin = self.text.len();
        self.text.push('@');
        self.text.push_str(&crate::identity::handle(account, 0));
        let did = world.accounts[account as usize].identity.did.clone();
        self.features
            .push((begin..self.text.len(), Feature::Mention(did)));
    }
}

/// The link that most posts about a story share.
pub(super) fn story_link(seed: u64, story: u32, lang: LanguageId) -> String {
    let mut random = Random::new(mix(&[seed, 13, u64::from(story), u64::from(lang)]));
    let domain = words::domain(seed, EVERGREEN + random.zipf(40) as u32);
    format!("https://{domain}/{}/{}", 2026, random.below(1_000_000))
}

/// A link that belongs to no story. A few domains get most of these links.
pub(super) fn evergreen_link(seed: u64, random: &mut Random) -> String {
    let domain = words::domain(seed, EVERGREEN + random.zipf(600) as u32);
    let page = if random.percent(25) {
        random.zipf(40)
    } else {
        random.below(1 << 40)
    };
    format!("https://{domain}/p/{page:x}")
}
