//! PDS, PLC directory and AppView of a simulated network.

use std::time::Duration;

use skytide_core::id::Did;
use skytide_core::port::clock::ManualClock;
use skytide_core::time::Timestamp;
use skytide_simnet::server::{IdentityCase, Options, ProfileOptions, Server};
use skytide_simnet::{Network, Options as NetworkOptions};

use crate::client::{Answer, get, get_as};
use crate::frames::{START, at, clock};

fn network() -> Network {
    Network::new(NetworkOptions {
        seed: 11,
        accounts: 60,
        start: START,
        events_max: Some(3_000),
        ..NetworkOptions::default()
    })
}

/// A server whose network has ended, and an equal network at its end.
async fn ended(options: Options) -> (Server, Network, std::sync::Arc<ManualClock>) {
    let clock = clock();
    let options = Options {
        backlog: Duration::from_secs(86_400),
        ..options
    };
    let server = Server::start(options, network(), clock.clone());
    let server = server.await.expect("started");
    server.until(|state| state.ended).await;
    let mut twin = network();
    while twin.next_frame().is_some() {}
    (server, twin, clock)
}

/// An account of this status that has a profile.
fn account(network: &mut Network, status: Option<&str>) -> skytide_simnet::Account {
    let dids: Vec<Did> = network.dids().collect();
    let mut accounts = dids.iter().filter_map(|did| network.account(did));
    let found = accounts.find(|it| it.status == status && it.display_name.is_some());
    found.unwrap_or_else(|| panic!("no account is {status:?}"))
}

fn xrpc(name: &str, query: &str) -> String {
    format!("/xrpc/{name}?{query}")
}

#[track_caller]
fn refused(answer: &Answer, status: u16, error: &str, message: &str) {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(body["error"], error, "{body}");
    let text = body["message"].as_str().expect("a message");
    assert!(text.contains(message), "{text:?}");
}

#[tokio::test]
async fn repos_match_those_of_the_network() {
    let (server, mut twin, _) = ended(Options::default()).await;
    let did = account(&mut twin, None).did;
    let query = format!("did={did}");
    let car = get(&server, &xrpc("com.atproto.sync.getRepo", &query)).await;
    assert_eq!(car.header("content-type"), Some("application/vnd.ipld.car"));
    assert!(car.body == twin.repo_car(&did).expect("a repo"));

    let (cid, rev) = twin.latest_commit(&did).expect("a commit");
    let latest = get(&server, &xrpc("com.atproto.sync.getLatestCommit", &query)).await;
    assert_eq!(latest.json()["cid"], cid.to_string());
    assert_eq!(latest.json()["rev"], rev.to_string());
    let status = get(&server, &xrpc("com.atproto.sync.getRepoStatus", &query)).await;
    assert_eq!(status.json()["active"], true);
    assert_eq!(status.json()["rev"], rev.to_string());
}

#[tokio::test]
async fn a_request_for_an_unavailable_repo_gets_a_named_error() {
    let (server, ..) = ended(Options::default()).await;
    for name in ["getRepo", "getLatestCommit", "getRepoStatus"] {
        let name = format!("com.atproto.sync.{name}");
        let unknown = get(&server, &xrpc(&name, "did=did:web:nobody.example")).await;
        refused(&unknown, 400, "RepoNotFound", "did:web:nobody.example");
        let wrong = get(&server, &xrpc(&name, "did=nobody")).await;
        refused(&wrong, 400, "InvalidRequest", "did must be a valid did");
        let none = get(&server, &xrpc(&name, "")).await;
        refused(&none, 400, "InvalidRequest", "\"did\"");
    }
}

