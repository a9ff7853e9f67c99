//! The answers match their OpenAPI description. Also the start page.

use expect_test::expect_file;
use serde_json::{Value, json};
use skytide_core::view::{
    ActorRow, CounterRow, InteractionKey, InteractionRow, Measure, PostRow, Span, TrendKey,
    TrendRow, ViewId, Window,
};

use crate::dataflow::graph;
use crate::schema::violations;
use crate::world::{
    ANA, BEA, World, account, activity, claim, did, get_json, list, post, request, row, send, text,
};

#[test]
fn the_description_is_generated_from_the_catalogue_of_routes() {
    let described = serde_json::to_string_pretty(&skytide_api::describe()).unwrap();
    expect_file!["../../openapi.json"].assert_eq(&format!("{described}\n"));
}

#[tokio::test]
async fn the_description_is_served() {
    let served = World::empty().get("/openapi.json").await;
    let described = skytide_api::describe();
    let paths = |json: &Value| {
        json["paths"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(paths(&served), paths(&described));
}

/// A world in which every view has a row.
async fn full_world() -> World {
    let mut world = World::empty();
    let uri = post(ANA, "self").to_string();
    let tag = TrendKey {
        key: "art".into(),
        lang: "".into(),
    };
    let tag_de = TrendKey {
        key: "art".into(),
        lang: "de".into(),
    };
    let trend = TrendRow {
        counts: [9; 4],
        authors: [3; 4],
    };
    let pair = InteractionKey {
        author: did(ANA),
        day: 20_638,
        subject: did(BEA),
    };
    let acts = InteractionRow {
        likes: 1,
        ..InteractionRow::default()
    };
    let likes = list(Window::Day, Measure::Likes, "", &[(&uri, 3, 0, 3)]);
    let tags = list(
        Window::Day,
        Measure::Count,
        "",
        &[("art", 9, 3, 9), ("rare", 1, 1, 1)],
    );
    world
        .commit(&[
            (ViewId::TopPosts, vec![likes]),
            (ViewId::TopHashtags, vec![tags]),
            (
                ViewId::Hashtags,
                vec![row(&tag, &trend), row(&tag_de, &trend)],
            ),
            (
                ViewId::Posts,
                vec![row(&post(ANA, "self"), &PostRow::default())],
            ),
            (
                ViewId::Accounts,
                vec![row(&did(ANA), &account("ana.test", "Ana"))],
            ),
            (
                ViewId::Handles,
                vec![claim("ana.test", ANA, "2026-06-02T00:00:00Z")],
            ),
            (ViewId::Actors, vec![row(&did(ANA), &ActorRow::default())]),
            (ViewId::Interactions, vec![row(&pair, &acts)]),
            (ViewId::Languages, vec![row(&tag, &trend)]),
            (
                ViewId::Activity,
                vec![activity(Span::All, "", "app.bsky.feed.post", 1, 0)],
            ),
            (
                ViewId::Counters,
                vec![row(&"frames".to_owned(), &CounterRow { value: 2 })],
            ),
        ])
        .await;
    world
}

#[tokio::test]
async fn only_routes_whose_answers_have_an_entity_tag_describe_304() {
    let world = full_world().await;
    let described = skytide_api::describe();
    for (path, uri) in [
        ("/v1/trends/{view}", "/v1/trends/posts"),
        ("/v1/trends/{view}/{key}", "/v1/trends/hashtags/art"),
        (
            "/v1/posts/{uri}",
            "/v1/posts/at://ana.test/app.bsky.feed.post/self",
        ),
        ("/v1/actors/{actor}", "/v1/actors/ana.test"),
        (
            "/v1/actors/{actor}/interactions",
            "/v1/actors/ana.test/interactions",
        ),
        ("/v1/network", "/v1/network"),
        ("/v1/views", "/v1/views"),
        ("/v1/snapshots", "/v1/snapshots"),
        ("/v1/jobs", "/v1/jobs"),
        ("/v1/dataflow", "/v1/dataflow"),
        ("/readyz", "/readyz"),
    ] {
        let response = send(world.state(), request(uri)).await;
        let has_tag = response.headers().contains_key("etag");
        let responses = &described["paths"][path]["get"]["responses"];
        assert_eq!(responses.get("304").is_some(), has_tag, "{path}");
        assert!(responses["200"].is_object(), "{path}");
    }
}

#[tokio::test]
async fn every_answer_matches_its_schema() {
    let world = full_world().await;
    let cases = [
        ("Trends", "/v1/trends/posts".to_owned()),
        ("Trends", "/v1/trends/hashtags?limit=1".to_owned()),
        ("Trends", "/v1/trends/hashtags?measure=velocity".to_owned()),
        ("Trend", "/v1/trends/hashtags/art".to_owned()),
        ("Trend", "/v1/trends/mentions/ana.test".to_owned()),
        (
            "Post",
            "/v1/posts/at://ana.test/app.bsky.feed.post/self".to_owned(),
        ),
        ("Actor", "/v1/actors/ana.test".to_owned()),
        ("Interactions", format!("/v1/actors/{ANA}/interactions")),
        ("Network", "/v1/network".to_owned()),
        ("Views", "/v1/views".to_owned()),
        ("Snapshots", "/v1/snapshots".to_owned()),
        ("Jobs", "/v1/jobs".to_owned()),
        ("Ready", "/readyz".to_owned()),
        ("Alive", "/healthz".to_owned()),
    ];
    for (schema, uri) in cases {
        let answer = world.get(&uri).await;
        assert_eq!(
            violations(schema, &answer),
            Vec::<String>::new(),
            "{uri}: {answer:#}"
        );
    }
    for uri in [
        "/v1/nowhere",
        "/v1/network?limit=x",
        "/v1/trends/hashtags?windw=1h",
    ] {
        let (_, problem) = world.refused(uri).await;
        assert_eq!(
            violations("Problem", &problem),
            Vec::<String>::new(),
            "{uri}: {problem:#}"
        );
    }
    let (_, waiting) = get_json(World::empty().state(), "/readyz").await;
    assert_eq!(violations("Ready", &waiting), Vec::<String>::new());
    assert_eq!(
        violations("Alive", &json!({"status": 1, "more": 2})).len(),
        2,
        "the check itself can fail"
    );
}

#[tokio::test]
async fn every_described_route_exists_and_accepts_the_defaults_of_its_parameters() {
    let world = full_world().await;
    let description = skytide_api::describe();
    let paths = description["paths"].as_object().unwrap().iter();
    // These have tests of their own: they need a key or a body.
    let keyed = ["/v1/admin/", "/original/"];
    for (path, item) in paths.filter(|(path, _)| !keyed.iter().any(|it| path.starts_with(it))) {
        let mut uri = path.replace("{view}", "hashtags").replace("{key}", "art");
        uri = uri.replace("{uri}", "at://ana.test/app.bsky.feed.post/self");
        uri = uri.replace("{actor}", "ana.test");
        let params = item["get"]["parameters"].as_array().unwrap().iter();
        let query: Vec<String> = params
            .filter(|param| param["in"] == "query")
            .map(|param| {
                let default = param["schema"]["default"].as_str().unwrap_or("");
                format!("{}={default}", param["name"].as_str().unwrap())
            })
            .collect();
        let response = send(
            world.state().with_graph(graph()),
            request(&format!("{uri}?{}", query.join("&"))),
        )
        .await;
        assert_eq!(response.status(), 200, "{uri}?{}", query.join("&"));
        let described = item["get"]["responses"]["200"]["content"]
            .as_object()
            .unwrap();
        let media = response.headers()["content-type"].to_str().unwrap();
        assert!(
            described
                .keys()
                .all(|form| media.starts_with(form.as_str())),
            "{uri}: {media}"
        );
    }
}

#[tokio::test]
async fn the_pages_load_nothing_from_other_hosts() {
    let world = World::empty();
    for (uri, media_type) in [
        ("/", "text/html"),
        ("/assets/style.css", "text/css"),
        ("/assets/app.js", "text/javascript"),
        ("/assets/rows.js", "text/javascript"),
        ("/assets/stream.js", "text/javascript"),
        ("/dataflow", "text/html"),
        ("/assets/dataflow/style.css", "text/css"),
        ("/assets/dataflow/page.js", "text/javascript"),
        ("/assets/dataflow/graph.js", "text/javascript"),
        ("/assets/dataflow/layout.js", "text/javascript"),
        ("/assets/dataflow/tables.js", "text/javascript"),
        ("/assets/dataflow/format.js", "text/javascript"),
    ] {
        let response = send(world.state(), request(uri)).await;
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with(media_type),
            "{uri}"
        );
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let file = text(response).await;
        assert!(!file.is_empty(), "{uri}");
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(
                !file.contains(word),
                "{uri} has {word}: texts of accounts could become markup"
            );
        }
        let hosts = file
            .split("://")
            .skip(1)
            .map(|rest| rest.split(['/', '"', '\'', '`']).next().unwrap());
        let known = ["bsky.app", "www.w3.org"];
        assert!(
            hosts.clone().all(|host| known.contains(&host)),
            "{uri}: {:?}",
            hosts.collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn texts_of_accounts_stay_data() {
    let mut world = World::empty();
    let markup = "</script><img src=x onerror=alert(1)>";
    let entries = [(markup, 9, 3, 9)];
    world
        .commit(&[(
            ViewId::TopHashtags,
            vec![list(Window::Day, Measure::Count, "", &entries)],
        )])
        .await;
    let response = send(world.state(), request("/v1/trends/hashtags")).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let answer: Value = serde_json::from_str(&text(response).await).unwrap();
    assert_eq!(answer["entries"][0]["key"], markup);
}
