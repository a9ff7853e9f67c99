//! Tests the fan-out of one event: whatever a record contains, it gives a bounded number of facts
//! and of updates to all views together.

use skytide_core::event::DropReason;
use skytide_core::id::{Did, Rkey, Tid};
use skytide_core::limits::{FACET_TAGS_MAX, LANGS_MAX, LINKS_MAX, MENTIONS_MAX, TAGS_MAX};
use skytide_core::time::Minute;
use skytide_core::view::ViewId;

use super::{actors, interactions, posts, trends};
use crate::fact::Fact;
use crate::operators::interner::Interner;
use crate::records::{Content, RecordRef};

/// The maximum number of occurrences in a post: each entry of a list overall and in each language
/// of the post, and the languages themselves.
const OCCURRENCES_MAX: usize = (TAGS_MAX + FACET_TAGS_MAX + LINKS_MAX + LINKS_MAX + MENTIONS_MAX)
    * (1 + LANGS_MAX)
    + LANGS_MAX;
/// The other updates that a post gives. `posts` receives one for each of the three posts that it
/// refers to and one for itself; `actors` receives one for the post, and one each for its author and
/// the account that it replies to or quotes; `interactions` receives one.
const OTHERS_MAX: usize = 4 + 3 + 1;
/// The updates that a created post gives besides those of its content: one to `posts` that the post
/// was seen, one to the account's row, one to the time at which the account was last seen.
const CREATION_MAX: usize = 3;
/// The maximum number of updates that the content of one record gives; an edit also retracts as
/// many.
const UPDATES_MAX: usize = OCCURRENCES_MAX + OTHERS_MAX;

/// The number of updates that a fact gives to all views.
fn updates(fact: &Fact) -> usize {
    let mut count = 0;
    if let Fact::Post(post) = fact {
        count += trends::occurrences(post, ViewId::ALL, 1).len();
    }
    posts::for_each_update(fact, |_, _| count += 1);
    actors::for_each_update(fact, |_, _| count += 1);
    count + usize::from(interactions::interaction_of(fact, 1).is_some())
}

/// Reads a record as `live_records` does. Returns the number of updates that its fact gives, and
/// how many list entries were left out.
fn read(collection: &str, record: &[u8]) -> (usize, u32) {
    let (did, rkey): (Did, Rkey) = ("did:web:ana.example".parse().unwrap(), Tid(7).into());
    let address = RecordRef {
        did: &did,
        collection,
        rkey: &rkey,
        first_seen: Minute(1),
    };
    let mut dids = Interner::default();
    let (content, left_out) = Content::read(&address, Some(record), &mut dids);
    let fact = content.fact(&address, &dids);
    let limits = [DropReason::ListLimit, DropReason::KeyLength];
    let counted = left_out
        .iter()
        .filter(|(reason, _)| limits.contains(reason));
    let counted = counted.map(|(_, count)| count).sum();
    (fact.as_ref().map_or(0, updates), counted)
}

/// Writes a DAG-CBOR value.
#[derive(Default)]
struct Cbor(Vec<u8>);

