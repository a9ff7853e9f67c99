//! Profiles in every answer that names an account.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use skytide_core::id::Did;
use skytide_core::memory::MemoryProfiles;
use skytide_core::port::profile::{
    Profile, ProfileError, ProfileStore, StoredProfile, StreamProfile,
};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    AccountRow, InteractionKey, InteractionRow, Measure, PostRow, ViewId, Window,
};

use crate::schema::violations;
use crate::world::{ANA, BEA, CAI, World, account, did, get_json, list, post, row};

/// A profile store that counts its reads, and fails if it should.
struct CountingStore {
    profiles: MemoryProfiles,
    reads: AtomicUsize,
    fails: bool,
}

#[async_trait]
impl ProfileStore for CountingStore {
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.fails {
            let operation = "read";
            let source = "connection refused".into();
            return Err(ProfileError::Failed { operation, source });
        }
        self.profiles.get(dids).await
    }

    async fn put(&self, _: &[StoredProfile]) -> Result<(), ProfileError> {
        unreachable!("the API only reads")
    }

    async fn remove_before(&self, _: Timestamp, _: usize) -> Result<usize, ProfileError> {
        unreachable!("the API only reads")
    }

    async fn remove(&self, _: &[Did]) -> Result<(), ProfileError> {
        unreachable!("the API only reads")
    }
}

/// Ana's profile was fetched; only the stream reported Bea; nothing is known of Cai.
async fn counting_store(fails: bool) -> Arc<CountingStore> {
    let profiles = MemoryProfiles::default();
    let ana = StoredProfile {
        did: did(ANA),
        fetched: Timestamp(1),
        stream: StreamProfile::default(),
        profile: Some(Profile {
            handle: "ana.fetched".into(),
            name: Some("Ana 🌊".into()),
            avatar: Some("https://cdn.test/ana".into()),
        }),
    };
    profiles.put(&[ana]).await.unwrap();
    let reads = AtomicUsize::new(0);
    Arc::new(CountingStore {
        profiles,
        reads,
        fails,
    })
}

async fn world() -> World {
    let mut world = World::empty();
    let uris = [ANA, BEA, CAI].map(|author| post(author, "self").to_string());
    let posts: Vec<_> = uris.iter().map(|uri| (uri.as_str(), 3, 0, 3)).collect();
    let dids = [ANA, BEA, CAI].map(|it| (it, 3, 0, 3));
    let pair = |subject: &str| {
        let key = InteractionKey {
            author: did(BEA),
            day: 20_638,
            subject: did(subject),
        };
        let acts = InteractionRow {
            likes: 1,
            ..InteractionRow::default()
        };
        row(&key, &acts)
    };
    let day = |measure| vec![list(Window::Day, measure, "", &dids)];
    world
        .commit(&[
            (
                ViewId::TopPosts,
                vec![list(Window::Day, Measure::Likes, "", &posts)],
            ),
            (ViewId::TopActors, day(Measure::LikesReceived)),
            (ViewId::TopBlocks, day(Measure::BlocksReceived)),
            (ViewId::TopInteractions, day(Measure::LikesFromOthers)),
            (ViewId::TopMentions, day(Measure::Count)),
            (ViewId::Interactions, vec![pair(ANA), pair(CAI)]),
            (
                ViewId::Posts,
                vec![row(&post(ANA, "self"), &PostRow::default())],
            ),
            (
                ViewId::Accounts,
                vec![row(&did(BEA), &account("bea.test", "Bea"))],
            ),
            (
                ViewId::Actors,
                vec![row(&did(ANA), &skytide_core::view::ActorRow::default())],
            ),
        ])
        .await;
    world
}

fn ana() -> Value {
    json!({"handle": "ana.fetched", "name": "Ana 🌊", "avatar": "https://cdn.test/ana"})
}

#[tokio::test]
async fn every_list_shows_profiles_with_one_read_of_the_store() {
    let world = world().await;
    for name in ["posts", "actors", "blocks", "mentions", "interactions"] {
        let store = counting_store(false).await;
        let state = world.state().with_profiles(store.clone());
        let (_, answer) = get_json(state, &format!("/v1/trends/{name}")).await;
        assert_eq!(violations("Trends", &answer), Vec::<String>::new());
        let entries = answer["entries"].as_array().unwrap();
        let profiles: Vec<_> = entries.iter().map(|it| &it["account"]["profile"]).collect();
        let bea = json!({"handle": "bea.test", "name": "Bea", "avatar": null});
        assert_eq!(profiles, [&ana(), &bea, &Value::Null], "{name}");
        assert_eq!(store.reads.load(Ordering::SeqCst), 1, "{name}");
    }
}

#[tokio::test]
async fn accounts_outside_of_lists_show_profiles_too() {
    let world = world().await;
    let state = world.state().with_profiles(counting_store(false).await);
    let cases = [
        ("Actor", format!("/v1/actors/{ANA}"), "/profile"),
        (
            "Post",
            format!("/v1/posts/at://{ANA}/app.bsky.feed.post/self"),
            "/author/profile",
        ),
        (
            "Trend",
            format!("/v1/trends/mentions/{ANA}"),
            "/account/profile",
        ),
        (
            "Interactions",
            format!("/v1/actors/{BEA}/interactions"),
            "/entries/0/account/profile",
        ),
    ];
    for (schema, uri, pointer) in cases {
        let (_, answer) = get_json(state.clone(), &uri).await;
        assert_eq!(violations(schema, &answer), Vec::<String>::new());
        assert_eq!(answer.pointer(pointer), Some(&ana()), "{uri}: {answer:#}");
    }
}

#[tokio::test]
async fn a_hidden_account_shows_no_profile() {
    let mut world = world().await;
    let hidden = AccountRow {
        active: false,
        status: Some("deactivated".into()),
        ..AccountRow::default()
    };
    world
        .commit(&[(ViewId::Accounts, vec![row(&did(ANA), &hidden)])])
        .await;
    let state = world.state().with_profiles(counting_store(false).await);
    for uri in ["/v1/trends/actors", &format!("/v1/actors/{ANA}")] {
        let (_, answer) = get_json(state.clone(), uri).await;
        let text = answer.to_string();
        assert!(
            !text.contains("fetched") && !text.contains("cdn.test"),
            "{uri}: {text}"
        );
    }
}

#[tokio::test]
async fn if_the_profile_store_fails_accounts_show_what_the_stream_reported() {
    let world = world().await;
    let state = world.state().with_profiles(counting_store(true).await);
    let (status, answer) = get_json(state, "/v1/trends/actors").await;
    assert_eq!(status, 200);
    assert_eq!(answer["entries"][0]["account"]["profile"], Value::Null);
    assert_eq!(answer["entries"][1]["account"]["profile"]["name"], "Bea");
}
