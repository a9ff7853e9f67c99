//! Tests each view by examples: facts in, inserted (+1) and retracted (-1) rows out.
//!
//! Only `check` builds the graph. Expected rows are written by hand; `UPDATE_EXPECT=1` only helps
//! to format them.

mod coverage;
mod top_interactions;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use expect_test::{Expect, expect};
use skytide_core::id::{Did, PostKey};
use skytide_core::record::Langs;
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{
    ActorRow, HandleKey, InteractionKey, InteractionRow, ListKey, ListRow, PostRow, TrendKey,
    TrendRow, ViewId, decode_row,
};
use skytide_dataflow::fact::{Edge, Fact, Post, Reaction, Subject};
use skytide_dataflow::graph::{self, Accumulators, GraphConfig, Streams};
use skytide_dataflow::operators::lists::WorkerList;
use skytide_dataflow::sizes::StateRegistry;
use skytide_dataflow::types::{Clock, Clocks, Row, SuppressedRows, Time};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::rc::SharedStream;
use timely::dataflow::operators::vec::Map;
use timely::dataflow::operators::{Input as _, Inspect};

/// Noon of some day.
const NOON: u32 = 20_000 * 1_440 + 720;

/// One time: minutes after noon, and the facts that are inserted or retracted.
type Step = (u32, Vec<(Fact, i32)>);

#[track_caller]
fn check(views: &[ViewId], steps: Vec<Step>, expected: Expect) {
    let config = GraphConfig {
        views: views.to_vec(),
        interactions_days: Some(2),
        suppressed: SuppressedRows::NONE,
    };
    let lines = timely::execute_directly(move |worker| {
        let mut facts: InputHandle<Time, CapacityContainerBuilder<Vec<(Fact, Time, i32)>>> =
            InputHandle::new();
        let mut clocks: InputHandle<Time, CapacityContainerBuilder<Vec<Clock>>> =
            InputHandle::new();
        let lines = Rc::new(RefCell::new(Vec::new()));
        let sink = lines.clone();
        worker.dataflow::<Time, _, _>(|scope| {
            let mut no_lists: InputHandle<Time, CapacityContainerBuilder<Vec<WorkerList>>> =
                InputHandle::new();
            let streams = Streams {
                facts: scope.input_from(&mut facts).shared(),
                clocks: Clocks {
                    ticks: scope.input_from(&mut clocks),
                    states: StateRegistry::default(),
                },
                restored_lists: scope.input_from(&mut no_lists),
            };
            let rows = graph::build(scope, streams, &config, &Accumulators::default(), None);
            rows.map(|(row, time, diff)| (time, diff, show(&row)))
                .inspect(move |line| sink.borrow_mut().push(line.clone()));
        });
        for (step, (minutes, changes)) in steps.into_iter().enumerate() {
            let time = step as Time + 1;
            facts.advance_to(time);
            clocks.advance_to(time);
            changes
                .into_iter()
                .for_each(|(fact, diff)| facts.send((fact, time, diff)));
            clocks.send(Clock {
                now: at(minutes).start(),
                lists: true,
            });
        }
        drop((facts, clocks));
        while worker.step() {}
        lines.take()
    });
    let mut lines = lines;
    lines.sort();
    let text: Vec<String> = lines
        .iter()
        .map(|(time, diff, row)| format!("t{time} {diff:+} {row}\n"))
        .collect();
    expected.assert_eq(&text.concat());
}

fn at(minutes: u32) -> Minute {
    Minute(NOON + minutes)
}