impl Cbor {
    fn head(&mut self, major: u8, length: usize) {
        let length = length as u32;
        match length {
            0..24 => self.0.push(major << 5 | length as u8),
            24..0x100 => self.0.extend([major << 5 | 24, length as u8]),
            0x100..0x1_0000 => {
                self.0.push(major << 5 | 25);
                self.0.extend((length as u16).to_be_bytes());
            }
            _ => {
                self.0.push(major << 5 | 26);
                self.0.extend(length.to_be_bytes());
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.head(3, text.len());
        self.0.extend(text.bytes());
    }

    fn texts(&mut self, key: &str, texts: &[String]) {
        self.text(key);
        self.head(4, texts.len());
        texts.iter().for_each(|text| self.text(text));
    }

    fn features(&mut self, texts: &[String], field: &str, kind: &str) {
        for text in texts {
            self.head(5, 2);
            self.text(field);
            self.text(text);
            self.text("$type");
            self.text(&format!("app.bsky.richtext.facet#{kind}"));
        }
    }

    fn reference(&mut self, key: &str, rkey: &str) {
        self.text(key);
        self.head(5, 1);
        self.text("uri");
        self.text(&format!(
            "at://did:web:bea.example/app.bsky.feed.post/{rkey}"
        ));
    }
}

/// A post with lists of these lengths, and with everything else that can give an update.
fn post([tags, langs, facet_tags, links, mentions]: [usize; 5], name: &str) -> Vec<u8> {
    let texts = |count: usize, of: &dyn Fn(usize) -> String| (0..count).map(of).collect::<Vec<_>>();
    let mut cbor = Cbor::default();
    cbor.head(5, 5);
    cbor.texts("tags", &texts(tags, &|i| format!("{name}{i}")));
    cbor.text("embed");
    cbor.head(5, 2);
    cbor.text("$type");
    cbor.text("app.bsky.embed.record");
    cbor.reference("record", "quoted");
    let known = ["en", "ja", "pt-BR", "de", "fr", "x-y", "zh_Hant"];
    cbor.texts(
        "langs",
        &texts(langs, &|i| known[i % known.len()].to_owned()),
    );
    cbor.text("reply");
    cbor.head(5, 2);
    cbor.reference("root", "root");
    cbor.reference("parent", "parent");
    cbor.text("facets");
    cbor.head(4, 1);
    cbor.head(5, 1);
    cbor.text("features");
    cbor.head(4, facet_tags + links + mentions);
    cbor.features(&texts(facet_tags, &|i| format!("f{name}{i}")), "tag", "tag");
    cbor.features(
        &texts(links, &|i| format!("https://{name}{i}.example/")),
        "uri",
        "link",
    );
    cbor.features(
        &texts(mentions, &|i| format!("did:web:{name}{i}")),
        "did",
        "mention",
    );
    cbor.0
}

#[test]
fn a_post_at_the_limits_gives_the_most_updates_and_a_larger_one_gives_no_more() {
    assert_eq!(
        (OCCURRENCES_MAX, UPDATES_MAX + CREATION_MAX),
        (1_059, 1_070)
    );
    let (updates, left_out) = read("app.bsky.feed.post", &post([8, 3, 64, 64, 64], "a"));
    assert_eq!((updates, left_out), (UPDATES_MAX, 0));
    let (updates, left_out) = read("app.bsky.feed.post", &post([2_000; 5], "a"));
    let beyond = (2_000 - 8) + 3 * (2_000 - 64) + left_out_langs(2_000);
    assert_eq!((updates, left_out), (UPDATES_MAX, beyond));
}

/// The list repeats seven languages, of which the first three count.
fn left_out_langs(langs: u32) -> u32 {
    (0..langs).filter(|lang| lang % 7 > 2).count() as u32
}

#[test]
fn no_random_record_gives_more_updates_than_the_maximum() {
    let seed = 0x5eed_u64;
    let mut next = crate::testing::random(seed);
    let collections = [
        "app.bsky.feed.post",
        "app.bsky.feed.like",
        "app.bsky.feed.repost",
        "app.bsky.graph.follow",
        "app.bsky.graph.block",
        "app.bsky.actor.profile",
        "com.example.thing",
    ];
    let mut most = 0;
    for step in 0..2_000 {
        let mut length = || match next(4) {
            0 => next(3) as usize,
            1 => next(100) as usize,
            _ => next(600) as usize,
        };
        let lengths = [length(), length(), length(), length(), length()];
        let name = ["", "a", "é", "\u{130}", "x\u{0}"][next(5) as usize].repeat(next(40) as usize);
        let mut record = post(lengths, &name);
        // Half of the records have a random byte overwritten.
        if next(2) == 0 {
            let at = next(record.len() as u64) as usize;
            record[at] = next(256) as u8;
        }
        // At least half of the records are posts.
        let index = next(10).min(6) as usize;
        let collection = collections[if next(2) == 0 { 0 } else { index }];
        let (updates, _) = read(collection, &record);
        assert!(
            updates <= UPDATES_MAX,
            "seed {seed:#x} step {step}: {updates} updates of {collection}"
        );
        most = most.max(updates);
    }
    assert!(most > UPDATES_MAX / 2, "seed {seed:#x}: at most {most}");
}
