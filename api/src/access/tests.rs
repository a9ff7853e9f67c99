use skytide_core::port::clock::ManualClock;
use skytide_core::port::key::{KeyError, KeyId, KeyText, StoredKey};
use skytide_core::time::Timestamp;

use super::*;
use crate::limiter::LimitClock;
use crate::options::RateLimit;

/// A key with the scope `read`.
fn key_of(number: u8) -> (KeyText, StoredKey) {
    let id = KeyId::from_random(number.into());
    let text = KeyText::new(&id, [number; 32]);
    let key = StoredKey {
        id,
        hash: text.hash(),
        label: String::new(),
        scopes: vec![Scope::Read],
        created: Timestamp(0),
        expires: None,
        rate: None,
        burst: None,
        revoked: None,
        last_used: None,
    };
    (text, key)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = axum::http::HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        headers.append(*name, value);
    }
    headers
}

#[test]
fn a_key_is_in_one_of_two_headers_or_equal_in_both() {
    let accepted: [(&[(&str, &str)], Option<&str>); 12] = [
        (&[], None),
        (&[("x-api-key", "")], None),
        (&[("x-api-key", "k")], Some("k")),
        (&[("x-api-key", " k ")], Some("k")),
        (&[("authorization", "Bearer k")], Some("k")),
        (&[("authorization", "bEARER   k ")], Some("k")),
        (&[("authorization", "Bearer")], None),
        (&[("authorization", "Basic dTpw")], None),
        (&[("authorization", "Bearerk")], None),
        (
            &[("authorization", "Bearer k"), ("x-api-key", "k")],
            Some("k"),
        ),
        (
            &[("authorization", "Basic dTpw"), ("x-api-key", "k")],
            Some("k"),
        ),
        (&[("x-api-key", "k"), ("x-api-key", "k")], Some("k")),
    ];
    for (lines, key) in accepted {
        assert_eq!(credentials(&headers(lines)), Ok(key), "{lines:?}");
    }
    let refused: [&[(&str, &str)]; 4] = [
        &[("authorization", "Bearer k"), ("x-api-key", "l")],
        &[("x-api-key", "k"), ("x-api-key", "l")],
        &[("x-api-key", "\u{e4}")],
        &[("authorization", "Bearer \u{e4}"), ("x-api-key", "k")],
    ];
    for lines in refused {
        assert_eq!(
            credentials(&headers(lines)),
            Err(Refusal::Invalid),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn a_route_that_checks_the_key_itself_learns_why_it_is_refused() {
    let keys = skytide_core::memory::MemoryKeys::default();
    let (text, key) = key_of(1);
    keys.add(&key).await.expect("added");
    let quota = KeyQuota::new(RateLimit::NONE, LimitClock::system());
    let access = Access::new(
        Arc::new(keys),
        Arc::new(ManualClock::default()),
        true,
        quota,
    );
    let check = |lines: &[(&'static str, &str)], scope| {
        let checked = access.check_own(&headers(lines), scope);
        checked.map(|_| true)
    };
    let ours = [("x-api-key", text.reveal())];
    assert_eq!(check(&ours, Scope::Read), Err(Refusal::Unavailable));
    access.refresh_once().await;
    assert_eq!(check(&ours, Scope::Read), Ok(true));
    assert_eq!(check(&ours, Scope::Live), Err(Refusal::Scope(Scope::Live)));
    let other_header = ("authorization", "Bearer other");
    assert_eq!(check(&[ours[0], other_header], Scope::Read), Ok(true));
    assert_eq!(check(&[other_header], Scope::Read), Err(Refusal::Missing));
    assert_eq!(check(&[], Scope::Read), Err(Refusal::Missing));
    assert_eq!(
        check(&[("x-api-key", "k")], Scope::Read),
        Err(Refusal::Invalid)
    );
}

/// Keys whose first read answers late: it waits for a permit after it has read.
struct LateStore {
    keys: skytide_core::memory::MemoryKeys,
    is_first: std::sync::atomic::AtomicBool,
    has_read: tokio::sync::Notify,
    release: tokio::sync::Notify,
}

#[async_trait::async_trait]
impl KeyStore for LateStore {
    async fn all(&self) -> Result<Vec<StoredKey>, KeyError> {
        let keys = self.keys.all().await;
        if self
            .is_first
            .swap(false, std::sync::atomic::Ordering::SeqCst)
        {
            self.has_read.notify_one();
            self.release.notified().await;
        }
        keys
    }

    async fn add(&self, key: &StoredKey) -> Result<(), KeyError> {
        self.keys.add(key).await
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Option<StoredKey>, KeyError> {
        self.keys.revoke(id, now).await
    }

    async fn note_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        self.keys.note_used(used).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_read_of_the_keys_does_not_replace_a_newer_one() {
    let store = Arc::new(LateStore {
        keys: skytide_core::memory::MemoryKeys::default(),
        is_first: true.into(),
        has_read: tokio::sync::Notify::new(),
        release: tokio::sync::Notify::new(),
    });
    let (text, key) = key_of(1);
    store.keys.add(&key).await.expect("added");
    let access = Access::new(
        store.clone(),
        Arc::new(ManualClock::default()),
        true,
        KeyQuota::new(RateLimit::NONE, LimitClock::system()),
    );
    let refresh = || {
        let access = access.clone();
        tokio::spawn(async move { access.refresh_once().await })
    };
    let older = refresh();
    store.has_read.notified().await;
    store.revoke(&key.id, Timestamp(0)).await.expect("revoked");
    let newer = refresh();
    // The newer read ends, or waits for the older one.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.release.notify_one();
    older.await.expect("no panic");
    newer.await.expect("no panic");
    let checked = access.check_own(&headers(&[("x-api-key", text.reveal())]), Scope::Read);
    assert_eq!(checked.map(|_| ()), Err(Refusal::Invalid));
}
