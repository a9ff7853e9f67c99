//! Answers that outlive the check of their key: event streams, and what caches keep.

use axum::body::BodyDataStream;
use futures_util::StreamExt;

use super::*;

/// An open event stream, after its first event.
async fn open(rig: &Rig, key: &str) -> BodyDataStream {
    let response = rig.get("/v1/stream", &[("x-api-key", key)]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut events = response.into_body().into_data_stream();
    let first = events.next().await.expect("an event").expect("bytes");
    assert!(first.starts_with(b"event: waiting"), "{first:?}");
    events
}

/// Reads a stream to its end; keep-alive comments are skipped.
async fn end(mut events: BodyDataStream) {
    // Time is paused: the stream ends at its next poll, long before this.
    let ended = tokio::time::timeout(Duration::from_secs(3_600), async {
        while events.next().await.is_some() {}
    });
    ended.await.expect("the stream ends");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_key_no_longer_allows_it() {
    let live = |key: &mut StoredKey| key.scopes = vec![Scope::Live];
    let rig = Rig::new(AccessOptions::default());
    let revoked = rig.add(1, live).await;
    let expiring = rig
        .add(2, |key| {
            live(key);
            key.expires = Some(Timestamp(NOW.0 + 1_000));
        })
        .await;
    let kept = rig.add(3, live).await;
    let streams = [open(&rig, &revoked).await, open(&rig, &expiring).await];
    let mut kept = open(&rig, &kept).await;
    let id = KeyId::from_random(1);
    rig.keys.revoke(&id, NOW).await.expect("revoked");
    rig.clock.set(Timestamp(NOW.0 + 1_000));
    rig.state.read_keys().await;
    for stream in streams {
        end(stream).await;
        // The table stays current for the other stream.
        rig.state.read_keys().await;
    }
    let comment = async {
        loop {
            rig.state.read_keys().await;
            let next = tokio::time::timeout(Duration::from_secs(2), kept.next());
            if let Ok(next) = next.await {
                return next;
            }
        }
    };
    let comment = comment.await.expect("the stream continues").expect("bytes");
    assert!(comment.starts_with(b":"), "{comment:?}");
    // Nobody reads the keys any more.
    end(kept).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_key_needs_no_table_of_keys() {
    let rig = Rig::new(AccessOptions::default());
    let response = rig.get("/v1/stream", &[]).await;
    let mut events = response.into_body().into_data_stream();
    for start in ["event: waiting", ":"] {
        let bytes = events.next().await.expect("an event").expect("bytes");
        assert!(bytes.starts_with(start.as_bytes()), "{bytes:?}");
    }
}

#[tokio::test]
async fn after_a_suspension_the_table_counts_as_outdated_until_it_is_read() {
    let rig = Rig::closed();
    let key = rig.add(1, |_| {}).await;
    let headers = [("x-api-key", key.as_str())];
    // Only the wall clock went on.
    rig.clock.set(Timestamp(NOW.0 + 5_001));
    assert_eq!(rig.status("/v1/jobs", &headers).await, 503);
    let reasons = async || {
        let ready = json(rig.get("/readyz", &[]).await).await;
        ready["reasons"].to_string()
    };
    let text = reasons().await;
    assert!(text.contains("the API keys cannot be read"), "{text}");
    rig.state.read_keys().await;
    assert_eq!(rig.status("/v1/jobs", &headers).await, 200);
    let text = reasons().await;
    assert!(!text.contains("API keys"), "{text}");
    // A clock that jumps backward changes nothing.
    rig.clock.set(Timestamp(NOW.0 - 60_000));
    assert_eq!(rig.status("/v1/jobs", &headers).await, 200);
}

#[tokio::test]
async fn no_shared_cache_keeps_the_answer_to_a_request_with_a_key() {
    let rig = Rig::new(AccessOptions::default());
    let key = rig.add(1, |_| {}).await;
    let uri = "/v1/snapshots";
    let own = rig.get(uri, &[("x-api-key", &key)]).await;
    assert_eq!(own.status(), StatusCode::OK);
    assert_eq!(own.headers()["cache-control"], "private, no-cache");
    let vary: Vec<_> = own.headers().get_all("vary").iter().collect();
    assert!(
        vary.iter().any(|it| *it == "x-api-key, authorization"),
        "{vary:?}"
    );
    let open = rig.get(uri, &[]).await;
    assert_eq!(open.headers()["cache-control"], "no-cache");
}
