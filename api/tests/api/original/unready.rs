//! Commits that lack what an answer needs.

use std::collections::BTreeSet;

use serde_json::Value;
use skytide_core::id::Epoch;
use skytide_core::port::store::{Committed, ViewStore};
use skytide_core::time::Timestamp;
use skytide_core::view::ViewId;

use super::{Client, world};
use crate::world::World;

/// Makes a commit without rows.
async fn commit(world: &mut World, committed: Committed) {
    world.epoch += 1;
    let (store, epoch) = (&world.store, Epoch(world.epoch));
    let term = store.lead().await.unwrap().term;
    store.begin(term, epoch.into()).await.unwrap();
    let committed = Committed { epoch, ..committed };
    store.commit(term, committed).await.unwrap();
}

fn detail(answer: &Value) -> &str {
    answer["detail"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_view_that_the_commit_lacks_or_replaces_is_not_shown_as_empty() {
    let mut world = world().await;
    let without = |world: &World| {
        let mut recipe = world.committed().recipe.unwrap();
        recipe.views.remove(&ViewId::TopInteractions);
        recipe
    };
    for recipe in [None, Some(without(&world))] {
        let committed = Committed {
            recipe,
            ..world.committed()
        };
        commit(&mut world, committed).await;
        let client = Client::of(&world).await;
        for name in ["top_interactions", "top_blocks"] {
            let (status, answer) = client.get(&format!("/original/dd/{name}")).await;
            assert_eq!(status, 503, "{answer}");
            assert!(
                detail(&answer).contains("is not in the newest commit"),
                "{answer}"
            );
        }
        let (status, problem) = world.refused("/v1/trends/interactions").await;
        assert_eq!((status, &problem["code"]), (503, &"view_missing".into()));
        // Other answers do not need it.
        assert_eq!(client.interactions("ana.test").await.0, 200);
        world.get("/v1/trends/actors").await;
    }
    let committed = world.committed();
    commit(&mut world, committed).await;
    assert_eq!(
        Client::of(&world)
            .await
            .get("/original/dd/top_blocks")
            .await
            .0,
        200
    );

    let term = world.store.lead().await.unwrap().term;
    let next = Epoch(world.epoch + 1);
    world.store.begin(term, next.into()).await.unwrap();
    let views = BTreeSet::from([ViewId::TopInteractions]);
    world.store.rebuild(term, &views).await.unwrap();
    let client = Client::of(&world).await;
    let (status, answer) = client.get("/original/dd/top_blocks").await;
    assert_eq!(status, 503, "{answer}");
    assert!(detail(&answer).contains("is being rebuilt"), "{answer}");
}

#[tokio::test]
async fn lists_of_an_unknown_time_are_not_those_of_1970() {
    let mut world = world().await;
    let committed = Committed {
        time: Timestamp::default(),
        ..world.committed()
    };
    commit(&mut world, committed).await;
    let client = Client::of(&world).await;
    let (status, answer) = client.get("/original/dd/top_interactions").await;
    assert_eq!(status, 503, "{answer}");
    assert!(detail(&answer).contains("time"), "{answer}");
}
