//! Facts of single records: which fields count, and which count as absent.

use serde_json::{Value as Json, json};
use skytide_core::event::DropReason;
use skytide_core::limits::{KEY_BYTES_MAX, TAG_BYTES_MAX};
use skytide_core::record::{LeftOut, Post, Record, parse};

use super::value::{encode, from_json};

const POST_URI: &str = "at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post/3n2xril3jyo2a";
const LIST_URI: &str = "at://did:web:example.com/app.bsky.graph.list/self";

fn block(record: &Json) -> Vec<u8> {
    encode(&from_json(record).expect("a value of the data model"))
}

#[track_caller]
fn check_post(record: &Json, check: impl FnOnce(Post<'_>)) {
    match parse("app.bsky.feed.post", &block(record)) {
        Ok(Record::Post(post)) => check(post),
        other => panic!("not a post: {other:?}"),
    }
}

fn facet(kind: &str, field: &str, value: &str) -> Json {
    json!({ "index": { "byteStart": 0, "byteEnd": 1 }, "features": [
        { "$type": format!("app.bsky.richtext.facet#{kind}"), field: value },
    ] })
}

#[test]
fn the_subject_of_a_like_or_repost_is_a_record_by_did_or_absent() {
    let cases = [
        (json!({ "uri": POST_URI, "cid": "any" }), true),
        (json!({ "uri": LIST_URI }), true),
        (
            json!({ "uri": "at://bob.example.com/app.bsky.feed.post/3n2xril3jyo2a" }),
            false,
        ),
        (
            json!({ "uri": "at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post" }),
            false,
        ),
        (json!({ "uri": format!("{POST_URI}/more") }), false),
        (json!({ "uri": 7 }), false),
        (json!({}), false),
        (json!(POST_URI), false),
        (json!([{ "uri": POST_URI }]), false),
        (Json::Null, false),
    ];
    for (subject, counts) in cases {
        let block = block(&json!({ "subject": subject }));
        let Ok(Record::Like { subject: liked }) = parse("app.bsky.feed.like", &block) else {
            panic!("a like: {subject}");
        };
        let Ok(Record::Repost { subject: reposted }) = parse("app.bsky.feed.repost", &block) else {
            panic!("a repost: {subject}");
        };
        assert_eq!((liked.is_some(), &liked), (counts, &reposted), "{subject}");
        let is_post = subject["uri"] == POST_URI;
        assert_eq!(
            liked.and_then(|uri| uri.post_key()).is_some(),
            is_post,
            "{subject}"
        );
    }
}

#[test]
fn the_subject_of_a_follow_or_block_is_a_did_or_absent() {
    for (subject, counts) in [
        (json!("did:plc:3ir4kq33qnjyzawsel2s2vak"), true),
        (json!("did:web:example.com"), true),
        (json!("bob.example.com"), false),
        (json!({ "did": "did:web:example.com" }), false),
    ] {
        let block = block(&json!({ "subject": subject }));
        let Ok(Record::Follow { subject: followed }) = parse("app.bsky.graph.follow", &block)
        else {
            panic!("a follow: {subject}");
        };
        let Ok(Record::Block { subject: blocked }) = parse("app.bsky.graph.block", &block) else {
            panic!("a block: {subject}");
        };
        assert_eq!(
            (followed.is_some(), &followed),
            (counts, &blocked),
            "{subject}"
        );
    }
}

#[test]
fn replies_and_quotes_of_a_post_are_its_valid_addresses() {
    let reply = json!({ "root": { "uri": LIST_URI }, "parent": { "uri": POST_URI } });
    let quote = json!({ "$type": "app.bsky.embed.record", "record": { "uri": LIST_URI } });
    check_post(&json!({ "reply": reply, "embed": quote }), |post| {
        assert!(post.reply_root.is_some_and(|uri| uri.post_key().is_none()));
        assert!(
            post.reply_parent
                .is_some_and(|uri| uri.post_key().is_some())
        );
        assert_eq!(
            post.quote.expect("a quote").collection(),
            "app.bsky.graph.list"
        );
    });
    // Each type of embed has its record in a different field.
    let inner = json!({ "record": { "uri": POST_URI } });
    for (kind, quoted) in [
        ("recordWithMedia", true),
        ("record", false),
        ("images", false),
    ] {
        let embed = json!({ "$type": format!("app.bsky.embed.{kind}"), "record": inner });
        check_post(&json!({ "embed": embed }), |post| {
            assert_eq!(post.quote.is_some(), quoted, "{kind}");
        });
    }
    check_post(&json!({ "embed": inner, "reply": [reply] }), |post| {
        assert_eq!(post, Post::default());
    });
}

#[test]
fn hashtags_are_lower_case_distinct_and_from_facets_and_field() {
    let facets = [
        facet("tag", "tag", "Straße"),
        facet("tag", "tag", "ΟΔΟΣ"),
        facet("tag", "tag", ""),
        facet("tag", "name", "x"),
        facet("link", "tag", "no"),
    ];
    check_post(
        &json!({ "tags": ["Art", "art", 7, "İ"], "facets": facets }),
        |post| {
            assert_eq!(post.tags, ["art", "i\u{307}", "straße", "οδος"]);
        },
    );
}

#[test]
fn links_are_those_of_facets_and_external_embeds_with_a_host() {
    let facets = [
        facet("link", "uri", "https://WWW.Example.com/a"),
        facet("link", "uri", "https://www.example.com/b"),
        facet("link", "uri", "https://www.example.com/b"),
        facet("link", "uri", "ftp://example.org"),
        facet("link", "uri", "HTTP://u@BÜCHER.example:80"),
    ];
    let external =
        json!({ "$type": "app.bsky.embed.external", "external": { "uri": "http://e.test" } });
    let media = json!({ "$type": "app.bsky.embed.recordWithMedia", "media": external });
    for embed in [&external, &media] {
        check_post(&json!({ "facets": facets, "embed": embed }), |post| {
            assert_eq!(
                post.domains,
                ["e.test", "www.example.com", "bücher.example"]
            );
            assert_eq!(post.links.len(), 4);
            assert_eq!(post.links[1], "https://WWW.Example.com/a");
        });
    }
    let images =
        json!({ "$type": "app.bsky.embed.images", "external": { "uri": "http://e.test" } });
    check_post(&json!({ "embed": images }), |post| {
        assert!(post.links.is_empty());
    });
}

#[test]
fn mentions_are_dids_and_languages_are_in_their_usual_case() {
    let facets = [
        facet("mention", "did", "did:web:example.com"),
        facet("mention", "did", "bob.example.com"),
        facet("mention", "did", "did:web:example.com"),
    ];
    check_post(
        &json!({ "facets": facets, "langs": ["pt-br", "", "en", "pt-BR", 7] }),
        |post| {
            assert_eq!(
                post.mentions,
                ["did:web:example.com".parse().expect("a DID")]
            );
            assert_eq!(post.langs, ["pt-BR", "en"]);
        },
    );
    check_post(
        &json!({ "facets": { "features": [] }, "langs": "en" }),
        |post| {
            assert_eq!(post, Post::default());
        },
    );
}

#[test]
fn characters_are_unicode_scalar_values() {
    for (text, count) in [
        ("", 0),
        ("abc", 3),
        ("Čß水", 3),
        ("👩\u{200d}👧", 3),
        ("\u{0}\u{10ffff}", 2),
    ] {
        check_post(&json!({ "text": text }), |post| {
            assert_eq!(post.characters, count);
        });
    }
    check_post(&json!({ "text": ["abc"] }), |post| {
        assert_eq!(post.characters, 0);
    });
}

#[test]
fn tags_beyond_640_bytes_and_links_beyond_4096_are_left_out_and_counted() {
    let fits = "x".repeat(TAG_BYTES_MAX);
    let long = "x".repeat(TAG_BYTES_MAX + 1);
    let link = |bytes: usize| format!("https://e.test/{}", "x".repeat(bytes - 15));
    let facets = [
        facet("link", "uri", &link(KEY_BYTES_MAX)),
        facet("link", "uri", &link(KEY_BYTES_MAX + 1)),
        facet("tag", "tag", &long),
    ];
    let post = json!({ "tags": [fits, long], "langs": [long], "facets": facets });
    check_post(&post, |post| {
        assert_eq!((post.tags.len(), post.links.len()), (1, 1));
        assert_eq!((post.langs, &*post.domains[0]), (["und"].into(), "e.test"));
        let left_out = LeftOut {
            too_long: 3,
            too_many: 0,
            malformed: 1,
        };
        assert_eq!(post.left_out, left_out);
    });
}

/// The lists of the lexicon, then ours: the first distinct entries count, and each that is left out is counted.
#[test]
fn lists_end_at_their_limits_and_the_first_distinct_entries_count() {
    let texts = |name: &str, count: usize| -> Vec<String> {
        (0..count).map(|i| format!("{name}{i}")).collect()
    };
    let facets = |feature: &str, field: &str, texts: &[String]| -> Vec<Json> {
        texts
            .iter()
            .map(|text| facet(feature, field, text))
            .collect()
    };
    let tags = [texts("T", 8), texts("t", 8), texts("u", 5)].concat();
    let (facet_tags, links) = (texts("f", 70), texts("https://e.test/", 70));
    let mentions = texts("did:web:m", 66);
    let all = [
        // Repeats of what is in the list take no place.
        facets("tag", "tag", &tags[..8]),
        facets("tag", "tag", &facet_tags),
        facets("link", "uri", &links),
        facets("mention", "did", &mentions),
    ];
    let embed =
        json!({ "$type": "app.bsky.embed.external", "external": { "uri": "http://embed.test" } });
    let langs = [
        "en", "EN", "pt-br", "x0", "", "y0", "pt-BR", "ja", "ko", "ja",
    ];
    let post = json!({ "tags": tags, "facets": all.concat(), "embed": embed, "langs": langs });
    check_post(&post, |post| {
        assert_eq!(post.tags, [texts("t", 8), texts("f", 64)].concat());
        assert_eq!(post.links.len(), 64);
        assert_eq!(
            (post.links[0], post.links[63]),
            ("http://embed.test", "https://e.test/62")
        );
        assert_eq!(post.domains, ["embed.test", "e.test"]);
        let mentioned: Vec<String> = post.mentions.iter().map(ToString::to_string).collect();
        assert_eq!(mentioned, mentions[..64]);
        assert_eq!(post.langs, ["en", "pt-BR", "und"]);
        let left_out = LeftOut {
            too_long: 0,
            too_many: 5 + 6 + 7 + 2 + 3,
            malformed: 2,
        };
        assert_eq!(post.left_out, left_out);
    });
}

#[test]
fn texts_of_a_profile_are_truncated_between_two_characters() {
    for (name, description, expected) in [
        ("n".repeat(640), "d".repeat(2_560), (640, 2_560, 0)),
        ("n".repeat(641), "d".repeat(2_561), (640, 2_560, 2)),
        ("é".repeat(400), "水".repeat(900_000 / 3), (640, 2_559, 2)),
    ] {
        let block = block(&json!({ "displayName": name, "description": description }));
        let Ok(Record::Profile(profile)) = parse("app.bsky.actor.profile", &block) else {
            panic!("a profile");
        };
        let bytes = |text: Option<&str>| text.map_or(0, str::len);
        let found = (
            bytes(profile.display_name),
            bytes(profile.description),
            profile.truncated,
        );
        assert_eq!(found, expected);
    }
}

#[test]
fn a_profile_has_the_fields_of_the_right_type() {
    let cid = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";
    let avatar =
        json!({ "$type": "blob", "ref": { "$link": cid }, "mimeType": "image/png", "size": 1 });
    let profile = json!({ "displayName": "Ana", "description": 7, "avatar": avatar });
    let block = block(&profile);
    let Ok(Record::Profile(profile)) = parse("app.bsky.actor.profile", &block) else {
        panic!("a profile");
    };
    assert_eq!(
        (profile.display_name, profile.description),
        (Some("Ana"), None)
    );
    assert_eq!(profile.avatar.expect("an avatar").to_string(), cid);
}

/// An error in a part that no view reads invalidates the record, too.
#[test]
fn one_malformed_value_anywhere_rejects_the_record() {
    let good = block(&json!({ "subject": "did:web:example.com", "unread": [{ "deep": 1 }] }));
    let deep = good.windows(5).position(|key| key == b"\x64deep");
    let at = deep.expect("the key") + 5;
    for (byte, verdict) in [
        (2, Ok(())),
        (0xf7, Err(())),
        (0x18, Err(())),
        (0xf9, Err(())),
    ] {
        let mut record = good.clone();
        record[at] = byte;
        let read = parse("app.bsky.graph.follow", &record);
        assert_eq!(
            read.as_ref().map(|_| ()).map_err(|_| ()),
            verdict,
            "{byte:x}"
        );
        assert!(matches!(read, Ok(_) | Err(DropReason::RecordCbor)));
    }
}