/// A row as one line of text.
fn show(row: &Row) -> String {
    let columns = &row.columns;
    match row.view {
        ViewId::Posts => {
            let r: PostRow = decode_row(columns).unwrap();
            let post = row.key.decode::<PostKey>().unwrap();
            let counts = [
                r.likes,
                r.reposts,
                r.replies,
                r.root_replies,
                r.quotes,
                r.self_likes,
            ];
            format!(
                "{} {counts:?} {:?}",
                name(&post.did()) + "/" + &post.rkey().to_string(),
                r.state
            )
        }
        ViewId::Actors => {
            let r: ActorRow = decode_row(columns).unwrap();
            let who = name(&row.key.decode().unwrap());
            let (a, b, c) = (r.followers, r.follow_records, r.follows);
            format!("{who} followers {a} of {b} records, follows {c}")
        }
        ViewId::Interactions => {
            let key: InteractionKey = row.key.decode().unwrap();
            let r: InteractionRow = decode_row(columns).unwrap();
            let counts = (r.likes, r.reposts, r.replies, r.quotes, r.characters);
            format!(
                "{} on {} day {} {counts:?}",
                name(&key.author),
                name(&key.subject),
                key.day
            )
        }
        ViewId::Coverage => coverage::show(row),
        ViewId::Handles => {
            let key: HandleKey = row.key.decode().unwrap();
            format!("{} is {}", key.handle, name(&key.did))
        }
        ViewId::Hashtags | ViewId::Languages => {
            let key: TrendKey = row.key.decode().unwrap();
            let r: TrendRow = decode_row(columns).unwrap();
            format!(
                "{}:{} posts {:?} authors {:?}",
                key.key, key.lang, r.counts, r.authors
            )
        }
        view => {
            let key: ListKey = row.key.decode().unwrap();
            let r: ListRow = decode_row(columns).unwrap();
            let entry = |e: &skytide_core::view::ListEntry| {
                let name = e.key.rsplit(['/', ':']).next().unwrap_or_default();
                match (view, e.other) {
                    (ViewId::TopInteractions, 1..) => format!("{name} {}/{}", e.value, e.other),
                    _ => format!("{name} {}", e.value),
                }
            };
            let entries: Vec<String> = r.entries.iter().map(entry).collect();
            let (window, measure) = (key.window.name(), key.measure.name());
            format!(
                "{} {window} {measure} {}: {}",
                view.name(),
                key.lang,
                entries.join(", ")
            )
        }
    }
}

fn did(name: &str) -> Did {
    format!("did:web:{name}").parse().unwrap()
}

fn name(did: &Did) -> String {
    did.to_string().trim_start_matches("did:web:").to_owned()
}

fn post_key(text: &str) -> PostKey {
    let (author, rkey) = text.split_once('/').unwrap();
    PostKey::new(&did(author), &rkey.parse().unwrap())
}

fn like(author: &str, post: &str, minutes: u32) -> Fact {
    let subject = Some(Subject::Post(post_key(post)));
    Fact::Like(Reaction {
        author: did(author),
        subject,
        first_seen: at(minutes),
    })
}

fn follow(author: &str, subject: &str) -> Fact {
    Fact::Follow(Edge {
        author: did(author),
        subject: Some(did(subject)),
        first_seen: at(0),
    })
}

fn post(text: &str, minutes: u32, fill: impl FnOnce(&mut Post)) -> Fact {
    let mut post = Post {
        key: post_key(text),
        first_seen: at(minutes),
        parent: None,
        root: None,
        quote: None,
        langs: Langs::default(),
        tags: Box::new([]),
        domains: Box::new([]),
        links: Box::new([]),
        mentions: Box::new([]),
        characters: 0,
    };
    fill(&mut post);
    Fact::Post(Arc::new(post))
}

fn texts(texts: &[&str]) -> Box<[Box<str>]> {
    texts.iter().map(|text| (*text).into()).collect()
}

