//! Which account `/original/interactions` shows, and all of its rows.

use std::sync::Arc;

use serde_json::{Value, json};
use skytide_core::memory::MemoryProfiles;
use skytide_core::port::profile::{Profile, ProfileStore, StoredProfile, StreamProfile};
use skytide_core::view::{AccountRow, ViewId};

use super::{AccessOptions, Client, pair, with_keys, world};
use crate::handles::{Mode, Network};
use crate::world::{ANA, BEA, CAI, World, account, did, row};

async fn client_in(world: &World, network: &Arc<Network>) -> Client {
    let state = world.state().with_resolver(network.clone());
    let (state, key, _) = with_keys(state, AccessOptions::default()).await;
    Client { state, key }
}

fn not_found(name: &str) -> (u16, Value) {
    (400, json!({"detail": format!("user not found: {name}")}))
}

#[tokio::test(start_paused = true)]
async fn a_claim_counts_only_while_the_network_cannot_be_asked() {
    let world = world().await;
    let down = Network::of(&[]);
    down.set(Mode::Fail);
    let client = client_in(&world, &down).await;
    let (status, answer) = client.interactions("ana.test").await;
    assert_eq!((status, &answer["did"]), (200, &json!(ANA)));
    assert_eq!(
        client.interactions("nobody.test").await,
        not_found("nobody.test")
    );

    // The network answers that nobody has the handle, which `ANA` claimed in the stream.
    let client = client_in(&world, &Network::of(&[])).await;
    assert_eq!(client.interactions("ana.test").await, not_found("ana.test"));
    // The network names another account than the stream.
    let client = client_in(&world, &Network::of(&[("ana.test", BEA)])).await;
    let (status, answer) = client.interactions("ana.test").await;
    assert_eq!((status, &answer["did"]), (200, &json!(BEA)));
}

#[tokio::test]
async fn one_answer_serves_all_spellings_of_an_account() {
    let client = Client::of(&world().await).await;
    let (_, by_did) = client.interactions(ANA).await;
    for name in ["ana.test", "ANA.test", "ana.TEST."] {
        let (status, answer) = client.interactions(&format!(" @{name} ")).await;
        let expected = json!({
            "did": ANA, "handle": name, "interactions": by_did["interactions"],
        });
        assert_eq!((status, answer), (200, expected));
    }
    for name in ["@@ana.test", "@at://ana.test", "at://ana.test"] {
        let shown = name.strip_prefix('@').unwrap_or(name);
        assert_eq!(client.interactions(name).await, not_found(shown));
    }
    let long = "é".repeat(30_000);
    assert_eq!(client.interactions(&long).await, not_found(&long[..254]));
}

#[tokio::test]
async fn a_hidden_account_has_no_handle_and_a_fetched_one_is_known() {
    let mut world = world().await;
    let hidden = AccountRow {
        active: false,
        ..account("ana.test", "Ana")
    };
    let changes = vec![row(&did(ANA), &hidden)];
    world.commit(&[(ViewId::Accounts, changes)]).await;
    let (status, answer) = Client::of(&world).await.interactions(ANA).await;
    assert_eq!((status, &answer["handle"]), (200, &json!(ANA)));

    let name = "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz";
    let profiles = MemoryProfiles::default();
    let fetched = StoredProfile {
        did: did(name),
        profile: Some(Profile {
            handle: "zoe.test".into(),
            name: None,
            avatar: None,
        }),
        fetched: world.committed().time,
        stream: StreamProfile::default(),
    };
    profiles.put(&[fetched]).await.unwrap();
    let state = world.state().with_profiles(Arc::new(profiles));
    let (state, key, _) = with_keys(state, AccessOptions::default()).await;
    let client = Client { state, key };
    let nothing = json!({"sent": [], "rcvd": []});
    let expected = json!({"did": name, "handle": "zoe.test", "interactions": nothing});
    assert_eq!(client.interactions(name).await, (200, expected));
}

#[tokio::test]
async fn all_rows_of_the_seven_days_are_summed() {
    let mut world = World::empty();
    let other = |number: u32| format!("did:web:n{number}.example");
    let mut rows: Vec<_> = (0..50_001)
        .map(|number| pair(ANA, "2026-07-04", &other(number), [1, 0, 0, 0], 0))
        .collect();
    rows.push(pair(ANA, "2026-06-28", CAI, [0, 7, 0, 0], 0));
    world.commit(&[(ViewId::Interactions, rows)]).await;
    let (status, answer) = Client::of(&world).await.interactions(ANA).await;
    assert_eq!(status, 200);
    let sent = answer["interactions"]["sent"].as_array().unwrap();
    assert_eq!(sent.len(), 50_002);
    assert_eq!(
        sent[0],
        json!({"_id": CAI, "l": 0, "r": 7, "p": 0, "c": 0, "t": 7})
    );
}
