//! Texts in answers are bounded, whatever the rows hold. An older version stored the texts of
//! accounts without a limit.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::Value;
use skytide_core::memory::MemoryProfiles;
use skytide_core::port::profile::{Profile, ProfileStore, StoredProfile, StreamProfile};
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, ActorRow, Measure, ViewId, Window};

use crate::world::{ANA, BEA, World, did, get_json, list, request, row, send};

const LONG: usize = 900_000;

/// Ana and Bea have texts that are too long. So has Bea's fetched profile ([`fetched`]).
async fn world() -> World {
    let mut world = World::empty();
    let texts = AccountRow {
        active: true,
        status: Some("s".repeat(LONG).into()),
        display_name: Some("é".repeat(LONG).into()),
        description: Some("d".repeat(LONG).into()),
        ..AccountRow::default()
    };
    let mentions = [(ANA, 2, 1, 2), (BEA, 1, 1, 1)];
    let (ana, bea) = (did(ANA), did(BEA));
    world
        .commit(&[
            (ViewId::Accounts, vec![row(&ana, &texts), row(&bea, &texts)]),
            (ViewId::Actors, vec![row(&ana, &ActorRow::default())]),
            (
                ViewId::TopMentions,
                vec![list(Window::Day, Measure::Count, "", &mentions)],
            ),
        ])
        .await;
    world
}

async fn fetched() -> Arc<MemoryProfiles> {
    let profiles = MemoryProfiles::default();
    let bea = StoredProfile {
        did: did(BEA),
        fetched: Timestamp(1),
        stream: StreamProfile {
            display_name: Some("é".repeat(320).into()),
            ..StreamProfile::default()
        },
        profile: Some(Profile {
            handle: "bea.test".into(),
            name: Some("b".repeat(LONG).into()),
            avatar: Some(format!("https://cdn.test/{}", "x".repeat(LONG)).into()),
        }),
    };
    profiles.put(&[bea]).await.unwrap();
    Arc::new(profiles)
}

fn bytes(text: &Value) -> usize {
    text.as_str().map_or(0, str::len)
}

#[tokio::test]
async fn the_texts_of_an_account_are_within_their_limits() {
    let world = world().await;
    let answer = world.get(&format!("/v1/actors/{ANA}")).await;
    let account = &answer["account"];
    let texts = ["display_name", "description", "status"].map(|field| bytes(&account[field]));
    assert_eq!(texts, [640, 2_560, 64]);
    assert_eq!(bytes(&answer["profile"]["name"]), 640);
}

#[tokio::test]
async fn names_in_lists_and_in_the_stream_are_within_their_limits() {
    let state = world().await.state().with_profiles(fetched().await);
    let (_, answer) = get_json(state.clone(), "/v1/trends/mentions?limit=100").await;
    let accounts = answer["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["account"]);
    for account in accounts {
        let names = [&account["display_name"], &account["profile"]["name"]];
        assert_eq!(names.map(bytes), [640, 640]);
        assert_eq!(account["profile"]["avatar"], Value::Null);
    }
    assert!(answer.to_string().len() < 10_000);
    let bea = &answer["entries"][1]["account"]["profile"];
    assert_eq!(
        (
            &bea["handle"],
            bea["name"].as_str().unwrap().starts_with('b')
        ),
        (&"bea.test".into(), true)
    );

    let response = send(state, request("/v1/stream?lists=mentions")).await;
    let event = response.into_body().into_data_stream().next().await;
    assert!(event.unwrap().unwrap().len() < 10_000);
}