#[test]
fn an_unlike_retracts_exactly_what_the_like_counted() {
    check(
        &[ViewId::Posts],
        vec![
            (
                0,
                vec![(like("ana", "bea/p", 0), 1), (like("bea", "bea/p", 0), 1)],
            ),
            (1, vec![(like("ana", "bea/p", 0), -1)]),
            (2, vec![(like("bea", "bea/p", 0), -1)]),
        ],
        expect![[r#"
            t1 +1 bea/p [2, 0, 0, 0, 0, 1] NeverSeen
            t2 -1 bea/p [2, 0, 0, 0, 0, 1] NeverSeen
            t2 +1 bea/p [1, 0, 0, 0, 0, 1] NeverSeen
            t3 -1 bea/p [1, 0, 0, 0, 0, 1] NeverSeen
        "#]],
    );
}

#[test]
fn a_deleted_post_leaves_the_lists_and_a_post_never_seen_stays() {
    check(
        &[ViewId::TopPosts],
        vec![
            (
                0,
                vec![(like("ana", "bea/p", 0), 1), (like("ana", "cai/q", 0), 1)],
            ),
            (
                0,
                vec![
                    (post("bea/p", 0, |_| ()), 1),
                    (Fact::Seen(post_key("bea/p")), 1),
                ],
            ),
            (0, vec![(post("bea/p", 0, |_| ()), -1)]),
        ],
        expect![[r#"
            t1 +1 top_posts 1h likes : p 1, q 1
            t1 +1 top_posts 24h likes : p 1, q 1
            t1 +1 top_posts 7d likes : p 1, q 1
            t1 +1 top_posts all likes : p 1, q 1
            t2 +1 top_posts 1h likes und: p 1
            t2 +1 top_posts 24h likes und: p 1
            t2 +1 top_posts 7d likes und: p 1
            t2 +1 top_posts all likes und: p 1
            t3 -1 top_posts 1h likes : p 1, q 1
            t3 -1 top_posts 1h likes und: p 1
            t3 -1 top_posts 24h likes : p 1, q 1
            t3 -1 top_posts 24h likes und: p 1
            t3 -1 top_posts 7d likes : p 1, q 1
            t3 -1 top_posts 7d likes und: p 1
            t3 -1 top_posts all likes : p 1, q 1
            t3 -1 top_posts all likes und: p 1
            t3 +1 top_posts 1h likes : q 1
            t3 +1 top_posts 24h likes : q 1
            t3 +1 top_posts 7d likes : q 1
            t3 +1 top_posts all likes : q 1
        "#]],
    );
}

#[test]
fn a_tag_counts_posts_and_distinct_authors_and_leaves_the_hour_when_it_is_over() {
    let tagged = |text| post(text, 0, |post| post.tags = texts(&["art"]));
    check(
        &[ViewId::Hashtags],
        vec![
            (
                0,
                vec![
                    (tagged("ana/1"), 1),
                    (tagged("ana/2"), 1),
                    (tagged("bea/1"), 1),
                ],
            ),
            (59, vec![(tagged("ana/2"), -1)]),
            (60, vec![]),
        ],
        expect![[r#"
            t1 +1 art: posts [3, 3, 3, 3] authors [2, 2, 2, 2]
            t1 +1 art:und posts [3, 3, 3, 3] authors [2, 2, 2, 2]
            t2 -1 art: posts [3, 3, 3, 3] authors [2, 2, 2, 2]
            t2 -1 art:und posts [3, 3, 3, 3] authors [2, 2, 2, 2]
            t2 +1 art: posts [2, 2, 2, 2] authors [2, 2, 2, 2]
            t2 +1 art:und posts [2, 2, 2, 2] authors [2, 2, 2, 2]
            t3 -1 art: posts [2, 2, 2, 2] authors [2, 2, 2, 2]
            t3 -1 art:und posts [2, 2, 2, 2] authors [2, 2, 2, 2]
            t3 +1 art: posts [0, 2, 2, 2] authors [0, 2, 2, 2]
            t3 +1 art:und posts [0, 2, 2, 2] authors [0, 2, 2, 2]
        "#]],
    );
}

#[test]
fn languages_have_their_region_and_lists_use_their_primary_subtags_once() {
    let written = post("ana/1", 0, |post| {
        post.langs = ["en-US", "en", "pt-BR"].into();
        post.tags = texts(&["art"]);
    });
    check(
        &[ViewId::Languages, ViewId::TopHashtags],
        vec![(0, vec![(written, 1)]), (20_000, vec![])],
        expect![[r#"
            t1 +1 en-US: posts [1, 1, 1, 1] authors [1, 1, 1, 1]
            t1 +1 en: posts [1, 1, 1, 1] authors [1, 1, 1, 1]
            t1 +1 pt-BR: posts [1, 1, 1, 1] authors [1, 1, 1, 1]
            t1 +1 top_hashtags 1h authors : art 1
            t1 +1 top_hashtags 1h authors en: art 1
            t1 +1 top_hashtags 1h authors pt: art 1
            t1 +1 top_hashtags 1h count : art 1
            t1 +1 top_hashtags 1h count en: art 1
            t1 +1 top_hashtags 1h count pt: art 1
            t1 +1 top_hashtags 24h authors : art 1
            t1 +1 top_hashtags 24h authors en: art 1
            t1 +1 top_hashtags 24h authors pt: art 1
            t1 +1 top_hashtags 24h count : art 1
            t1 +1 top_hashtags 24h count en: art 1
            t1 +1 top_hashtags 24h count pt: art 1
            t1 +1 top_hashtags 7d authors : art 1
            t1 +1 top_hashtags 7d authors en: art 1
            t1 +1 top_hashtags 7d authors pt: art 1
            t1 +1 top_hashtags 7d count : art 1
            t1 +1 top_hashtags 7d count en: art 1
            t1 +1 top_hashtags 7d count pt: art 1
            t1 +1 top_hashtags all authors : art 1
            t1 +1 top_hashtags all authors en: art 1
            t1 +1 top_hashtags all authors pt: art 1
            t1 +1 top_hashtags all count : art 1
            t1 +1 top_hashtags all count en: art 1
            t1 +1 top_hashtags all count pt: art 1
            t2 -1 en-US: posts [1, 1, 1, 1] authors [1, 1, 1, 1]
            t2 -1 en: posts [1, 1, 1, 1] authors [1, 1, 1, 1]
            t2 -1 pt-BR: posts [1, 1, 1, 1] authors [1, 1, 1, 1]
            t2 -1 top_hashtags 1h authors : art 1
            t2 -1 top_hashtags 1h authors en: art 1
            t2 -1 top_hashtags 1h authors pt: art 1
            t2 -1 top_hashtags 1h count : art 1
            t2 -1 top_hashtags 1h count en: art 1
            t2 -1 top_hashtags 1h count pt: art 1
            t2 -1 top_hashtags 24h authors : art 1
            t2 -1 top_hashtags 24h authors en: art 1
            t2 -1 top_hashtags 24h authors pt: art 1
            t2 -1 top_hashtags 24h count : art 1
            t2 -1 top_hashtags 24h count en: art 1
            t2 -1 top_hashtags 24h count pt: art 1
            t2 -1 top_hashtags 7d authors : art 1
            t2 -1 top_hashtags 7d authors en: art 1
            t2 -1 top_hashtags 7d authors pt: art 1
            t2 -1 top_hashtags 7d count : art 1
            t2 -1 top_hashtags 7d count en: art 1
            t2 -1 top_hashtags 7d count pt: art 1
            t2 +1 en-US: posts [0, 0, 0, 1] authors [0, 0, 0, 1]
            t2 +1 en: posts [0, 0, 0, 1] authors [0, 0, 0, 1]
            t2 +1 pt-BR: posts [0, 0, 0, 1] authors [0, 0, 0, 1]
        "#]],
    );
}

#[test]
fn a_second_follow_of_the_same_account_is_a_record_but_no_new_follower() {
    let steps = vec![
        (
            0,
            vec![(follow("ana", "bea"), 1), (follow("ana", "bea"), 1)],
        ),
        (0, vec![(follow("ana", "bea"), -1)]),
        (0, vec![(follow("ana", "bea"), -1)]),
    ];
    check(
        &[ViewId::Actors],
        steps,
        expect![[r#"
            t1 +1 ana followers 0 of 0 records, follows 2
            t1 +1 bea followers 1 of 2 records, follows 0
            t2 -1 ana followers 0 of 0 records, follows 2
            t2 -1 bea followers 1 of 2 records, follows 0
            t2 +1 ana followers 0 of 0 records, follows 1
            t2 +1 bea followers 1 of 1 records, follows 0
            t3 -1 ana followers 0 of 0 records, follows 1
            t3 -1 bea followers 1 of 1 records, follows 0
        "#]],
    );
}

#[test]
fn a_post_interacts_with_one_account_reply_first_and_an_expired_day_is_retracted() {
    let answer = post("ana/1", 0, |post| {
        post.parent = Some(Subject::Post(post_key("bea/p")));
        post.quote = Some(Subject::Post(post_key("cai/q")));
        post.characters = 12;
    });
    let to_oneself = like("ana", "ana/1", 0);
    check(
        &[ViewId::Interactions],
        vec![
            (0, vec![(answer, 1), (to_oneself, 1)]),
            (1_440, vec![]),
            (2_880, vec![]),
        ],
        expect![[r#"
            t1 +1 ana on bea day 20000 (0, 0, 1, 0, 12)
            t3 -1 ana on bea day 20000 (0, 0, 1, 0, 12)
        "#]],
    );
}

#[test]
fn a_new_handle_replaces_the_old_one() {
    let claim =
        |handle: &str| Fact::Identity(did("ana"), Some(handle.parse().unwrap()), Timestamp(1));
    check(
        &[ViewId::Handles],
        vec![
            (0, vec![(claim("Ana.example"), 1)]),
            (
                0,
                vec![(claim("Ana.example"), -1), (claim("anna.example"), 1)],
            ),
        ],
        expect![[r#"
            t1 +1 ana.example is ana
            t2 -1 ana.example is ana
            t2 +1 anna.example is ana
        "#]],
    );
}

#[test]
fn a_count_beyond_32_bits_is_capped_in_rows_and_stays_exact() {
    let most = i32::MAX;
    let likes = || ["ana", "bea", "cai"].map(|author| like(author, "dan/1", 0));
    let to = |diffs: [i32; 3]| likes().into_iter().zip(diffs).collect();
    let steps = vec![
        (0, to([most, most, most])),
        (0, to([0, 0, 1 - most])),
        (0, to([1 - most, 1 - most, 0])),
    ];
    check(
        &[ViewId::Posts],
        steps,
        expect![[r#"
            t1 +1 dan/1 [4294967295, 0, 0, 0, 0, 0] NeverSeen
            t2 -1 dan/1 [4294967295, 0, 0, 0, 0, 0] NeverSeen
            t2 +1 dan/1 [4294967295, 0, 0, 0, 0, 0] NeverSeen
            t3 -1 dan/1 [4294967295, 0, 0, 0, 0, 0] NeverSeen
            t3 +1 dan/1 [3, 0, 0, 0, 0, 0] NeverSeen
        "#]],
    );
    let tagged = |name: &str| post(name, 0, |post| post.tags = texts(&["art"]));
    let posts = ["ana/1", "ana/2", "bea/1"].map(tagged);
    let to = |diffs: [i32; 3]| posts.clone().into_iter().zip(diffs).collect();
    let steps = vec![
        (0, to([most, most, most])),
        (100, vec![]),
        (100, to([-most, 1 - most, -most])),
    ];
    check(
        &[ViewId::Hashtags],
        steps,
        expect![[r#"
            t1 +1 art: posts [4294967295, 4294967295, 4294967295, 4294967295] authors [2, 2, 2, 2]
            t1 +1 art:und posts [4294967295, 4294967295, 4294967295, 4294967295] authors [2, 2, 2, 2]
            t2 -1 art: posts [4294967295, 4294967295, 4294967295, 4294967295] authors [2, 2, 2, 2]
            t2 -1 art:und posts [4294967295, 4294967295, 4294967295, 4294967295] authors [2, 2, 2, 2]
            t2 +1 art: posts [0, 4294967295, 4294967295, 4294967295] authors [0, 2, 2, 2]
            t2 +1 art:und posts [0, 4294967295, 4294967295, 4294967295] authors [0, 2, 2, 2]
            t3 -1 art: posts [0, 4294967295, 4294967295, 4294967295] authors [0, 2, 2, 2]
            t3 -1 art:und posts [0, 4294967295, 4294967295, 4294967295] authors [0, 2, 2, 2]
            t3 +1 art: posts [0, 1, 1, 1] authors [0, 1, 1, 1]
            t3 +1 art:und posts [0, 1, 1, 1] authors [0, 1, 1, 1]
        "#]],
    );
}
