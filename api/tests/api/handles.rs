//! Handles: which account a handle names, by fetched profiles, by the network and by the stream.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::{Value, json};
use skytide_api::{ApiState, Limits};
use skytide_core::id::Did;
use skytide_core::memory::MemoryProfiles;
use skytide_core::port::identity::{DidDocument, IdentityError, IdentityResolver};
use skytide_core::port::profile::{Profile, ProfileStore, StoredProfile, StreamProfile};
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, ActorRow, ViewId};

use tokio::sync::Semaphore;

use crate::schema::violations;
use crate::world::{
    ANA, BEA, CAI, World, account, claim, did, get_json, request, row, send, text, time,
};

mod changes;

/// What servers of the network do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Answer,
    Fail,
    /// Only documents fail.
    FailDocuments,
    /// Documents wait for the gate.
    HoldDocuments,
    Hang,
}

/// A network in memory.
pub struct Network {
    /// The account of each handle.
    handles: Mutex<BTreeMap<String, &'static str>>,
    /// The handle in the document of each account.
    documents: Mutex<BTreeMap<&'static str, &'static str>>,
    mode: Mutex<Mode>,
    lookups: AtomicUsize,
    /// Documents that were requested.
    documents_asked: AtomicUsize,
    gate: Semaphore,
}

impl Network {
    pub fn of(identities: &[(&'static str, &'static str)]) -> Arc<Self> {
        let handles = identities
            .iter()
            .map(|(handle, did)| ((*handle).to_owned(), *did));
        let documents = identities.iter().map(|(handle, did)| (*did, *handle));
        Arc::new(Self {
            handles: Mutex::new(handles.collect()),
            documents: Mutex::new(documents.collect()),
            mode: Mutex::new(Mode::Answer),
            lookups: AtomicUsize::new(0),
            documents_asked: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        })
    }

    pub fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl IdentityResolver for Network {
    async fn resolve_handle(&self, handle: &str) -> Result<Option<Did>, IdentityError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Fail => return Err(IdentityError::Failed("secret-host refused".into())),
            Mode::Hang => pending().await,
            Mode::Answer | Mode::FailDocuments | Mode::HoldDocuments => {}
        }
        Ok(self.handles.lock().unwrap().get(handle).map(|it| did(it)))
    }

    async fn document(&self, account: &Did) -> Result<Option<DidDocument>, IdentityError> {
        self.documents_asked.fetch_add(1, Ordering::SeqCst);
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::FailDocuments => return Err(IdentityError::Failed("secret-host refused".into())),
            Mode::HoldDocuments => self.gate.acquire().await.unwrap().forget(),
            _ => {}
        }
        let documents = self.documents.lock().unwrap();
        let handle = documents.get(account.to_string().as_str());
        Ok(handle.map(|handle| DidDocument {
            did: account.clone(),
            handle: Some((*handle).into()),
        }))
    }
}

/// A world in which each account is known, and these claims were made in the stream.
async fn world(claims: &[(&str, &str, &str)]) -> World {
    let mut world = World::empty();
    commit_claims(&mut world, claims).await;
    let counts = [ANA, BEA, CAI].map(|it| row(&did(it), &ActorRow::default()));
    world.commit(&[(ViewId::Actors, counts.to_vec())]).await;
    world
}

/// Claims by handle, account and hour of the day.
async fn commit_claims(world: &mut World, claims: &[(&str, &str, &str)]) {
    let at = |hour: &str| format!("2026-07-04T{hour}:00:00Z");
    let changes = claims.iter();
    let changes = changes.map(|(handle, account, hour)| claim(handle, account, &at(hour)));
    world.commit(&[(ViewId::Handles, changes.collect())]).await;
}

/// What an account resolves to: DID, by, verified, reason.
async fn resolve(state: &ApiState, handle: &str) -> (String, String, bool, String) {
    let (status, answer) = get_json(state.clone(), &format!("/v1/actors/{handle}")).await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(violations("Actor", &answer), Vec::<String>::new());
    let resolved = &answer["resolved"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&answer["did"]),
        text(&resolved["by"]),
        resolved["verified"].as_bool().unwrap(),
        text(&resolved["reason"]),
    )
}

fn found(did: &str, by: &str, verified: bool, reason: &str) -> (String, String, bool, String) {
    (did.to_owned(), by.to_owned(), verified, reason.to_owned())
}

