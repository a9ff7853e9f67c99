//! Records as DAG-CBOR, from templates: only identifiers are written for each record.

use skytide_core::event::Host;
use skytide_core::id::{Collection, Rkey};
use skytide_tests::world::Value;

use super::{Kind, PostParts, Stream};

/// Languages of posts.
pub const LANGS: [&str; 6] = ["en", "en", "en", "ja", "pt", "de"];

const DID: &str = "did:plc:AAAAAAAAAAAAAAAAAAAAAAAA";
const URI: &str = "at://did:plc:AAAAAAAAAAAAAAAAAAAAAAAA/app.bsky.feed.post/BBBBBBBBBBBBB";
const TAG: &str = "tagTTTTTT";
const LINK: &str = "https://siteHHHH.example.com/page/LLLLLL";
const LANG: &str = "QQ";
const CID: &str = "bafyreigxstgmbjyrmkpqfvlmjfvqhx4cmszlhvqafqmhpqjnzrynnnchmu";
const CREATED: &str = "2026-06-01T00:00:00.000Z";
const TEXT: &str =
    "a text of about the usual length, though not a very interesting one, that goes on";

/// What is written into a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hole {
    Did,
    Rkey,
    Tag,
    Host,
    Page,
    Lang,
}

const HOLES: [(&str, Hole); 6] = [
    ("AAAAAAAAAAAAAAAAAAAAAAAA", Hole::Did),
    ("BBBBBBBBBBBBB", Hole::Rkey),
    ("TTTTTT", Hole::Tag),
    ("HHHH", Hole::Host),
    ("LLLLLL", Hole::Page),
    ("QQ", Hole::Lang),
];

/// An encoded record with places to write to.
#[derive(Debug)]
struct Template {
    bytes: Box<[u8]>,
    holes: Vec<(usize, Hole)>,
}

/// Templates, and values that many events share.
#[derive(Debug)]
pub struct Encoder {
    host: Host,
    collections: [Collection; 7],
    profile_rkey: Rkey,
    like: Template,
    repost: Template,
    follow: Template,
    block: Template,
    profile: Template,
    feed: Template,
    /// By the parts that a post has: reply, quote, tag, link.
    posts: Vec<Template>,
}

impl Encoder {
    /// Makes the templates.
    pub fn new() -> Self {
        let names = [
            "feed.post",
            "feed.like",
            "feed.repost",
            "graph.follow",
            "graph.block",
        ];
        let names = names.into_iter().chain(["actor.profile", "feed.generator"]);
        let collections: Vec<_> = names
            .map(|name| format!("app.bsky.{name}").parse().expect("a collection"))
            .collect();
        let with = |name, value| record(name, vec![("subject", value)]);
        Self {
            host: "relay".into(),
            collections: collections.try_into().expect("seven names"),
            profile_rkey: "self".parse().expect("a record key"),
            like: with("app.bsky.feed.like", reference()),
            repost: with("app.bsky.feed.repost", reference()),
            follow: with("app.bsky.graph.follow", DID.into()),
            block: with("app.bsky.graph.block", DID.into()),
            profile: record(
                "app.bsky.actor.profile",
                vec![
                    ("displayName", "A name of an account".into()),
                    ("description", TEXT.into()),
                ],
            ),
            feed: record(
                "app.bsky.feed.generator",
                vec![("description", TEXT.into())],
            ),
            posts: (0..16).map(post).collect(),
        }
    }

    /// The host of all events.
    pub fn host(&self) -> Host {
        self.host.clone()
    }

    /// The key of each profile.
    pub fn profile_rkey(&self) -> Rkey {
        self.profile_rkey.clone()
    }

    /// The collection of a record.
    pub fn collection(&self, kind: Kind) -> Collection {
        let index = match kind {
            Kind::Post(_) => 0,
            Kind::Like(_) => 1,
            Kind::Repost(_) => 2,
            Kind::Follow(_) => 3,
            Kind::Block(_) => 4,
            Kind::Profile => 5,
            Kind::Feed => 6,
        };
        self.collections[index].clone()
    }

    /// Encodes a record.
    pub fn encode(&self, stream: Stream, kind: Kind) -> Box<[u8]> {
        match kind {
            Kind::Post(parts) => self.post(stream, parts),
            Kind::Like(post) => self.like.fill(|hole| post_text(stream, post, hole)),
            Kind::Repost(post) => self.repost.fill(|hole| post_text(stream, post, hole)),
            Kind::Follow(account) => self.follow.fill(|_| did_text(account)),
            Kind::Block(account) => self.block.fill(|_| did_text(account)),
            Kind::Profile => self.profile.bytes.clone(),
            Kind::Feed => self.feed.bytes.clone(),
        }
    }

