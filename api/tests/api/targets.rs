//! Posts, accounts and the interactions between accounts.

use serde_json::{Value, json};
use skytide_core::view::{
    ActorRow, Change, InteractionKey, InteractionRow, PostRow, PostState, ViewId,
};

use crate::world::{ANA, AS_OF, BEA, CAI, World, account, claim, did, post, row, time};

async fn posts_and_handles() -> World {
    let mut world = World::empty();
    let tallies = PostRow {
        likes: 3,
        root_replies: 2,
        state: PostState::Gone,
        ..PostRow::default()
    };
    world
        .commit(&[
            (
                ViewId::Posts,
                vec![row(&post(ANA, "3n2xril3jyo2a"), &tallies)],
            ),
            (
                ViewId::Accounts,
                vec![row(&did(ANA), &account("ana.bsky.social", "Ana"))],
            ),
            (
                ViewId::Handles,
                vec![
                    claim("ana.bsky.social", BEA, "2026-06-02T00:00:00Z"),
                    claim("ana.bsky.social", ANA, "2026-06-03T00:00:00Z"),
                    claim("ana.bsky.social.evil.example", CAI, "2026-06-04T00:00:00Z"),
                ],
            ),
        ])
        .await;
    world
}

#[tokio::test]
async fn a_post_is_found_by_every_form_of_its_address() {
    let world = posts_and_handles().await;
    let forms = [
        format!("at://{ANA}/app.bsky.feed.post/3n2xril3jyo2a"),
        format!("at%3A%2F%2F{ANA}%2Fapp.bsky.feed.post%2F3n2xril3jyo2a"),
        format!("https://bsky.app/profile/{ANA}/post/3n2xril3jyo2a"),
        "https://bsky.app/profile/ana.bsky.social/post/3n2xril3jyo2a".to_owned(),
    ];
    for form in forms {
        let answer = world.get(&format!("/v1/posts/{form}")).await;
        assert_eq!(
            answer["uri"],
            format!("at://{ANA}/app.bsky.feed.post/3n2xril3jyo2a"),
            "{form}"
        );
        assert_eq!(
            (&answer["likes"], &answer["root_replies"]),
            (&json!(3), &json!(2))
        );
        assert_eq!(answer["state"], "gone");
        assert_eq!(answer["author"]["handle"], "ana.bsky.social");
        let by_handle = form.contains("ana.bsky");
        assert_eq!(
            answer["resolved"]["verified"],
            if by_handle { json!(false) } else { Value::Null }
        );
    }
}