#[tokio::test]
async fn a_handle_is_verified_if_the_network_names_the_account_in_both_directions() {
    let world = world(&[("ana.dev", ANA, "03")]).await;
    let network = Network::of(&[("ana.dev", ANA), ("bea.dev", BEA)]);
    let state = world.state().with_resolver(network.clone());
    let answer = get_json(state.clone(), "/v1/actors/@Ana.DEV").await.1;
    let expected = json!({
        "handle": "ana.dev", "by": "network", "verified": true, "reason": null,
        "claimed": "2026-07-04T03:00:00.000Z", "claims": 1, "claims_partial": false,
    });
    assert_eq!(answer["resolved"], expected);
    // Nobody claimed this handle in the stream.
    let verified = found(BEA, "network", true, "");
    assert_eq!(resolve(&state, "bea.dev").await, verified);
    for uri in [
        "/v1/actors/bea.dev/interactions",
        "/v1/trends/mentions/bea.dev",
    ] {
        let (status, answer) = get_json(state.clone(), uri).await;
        assert_eq!(
            (status.as_u16(), &answer["resolved"]["verified"]),
            (200, &json!(true)),
            "{uri}"
        );
    }
    assert_eq!(network.lookups(), 2, "results are cached");
}

#[tokio::test]
async fn an_account_that_no_event_named_is_shown_if_its_handle_resolves_or_its_profile_is_known() {
    let mut world = World::empty();
    world.commit(&[]).await;
    let network = Network::of(&[("bea.dev", BEA)]);
    let state = with_profile(&world, None).await.with_resolver(network);
    let verified = found(BEA, "network", true, "");
    assert_eq!(resolve(&state, "bea.dev").await, verified);
    for name in ["ana.dev", ANA] {
        let (status, answer) = get_json(state.clone(), &format!("/v1/actors/{name}")).await;
        assert_eq!(status, 200, "{answer:#}");
        assert_eq!(violations("Actor", &answer), Vec::<String>::new());
        assert_eq!(
            (&answer["did"], &answer["account"]),
            (&json!(ANA), &Value::Null)
        );
        assert_eq!(answer["profile"]["handle"], "ana.dev");
        assert_eq!(answer["counts"]["followers"], 0);
    }
    assert_eq!(get_json(state, &format!("/v1/actors/{BEA}")).await.0, 404);
}

#[tokio::test]
async fn a_strangers_claim_is_not_verified_and_the_network_wins() {
    let claims = [
        ("ana.dev", ANA, "03"),
        ("ana.dev", BEA, "09"),
        ("cai.dev", BEA, "09"),
    ];
    let world = world(&claims).await;
    let network = Network::of(&[("ana.dev", ANA)]);
    let state = world.state().with_resolver(network.clone());
    let verified = found(ANA, "network", true, "");
    assert_eq!(resolve(&state, "ana.dev").await, verified);
    let reason = "the network resolves \"cai.dev\" to no account";
    let claimed = found(BEA, "claim", false, reason);
    assert_eq!(resolve(&state, "cai.dev").await, claimed);
    // The handle names an account whose document names another handle, or that has none.
    let network = Network::of(&[("ana.dev", ANA)]);
    network
        .handles
        .lock()
        .unwrap()
        .insert("cai.dev".into(), ANA);
    network
        .handles
        .lock()
        .unwrap()
        .insert("none.dev".into(), CAI);
    let state = world.state().with_resolver(network);
    let reason = "the DID document names the handle \"ana.dev\"";
    let one_way = found(ANA, "network", false, reason);
    assert_eq!(resolve(&state, "cai.dev").await, one_way);
    let reason = "the account has no DID document";
    let one_way = found(CAI, "network", false, reason);
    assert_eq!(resolve(&state, "none.dev").await, one_way);
}

#[tokio::test]
async fn two_accounts_that_claim_each_others_handles_resolve_to_their_owners() {
    let claims = [("ana.dev", BEA, "09"), ("bea.dev", ANA, "09")];
    let world = world(&claims).await;
    let network = Network::of(&[("ana.dev", ANA), ("bea.dev", BEA)]);
    let state = world.state().with_resolver(network);
    for (handle, owner) in [("ana.dev", ANA), ("bea.dev", BEA)] {
        let verified = found(owner, "network", true, "");
        assert_eq!(resolve(&state, handle).await, verified);
    }
}

#[tokio::test]
async fn a_handle_that_moves_is_asked_for_again_at_the_next_claim() {
    let mut world = world(&[("ana.dev", ANA, "03")]).await;
    let network = Network::of(&[("ana.dev", ANA)]);
    let state = world.state().with_resolver(network.clone());
    let verified = found(ANA, "network", true, "");
    assert_eq!(resolve(&state, "ana.dev").await, verified);
    network
        .handles
        .lock()
        .unwrap()
        .insert("ana.dev".into(), BEA);
    network.documents.lock().unwrap().insert(BEA, "ana.dev");
    assert_eq!(
        resolve(&state, "ana.dev").await,
        verified,
        "no event: cached"
    );
    commit_claims(&mut world, &[("ana.dev", BEA, "09")]).await;
    let moved = found(BEA, "network", true, "");
    assert_eq!(resolve(&state, "ana.dev").await, moved);
    // The account names another handle.
    network.documents.lock().unwrap().insert(BEA, "bea.dev");
    let changed = account("bea.dev", "Bea");
    world
        .commit(&[(ViewId::Accounts, vec![row(&did(BEA), &changed)])])
        .await;
    let reason = "the DID document names the handle \"bea.dev\"";
    let one_way = found(BEA, "network", false, reason);
    assert_eq!(resolve(&state, "ana.dev").await, one_way);
    assert_eq!(network.lookups(), 3);
}