#[tokio::test]
async fn all_repos_are_listed_in_pages() {
    let (server, mut twin, _) = ended(Options::default()).await;
    let mut listed = Vec::new();
    let mut cursor = String::new();
    loop {
        let query = format!("limit=17{cursor}");
        let page = get(&server, &xrpc("com.atproto.sync.listRepos", &query))
            .await
            .json();
        let repos = page["repos"].as_array().expect("repos");
        listed.extend(
            repos
                .iter()
                .map(|it| it["did"].as_str().expect("a DID").to_owned()),
        );
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let dids: Vec<Did> = twin.dids().collect();
    let hosted = dids.iter().filter(|did| twin.latest_commit(did).is_some());
    let mut hosted: Vec<String> = hosted.map(ToString::to_string).collect();
    hosted.sort_unstable();
    assert_eq!(listed, hosted);
    let wrong = get(&server, &xrpc("com.atproto.sync.listRepos", "limit=0")).await;
    refused(&wrong, 400, "InvalidRequest", "between 1 and 1000");
}

#[tokio::test]
async fn a_handle_resolves_to_a_did_and_a_did_to_its_document() {
    let (server, mut twin, _) = ended(Options::default()).await;
    let account = account(&mut twin, None);
    let did = account.did.to_string();
    let query = format!("handle={}", account.handle.to_uppercase());
    let resolved = get(&server, &xrpc("com.atproto.identity.resolveHandle", &query)).await;
    assert_eq!(resolved.json()["did"], did);
    let known = get_as(&server, "/.well-known/atproto-did", &account.handle).await;
    assert_eq!(String::from_utf8(known.body).expect("text"), did);

    let document = get(&server, &format!("/{did}")).await.json();
    assert_eq!(document["id"], did);
    assert_eq!(
        document["alsoKnownAs"][0],
        format!("at://{}", account.handle)
    );
    assert_eq!(document["service"][0]["serviceEndpoint"], server.url());
    let key = document["verificationMethod"][0]["publicKeyMultibase"].as_str();
    assert_eq!(format!("did:key:{}", key.expect("a key")), account.did_key);

    let nobody = "handle=nobody.elsewhere.example";
    let unknown = get(&server, &xrpc("com.atproto.identity.resolveHandle", nobody)).await;
    refused(&unknown, 400, "InvalidRequest", "Unable to resolve handle");
    let elsewhere = get_as(&server, "/.well-known/atproto-did", "elsewhere.example:80").await;
    assert_eq!(elsewhere.status, 404);
    let unknown = get(&server, "/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").await;
    assert_eq!(unknown.status, 404);
    let message = unknown.json()["message"].to_string();
    assert!(message.contains("DID not registered"), "{message}");
}

#[tokio::test]
async fn profiles_of_active_accounts_are_returned_up_to_25_at_once() {
    let (server, mut twin, _) = ended(Options::default()).await;
    let shown = account(&mut twin, None);
    let dids: Vec<Did> = twin.dids().collect();
    let is_hidden = |did: &&Did| twin.account(did).is_some_and(|it| it.status.is_some());
    let hidden = dids.iter().find(is_hidden).expect("someone left").clone();
    let actors = format!(
        "actors={}&actors=did:web:nobody.example&actors={hidden}&actors={}",
        shown.did, shown.handle
    );
    let name = "app.bsky.actor.getProfiles";
    let profiles = get(&server, &xrpc(name, &actors)).await.json();
    let profiles = profiles["profiles"].as_array().expect("profiles").clone();
    assert_eq!(profiles.len(), 2, "{profiles:?}");
    assert_eq!(profiles[0], profiles[1]);
    assert_eq!(profiles[0]["did"], shown.did.to_string());
    assert_eq!(profiles[0]["handle"], shown.handle);
    assert_eq!(
        profiles[0]["displayName"].as_str(),
        shown.display_name.as_deref()
    );
    if let Some(url) = profiles[0]["avatar"].as_str() {
        let path = url.strip_prefix(&server.url()).expect("it is served here");
        let picture = get(&server, path).await;
        assert_eq!(picture.header("content-type"), Some("image/svg+xml"));
    }

    let many = vec!["actors=did:web:nobody.example"; 26].join("&");
    let refusal = get(&server, &xrpc(name, &many)).await;
    refused(
        &refusal,
        400,
        "InvalidRequest",
        "not have more than 25 elements",
    );
    let wrong = get(&server, &xrpc(name, "actors=did:web:a.example&actors=@ana")).await;
    refused(&wrong, 400, "InvalidRequest", "actors/1 must be");
    refused(
        &get(&server, &xrpc(name, "")).await,
        400,
        "InvalidRequest",
        "actors",
    );

    let name = "app.bsky.actor.getProfile";
    let one = get(&server, &xrpc(name, &format!("actor={}", shown.handle))).await;
    assert_eq!(one.json(), profiles[0]);
    let nobody = get(&server, &xrpc(name, "actor=did:web:nobody.example")).await;
    refused(&nobody, 400, "InvalidRequest", "Profile not found");
    let gone = get(&server, &xrpc(name, &format!("actor={hidden}"))).await;
    assert_eq!(gone.status, 400);
}

#[tokio::test]
async fn profiles_have_a_budget_that_headers_report_and_each_period_renews() {
    let profiles = ProfileOptions {
        requests_max: 3,
        period: Duration::from_secs(60),
        ..ProfileOptions::default()
    };
    let options = Options {
        profiles,
        ..Options::default()
    };
    let (server, _, clock) = ended(options).await;
    let path = xrpc(
        "app.bsky.actor.getProfiles",
        "actors=did:web:nobody.example",
    );
    clock.set(at(1_000));
    let reset = Timestamp(START.0 + 61_000).second().to_string();
    for left in ["2", "1", "0"] {
        let answer = get(&server, &path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
        assert_eq!(answer.header("ratelimit-remaining"), Some(left));
        assert_eq!(answer.header("ratelimit-reset"), Some(&*reset));
    }
    clock.set(at(31_500));
    let answer = get(&server, &path).await;
    refused(&answer, 429, "RateLimitExceeded", "Rate Limit");
    assert_eq!(answer.header("retry-after"), Some("30"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
    clock.set(at(61_000));
    assert_eq!(get(&server, &path).await.status, 200);
    let state = server.state();
    assert_eq!((state.profile_requests, state.profile_refusals), (5, 1));
}

#[tokio::test]
async fn some_requests_for_profiles_fail_on_request() {
    let profiles = ProfileOptions {
        failures_per_million: 500_000,
        seed: 5,
        latency: Duration::from_millis(1),
        ..ProfileOptions::default()
    };
    let options = Options {
        profiles,
        ..Options::default()
    };
    let (server, ..) = ended(options).await;
    let path = xrpc(
        "app.bsky.actor.getProfiles",
        "actors=did:web:nobody.example",
    );
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..60 {
        *statuses
            .entry(get(&server, &path).await.status)
            .or_insert(0_u64) += 1;
    }
    assert_eq!(
        statuses.keys().copied().collect::<Vec<_>>(),
        [200, 500, 502, 503]
    );
    assert_eq!(server.state().profile_refusals, 60 - statuses[&200]);
}

#[tokio::test]
async fn accounts_are_found_by_the_start_of_their_handle_or_name() {
    let (server, mut twin, _) = ended(Options::default()).await;
    let shown = account(&mut twin, None);
    let name = "app.bsky.actor.searchActorsTypeahead";
    let search =
        async |query: &str| get(&server, &xrpc(name, query)).await.json()["actors"].clone();
    let found = search(&format!("q={}&limit=100", shown.handle.to_uppercase())).await;
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["did"], shown.did.to_string());
    assert_eq!(search("q=&limit=7").await.as_array().map(Vec::len), Some(7));
    assert_eq!(
        search("q=nobody-has-this-name")
            .await
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    let wrong = get(&server, &xrpc(name, "q=a&limit=0")).await;
    refused(&wrong, 400, "InvalidRequest", "between 1 and 100");
}

#[tokio::test]
async fn an_appview_shows_no_handle_that_does_not_resolve_to_the_account() {
    let options = Options {
        identity_cases: true,
        ..Options::default()
    };
    let (server, twin, _) = ended(options).await;
    let mut shown_kinds = 0;
    for (did, case) in server.identity_cases().iter() {
        let expected = match case {
            IdentityCase::NoDocument => "handle.invalid".to_owned(),
            IdentityCase::Unproven | IdentityCase::MovedTo(_) => {
                format!("other-{}", twin.account(did).expect("an account").handle)
            }
            IdentityCase::SwappedWith(other) | IdentityCase::MovedFrom(other) => {
                twin.account(other).expect("an account").handle
            }
        };
        let path = xrpc("app.bsky.actor.getProfiles", &format!("actors={did}"));
        let profiles = get(&server, &path).await.json();
        if let Some(handle) = profiles["profiles"][0]["handle"].as_str() {
            assert_eq!(handle, expected, "{case:?}");
            shown_kinds += 1;
        }
    }
    assert!(shown_kinds > 0, "all of them are inactive");
}
