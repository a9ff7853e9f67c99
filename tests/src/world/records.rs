//! Records with random content: every kind that the views read, some kinds that no view reads, and
//! some damaged records.

use skytide_core::id::{Cid, Did};

use super::Cast;
use super::cbor::Value;
use super::random::Random;

/// The collections of the records, each with the weight at which it is chosen.
pub(super) const COLLECTIONS: [(&str, u64); 8] = [
    ("app.bsky.feed.post", 30),
    ("app.bsky.feed.like", 34),
    ("app.bsky.feed.repost", 12),
    ("app.bsky.graph.follow", 10),
    ("app.bsky.graph.block", 5),
    ("app.bsky.actor.profile", 5),
    ("app.bsky.feed.generator", 2),
    ("com.example.note", 2),
];

const TAGS: [&str; 8] = [
    "rust", "Rust", "RUST", "猫", "Straße", "ΟΔΟΣ", "İzmir", "c++",
];
const LINKS: [&str; 8] = [
    "https://example.com/a",
    "https://example.com/b?c=d#e",
    "HTTP://Example.com:8080/a",
    "https://www.example.com",
    "https://user@news.example.org/2026/07",
    "https://bücher.example/ä",
    "ftp://example.com/file",
    "not a link",
];
const LANGS: [&str; 14] = [
    "en", "en", "en-US", "ja", "pt-BR", "pt", "EN", "zh_Hant", "", "-x", "en-x-a1", "qqq", "x-b",
    "zh-hant",
];
const TEXTS: [&str; 5] = ["", "hello", "héllo wörld", "こんにちは", "👩‍👩‍👧 family"];

/// The bytes of a record; `None` if its block is to be missing.
pub(super) fn record(collection: &str, cast: &Cast, random: &mut Random) -> Option<Box<[u8]>> {
    let value = match collection {
        "app.bsky.feed.post" => post(cast, random),
        "app.bsky.feed.like" | "app.bsky.feed.repost" => {
            Value::Map(vec![("subject", reference(cast, random))])
        }
        "app.bsky.graph.follow" | "app.bsky.graph.block" => {
            Value::Map(vec![("subject", account(cast, random))])
        }
        "app.bsky.actor.profile" => profile(random),
        _ => Value::Map(vec![("note", (*random.pick(&TEXTS)).into())]),
    };
    let mut bytes = value.to_bytes();
    match random.below(100) {
        0 => return None,
        1 => return Some(Value::List(vec![value]).to_bytes()),
        2 => bytes = bytes[..bytes.len() - 1].into(),
        3 => bytes = [&*bytes, &[0xa0]].concat().into(),
        _ => {}
    }
    Some(bytes)
}

fn profile(random: &mut Random) -> Value {
    let mut fields = Vec::new();
    if random.chance(80) {
        let name = match random.chance(5) {
            true => "é".repeat(350),
            false => (*random.pick(&TEXTS)).to_owned(),
        };
        fields.push(("displayName", name.into()));
    }
    if random.chance(50) {
        fields.push(("description", format!("I am {}", random.below(100)).into()));
    }
    if random.chance(50) {
        let blob = Value::Map(vec![
            ("$type", "blob".into()),
            ("ref", Value::Link(cid(random))),
            ("size", Value::Int(random.below(1_000_000))),
        ]);
        fields.push(("avatar", blob));
    }
    if random.chance(5) {
        fields.push(("description", Value::Int(7)));
    }
    fields.dedup_by_key(|(key, _)| *key);
    Value::Map(fields)
}