#[tokio::test]
async fn a_resolver_that_fails_leaves_the_newest_claim_and_the_reason() {
    let world = world(&[("ana.dev", BEA, "03"), ("ana.dev", ANA, "09")]).await;
    let network = Network::of(&[("cai.dev", CAI)]);
    network.set(Mode::Fail);
    let state = world.state().with_resolver(network.clone());
    let reason = "not checked: the resolver could not be asked";
    let claimed = found(ANA, "claim", false, reason);
    assert_eq!(resolve(&state, "ana.dev").await, claimed);
    let (status, problem) = get_json(state, "/v1/actors/nobody.dev").await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (503, &json!("resolver_unavailable"))
    );
    assert!(!problem.to_string().contains("secret-host"), "{problem}");
    network.set(Mode::FailDocuments);
    let state = world.state().with_resolver(network);
    let reason = "the DID document was not checked: the resolver could not be asked";
    let one_way = found(CAI, "network", false, reason);
    assert_eq!(resolve(&state, "cai.dev").await, one_way);
}

#[tokio::test]
async fn a_handle_that_nothing_knows_is_not_found() {
    let world = world(&[]).await;
    let state = world.state().with_resolver(Network::of(&[]));
    let (status, problem) = get_json(state, "/v1/actors/nobody.dev").await;
    assert_eq!(status, 404);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("the network resolves \"nobody.dev\" to no account"),
        "{detail}"
    );
    let (status, problem) = world.refused("/v1/actors/nobody.dev").await;
    assert_eq!(status, 404);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("API_RESOLVER_URL"), "{detail}");
    let network = Network::of(&[("handle.invalid", ANA)]);
    let state = world.state().with_resolver(network.clone());
    assert_eq!(get_json(state, "/v1/actors/Handle.Invalid").await.0, 404);
    assert_eq!(network.lookups(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_delays_an_answer_by_three_seconds_at_most() {
    let world = world(&[("ana.dev", ANA, "03")]).await;
    let network = Network::of(&[]);
    network.set(Mode::Hang);
    let state = world.state().with_resolver(network.clone());
    let reason = "not checked: the resolver did not answer within 3s";
    let claimed = found(ANA, "claim", false, reason);
    let asked = (0..5).map(|_| resolve(&state, "ana.dev"));
    for answer in join_all(asked).await {
        assert_eq!(answer, claimed);
    }
    assert_eq!(network.lookups(), 1, "one lookup for all who wait");
}

#[tokio::test(start_paused = true)]
async fn lookups_are_bounded_and_beyond_the_bound_the_answer_says_so() {
    let world = world(&[("ana.dev", ANA, "03")]).await;
    let network = Network::of(&[]);
    let state = world.state().with_resolver(network.clone());
    for number in 0..100 {
        let uri = format!("/v1/actors/n{number}.dev");
        let (status, problem) = get_json(state.clone(), &uri).await;
        let expected = if number < 25 { 404 } else { 503 };
        assert_eq!(status, expected, "{number}: {problem}");
    }
    assert_eq!(network.lookups(), 25);
    let metrics = text(send(state.clone(), request("/metrics")).await).await;
    for line in [
        "api_handle_lookups_total{outcome=\"Nobody\"} 25",
        "api_handle_lookups_total{outcome=\"Refused\"} 75",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    let reason = "not checked: too many handles were resolved recently";
    let claimed = found(ANA, "claim", false, reason);
    assert_eq!(resolve(&state, "ana.dev").await, claimed);
    tokio::time::advance(Duration::from_millis(200)).await;
    let reason = "the network resolves \"ana.dev\" to no account";
    let claimed = found(ANA, "claim", false, reason);
    assert_eq!(resolve(&state, "ana.dev").await, claimed);
}

/// A state with the profile of Ana, which was fetched at noon while her row had this handle.
async fn with_profile(world: &World, reported: Option<&str>) -> ApiState {
    let stored = StoredProfile {
        did: did(ANA),
        fetched: time("2026-07-04T12:00:00Z"),
        stream: StreamProfile {
            handle: reported.map(Into::into),
            ..StreamProfile::default()
        },
        profile: Some(Profile {
            handle: "ana.dev".into(),
            name: None,
            avatar: None,
        }),
    };
    let profiles = MemoryProfiles::default();
    profiles.put(&[stored]).await.unwrap();
    world.state().with_profiles(Arc::new(profiles))
}

#[tokio::test]
async fn a_fetched_profile_verifies_its_handle_without_a_request() {
    let mut world = world(&[("ana.dev", BEA, "11")]).await;
    let network = Network::of(&[]);
    let state = with_profile(&world, None)
        .await
        .with_resolver(network.clone());
    let verified = found(ANA, "profile", true, "");
    assert_eq!(resolve(&state, "ana.dev").await, verified);
    assert_eq!(network.lookups(), 0);
    // Another account claimed the handle after the fetch: it may have moved.
    commit_claims(&mut world, &[("ana.dev", CAI, "13")]).await;
    let reason = "the network resolves \"ana.dev\" to no account";
    let claimed = found(CAI, "claim", false, reason);
    assert_eq!(resolve(&state, "ana.dev").await, claimed);
    assert_eq!(network.lookups(), 1);
}

#[tokio::test]
async fn a_fetched_profile_no_longer_counts_when_it_is_old_or_the_stream_reports_another_handle() {
    let mut world = world(&[]).await;
    let state = with_profile(&world, None).await;
    let reason = "not checked: the network is not asked (API_RESOLVER_URL)";
    let unverified = found(ANA, "profile", false, reason);
    let noon = time("2026-07-04T12:00:00Z").0;
    let two_days = 2 * 86_400_000;
    world.clock.set(Timestamp(noon + two_days - 1));
    assert_eq!(
        resolve(&state, "ana.dev").await,
        found(ANA, "profile", true, "")
    );
    world.clock.set(Timestamp(noon + two_days));
    assert_eq!(resolve(&state, "ana.dev").await, unverified);
    world.clock.set(Timestamp(noon));
    let changed = account("ann.dev", "Ana");
    world
        .commit(&[(ViewId::Accounts, vec![row(&did(ANA), &changed)])])
        .await;
    assert_eq!(resolve(&state, "ana.dev").await, unverified);
    // The account may have withdrawn its handle by `handle.invalid`.
    let withdrawn = AccountRow {
        handle: None,
        ..account("", "Ana")
    };
    world
        .commit(&[(ViewId::Accounts, vec![row(&did(ANA), &withdrawn)])])
        .await;
    assert_eq!(resolve(&state, "ana.dev").await, unverified);
}

#[tokio::test]
async fn the_handle_of_an_account_is_verified_once_something_known_verifies_it() {
    let mut world = world(&[]).await;
    let rows = [(ANA, "ana.dev"), (BEA, "bea.dev")];
    let rows = rows.map(|(it, handle)| row(&did(it), &account(handle, "")));
    world.commit(&[(ViewId::Accounts, rows.to_vec())]).await;
    let network = Network::of(&[("bea.dev", BEA)]);
    let state = with_profile(&world, Some("ana.dev"))
        .await
        .with_resolver(network.clone());
    let verified = async |name: &str| {
        let uri = format!("/v1/actors/{name}");
        let answer = get_json(state.clone(), &uri).await.1;
        answer["account"]["handle_verified"].clone()
    };
    assert_eq!(verified(ANA).await, true, "the fetched profile");
    assert_eq!(verified(BEA).await, false, "no request for a DID");
    assert_eq!(network.lookups(), 0);
    assert_eq!(verified("bea.dev").await, true);
    assert_eq!(verified(BEA).await, true, "it is known now");
    let changed = AccountRow {
        handle: Some("other.dev".into()),
        ..account("", "")
    };
    world
        .commit(&[(ViewId::Accounts, vec![row(&did(BEA), &changed)])])
        .await;
    assert_eq!(
        verified(BEA).await,
        false,
        "the stream reports another handle"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cached_answer_does_not_hide_that_a_handle_is_verified_now() {
    let world = world(&[("ana.dev", ANA, "03")]).await;
    let network = Network::of(&[("ana.dev", ANA)]);
    network.set(Mode::Fail);
    let limits = Limits {
        reuse_ms_max: 3_600_000,
        ..Limits::default()
    };
    let state = world
        .state()
        .with_limits(limits)
        .with_resolver(network.clone());
    let reason = "not checked: the resolver could not be asked";
    let claimed = found(ANA, "claim", false, reason);
    assert_eq!(resolve(&state, "ana.dev").await, claimed);
    network.set(Mode::Answer);
    assert_eq!(
        resolve(&state, "ana.dev").await,
        claimed,
        "failures are cached, too"
    );
    tokio::time::advance(Duration::from_secs(30)).await;
    let verified = found(ANA, "network", true, "");
    assert_eq!(resolve(&state, "ana.dev").await, verified);
}
