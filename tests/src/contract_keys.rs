//! The contract of a key store: one function per property, named by the property.
//! [`key_contract!`](crate::key_contract) turns all of them into tests of one implementation.

use std::sync::Arc;

use skytide_core::port::key::{
    KEEP_ENDED_MS, KEYS_MAX, KeyError, KeyHash, KeyId, KeyStore, Scope, StoredKey,
};
use skytide_core::time::Timestamp;

/// Makes one test of each property. `$make` is an async function that returns
/// `(Arc<dyn KeyStore>, guard)` with a new, empty store; the guard outlives the store.
#[macro_export]
macro_rules! key_contract {
    ($make:path) => {
        $crate::key_contract! {
            @properties $make:
            keys_are_read_back_ordered_by_id,
            an_id_is_used_once,
            a_revoked_key_keeps_the_time_at_which_it_was_revoked_first,
            revoking_an_unknown_key_changes_nothing,
            the_last_use_never_goes_back,
            ended_keys_are_removed_when_a_key_is_added_90_days_later,
            concurrent_changes_are_all_made,
        }
    };
    (@properties $make:path: $($property:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $property() {
            let Some((store, _guard)) = $crate::made::Made::made($make().await) else {
                return;
            };
            $crate::contract_keys::$property(store).await;
        }
    )*};
}

/// A key with all fields set.
fn key(bits: u64) -> StoredKey {
    let mut hash = [0xab; 32];
    hash[..8].copy_from_slice(&bits.to_be_bytes());
    StoredKey {
        id: KeyId::from_random(bits),
        hash: KeyHash(hash),
        label: format!("key {bits} \u{1f511} \"quoted\""),
        scopes: vec![Scope::Read, Scope::Admin],
        created: Timestamp(1_000 + bits),
        expires: Some(Timestamp(2_000_000_000_000)),
        rate: Some(u32::MAX),
        burst: Some(0),
        revoked: None,
        last_used: None,
    }
}

/// A key without anything optional.
fn plain(bits: u64) -> StoredKey {
    StoredKey {
        scopes: Vec::new(),
        label: String::new(),
        expires: None,
        rate: None,
        burst: None,
        ..key(bits)
    }
}

async fn all(store: &dyn KeyStore) -> Vec<StoredKey> {
    store.all().await.expect("read")
}

/// A key is read back with all its fields.
pub async fn keys_are_read_back_ordered_by_id(store: Arc<dyn KeyStore>) {
    assert_eq!(all(&*store).await, []);
    // `from_random` puts the lowest bits first.
    let mut keys = vec![key(3), plain(1), key(1 << 40), plain(33)];
    for key in &keys {
        store.add(key).await.expect("added");
    }
    keys.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
    assert_eq!(all(&*store).await, keys);
}

/// A key never replaces another one.
pub async fn an_id_is_used_once(store: Arc<dyn KeyStore>) {
    store.add(&key(1)).await.expect("added");
    let again = StoredKey {
        hash: KeyHash([0; 32]),
        ..key(1)
    };
    let refused = store.add(&again).await;
    assert!(
        matches!(&refused, Err(KeyError::Exists(id)) if *id == again.id),
        "{refused:?}"
    );
    assert_eq!(all(&*store).await, [key(1)]);
}

/// Revoking a key again changes nothing.
pub async fn a_revoked_key_keeps_the_time_at_which_it_was_revoked_first(store: Arc<dyn KeyStore>) {
    for bits in [1, 2] {
        store.add(&key(bits)).await.expect("added");
    }
    let id = key(1).id;
    let before = store.revoke(&id, Timestamp(5_000)).await.expect("revoked");
    assert_eq!(before, Some(key(1)));
    let revoked = StoredKey {
        revoked: Some(Timestamp(5_000)),
        ..key(1)
    };
    let before = store
        .revoke(&id, Timestamp(6_000))
        .await
        .expect("unchanged");
    assert_eq!(before.as_ref(), Some(&revoked));
    assert_eq!(all(&*store).await, [revoked, key(2)]);
}

/// An unknown id is reported and not stored.
pub async fn revoking_an_unknown_key_changes_nothing(store: Arc<dyn KeyStore>) {
    let unknown = key(9).id;
    assert_eq!(
        store.revoke(&unknown, Timestamp(1)).await.expect("read"),
        None
    );
    store.add(&key(1)).await.expect("added");
    assert_eq!(
        store.revoke(&unknown, Timestamp(1)).await.expect("read"),
        None
    );
    assert_eq!(all(&*store).await, [key(1)]);
}

/// Several processes may record uses in any order.
pub async fn the_last_use_never_goes_back(store: Arc<dyn KeyStore>) {
    for bits in [1, 2] {
        store.add(&key(bits)).await.expect("added");
    }
    store.note_used(&[]).await.expect("nothing");
    for (first, second) in [(70, 10), (60, 11), (80, 9)] {
        let used = [
            (key(1).id, Timestamp(first)),
            (key(9).id, Timestamp(99)),
            (key(2).id, Timestamp(second)),
        ];
        store.note_used(&used).await.expect("noted");
    }
    let used = |key: StoredKey, time| StoredKey {
        last_used: Some(Timestamp(time)),
        ..key
    };
    assert_eq!(all(&*store).await, [used(key(1), 80), used(key(2), 11)]);
    let before = store
        .revoke(&key(1).id, Timestamp(90))
        .await
        .expect("revoked");
    assert_eq!(before, Some(used(key(1), 80)));
    assert_eq!(all(&*store).await[0].last_used, Some(Timestamp(80)));
}

/// The list of keys does not grow for ever.
pub async fn ended_keys_are_removed_when_a_key_is_added_90_days_later(store: Arc<dyn KeyStore>) {
    let ended = Timestamp(1_000_000);
    let expired = StoredKey {
        expires: Some(ended),
        ..key(1)
    };
    for key in [&expired, &key(2), &plain(3)] {
        store.add(key).await.expect("added");
    }
    store.revoke(&key(2).id, ended).await.expect("revoked");
    let added_at = |bits, time| StoredKey {
        created: Timestamp(time),
        ..plain(bits)
    };
    let early = added_at(4, ended.0 + KEEP_ENDED_MS - 1);
    store.add(&early).await.expect("added");
    assert_eq!(all(&*store).await.len(), 4);
    let late = added_at(5, ended.0 + KEEP_ENDED_MS);
    store.add(&late).await.expect("added");
    assert_eq!(all(&*store).await, [plain(3), early, late]);
}

/// Fewer keys than [`KEYS_MAX`]: filling a store takes too long on a server.
pub async fn concurrent_changes_are_all_made(store: Arc<dyn KeyStore>) {
    const KEYS: u64 = 16;
    const { assert!(KEYS < KEYS_MAX as u64) };
    let tasks = (0..KEYS).map(|bits| {
        let store = store.clone();
        tokio::spawn(async move {
            store.add(&key(bits)).await.expect("added");
            if bits % 2 == 0 {
                let revoked = store.revoke(&key(bits).id, Timestamp(7)).await;
                revoked.expect("revoked").expect("known");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("no panic");
    }
    let all = all(&*store).await;
    assert_eq!(all.len() as u64, KEYS);
    let revoked = all.iter().filter(|key| key.revoked.is_some()).count();
    assert_eq!(revoked as u64, KEYS / 2);
}
