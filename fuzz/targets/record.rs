//! The record parser: it never panics, gives the same result for every collection, and produces
//! facts within their limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use skytide_core::limits::{
    FACET_TAGS_MAX, KEY_BYTES_MAX, LINKS_MAX, MENTIONS_MAX, TAG_BYTES_MAX, TAGS_MAX,
};
use skytide_core::record::{Record, parse};

const COLLECTIONS: [&str; 6] = [
    "app.bsky.feed.like",
    "app.bsky.feed.repost",
    "app.bsky.feed.post",
    "app.bsky.graph.follow",
    "app.bsky.graph.block",
    "app.bsky.actor.profile",
];

fuzz_target!(|bytes: &[u8]| {
    let error = parse("com.example.other", bytes).err();
    for collection in COLLECTIONS {
        let record = parse(collection, bytes);
        assert_eq!(record.as_ref().err(), error.as_ref(), "{collection}");
        if let Ok(Record::Post(post)) = record {
            assert!(post.characters as usize <= bytes.len());
            assert!(post.tags.iter().all(|tag| (1..=TAG_BYTES_MAX).contains(&tag.len())));
            assert!(post.domains.iter().all(|key| fits(key)));
            assert!(post.links.iter().all(|key| fits(key)));
            assert!(post.tags.len() <= TAGS_MAX + FACET_TAGS_MAX);
            assert!(post.links.len().max(post.domains.len()) <= LINKS_MAX);
            assert!(post.mentions.len() <= MENTIONS_MAX);
        }
    }
});

fn fits(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len())
}
