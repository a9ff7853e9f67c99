//! Other ways to read the same frames. Each verifies the CIDs of the used records with the same
//! hash.

use std::hint::black_box;

use ciborium::Value;
use serde::Deserialize;
use serde::de::IgnoredAny;
use skytide_core::cbor::{Loose, Reader};
use skytide_ingest::car::Car;

use super::sha2_hash;

/// The `blocks` of a commit; empty if there are none.
pub(super) fn blocks_of(frame: &[u8]) -> &[u8] {
    let mut blocks: &[u8] = &[];
    let mut reader = Reader::<Loose>::new(frame);
    let read = reader.skip().and_then(|()| {
        reader.map(|reader, key| {
            match key {
                b"blocks" => blocks = reader.bytes()?.unwrap_or_default(),
                _ => reader.skip()?,
            }
            Ok(())
        })
    });
    read.map(|_| blocks).unwrap_or_default()
}

/// Decodes header, body and records to values of `ciborium`.
pub(super) fn ciborium_values(frame: &[u8]) -> u64 {
    let mut rest = frame;
    let _header: Value = ciborium::from_reader(&mut rest).expect("a header");
    let body: Value = ciborium::from_reader(&mut rest).expect("a body");
    let Some(ops) = field(&body, "ops").and_then(Value::as_array) else {
        return 1;
    };
    let blocks = field(&body, "blocks").and_then(Value::as_bytes);
    for op in ops {
        let link = field(op, "cid")
            .and_then(Value::as_tag)
            .and_then(|(_, cid)| cid.as_bytes());
        if let Some(block) = link
            .zip(blocks)
            .and_then(|(link, car)| find(car, &link[1..]))
        {
            sha2_hash(&block);
            let _ = black_box(ciborium::from_reader::<Value, _>(block));
        }
    }
    ops.len() as u64
}

fn field<'v>(map: &'v Value, name: &str) -> Option<&'v Value> {
    let entries = map.as_map()?;
    let (_, value) = entries
        .iter()
        .find(|(key, _)| key.as_text() == Some(name))?;
    Some(value)
}

fn find<'a>(car: &'a [u8], cid: &[u8]) -> Option<&'a [u8]> {
    let mut blocks = Car::open(car).ok()?.flatten();
    Some(blocks.find(|block| block.cid == cid)?.data)
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    ops: Vec<Op<'a>>,
    #[serde(with = "serde_bytes")]
    blocks: &'a [u8],
    repo: &'a str,
    rev: &'a str,
    time: &'a str,
    seq: u64,
}

#[derive(Deserialize)]
struct Op<'a> {
    cid: Option<ipld_core::cid::Cid>,
    path: &'a str,
    action: &'a str,
}

#[derive(Deserialize)]
struct Like<'a> {
    #[serde(borrow)]
    subject: Reference<'a>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    uri: &'a str,
}

#[derive(Deserialize)]
struct Follow<'a> {
    subject: &'a str,
}

#[derive(Deserialize)]
struct Post<'a> {
    text: &'a str,
    #[serde(borrow, default)]
    langs: Vec<&'a str>,
    #[serde(borrow, default)]
    tags: Vec<&'a str>,
    #[serde(borrow, default)]
    reply: Option<Reply<'a>>,
    #[serde(borrow, default)]
    facets: Vec<Facet<'a>>,
    #[serde(borrow, default)]
    embed: Option<Embed<'a>>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    root: Reference<'a>,
    #[serde(borrow)]
    parent: Reference<'a>,
}

#[derive(Deserialize)]
struct Facet<'a> {
    #[serde(borrow)]
    features: Vec<Feature<'a>>,
}

#[derive(Deserialize)]
struct Feature<'a> {
    #[serde(rename = "$type")]
    kind: &'a str,
    tag: Option<&'a str>,
    uri: Option<&'a str>,
    did: Option<&'a str>,
}

#[derive(Deserialize)]
struct Embed<'a> {
    #[serde(rename = "$type")]
    kind: &'a str,
    #[serde(borrow, default)]
    external: Option<Reference<'a>>,
}

/// Decodes to typed structs of `serde_ipld_dagcbor`, which borrow where possible. A record that
/// does not fit its type is skipped.
pub(super) fn ipld_typed(frame: &[u8]) -> u64 {
    let mut header = Reader::<Loose>::new(frame);
    header.skip().expect("a header");
    let Ok(body) = serde_ipld_dagcbor::from_slice::<Body<'_>>(header.rest()) else {
        return 1;
    };
    black_box((body.repo, body.rev, body.time, body.seq));
    for op in &body.ops {
        black_box(op.action);
        let cid = op.cid.map(|cid| cid.to_bytes());
        if let Some(block) = cid.and_then(|cid| find(body.blocks, &cid)) {
            sha2_hash(&block);
            ipld_record(op.path, block);
        }
    }
    body.ops.len() as u64
}

fn ipld_record(path: &str, block: &[u8]) {
    match path.split('/').next() {
        Some("app.bsky.feed.like" | "app.bsky.feed.repost") => {
            let like = serde_ipld_dagcbor::from_slice::<Like<'_>>(block);
            black_box(like.map(|like| like.subject.uri).ok());
        }
        Some("app.bsky.graph.follow" | "app.bsky.graph.block") => {
            let follow = serde_ipld_dagcbor::from_slice::<Follow<'_>>(block);
            black_box(follow.map(|follow| follow.subject).ok());
        }
        Some("app.bsky.feed.post") => {
            if let Ok(post) = serde_ipld_dagcbor::from_slice::<Post<'_>>(block) {
                touch(&post);
            }
        }
        _ => {
            black_box(serde_ipld_dagcbor::from_slice::<IgnoredAny>(block).is_ok());
        }
    }
}

fn touch(post: &Post<'_>) {
    black_box((post.text, &post.langs, &post.tags));
    black_box(
        post.reply
            .as_ref()
            .map(|reply| (reply.root.uri, reply.parent.uri)),
    );
    for feature in post.facets.iter().flat_map(|facet| &facet.features) {
        black_box((feature.kind, feature.tag, feature.uri, feature.did));
    }
    if let Some(embed) = &post.embed {
        black_box((
            embed.kind,
            embed.external.as_ref().map(|external| external.uri),
        ));
    }
}
