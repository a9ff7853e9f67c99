//! Trends: lists, joins, pages, velocity, single keys.

use serde_json::json;
use skytide_core::view::{Change, Measure, PostRow, PostState, TrendKey, TrendRow, ViewId, Window};

use crate::world::{ANA, BEA, CAI, World, account, did, list, post, row, time};

fn hashtags() -> (ViewId, Vec<Change>) {
    let entries = [
        ("art", 40, 10, 480),
        ("cats", 40, 30, 40),
        ("dogs", 9, 9, 9),
        ("rare", 4, 4, 4),
    ];
    (
        ViewId::TopHashtags,
        vec![list(Window::Hour, Measure::Count, "", &entries)],
    )
}

#[tokio::test]
async fn a_list_is_answered_with_its_commit_and_its_window() {
    let mut world = World::empty();
    world.commit(&[hashtags()]).await;
    let answer = world.get("/v1/trends/hashtags?window=1h&limit=2").await;
    assert_eq!(answer["epoch"], 41);
    assert_eq!(answer["as_of"], "2026-07-04T14:38:06.928Z");
    assert_eq!(answer["freshness_ms"], 250);
    assert_eq!(answer["since"], "2026-06-01T00:00:00.000Z");
    assert_eq!(answer["consistent"], true);
    let window = json!({"name": "1h", "from": "2026-07-04T13:39:00.000Z", "filled": true});
    assert_eq!(answer["window"], window);
    assert_eq!(answer["ranked_among"], 4);
    let first = json!({
        "rank": 1, "key": "art", "value": 40, "count": 40, "authors": 10,
        "velocity": answer["entries"][0]["velocity"],
    });
    assert_eq!(answer["entries"][0], first);
    assert_eq!(answer["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_window_that_starts_before_counting_began_is_not_filled() {
    let mut world = World::empty();
    world.since = time("2026-07-04T14:00:00Z");
    world.commit(&[hashtags()]).await;
    let answer = world.get("/v1/trends/hashtags?window=1h").await;
    let window = json!({"name": "1h", "from": "2026-07-04T14:00:00.000Z", "filled": false});
    assert_eq!(answer["window"], window);
    // Hour and day both cover the same 38 minutes: (40 + 10) / (480 + 10).
    assert_eq!(answer["entries"][0]["velocity"], 0.102);
    assert_eq!(answer["entries"][1]["velocity"], 1.0);
}

#[tokio::test]
async fn velocity_reorders_the_list_and_leaves_out_small_counts() {
    let mut world = World::empty();
    world.commit(&[hashtags()]).await;
    let answer = world
        .get("/v1/trends/hashtags?window=1h&measure=velocity")
        .await;
    let keys: Vec<&str> = answer["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["cats", "dogs", "art"]);
    assert_eq!(answer["measure"], "velocity");
    assert_eq!(answer["ranked_among"], 3);
    assert_eq!(answer["support_min"], 5);
    // The hour covers 59.1155 minutes, the day 1438.1155: its first bucket starts at 14:30 of the
    // previous day. So E = 40 * 0.04110 = 1.644.
    assert_eq!(answer["entries"][0]["velocity"], 4.294);
}

#[tokio::test]
async fn pages_have_no_gap_and_no_repetition_when_commits_come_between() {
    let mut world = World::empty();
    let entries: Vec<(String, u32)> = (0..9).map(|n| (format!("tag{n}"), 50 - n / 3)).collect();
    let borrowed: Vec<(&str, u32, u32, u32)> = entries
        .iter()
        .map(|(key, value)| (key.as_str(), *value, 1, 900))
        .collect();
    let view = vec![list(Window::Day, Measure::Count, "pt", &borrowed)];
    world.commit(&[(ViewId::TopHashtags, view.clone())]).await;
    let mut uri = "/v1/trends/hashtags?lang=pt-BR&limit=2".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = world.get(&uri).await;
        assert_eq!(page["lang"], "pt");
        for entry in page["entries"].as_array().unwrap() {
            assert_eq!(entry["rank"], seen.len() + 1);
            seen.push(entry["key"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["cursor"].as_str() else {
            break;
        };
        uri = format!("/v1/trends/hashtags?cursor={cursor}");
        world.commit(&[(ViewId::TopHashtags, view.clone())]).await;
    }
    assert_eq!(
        seen,
        entries
            .iter()
            .map(|(key, _)| key.clone())
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn pages_by_velocity_continue_after_the_cursor() {
    let mut world = World::empty();
    world.commit(&[hashtags()]).await;
    let first = world
        .get("/v1/trends/hashtags?window=1h&measure=velocity&limit=2")
        .await;
    let cursor = first["cursor"].as_str().unwrap();
    let next = world
        .get(&format!("/v1/trends/hashtags?cursor={cursor}"))
        .await;
    assert_eq!(next["entries"][0]["key"], "art");
    assert_eq!(next["measure"], "velocity");
    assert_eq!(next["cursor"], json!(null));
}

#[tokio::test]
async fn posts_are_joined_with_tallies_and_authors() {
    let mut world = World::empty();
    let (known, unknown) = (post(ANA, "3n2xril3jyo2a"), post(CAI, "self"));
    let names = [known.to_string(), unknown.to_string()];
    let entries = [(names[0].as_str(), 7, 0, 7), (names[1].as_str(), 5, 0, 5)];
    let tallies = PostRow {
        likes: 9,
        self_likes: 1,
        quotes: 2,
        state: PostState::Live,
        ..PostRow::default()
    };
    world
        .commit(&[
            (
                ViewId::TopPosts,
                vec![list(Window::Day, Measure::Likes, "", &entries)],
            ),
            (ViewId::Posts, vec![row(&known, &tallies)]),
            (
                ViewId::Accounts,
                vec![row(&did(ANA), &account("ana.bsky.social", "<b>Ana</b>"))],
            ),
        ])
        .await;
    for view in ["posts", "top_posts"] {
        let answer = world.get(&format!("/v1/trends/{view}")).await;
        let first = &answer["entries"][0];
        assert_eq!(first["post"]["likes"], 9);
        assert_eq!(first["post"]["self_likes"], 1);
        assert_eq!(first["post"]["state"], "live");
        assert_eq!(first["account"]["handle"], "ana.bsky.social");
        assert_eq!(
            first["url"],
            format!("https://bsky.app/profile/{ANA}/post/3n2xril3jyo2a")
        );
        assert_eq!(answer["entries"][1]["post"]["state"], "never_seen");
        assert_eq!(answer["entries"][1]["account"]["active"], json!(null));
    }
}

#[tokio::test]
async fn accounts_in_lists_are_joined_with_names() {
    let mut world = World::empty();
    world
        .commit(&[
            (
                ViewId::TopActors,
                vec![list(Window::Day, Measure::Posts, "", &[(BEA, 3, 0, 3)])],
            ),
            (
                ViewId::TopBlocks,
                vec![list(
                    Window::Day,
                    Measure::BlocksReceived,
                    "",
                    &[(CAI, 2, 0, 2)],
                )],
            ),
            (
                ViewId::Accounts,
                vec![row(&did(BEA), &account("bea.test", "Bea"))],
            ),
        ])
        .await;
    let actors = world.get("/v1/trends/actors?measure=posts").await;
    assert_eq!(actors["entries"][0]["account"]["display_name"], "Bea");
    assert_eq!(actors["window"]["name"], "24h");
    let blocks = world.get("/v1/trends/top_blocks").await;
    assert_eq!(blocks["measure"], "blocks_received");
    assert_eq!(blocks["entries"][0]["account"]["did"], CAI);
}

#[tokio::test]
async fn a_list_without_a_row_is_empty() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let answer = world.get("/v1/trends/links?lang=ja").await;
    assert_eq!(answer["entries"], json!([]));
    assert_eq!(answer["cursor"], json!(null));
}

fn counts(key: &str, lang: &str, counts: [u32; 4]) -> Change {
    let key = TrendKey {
        key: key.into(),
        lang: lang.into(),
    };
    row(
        &key,
        &TrendRow {
            counts,
            authors: counts.map(|n| n / 2),
        },
    )
}

#[tokio::test]
async fn any_key_has_its_windows_and_languages() {
    let mut world = World::empty();
    let url = "https://example.com/a?b=c&d=ü";
    world
        .commit(&[
            (
                ViewId::Hashtags,
                vec![
                    counts("art", "", [6, 8, 10, 12]),
                    counts("art", "de", [0, 0, 0, 2]),
                    counts("art", "en", [6, 8, 10, 10]),
                    counts("artist", "", [100; 4]),
                ],
            ),
            (ViewId::Links, vec![counts(url, "", [1, 1, 1, 1])]),
            (
                ViewId::Domains,
                vec![counts("example.com", "", [2, 2, 2, 2])],
            ),
            (ViewId::Mentions, vec![counts(ANA, "", [3, 3, 3, 3])]),
        ])
        .await;
    for key in ["art", "ART", "%23art"] {
        let answer = world.get(&format!("/v1/trends/hashtags/{key}")).await;
        assert_eq!(answer["key"], "art");
        let counts: Vec<u64> = (0..4)
            .map(|n| answer["windows"][n]["count"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, [6, 8, 10, 12]);
        assert_eq!(answer["windows"][3]["authors"], 6);
        assert_eq!(answer["windows"][3]["velocity"], json!(null));
        assert_eq!(answer["languages"][0]["lang"], "en");
        assert_eq!(answer["languages"][1]["windows"][3]["count"], 2);
        assert_eq!(answer["partial"], false);
    }
    let link = "/v1/trends/links/https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc%26d%3D%C3%BC";
    assert_eq!(world.get(link).await["key"], url);
    assert_eq!(world.get(link).await["windows"][0]["count"], 1);
    assert_eq!(
        world.get("/v1/trends/domains/Example.COM").await["windows"][0]["count"],
        2
    );
    let mention = world.get(&format!("/v1/trends/mentions/{ANA}")).await;
    assert_eq!(
        (&mention["windows"][0]["count"], &mention["account"]["did"]),
        (&json!(3), &json!(ANA))
    );
    let nobody = world.get("/v1/trends/hashtags/nobody-used-it").await;
    assert_eq!(nobody["windows"][3]["count"], 0);
}