#[tokio::test]
async fn a_post_that_no_event_named_is_not_found() {
    let world = posts_and_handles().await;
    let (status, problem) = world
        .refused(&format!("/v1/posts/at://{ANA}/app.bsky.feed.post/self"))
        .await;
    assert_eq!(status, 404);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("since 2026-06-01"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_handle_resolves_to_its_newest_claim_and_is_not_verified() {
    let world = posts_and_handles().await;
    for name in ["ana.bsky.social", "@Ana.bsky.social"] {
        let answer = world.get(&format!("/v1/actors/{name}")).await;
        assert_eq!(answer["did"], ANA);
        let resolved = json!({
            "handle": "ana.bsky.social", "claimed": "2026-06-03T00:00:00.000Z",
            "claims": 2, "claims_partial": false, "verified": false, "by": "claim",
            "reason": "not checked: the network is not asked (API_RESOLVER_URL)",
        });
        assert_eq!(answer["resolved"], resolved);
        assert_eq!(answer["account"]["handle_verified"], false);
    }
    assert_eq!(world.refused("/v1/actors/nobody.bsky.social").await.0, 404);
}

#[tokio::test]
async fn an_account_is_answered_with_what_events_reported_and_what_was_counted() {
    let mut world = World::empty();
    let counts = ActorRow {
        followers: 5,
        likes_received: 8,
        last_seen: time("2026-07-04T14:00:00Z"),
        ..ActorRow::default()
    };
    world
        .commit(&[(
            ViewId::Actors,
            vec![
                row(&did(BEA), &counts),
                row(&did(CAI), &ActorRow::default()),
            ],
        )])
        .await;
    let answer = world.get(&format!("/v1/actors/{BEA}")).await;
    assert_eq!(answer["account"], Value::Null);
    assert_eq!(
        (
            &answer["counts"]["followers"],
            &answer["counts"]["likes_received"]
        ),
        (&json!(5), &json!(8))
    );
    assert_eq!(answer["counts"]["last_seen"], "2026-07-04T14:00:00.000Z");
    assert_eq!(
        world.get(&format!("/v1/actors/{CAI}")).await["counts"]["last_seen"],
        Value::Null
    );
    assert_eq!(world.refused(&format!("/v1/actors/{ANA}")).await.0, 404);
}

fn interaction(author: &str, subject: &str, days_ago: u32, likes: u32, replies: u32) -> Change {
    let day = time(AS_OF).day() - days_ago;
    let key = InteractionKey {
        author: did(author),
        day,
        subject: did(subject),
    };
    let characters = u64::from(replies) * 10;
    row(
        &key,
        &InteractionRow {
            likes,
            replies,
            characters,
            ..InteractionRow::default()
        },
    )
}

#[tokio::test]
async fn interactions_are_summed_over_days_in_both_directions() {
    let mut world = World::empty();
    let interactions = vec![
        interaction(ANA, BEA, 0, 2, 1),
        interaction(ANA, BEA, 6, 1, 0),
        interaction(ANA, BEA, 7, 50, 0), // the eighth day: too old
        interaction(ANA, CAI, 1, 9, 0),
        interaction(BEA, ANA, 2, 3, 0),
        interaction(CAI, ANA, 0, 1, 1),
    ];
    world.commit(&[(ViewId::Interactions, interactions)]).await;
    let sent = world.get(&format!("/v1/actors/{ANA}/interactions")).await;
    let short = |answer: &Value| -> Vec<(String, u64)> {
        let entries = answer["entries"].as_array().unwrap().iter();
        entries
            .map(|e| {
                (
                    e["account"]["did"].as_str().unwrap().to_owned(),
                    e["total"].as_u64().unwrap(),
                )
            })
            .collect()
    };
    assert_eq!(short(&sent), [(CAI.to_owned(), 9), (BEA.to_owned(), 4)]);
    assert_eq!(sent["entries"][1]["likes"], 3);
    assert_eq!(sent["entries"][1]["characters"], 10);
    assert_eq!(
        sent["days"],
        json!({"first": "2026-06-28", "last": "2026-07-04"})
    );
    assert_eq!(
        (&sent["rows_read"], &sent["partial"], &sent["accounts"]),
        (&json!(3), &json!(false), &json!(2))
    );

    let received = world
        .get(&format!("/v1/actors/{ANA}/interactions?direction=received"))
        .await;
    assert_eq!(short(&received), [(BEA.to_owned(), 3), (CAI.to_owned(), 2)]);
    let today = world
        .get(&format!("/v1/actors/{ANA}/interactions?days=1&limit=1"))
        .await;
    assert_eq!(short(&today), [(BEA.to_owned(), 3)]);
}

#[tokio::test]
async fn an_account_with_too_many_rows_is_answered_in_part_and_says_so() {
    let mut world = World::empty();
    let other = |n: u32| format!("did:web:n{n}.example.com");
    let mut interactions: Vec<Change> = (0..50_000)
        .map(|n| interaction(ANA, &other(n), 0, 1, 0))
        .collect();
    interactions.push(interaction(ANA, BEA, 1, 99, 0));
    interactions.push(interaction(CAI, BEA, 0, 99, 0));
    world.commit(&[(ViewId::Interactions, interactions)]).await;
    let answer = world
        .get(&format!("/v1/actors/{ANA}/interactions?limit=100"))
        .await;
    assert_eq!(
        (&answer["partial"], &answer["rows_read"]),
        (&json!(true), &json!(50_000))
    );
    let today = world
        .get(&format!("/v1/actors/{ANA}/interactions?days=1"))
        .await;
    assert_eq!(today["partial"], false, "exactly as many rows as the bound");
}

#[tokio::test]
async fn the_url_of_a_did_web_with_a_port_is_right_for_browsers_and_for_the_api() {
    let mut world = World::empty();
    let author = "did:web:localhost%3A3000";
    let key = post(author, "3n2xril3jyo2a");
    let counts = PostRow {
        likes: 3,
        ..PostRow::default()
    };
    world
        .commit(&[
            (
                ViewId::Accounts,
                vec![row(&did(author), &account("ana.test", "Ana"))],
            ),
            (ViewId::Posts, vec![row(&key, &counts)]),
        ])
        .await;
    let page = "https://bsky.app/profile/did:web:localhost%253A3000";
    let actor = world.get("/v1/actors/did:web:localhost%253A3000").await;
    assert_eq!(
        (&actor["did"], &actor["url"]),
        (&json!(author), &json!(page))
    );
    let page = format!("{page}/post/3n2xril3jyo2a");
    let encoded = page
        .replace('%', "%25")
        .replace('/', "%2F")
        .replace(':', "%3A");
    let uri = "at://did:web:localhost%253A3000/app.bsky.feed.post/3n2xril3jyo2a";
    for form in [uri, &page, &encoded] {
        let found = world.get(&format!("/v1/posts/{form}")).await;
        assert_eq!(found["uri"], key.to_string(), "{form}");
        assert_eq!((&found["likes"], &found["url"]), (&json!(3), &json!(page)));
    }
}
