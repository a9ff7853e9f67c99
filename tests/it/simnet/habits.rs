//! The simulated people act as often as those of the real network (the numbers and their sources:
//! `docs/simnet.md`).

use std::collections::BTreeMap;

use skytide_core::event::{Action, Body};
use skytide_core::id::PostKey;
use skytide_simnet::{Content, Frame, Options};

use super::frames;

/// Somewhat more than two hours of a busy network.
fn long() -> impl Iterator<Item = Frame> {
    frames(Options {
        accounts: 3_000,
        rate: 50.0,
        signed: false,
        events_max: Some(300_000),
        ..Options::default()
    })
}

/// Prints each measured value beside the expected one and checks it. A tolerance is relative to the
/// expected value.
#[track_caller]
fn check(rows: &[(&str, f64, f64, f64)]) {
    let mut off = Vec::new();
    for (what, ours, theirs, tolerance) in rows {
        println!("{what:<48}{ours:>9.2}{theirs:>9.2}");
        if (ours / theirs - 1.0).abs() > *tolerance {
            off.push(what);
        }
    }
    assert!(off.is_empty(), "out of tolerance: {off:?}");
}

#[test]
fn the_mix_is_that_of_the_network() {
    let (mut creates, mut deletes, mut updates, mut ops, mut several) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut posts, mut replies, mut silent, mut english) = (0.0, 0.0, 0.0, 0.0);
    let mut classes: BTreeMap<String, f64> = BTreeMap::new();
    let mut bytes: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let mut commits = 0.0;
    for frame in long() {
        let made = frame
            .events
            .iter()
            .filter(|event| matches!(event.body, Body::Op(_)));
        several += f64::from(made.clone().count() > 1);
        commits += f64::from(made.count() > 0);
        for (event, content) in frame.events.iter().zip(&frame.contents) {
            let Body::Op(op) = &event.body else { continue };
            ops += 1.0;
            match op.action {
                Action::Create => creates += 1.0,
                Action::Update => updates += 1.0,
                Action::Delete => deletes += 1.0,
            }
            *classes.entry(op.collection.to_string()).or_default() += 1.0;
            if let Some(record) = &op.record {
                let (sum, count) = bytes.entry(op.collection.to_string()).or_default();
                (*sum, *count) = (*sum + record.len() as f64, *count + 1.0);
            }
            if let (Content::Post(post), Action::Create) = (content, op.action) {
                posts += 1.0;
                replies += f64::from(post.parent.is_some());
                silent += f64::from(post.langs.is_empty());
                english += f64::from(post.langs.first().is_some_and(|lang| lang == "en"));
            }
        }
    }
    let share = |collection: &str| 100.0 * classes[collection] / ops;
    let size = |collection: &str| bytes[collection].0 / bytes[collection].1;
    check(&[
        ("likes, %", share("app.bsky.feed.like"), 67.0, 0.06),
        ("posts, %", share("app.bsky.feed.post"), 12.0, 0.12),
        ("reposts, %", share("app.bsky.feed.repost"), 11.0, 0.08),
        ("follows, %", share("app.bsky.graph.follow"), 8.0, 0.12),
        ("blocks, %", share("app.bsky.graph.block"), 0.7, 0.25),
        ("creates, %", 100.0 * creates / ops, 95.5, 0.01),
        ("deletes, %", 100.0 * deletes / ops, 3.9, 0.2),
        ("updates, %", 100.0 * updates / ops, 0.6, 0.35),
        (
            "commits of one operation per commit of several",
            commits / several,
            148.0,
            0.25,
        ),
        (
            "replies among posts, %",
            100.0 * replies / posts,
            46.0,
            0.08,
        ),
        ("posts of no language, %", 100.0 * silent / posts, 12.0, 0.1),
        ("posts in English, %", 100.0 * english / posts, 61.0, 0.1),
        ("bytes of a like", size("app.bsky.feed.like"), 217.0, 0.1),
        (
            "bytes of a repost",
            size("app.bsky.feed.repost"),
            226.0,
            0.1,
        ),
        (
            "bytes of a follow",
            size("app.bsky.graph.follow"),
            109.0,
            0.1,
        ),
        ("bytes of a post", size("app.bsky.feed.post"), 584.0, 0.15),
    ]);
}

#[test]
fn half_of_the_posts_get_no_interactions_and_a_few_get_most() {
    // Only posts of the first half count: their interactions occur before the end of the second
    // half.
    let mut got: BTreeMap<PostKey, (f64, f64)> = BTreeMap::new();
    for (number, frame) in long().enumerate() {
        for (event, content) in frame.events.iter().zip(&frame.contents) {
            let (subject, like) = match content {
                Content::Like(post) => (Some(post), 1.0),
                Content::Repost(post) => (Some(post), 0.0),
                Content::Post(post) => (post.parent.as_ref().or(post.quote.as_ref()), 0.0),
                _ => continue,
            };
            if let Some((likes, all)) = subject.and_then(|post| got.get_mut(post)) {
                (*likes, *all) = (*likes + like, *all + 1.0);
            }
            if let (Body::Op(op), Content::Post(_), 0..150_000) = (&event.body, content, number) {
                got.entry(PostKey::new(&event.did, &op.rkey)).or_default();
            }
        }
    }
    let posts = got.len() as f64;
    let nothing = got.values().filter(|(_, all)| *all == 0.0).count() as f64;
    let above = |bound: f64| got.values().filter(|(likes, _)| *likes > bound).count() as f64;
    let alpha = 1.0 + (above(8.0) / above(128.0)).ln() / 16_f64.ln();
    check(&[
        (
            "posts that get nothing, %",
            100.0 * nothing / posts,
            50.0,
            0.15,
        ),
        ("exponent of likes per post", alpha, 2.15, 0.15),
    ]);
}

#[test]
fn hashtags_rise_and_fall_within_minutes() {
    // Posts by hashtag and by slot of ten minutes.
    let mut slots: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
    for frame in long() {
        for content in &frame.contents {
            let Content::Post(post) = content else {
                continue;
            };
            for tag in &post.tags {
                let slot = frame.time.0 / 600_000;
                *slots
                    .entry(tag.clone())
                    .or_default()
                    .entry(slot)
                    .or_default() += 1.0;
            }
        }
    }
    let bursts = slots.values().filter(|slots| {
        let most = slots.values().copied().fold(0.0, f64::max);
        most >= 25.0 && most >= 0.35 * slots.values().sum::<f64>()
    });
    let bursts = bursts.count();
    println!("hashtags with a third of their posts in ten minutes: {bursts}");
    assert!(bursts >= 8, "{bursts}");
}

#[test]
fn a_hot_story_gets_its_share_of_posts_and_likes() {
    let options = Options {
        hot_percent: Some(60),
        signed: false,
        events_max: Some(40_000),
        ..Options::default()
    };
    let mut ledger = skytide_simnet::Ledger::default();
    frames(options).for_each(|frame| ledger.add(&frame));
    let totals = ledger.totals();
    let share = |counts: Vec<u64>, top: usize| {
        let mut counts = counts;
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let sum = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        sum(&counts[..top]) / sum(&counts)
    };
    let tags = share(totals.hashtags.values().copied().collect(), 1);
    let likes = totals.posts.values().map(|tallies| tallies[0]).collect();
    // Three posts of the story stay, the others are replaced by newer ones.
    let likes = share(likes, 3);
    println!("share of the first hashtag {tags:.2}, of three posts in the likes {likes:.2}");
    assert!(tags >= 0.5, "{tags}");
    assert!(likes >= 0.08, "{likes}");
}
