//! The contract of a profile store: one function per property, named by the property.
//! [`profile_contract!`](crate::profile_contract) turns all of them into tests of one
//! implementation.

use std::sync::Arc;

use skytide_core::id::Did;
use skytide_core::port::profile::{Profile, ProfileStore, StoredProfile, StreamProfile};
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
