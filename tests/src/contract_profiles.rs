//! The contract of a profile store: one function per property, named by the property.
//! [`profile_contract!`](crate::profile_contract) turns all of them into tests of one
//! implementation.

use std::sync::Arc;

use skytide_core::id::Did;
use skytide_core::port::profile::{
    PausedServer, Profile, ProfileStore, REQUESTS_MAX, SAME_HANDLE_MAX, SourcePause, StoredProfile,
    StreamProfile,
};
use skytide_core::time::Timestamp;

/// Makes one test of each property. `$make` is an async function that returns
/// `(Arc<dyn ProfileStore>, guard)` with a new, empty store; the guard outlives the store.
#[macro_export]
macro_rules! profile_contract {
    ($make:path) => {
        $crate::profile_contract! {
            @properties $make:
            profiles_are_returned_in_the_order_of_the_accounts,
            the_last_profile_of_an_account_counts,
            the_oldest_are_removed_first_and_no_more_than_asked,
            a_profile_that_is_fetched_again_has_the_age_of_the_newest_fetch,
            removing_profiles_leaves_all_others,
            profiles_are_found_by_their_handle_newest_fetch_first,
            of_many_profiles_with_one_handle_the_newest_are_found,
            a_handle_that_names_nobody_is_not_found,
            requests_are_taken_once_and_oldest_first,
            the_number_of_requests_is_bounded,
            the_last_pause_of_a_server_is_returned,
        }
    };
    (@properties $make:path: $($property:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            let Some((store, _guard)) = $crate::made::Made::made($make().await) else {
                return;
            };
            $crate::contract_profiles::$property(store).await;
        }
    )*};
}

fn did(number: u64) -> Did {
    match number % 3 {
        0 => format!("did:web:n{number}.example.com"),
        _ => format!("did:plc:{number:a>24}").replace(['0', '1', '8', '9'], "z"),
    }
    .parse()
    .unwrap()
}

fn profile(number: u64, fetched: u64) -> StoredProfile {
    let known = number.is_multiple_of(2);
    StoredProfile {
        did: did(number),
        fetched: Timestamp(fetched),
        stream: StreamProfile {
            handle: known.then(|| format!("n{number}.test").into()),
            display_name: Some("\"Ä\\ 🌊\n".into()),
            avatar: None,
        },
        profile: known.then(|| Profile {
            handle: format!("n{number}.test").into(),
            name: Some(format!("At {fetched}").into()),
            avatar: Some("https://cdn.example.com/a@jpeg".into()),
        }),
    }
}

async fn fetched(store: &dyn ProfileStore, dids: &[Did]) -> Vec<Option<u64>> {
    let found = store.get(dids).await.unwrap();
    found
        .iter()
        .map(|it| Some(it.as_ref()?.fetched.0))
        .collect()
}

/// Asks for accounts with a profile, without a stored profile, and never stored.
pub async fn profiles_are_returned_in_the_order_of_the_accounts(store: Arc<dyn ProfileStore>) {
    let dids = [5, 3, 9, 4, 5].map(did);
    assert_eq!(
        store.get(&dids).await.unwrap(),
        [None, None, None, None, None]
    );
    assert_eq!(store.get(&[]).await.unwrap(), []);
    store.put(&[]).await.unwrap();
    store
        .put(&[profile(3, 10), profile(4, 11), profile(5, 12)])
        .await
        .unwrap();
    let expected = [
        Some(profile(5, 12)),
        Some(profile(3, 10)),
        None,
        Some(profile(4, 11)),
        Some(profile(5, 12)),
    ];
    assert_eq!(store.get(&dids).await.unwrap(), expected);
}

/// Holds within one call and over several calls.
pub async fn the_last_profile_of_an_account_counts(store: Arc<dyn ProfileStore>) {
    store.put(&[profile(2, 30), profile(2, 10)]).await.unwrap();
    assert_eq!(store.get(&[did(2)]).await.unwrap(), [Some(profile(2, 10))]);
    let unknown = StoredProfile {
        profile: None,
        ..profile(2, 20)
    };
    store.put(std::slice::from_ref(&unknown)).await.unwrap();
    assert_eq!(store.get(&[did(2)]).await.unwrap(), [Some(unknown)]);
}