    fn post(&self, stream: Stream, parts: PostParts) -> Box<[u8]> {
        let PostParts {
            reply,
            quote,
            tag,
            link,
            lang,
        } = parts;
        let flags = [
            reply.is_some(),
            quote.is_some(),
            tag.is_some(),
            link.is_some(),
        ];
        let index = flags
            .iter()
            .rev()
            .fold(0, |index, flag| index << 1 | usize::from(*flag));
        // In the order of the encoding: keys sort by length, `embed` before `reply`.
        let (parent, root) = reply.unzip();
        let mut posts = quote.into_iter().chain(root).chain(parent);
        let mut post = 0;
        self.posts[index].fill(|hole| match hole {
            Hole::Did => {
                post = posts.next().expect("as many addresses as the template has");
                post_text(stream, post, hole)
            }
            Hole::Rkey => post_text(stream, post, hole),
            Hole::Tag => digits(tag.unwrap_or_default(), 6),
            Hole::Host => digits(link.unwrap_or_default() % 5_000, 4),
            Hole::Page => digits(link.unwrap_or_default(), 6),
            Hole::Lang => Text::of(LANGS[lang].as_bytes()),
        })
    }
}

/// A short text without heap memory.
struct Text {
    bytes: [u8; 24],
    length: usize,
}

impl Text {
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; 24];
        bytes[..text.len()].copy_from_slice(text);
        let length = text.len();
        Self { bytes, length }
    }
}

fn digits(mut number: u64, length: usize) -> Text {
    let mut bytes = [b'0'; 24];
    for place in bytes[..length].iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
    Text { bytes, length }
}

fn did_text(account: u64) -> Text {
    Stream::did(account).with_str(|text| Text::of(&text.as_bytes()[8..]))
}

fn post_text(stream: Stream, post: u64, hole: Hole) -> Text {
    match hole {
        Hole::Did => did_text(stream.written(post).author),
        _ => Text::of(&stream.rkey(post).text()),
    }
}

impl Template {
    fn of(value: &Value) -> Self {
        let bytes = value.to_bytes();
        let mut holes = Vec::new();
        for (mark, hole) in HOLES {
            let windows = bytes.windows(mark.len()).enumerate();
            let places = windows.filter(|(_, window)| *window == mark.as_bytes());
            holes.extend(places.map(|(place, _)| (place, hole)));
        }
        holes.sort_unstable_by_key(|(place, _)| *place);
        Self { bytes, holes }
    }

    fn fill(&self, mut text: impl FnMut(Hole) -> Text) -> Box<[u8]> {
        let mut bytes = self.bytes.clone();
        for &(place, hole) in &self.holes {
            let text = text(hole);
            bytes[place..place + text.length].copy_from_slice(&text.bytes[..text.length]);
        }
        bytes
    }
}

fn reference() -> Value {
    Value::Map(vec![("cid", CID.into()), ("uri", URI.into())])
}

fn record(name: &str, fields: Vec<(&'static str, Value)>) -> Template {
    let usual = [("$type", name.into()), ("createdAt", CREATED.into())];
    Template::of(&Value::Map(fields.into_iter().chain(usual).collect()))
}

/// A post with these parts: bit 0 a reply, 1 a quote, 2 a hashtag, 3 a link.
fn post(parts: u8) -> Template {
    let mut fields = vec![
        ("text", TEXT.into()),
        ("langs", Value::List(vec![LANG.into()])),
    ];
    if parts & 1 != 0 {
        let reply = vec![("parent", reference()), ("root", reference())];
        fields.push(("reply", Value::Map(reply)));
    }
    if parts & 2 != 0 {
        let embed = vec![
            ("$type", "app.bsky.embed.record".into()),
            ("record", reference()),
        ];
        fields.push(("embed", Value::Map(embed)));
    }
    let mut facets = Vec::new();
    if parts & 4 != 0 {
        facets.push(("app.bsky.richtext.facet#tag", "tag", TAG));
    }
    if parts & 8 != 0 {
        facets.push(("app.bsky.richtext.facet#link", "uri", LINK));
    }
    if !facets.is_empty() {
        let facets = facets.into_iter().map(|(name, key, value)| {
            let feature = Value::Map(vec![("$type", name.into()), (key, value.into())]);
            let index = vec![("byteStart", Value::Int(0)), ("byteEnd", Value::Int(9))];
            Value::Map(vec![
                ("features", Value::List(vec![feature])),
                ("index", Value::Map(index)),
            ])
        });
        fields.push(("facets", Value::List(facets.collect())));
    }
    record("app.bsky.feed.post", fields)
}
