//! Facts of the recorded stream, counted in the simplest way, compared with the numbers of two
//! other implementations (`frames/README.md`, policy `ops_only`).

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use skytide_core::event::Action;
use skytide_core::record::{Post, Record, UriRef, parse};
use skytide_ingest::frame::{Frame, Verify, decode};

use super::{frames, json};

type Counts = BTreeMap<String, u64>;
/// Likes, reposts, replies, root replies, quotes, and whether the post is live.
type Tallies = BTreeMap<String, [u64; 6]>;

#[derive(Default)]
struct Recount {
    tallies: Tallies,
    hashtags: Counts,
    domains: Counts,
    languages: Counts,
    follow_records: Counts,
    block_records: Counts,
    likes_received: Counts,
    replies: u64,
    quotes: u64,
}

fn add(counts: &mut Counts, key: impl ToString) {
    *counts.entry(key.to_string()).or_default() += 1;
}

impl Recount {
    fn tally(&mut self, uri: &Option<UriRef<'_>>, column: usize) {
        if let Some(key) = uri.as_ref().and_then(UriRef::post_key) {
            self.tallies.entry(key.to_string()).or_default()[column] += 1;
        }
    }

    fn add(&mut self, record: &Record<'_>) {
        match record {
            Record::Like { subject } => {
                self.tally(subject, 0);
                subject
                    .iter()
                    .for_each(|uri| add(&mut self.likes_received, uri.did()));
            }
            Record::Repost { subject } => self.tally(subject, 1),
            Record::Follow { subject } => {
                subject
                    .iter()
                    .for_each(|did| add(&mut self.follow_records, did));
            }
            Record::Block { subject } => {
                subject
                    .iter()
                    .for_each(|did| add(&mut self.block_records, did));
            }
            Record::Post(post) => self.add_post(post),
            Record::Profile(_) | Record::Other => {}
        }
    }

    fn add_post(&mut self, post: &Post<'_>) {
        self.tally(&post.reply_parent, 2);
        self.tally(&post.reply_root, 3);
        self.tally(&post.quote, 4);
        let is_post =
            |uri: &Option<UriRef<'_>>| uri.as_ref().is_some_and(|uri| uri.post_key().is_some());
        self.replies += u64::from(is_post(&post.reply_parent));
        self.quotes += u64::from(is_post(&post.quote));
        post.tags
            .iter()
            .for_each(|tag| add(&mut self.hashtags, tag));
        post.domains
            .iter()
            .for_each(|domain| add(&mut self.domains, domain));
        post.langs
            .iter()
            .for_each(|lang| add(&mut self.languages, lang));
        if post.langs.is_empty() {
            add(&mut self.languages, "und");
        }
    }
}

/// The live records after all frames: from (did, path) to collection and bytes.
type Live<'a> = BTreeMap<(String, String), (&'a str, Option<&'a [u8]>)>;

fn live(frames: &[Vec<u8>]) -> Live<'_> {
    let mut live = Live::new();
    for frame in frames {
        let Frame::Commit(commit) = decode(frame, Verify::Blocks).expect("a good frame") else {
            continue;
        };
        for op in commit.ops {
            let key = (
                commit.did.to_string(),
                format!("{}/{}", op.collection, op.rkey),
            );
            match op.action {
                Action::Delete => live.remove(&key),
                _ => live.insert(key, (op.collection, op.record)),
            };
        }
    }
    live
}

/// `{distinct, total, top}` in the form of the expected numbers, with the same length of `top`.
fn ranking(counts: &Counts, expected: &Json) -> Json {
    let mut ranked: Vec<_> = counts.iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    ranked.truncate(expected["top"].as_array().expect("a list").len());
    json!({ "distinct": counts.len(), "total": counts.values().sum::<u64>(), "top": ranked })
}

#[test]
fn the_recorded_facts_equal_the_numbers_of_two_other_implementations() {
    let frames = frames("frames/pds.frames.zst", u32::from_be_bytes);
    let live = live(&frames);
    let expected = &json("frames/pds.expected.json")["final"]["ops_only"];
    let mut ours = Recount::default();
    let mut posts = Vec::new();
    for ((did, path), (collection, record)) in &live {
        if *collection == "app.bsky.feed.post" {
            posts.push(format!("at://{did}/{path}"));
        }
        if let Some(Ok(record)) = record.map(|bytes| parse(collection, bytes)) {
            ours.add(&record);
        }
    }
    for uri in &posts {
        ours.tallies
            .entry(uri.clone())
            .and_modify(|tally| tally[5] = 1);
    }
    assert_eq!(expected["live_total"], live.len());
    assert_eq!(
        expected["posts"],
        json!({ "live": posts.len(), "replies": ours.replies, "quotes": ours.quotes })
    );
    let lines = ours
        .tallies
        .iter()
        .map(|(uri, [likes, reposts, replies, roots, quotes, live])| {
            format!("{uri} {likes} {reposts} {replies} {roots} {quotes} {live}\n")
        });
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(lines.collect::<String>()));
    assert_eq!(expected["post_tallies_sha256"], hash);
    assert_eq!(expected["posts_per_language"], json!(ours.languages));
    for (name, counts) in [
        ("hashtags", &ours.hashtags),
        ("link_domains", &ours.domains),
        ("follow_records", &ours.follow_records),
        ("block_records", &ours.block_records),
        ("likes_received", &ours.likes_received),
    ] {
        assert_eq!(expected[name], ranking(counts, &expected[name]), "{name}");
    }
}