/// A profile that was fetched exactly at the given time remains.
pub async fn the_oldest_are_removed_first_and_no_more_than_asked(store: Arc<dyn ProfileStore>) {
    let ages = [(1, 400), (2, 100), (3, 300), (4, 200), (5, 500)];
    store
        .put(&ages.map(|(number, at)| profile(number, at)))
        .await
        .unwrap();
    let dids = [1, 2, 3, 4, 5].map(did);
    let remove = async |time, limit| store.remove_before(Timestamp(time), limit).await.unwrap();
    assert_eq!(remove(100, 9).await, 0);
    assert_eq!(remove(500, 0).await, 0);
    assert_eq!(remove(500, 2).await, 2);
    let left = [Some(400), None, Some(300), None, Some(500)];
    assert_eq!(fetched(&*store, &dids).await, left);
    assert_eq!(remove(500, 9).await, 2);
    let left = [None, None, None, None, Some(500)];
    assert_eq!(fetched(&*store, &dids).await, left);
}

/// The time of its previous fetch is forgotten.
pub async fn a_profile_that_is_fetched_again_has_the_age_of_the_newest_fetch(
    store: Arc<dyn ProfileStore>,
) {
    store
        .put(&[profile(1, 100), profile(2, 100)])
        .await
        .unwrap();
    store.put(&[profile(1, 900)]).await.unwrap();
    assert_eq!(store.remove_before(Timestamp(500), 9).await.unwrap(), 1);
    assert_eq!(fetched(&*store, &[did(1), did(2)]).await, [Some(900), None]);
}

/// Its entry by age is removed as well.
pub async fn removing_profiles_leaves_all_others(store: Arc<dyn ProfileStore>) {
    store
        .put(&[profile(1, 100), profile(2, 100), profile(3, 100)])
        .await
        .unwrap();
    store.remove(&[did(2), did(7), did(2)]).await.unwrap();
    assert_eq!(
        fetched(&*store, &[did(1), did(2), did(3)]).await,
        [Some(100), None, Some(100)]
    );
    assert_eq!(store.remove_before(Timestamp(101), 9).await.unwrap(), 2);
}

fn with_handle(number: u64, fetched: u64, handle: &str) -> StoredProfile {
    let profile = Profile {
        handle: handle.into(),
        name: None,
        avatar: None,
    };
    StoredProfile {
        profile: Some(profile),
        ..self::profile(number, fetched)
    }
}

/// A handle that moved is found at the account that has it now, in any ASCII case.
pub async fn profiles_are_found_by_their_handle_newest_fetch_first(store: Arc<dyn ProfileStore>) {
    let found = async |handle: &str| {
        let found = store.by_handle(handle).await.unwrap();
        found.iter().map(|it| it.did.clone()).collect::<Vec<_>>()
    };
    assert_eq!(found("ana.test").await, []);
    let profiles = [
        with_handle(1, 10, "ana.test"),
        with_handle(2, 30, "Ana.Test"),
        with_handle(3, 20, "ana.test"),
        with_handle(4, 40, "ana.test.evil"),
        with_handle(5, 50, "nana.test"),
    ];
    store.put(&profiles).await.unwrap();
    for handle in ["ana.test", "ANA.test"] {
        assert_eq!(found(handle).await, [2, 3, 1].map(did), "{handle}");
    }
    assert_eq!(
        store.by_handle("nana.test").await.unwrap(),
        [profiles[4].clone()]
    );
    // The Kelvin sign is not a K, and an accent is a difference.
    store.put(&[with_handle(6, 60, "kate.test")]).await.unwrap();
    for other in ["\u{212a}ate.test", "k\u{e4}te.test", "kate.tes", "kate"] {
        assert_eq!(found(other).await, [], "{other}");
    }
    // Another handle, no profile, removed by age, removed.
    store.put(&[with_handle(2, 70, "bea.test")]).await.unwrap();
    let unknown = StoredProfile {
        profile: None,
        ..profile(3, 80)
    };
    store.put(&[unknown]).await.unwrap();
    assert_eq!(found("ana.test").await, [did(1)]);
    assert_eq!(store.remove_before(Timestamp(11), 9).await.unwrap(), 1);
    store.remove(&[did(6)]).await.unwrap();
    assert_eq!(found("ana.test").await, []);
    assert_eq!(found("kate.test").await, []);
    assert_eq!(found("bea.test").await, [did(2)]);
}

