//! Handles and profiles: in the demo, and with a simulated network whose servers contradict the
//! stream or answer with what no client expects.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skytide::clock::SystemClock;
use skytide::identity::HttpIdentity;
use skytide::profiles::AppView;
use skytide_core::config::Endpoint;
use skytide_core::id::Did;
use skytide_core::port::identity::{IdentityError, IdentityResolver};
use skytide_core::port::profile::ProfileSource;
use skytide_simnet::server::{AnswerFault, IdentityCase, Options, Server};
use skytide_simnet::{Network, Options as NetworkOptions};

use crate::process::Place;
use crate::services::{Running, get};

/// Number of frames of the demo's network, which then ends: nothing changes any more.
const FRAMES: u32 = 5_000;

/// The demo with a network that ends and lies in the past, so that all of it is due at once.
fn demo(place: &Place) -> Command {
    let end = format!("--demo-events-max={FRAMES}");
    place.command(&[
        "up",
        "--demo",
        "--api-address=127.0.0.1:0",
        "--api-rate=0",
        "--scheduler-profiles-cron=* * * * * *",
        "--scheduler-profiles-calls-max=1000",
        "--demo-start=2026-10-01T10:00:00Z",
        &end,
    ])
}

/// Maximum number of polls for a state.
const POLLS_MAX: u32 = 300_000;

/// Polls a path until the answer is as expected, and returns the answer. Panics with the last
/// answer if it never is.
fn until(address: &str, path: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..POLLS_MAX {
        last = body(&get(address, path));
        if is_expected(&last) {
            return last;
        }
        std::thread::yield_now();
    }
    panic!("{path}: the last answer is {last:#}");
}

/// Polls a path until all accounts of the entries have a final status, and returns the entries.
fn until_complete(address: &str, path: &str) -> Vec<Value> {
    let is_final = |entry: &Value| {
        let status = &entry["account"]["profile_status"];
        ["fresh", "unknown", "hidden"].iter().any(|it| status == it)
    };
    let answer = until(address, path, |answer| {
        let entries = answer["entries"].as_array();
        entries.is_some_and(|entries| !entries.is_empty() && entries.iter().all(is_final))
    });
    answer["entries"].as_array().cloned().unwrap_or_default()
}

/// The JSON of a response; `null` if it has none.
fn body(response: &str) -> Value {
    let json = response
        .split_once("\r\n\r\n")
        .map_or(response, |(_, body)| body);
    serde_json::from_str(json).unwrap_or_default()
}

#[test]
fn in_the_demo_every_listed_account_resolves_by_its_handle_and_has_a_profile() {
    let place = Place::new();
    let (demo, address) = Running::start(demo(&place));
    until(&address, "/v1/network", |answer| {
        answer["counters"]["frames"] == FRAMES
    });
    let mut accounts = BTreeSet::new();
    for list in ["actors", "blocks", "mentions", "posts"] {
        let path = format!("/v1/trends/{list}?limit=100&window=24h");
        for entry in until_complete(&address, &path) {
            let account = &entry["account"];
            if account["profile_status"] != "fresh" {
                continue;
            }
            let handle = account["profile"]["handle"].as_str().expect("a handle");
            let did = account["did"].as_str().expect("a DID");
            if !accounts.insert(did.to_owned()) {
                continue;
            }
            // An account that has a row without a handle is verified by a lookup. Their number in a
            // second is bounded.
            let answer = until(&address, &format!("/v1/actors/{handle}"), |answer| {
                answer["resolved"]["verified"] == true
            });
            assert_eq!(answer["did"], did, "{handle}: {answer}");
        }
    }
    assert!(accounts.len() > 20, "{} accounts", accounts.len());
    let mut others = 0;
    for did in &accounts {
        let path = format!("/v1/actors/{did}/interactions?limit=100&direction=received");
        let answer = body(&get(&address, &path));
        if answer["entries"]
            .as_array()
            .is_some_and(|it| !it.is_empty())
        {
            let entries = until_complete(&address, &path);
            others += entries
                .iter()
                .filter(|it| it["account"]["profile_status"] == "fresh")
                .count();
            break;
        }
    }
    assert!(others > 0, "accounts outside of lists have profiles, too");
    let stranger = body(&get(&address, "/v1/actors/nobody-1.elsewhere.dev"));
    assert_eq!(stranger["status"], 404, "{stranger}");
    demo.signal("-TERM");
    let (code, err) = demo.end();
    assert_eq!(code, Some(0), "{err}");
}

/// A served network that has ended, and an equal network at its end.
async fn served(identity_cases: bool) -> (Server, Network) {
    let network = || {
        Network::new(NetworkOptions {
            accounts: 60,
            signed: false,
            events_max: Some(500),
            ..NetworkOptions::default()
        })
    };
    let options = Options {
        backlog: Duration::from_secs(86_400),
        identity_cases,
        ..Options::default()
    };
    let server = Server::start(options, network(), Arc::new(SystemClock));
    let server = server.await.expect("started");
    server.until(|state| state.ended).await;
    let mut twin = network();
    while twin.next_frame().is_some() {}
    (server, twin)
}

