//! Profiles in every answer that names an account.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::{Value, json};
use skytide_api::ApiState;
use skytide_core::id::Did;
use skytide_core::memory::{MemoryJobs, MemoryProfiles};
use skytide_core::port::clock::Clock;
use skytide_core::port::job::{JobPlan, JobStore};
use skytide_core::port::profile::{
    PausedServer, Profile, ProfileError, ProfileStore, REQUESTS_MAX, SourcePause, StoredProfile,
    StreamProfile,
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

    async fn by_handle(&self, handle: &str) -> Result<Vec<StoredProfile>, ProfileError> {
        self.profiles.by_handle(handle).await
    }

    async fn request(&self, dids: &[Did], now: Timestamp) -> Result<usize, ProfileError> {
        self.profiles.request(dids, now).await
    }

    async fn take_requests(&self, limit: usize) -> Result<Vec<Did>, ProfileError> {
        self.profiles.take_requests(limit).await
    }

    async fn pause(&self, of: PausedServer) -> Result<SourcePause, ProfileError> {
        self.profiles.pause(of).await
    }

    async fn set_pause(&self, _: PausedServer, _: &SourcePause) -> Result<(), ProfileError> {
        unreachable!("the API does not query the source")
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

/// Jobs of a scheduler that fetches profiles.
async fn scheduler(due: Option<Timestamp>) -> Arc<MemoryJobs> {
    let jobs = MemoryJobs::default();
    let plan = JobPlan {
        due,
        ..JobPlan::default()
    };
    jobs.plan("profiles", &plan).await.unwrap();
    Arc::new(jobs)
}

/// The status of the profile of each account in the list of actors, in its order: Ana, Bea, Cai.
async fn statuses(state: &ApiState) -> Vec<String> {
    let (_, answer) = get_json(state.clone(), "/v1/trends/actors").await;
    assert_eq!(violations("Trends", &answer), Vec::<String>::new());
    let entries = answer["entries"].as_array().unwrap().iter();
    let status = |entry: &Value| {
        entry["account"]["profile_status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    entries.map(status).collect()
}

/// Lets the tasks that answers started run to their end: the store is in memory, so they never wait.
async fn run_tasks() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Takes the requests that answers have made.
async fn requested(store: &MemoryProfiles) -> Vec<Did> {
    run_tasks().await;
    store.take_requests(usize::MAX).await.unwrap()
}

fn fetched_at(account: &str, fetched: Timestamp, profile: Option<Profile>) -> StoredProfile {
    StoredProfile {
        did: did(account),
        fetched,
        stream: StreamProfile::default(),
        profile,
    }
}

fn named(handle: &str) -> Option<Profile> {
    Some(Profile {
        handle: handle.into(),
        name: None,
        avatar: None,
    })
}

#[tokio::test]
async fn profiles_that_an_answer_lacks_are_requested_once() {
    let mut world = world().await;
    let store = MemoryProfiles::default();
    let now = world.clock.now();
    let day = 86_400_000;
    store
        .put(&[fetched_at(ANA, now, named("ana.test"))])
        .await
        .unwrap();
    let state = world.state().with_profiles(Arc::new(store.clone()));
    let state = state.with_jobs(scheduler(Some(Timestamp(now.0 + 2 * day))).await);
    assert_eq!(statuses(&state).await, ["fresh", "pending", "pending"]);
    assert_eq!(requested(&store).await, [BEA, CAI].map(did));
    assert_eq!(statuses(&state).await, ["fresh", "pending", "pending"]);
    assert_eq!(requested(&store).await, [], "requested within a minute");
    // The source knows Bea only as she was before the stream reported her, and not Cai.
    let bea = fetched_at(BEA, Timestamp(now.0 - 60_000), named("bea.test"));
    let cai = fetched_at(CAI, now, None);
    store.put(&[bea, cai]).await.unwrap();
    assert_eq!(statuses(&state).await, ["fresh", "stale", "unknown"]);
    assert_eq!(requested(&store).await, [did(BEA)]);
    // All are too old.
    world.advance(day);
    let all = statuses(&state).await;
    assert_eq!(all, ["stale", "stale", "pending"]);
    let hidden = AccountRow {
        active: false,
        ..AccountRow::default()
    };
    world
        .commit(&[(ViewId::Accounts, vec![row(&did(CAI), &hidden)])])
        .await;
    assert_eq!(statuses(&state).await, ["stale", "stale", "hidden"]);
}

#[tokio::test]
async fn accounts_outside_of_lists_are_requested_too() {
    let world = world().await;
    let uris = [
        format!("/v1/actors/{ANA}"),
        format!("/v1/posts/at://{ANA}/app.bsky.feed.post/self"),
        format!("/v1/trends/mentions/{ANA}"),
    ];
    for uri in uris {
        let store = MemoryProfiles::default();
        let state = world.state().with_profiles(Arc::new(store.clone()));
        let state = state.with_jobs(scheduler(Some(world.clock.now())).await);
        let (_, answer) = get_json(state, &uri).await;
        assert!(
            answer.to_string().contains(r#""profile_status":"pending""#),
            "{answer:#}"
        );
        assert_eq!(requested(&store).await, [did(ANA)], "{uri}");
    }
    let store = MemoryProfiles::default();
    let state = world.state().with_profiles(Arc::new(store.clone()));
    let state = state.with_jobs(scheduler(Some(world.clock.now())).await);
    get_json(state, &format!("/v1/actors/{BEA}/interactions")).await;
    assert_eq!(requested(&store).await, [ANA, CAI].map(did));
}

#[tokio::test]
async fn a_client_does_not_choose_which_profiles_are_fetched() {
    let mut world = world().await;
    let stranger = "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz";
    let long = format!("did:web:{}.com", "a".repeat(300));
    let others = [&long, "did:key:zabc"];
    let counts = others.map(|it| row(&did(it), &skytide_core::view::ActorRow::default()));
    world.commit(&[(ViewId::Actors, counts.to_vec())]).await;
    let store = MemoryProfiles::default();
    let state = world.state().with_profiles(Arc::new(store.clone()));
    let state = state.with_jobs(scheduler(Some(world.clock.now())).await);
    for named in [stranger, &long, "did:key:zabc"] {
        let (_, answer) = get_json(state.clone(), &format!("/v1/trends/mentions/{named}")).await;
        let status = &answer["account"]["profile_status"];
        assert_eq!(status, "unknown", "{answer:#}");
        assert_eq!(violations("Trend", &answer), Vec::<String>::new());
    }
    assert_eq!(requested(&store).await, []);
}

#[tokio::test]
async fn without_a_scheduler_that_fetches_profiles_nothing_is_requested() {
    let world = world().await;
    let minute = 60_000;
    let overdue = Timestamp(world.clock.now().0 - 6 * minute);
    for jobs in [
        Arc::new(MemoryJobs::default()),
        scheduler(None).await,
        scheduler(Some(overdue)).await,
    ] {
        let store = MemoryProfiles::default();
        let state = world.state().with_profiles(Arc::new(store.clone()));
        let state = state.with_jobs(jobs);
        assert_eq!(statuses(&state).await, ["off", "off", "off"]);
        assert_eq!(requested(&store).await, []);
    }
}

#[tokio::test]
async fn a_pause_of_the_source_and_a_full_queue_are_the_reason_for_a_missing_profile() {
    let world = world().await;
    let now = world.clock.now();
    let store = MemoryProfiles::default();
    let pause = SourcePause {
        not_before: Timestamp(now.0 + 1),
        failures_in_a_row: 1,
    };
    store
        .set_pause(PausedServer::Profiles, &pause)
        .await
        .unwrap();
    let state = world.state().with_profiles(Arc::new(store.clone()));
    let state = state.with_jobs(scheduler(Some(now)).await);
    assert_eq!(statuses(&state).await, ["paused", "paused", "paused"]);
    assert_eq!(
        requested(&store).await.len(),
        3,
        "they are fetched after the pause"
    );

    let store = MemoryProfiles::default();
    let full: Vec<Did> = (0..REQUESTS_MAX)
        .map(|number| did(&format!("did:web:n{number}.test")))
        .collect();
    store.request(&full, now).await.unwrap();
    let state = world.state().with_profiles(Arc::new(store));
    let state = state.with_jobs(scheduler(Some(now)).await);
    statuses(&state).await;
    run_tasks().await;
    assert_eq!(statuses(&state).await, ["busy", "busy", "busy"]);
}

#[tokio::test]
async fn if_the_profile_store_fails_the_status_says_so_and_nothing_is_requested() {
    let world = world().await;
    let store = counting_store(true).await;
    let state = world.state().with_profiles(store.clone());
    let state = state.with_jobs(scheduler(Some(world.clock.now())).await);
    assert_eq!(statuses(&state).await, ["unavailable"; 3]);
    assert_eq!(requested(&store.profiles).await, []);
}