fn post(cast: &Cast, random: &mut Random) -> Value {
    let mut fields = vec![("text", (*random.pick(&TEXTS)).into())];
    if random.chance(35) {
        let mut reply = vec![("parent", reference(cast, random))];
        if random.chance(90) {
            reply.push(("root", reference(cast, random)));
        }
        fields.push(("reply", Value::Map(reply)));
    }
    if random.chance(30) {
        fields.push(("embed", embed(cast, random)));
    }
    if random.chance(40) {
        let features = (0..random.below(4))
            .map(|_| feature(cast, random))
            .collect();
        let facet = Value::Map(vec![("features", Value::List(features))]);
        fields.push(("facets", Value::List(vec![facet])));
    }
    if random.chance(20) {
        let most = if random.chance(5) { 30 } else { 3 };
        let tags = (0..random.below(most)).map(|_| tag(random)).collect();
        fields.push(("tags", Value::List(tags)));
    }
    if random.chance(75) {
        let most = if random.chance(5) { 12 } else { 4 };
        let langs = (0..random.below(most)).map(|_| (*random.pick(&LANGS)).into());
        fields.push(("langs", Value::List(langs.collect())));
    }
    if random.chance(3) {
        fields[0].1 = Value::Int(1);
    }
    Value::Map(fields)
}

fn embed(cast: &Cast, random: &mut Random) -> Value {
    let external = |random: &mut Random| {
        let link = (*random.pick(&LINKS)).into();
        let external = Value::Map(vec![("title", "".into()), ("uri", link)]);
        ("external", external)
    };
    match random.below(3) {
        0 => Value::Map(vec![
            ("$type", "app.bsky.embed.record".into()),
            ("record", strong_reference(cast, random)),
        ]),
        1 => Value::Map(vec![
            ("$type", "app.bsky.embed.external".into()),
            external(random),
        ]),
        _ => {
            let media = vec![
                ("$type", "app.bsky.embed.external".into()),
                external(random),
            ];
            let record = vec![("record", strong_reference(cast, random))];
            Value::Map(vec![
                ("$type", "app.bsky.embed.recordWithMedia".into()),
                ("media", Value::Map(media)),
                ("record", Value::Map(record)),
            ])
        }
    }
}

fn feature(cast: &Cast, random: &mut Random) -> Value {
    match random.below(4) {
        0 => Value::Map(vec![
            ("$type", "app.bsky.richtext.facet#tag".into()),
            ("tag", tag(random)),
        ]),
        1 => Value::Map(vec![
            ("$type", "app.bsky.richtext.facet#link".into()),
            ("uri", (*random.pick(&LINKS)).into()),
        ]),
        2 => Value::Map(vec![
            ("$type", "app.bsky.richtext.facet#mention".into()),
            ("did", account(cast, random)),
        ]),
        _ => Value::Map(vec![
            ("$type", "app.bsky.richtext.facet#unknown".into()),
            ("tag", tag(random)),
        ]),
    }
}

fn tag(random: &mut Random) -> Value {
    match random.below(200) {
        0 => "".into(),
        1..4 => "x".repeat(5_000).into(),
        4..60 => format!("tag{}", random.below(40)).into(),
        _ => TAGS[random.skewed(TAGS.len())].into(),
    }
}

/// A DID, or rarely a value that is not a DID.
fn account(cast: &Cast, random: &mut Random) -> Value {
    match random.below(50) {
        0 => "alice.example.com".into(),
        1 => Value::Int(3),
        _ => cast.subject(random).to_string().into(),
    }
}

/// A reference to a record, or rarely an invalid one.
fn reference(cast: &Cast, random: &mut Random) -> Value {
    match random.below(50) {
        0 => "at://not/a/map".into(),
        1 => Value::Map(vec![(
            "uri",
            "at://alice.example.com/app.bsky.feed.post/a".into(),
        )]),
        _ => strong_reference(cast, random),
    }
}

fn strong_reference(cast: &Cast, random: &mut Random) -> Value {
    let collection = match random.below(10) {
        0 => COLLECTIONS[random.weighted(&COLLECTIONS.map(|(_, weight)| weight))].0,
        _ => COLLECTIONS[0].0,
    };
    let uri = address(
        cast.subject(random),
        collection,
        &cast.rkey(collection, random),
    );
    Value::Map(vec![
        ("cid", cid(random).to_string().into()),
        ("uri", uri.into()),
    ])
}

fn address(did: &Did, collection: &str, rkey: &str) -> String {
    format!("at://{did}/{collection}/{rkey}")
}

/// A random CID; no block has it.
pub(super) fn cid(random: &mut Random) -> Cid {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&random.bits().to_be_bytes());
    Cid::dag_cbor(digest)
}