fn identity(server: &Server) -> HttpIdentity {
    let url = Endpoint::parse(&server.url(), &["http"]).expect("an address");
    HttpIdentity::new(&url, &url, Arc::new(SystemClock)).expect("a client")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_that_contradict_the_stream_are_served_as_their_cases_say() {
    let (server, twin) = served(true).await;
    let identity = identity(&server);
    let resolve = async |handle: &str| identity.resolve_handle(handle).await.expect("asked");
    let named = async |did: &Did| {
        let document = identity.document(did).await.expect("asked");
        document.map(|document| document.handle.expect("a handle").to_string())
    };
    let mut kinds = BTreeSet::new();
    for (did, case) in server.identity_cases().iter() {
        let claimed = twin.account(did).expect("an account").handle;
        let other = format!("other-{claimed}");
        match case {
            IdentityCase::Unproven => {
                assert_eq!(resolve(&claimed).await, None);
                assert_eq!(named(did).await.as_ref(), Some(&other));
            }
            IdentityCase::SwappedWith(owner) | IdentityCase::MovedTo(owner) => {
                assert_eq!(resolve(&claimed).await.as_ref(), Some(owner));
                assert_eq!(named(owner).await.as_ref(), Some(&claimed));
                assert_ne!(named(did).await.as_ref(), Some(&claimed));
            }
            IdentityCase::MovedFrom(previous) => {
                assert_eq!(resolve(&claimed).await, None);
                let handle = twin.account(previous).expect("an account").handle;
                assert_eq!(named(did).await, Some(handle));
            }
            IdentityCase::NoDocument => {
                assert_eq!(resolve(&claimed).await.as_ref(), Some(did));
                assert_eq!(named(did).await, None);
            }
        }
        kinds.insert(format!("{case:?}").split('(').next().map(str::to_owned));
    }
    assert_eq!(kinds.len(), 5);
    let cases: BTreeSet<Did> = server
        .identity_cases()
        .iter()
        .map(|(did, _)| did.clone())
        .collect();
    for did in twin.dids().collect::<Vec<_>>() {
        let account = twin.account(&did).expect("an account");
        if account.status.is_none() && !cases.contains(&did) {
            assert_eq!(resolve(&account.handle).await.as_ref(), Some(&did));
            assert_eq!(named(&did).await, Some(account.handle));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_answers_are_errors_or_harmless() {
    let (server, twin) = served(false).await;
    let identity = identity(&server);
    let url = Endpoint::parse(&server.url(), &["http"]).expect("an address");
    let appview = |ms| AppView::new(&url, Duration::from_millis(ms), Arc::new(SystemClock));
    let appview = (
        appview(60_000).expect("a client"),
        appview(200).expect("a client"),
    );
    let active = |did: &Did| twin.account(did).is_some_and(|it| it.status.is_none());
    let dids: Vec<Did> = twin.dids().filter(active).take(3).collect();
    let handle = twin.account(&dids[0]).expect("an account").handle;
    let correct = appview.0.fetch(&dids).await.expect("profiles").profiles;
    assert_eq!(correct.len(), 3);
    for fault in AnswerFault::ALL {
        server.set_answers(Some(*fault));
        if *fault == AnswerFault::Slow {
            assert!(appview.1.fetch(&dids).await.is_err(), "{fault}");
            continue;
        }
        let profiles = appview.0.fetch(&dids).await;
        let resolved = identity.resolve_handle(&handle).await;
        let document = identity.document(&dids[0]).await;
        match fault {
            AnswerFault::Reordered => {
                let mut profiles = profiles.expect("profiles").profiles;
                profiles.reverse();
                assert_eq!(profiles, correct);
                assert_eq!(resolved.expect("resolved").as_ref(), Some(&dids[0]));
            }
            AnswerFault::OtherDid => {
                let profiles = profiles.expect("one other account");
                assert_eq!((profiles.profiles.len(), profiles.malformed), (1, 2));
                assert_ne!(resolved.expect("resolved").as_ref(), Some(&dids[0]));
                assert_ne!(document.expect("a document").expect("found").did, dids[0]);
            }
            AnswerFault::PrivateDid => {
                let private = resolved.expect("resolved").expect("an account");
                let refused = identity.document(&private).await;
                assert!(
                    matches!(refused, Err(IdentityError::NotAllowed(_))),
                    "{refused:?}"
                );
            }
            AnswerFault::LongNames => {
                assert!(profiles.is_err(), "{profiles:?}");
                assert!(document.is_err(), "{document:?}");
            }
            _ => {
                assert!(profiles.is_err(), "{fault}: {profiles:?}");
                assert!(resolved.is_err(), "{fault}: {resolved:?}");
                assert!(document.is_err(), "{fault}: {document:?}");
            }
        }
    }
    server.set_answers(None);
    assert_eq!(
        appview.0.fetch(&dids).await.expect("profiles").profiles,
        correct
    );
}
