//! Claims and events that end the verification of a handle.

use super::*;

/// `handle_verified` of an account.
async fn handle_verified(state: &ApiState, account: &str) -> bool {
    let answer = get_json(state.clone(), &format!("/v1/actors/{account}"))
        .await
        .1;
    answer["account"]["handle_verified"].as_bool().unwrap()
}

#[tokio::test]
async fn a_claim_of_another_account_ends_the_verification_of_the_handle() {
    let mut world = world(&[("ana.dev", ANA, "09"), ("bea.dev", BEA, "09")]).await;
    let rows = [(ANA, "ana.dev"), (BEA, "bea.dev")];
    let rows = rows.map(|(it, handle)| row(&did(it), &account(handle, "")));
    world.commit(&[(ViewId::Accounts, rows.to_vec())]).await;
    let network = Network::of(&[("bea.dev", BEA)]);
    let state = with_profile(&world, Some("ana.dev"))
        .await
        .with_resolver(network.clone());
    resolve(&state, "bea.dev").await;
    assert!(handle_verified(&state, ANA).await, "the fetched profile");
    assert!(handle_verified(&state, BEA).await, "the lookup");
    let moved = [("ana.dev", CAI, "13"), ("bea.dev", CAI, "13")];
    commit_claims(&mut world, &moved).await;
    assert!(!handle_verified(&state, ANA).await);
    assert!(!handle_verified(&state, BEA).await);
    // The network still says that the handle is Bea's.
    resolve(&state, "bea.dev").await;
    assert!(handle_verified(&state, BEA).await);
    // Then it no longer does.
    network.handles.lock().unwrap().clear();
    commit_claims(&mut world, &[("bea.dev", CAI, "14")]).await;
    resolve(&state, "bea.dev").await;
    assert!(!handle_verified(&state, BEA).await);
}

#[tokio::test]
async fn an_event_during_a_lookup_ends_its_result() {
    let mut world = world(&[("ana.dev", ANA, "03")]).await;
    let network = Network::of(&[("ana.dev", ANA)]);
    network.set(Mode::HoldDocuments);
    let state = world.state().with_resolver(network.clone());
    let event = async {
        for _ in 0..100_000 {
            if network.documents_asked.load(Ordering::SeqCst) > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(network.documents_asked.load(Ordering::SeqCst), 1);
        let other = account("other.dev", "Ana");
        let rows = vec![row(&did(ANA), &other)];
        world.commit(&[(ViewId::Accounts, rows)]).await;
        network.gate.add_permits(2);
    };
    tokio::join!(resolve(&state, "ana.dev"), event);
    resolve(&state, "ana.dev").await;
    assert_eq!(network.lookups(), 2, "the first result is not used again");
}

#[tokio::test(start_paused = true)]
async fn without_the_view_of_claims_nothing_stays_verified_and_nothing_is_denied() {
    let mut world = World::empty();
    world.left_out = vec![ViewId::Handles];
    let rows = [(ANA, "ana.dev"), (BEA, "bea.dev")];
    let rows = rows.map(|(it, handle)| row(&did(it), &account(handle, "")));
    world.commit(&[(ViewId::Accounts, rows.to_vec())]).await;
    let network = Network::of(&[("ana.dev", ANA), ("bea.dev", BEA)]);
    let state = with_profile(&world, Some("ana.dev"))
        .await
        .with_resolver(network.clone());
    // Another account may have claimed the handle since the profile was fetched.
    let by_network = found(ANA, "network", true, "");
    assert_eq!(resolve(&state, "ana.dev").await, by_network);
    assert_eq!(resolve(&state, "bea.dev").await.1, "network");
    for account in [ANA, BEA] {
        assert!(!handle_verified(&state, account).await, "{account}");
    }
    // No claim can end the cached lookup, so it ends soon by itself.
    resolve(&state, "ana.dev").await;
    assert_eq!(network.lookups(), 2);
    tokio::time::advance(Duration::from_secs(31)).await;
    resolve(&state, "ana.dev").await;
    assert_eq!(network.lookups(), 3);
    let (status, answer) = get_json(state.clone(), "/v1/actors/nobody.dev").await;
    assert_eq!(
        (status.as_u16(), &answer["code"]),
        (503, &json!("view_missing"))
    );
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("the view handles "), "{detail}");
}