/// The newest ones are neither the first nor the last accounts by DID.
pub async fn of_many_profiles_with_one_handle_the_newest_are_found(store: Arc<dyn ProfileStore>) {
    let numbers = (1..=40_u64).map(|it| 3 * it);
    // An order that is not that of the accounts: 7 is coprime to 41.
    let profiles = numbers.map(|number| with_handle(number, 100 + number * 7 % 41, "ana.test"));
    let mut profiles: Vec<StoredProfile> = profiles.collect();
    store.put(&profiles).await.unwrap();
    profiles.sort_by_key(|it| std::cmp::Reverse(it.fetched));
    profiles.truncate(SAME_HANDLE_MAX);
    assert_eq!(store.by_handle("ana.test").await.unwrap(), profiles);
}

/// `handle.invalid` is what a server reports of an account without a valid handle.
pub async fn a_handle_that_names_nobody_is_not_found(store: Arc<dyn ProfileStore>) {
    let profiles = [
        with_handle(1, 10, "handle.invalid"),
        with_handle(2, 10, "Handle.Invalid"),
    ];
    store.put(&profiles).await.unwrap();
    for handle in ["handle.invalid", "HANDLE.invalid", ""] {
        assert_eq!(store.by_handle(handle).await.unwrap(), [], "{handle:?}");
    }
    store.remove(&[did(1), did(2)]).await.unwrap();
    assert_eq!(store.get(&[did(1)]).await.unwrap(), [None]);
}

/// An account that is requested again while it waits keeps its place.
pub async fn requests_are_taken_once_and_oldest_first(store: Arc<dyn ProfileStore>) {
    let now = Timestamp(4_102_444_800_000);
    let at = |offset| Timestamp(now.0 + offset);
    assert_eq!(store.take_requests(9).await.unwrap(), []);
    assert_eq!(store.request(&[], now).await.unwrap(), 0);
    assert_eq!(store.request(&[did(3)], at(0)).await.unwrap(), 1);
    assert_eq!(store.request(&[did(1)], at(1)).await.unwrap(), 1);
    let again = [did(3), did(2), did(2)];
    assert_eq!(store.request(&again, at(2)).await.unwrap(), 3);
    assert_eq!(store.take_requests(0).await.unwrap(), []);
    assert_eq!(store.take_requests(2).await.unwrap(), [3, 1].map(did));
    assert_eq!(store.take_requests(9).await.unwrap(), [did(2)]);
    assert_eq!(store.take_requests(9).await.unwrap(), []);
    assert_eq!(store.request(&[did(3)], at(3)).await.unwrap(), 1);
    assert_eq!(store.take_requests(9).await.unwrap(), [did(3)]);
}

/// Accounts beyond the bound are not added, and those that wait keep waiting.
pub async fn the_number_of_requests_is_bounded(store: Arc<dyn ProfileStore>) {
    let now = Timestamp(4_102_444_800_000);
    let many = |range: std::ops::Range<usize>| -> Vec<Did> {
        let did = |number| format!("did:web:n{number}.example.com").parse().unwrap();
        range.map(did).collect()
    };
    let all = many(0..REQUESTS_MAX + 5);
    assert_eq!(store.request(&all, now).await.unwrap(), REQUESTS_MAX);
    let extra = many(REQUESTS_MAX + 5..REQUESTS_MAX + 6);
    assert_eq!(store.request(&extra, now).await.unwrap(), 0);
    assert_eq!(store.request(&all[..3], now).await.unwrap(), 3);
    let taken = store.take_requests(usize::MAX).await.unwrap();
    assert_eq!(taken.len(), REQUESTS_MAX);
    assert_eq!(store.request(&extra, now).await.unwrap(), 1);
}

/// Before the first one, there is no pause. Each server has its own.
pub async fn the_last_pause_of_a_server_is_returned(store: Arc<dyn ProfileStore>) {
    let mut last = PausedServer::ALL.map(|_| SourcePause::default());
    for (turn, failures_in_a_row) in (0..).zip([0, 7, u32::MAX, 1, 0, 3]) {
        for (of, last) in PausedServer::ALL.into_iter().zip(last) {
            assert_eq!(store.pause(of).await.unwrap(), last, "{of:?}, turn {turn}");
        }
        let changed = turn % PausedServer::ALL.len();
        last[changed] = SourcePause {
            not_before: Timestamp(1_783_175_888_000 + u64::from(failures_in_a_row)),
            failures_in_a_row,
        };
        let of = PausedServer::ALL[changed];
        store.set_pause(of, &last[changed]).await.unwrap();
    }
    let mut stored = Vec::new();
    for of in PausedServer::ALL {
        stored.push(store.pause(of).await.unwrap());
    }
    assert_eq!(stored, last);
}
