//! Answers while `INDEXER_VIEWS` leaves views out.

use axum::http::StatusCode;
use futures_util::StreamExt;
use serde_json::{Value, json};
use skytide_core::view::{Measure, Span, TrendKey, TrendRow, ViewId, Window};

use crate::schema::violations;
use crate::world::{ANA, World, account, activity, did, get_json, list, post, request, row, send};

/// A world whose commit does not have these views.
async fn world_without(left_out: &[ViewId]) -> World {
    let mut world = World::empty();
    world.left_out = left_out.to_vec();
    let uri = post(ANA, "self").to_string();
    let tag = TrendKey {
        key: "en".into(),
        lang: "".into(),
    };
    let counts = TrendRow {
        counts: [9; 4],
        authors: [3; 4],
    };
    let all = [
        (
            ViewId::TopPosts,
            list(Window::Day, Measure::Likes, "", &[(&uri, 3, 0, 3)]),
        ),
        (
            ViewId::TopHashtags,
            list(Window::Day, Measure::Count, "", &[("art", 9, 3, 9)]),
        ),
        (
            ViewId::Accounts,
            row(&did(ANA), &account("ana.test", "Ana")),
        ),
        (ViewId::Languages, row(&tag, &counts)),
        (
            ViewId::Activity,
            activity(Span::All, "", "app.bsky.feed.post", 1, 0),
        ),
    ];
    let computed = all.into_iter().filter(|(view, _)| !left_out.contains(view));
    let computed: Vec<_> = computed
        .map(|(view, change)| (view, vec![change]))
        .collect();
    world.commit(&computed).await;
    world
}

#[tokio::test]
async fn a_route_whose_view_is_left_out_names_the_option_and_the_view() {
    let post = format!("/v1/posts/{}", post(ANA, "self"));
    let actor = format!("/v1/actors/{ANA}");
    let interactions = format!("/v1/actors/{ANA}/interactions");
    let routes = [
        (ViewId::Posts, post.as_str()),
        (ViewId::Hashtags, "/v1/trends/hashtags/art"),
        (ViewId::Links, "/v1/trends/links/https%3A%2F%2Fa.test"),
        (ViewId::TopHashtags, "/v1/trends/hashtags"),
        (ViewId::TopInteractions, "/v1/trends/interactions"),
        (ViewId::Actors, &actor),
        (ViewId::Accounts, &actor),
        (ViewId::Interactions, &interactions),
        (ViewId::Activity, "/v1/network"),
        (ViewId::Coverage, "/v1/coverage"),
    ];
    for (view, uri) in routes {
        let world = world_without(&[view]).await;
        let (status, problem) = world.refused(uri).await;
        assert_eq!((status, &problem["code"]), (503, &json!("view_missing")));
        let detail = problem["detail"].as_str().unwrap_or_default();
        let name = format!("the view {} ", view.name());
        assert!(
            detail.contains(&name) && detail.contains("INDEXER_VIEWS"),
            "{uri}: {detail}"
        );
        // The answers of other routes do not depend on it.
        let other = match view {
            ViewId::TopHashtags => "/v1/trends/posts",
            _ => "/v1/trends/hashtags",
        };
        world.get(other).await;
    }
    let world = world_without(&[ViewId::Activity]).await;
    let (status, answer) = get_json(world.state(), "/original/collStats").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("INDEXER_VIEWS"), "{answer}");
}

#[tokio::test]
async fn the_catalogue_says_which_views_are_computed() {
    let world = world_without(&[ViewId::Links, ViewId::TopLinks]).await;
    let answer = world.get("/v1/views").await;
    assert_eq!(violations("Views", &answer), Vec::<String>::new());
    let views = answer["views"].as_array().unwrap();
    let left_out = views.iter().filter(|view| view["computed"] == false);
    let names: Vec<&Value> = left_out.map(|view| &view["name"]).collect();
    assert_eq!(names, ["links", "top_links"]);
}

#[tokio::test]
async fn what_belongs_to_a_view_that_is_left_out_is_absent_and_not_zero() {
    let world = world_without(&[]).await;
    let top = world.get("/v1/trends/posts").await;
    assert!(top["entries"][0]["post"].is_object(), "{top:#}");
    let network = world.get("/v1/network").await;
    assert_eq!(network.get("not_computed"), None);

    let world = world_without(&[ViewId::Posts, ViewId::Languages]).await;
    let top = world.get("/v1/trends/posts").await;
    assert_eq!(top["entries"][0].get("post"), None, "{top:#}");
    let network = world.get("/v1/network").await;
    assert_eq!(network["not_computed"], json!(["languages"]));
    assert_eq!(network["languages"]["entries"], json!([]));
    assert_eq!(violations("Network", &network), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_without_the_lists_and_rates_that_are_left_out() {
    for (left_out, lists, has_rates) in [
        (vec![ViewId::TopPosts], vec!["hashtags"], true),
        (vec![ViewId::Activity], vec!["hashtags", "posts"], false),
    ] {
        let world = world_without(&left_out).await;
        let uri = "/v1/stream?lists=hashtags,posts";
        let response = send(world.state(), request(uri)).await;
        let mut events = response.into_body().into_data_stream();
        let event = events.next().await.unwrap().unwrap();
        let event = String::from_utf8(event.to_vec()).unwrap();
        let data = event.lines().find_map(|line| line.strip_prefix("data:"));
        let data: Value = serde_json::from_str(data.unwrap()).unwrap();
        let names: Vec<_> = data["lists"].as_object().unwrap().keys().collect();
        assert_eq!(names, lists, "without {left_out:?}");
        assert_eq!(data.get("rates").is_some(), has_rates, "{left_out:?}");
    }
}
