//! Rate limits as a client sees them.

use super::*;
use crate::cursor::{Cursor, ListName, ListPosition};
use crate::options::RateLimit;

/// A limit of 4 units a second and 30 at once for addresses, 8 and 40 for keys.
fn limited() -> Rig {
    Rig::new(AccessOptions {
        address_limit: RateLimit {
            per_second: 4,
            burst: 30,
        },
        key_limit: RateLimit {
            per_second: 8,
            burst: 40,
        },
        trusted_hops: 1,
        hosts: vec!["api.example.org".to_owned()],
        ..AccessOptions::default()
    })
}

const ANA: (&str, &str) = ("x-forwarded-for", "198.51.100.1");
const BEA: (&str, &str) = ("x-forwarded-for", "198.51.100.2");

#[tokio::test]
async fn over_the_limit_is_429_and_after_retry_after_the_same_request_succeeds() {
    let rig = limited();
    for request in 1..=30 {
        let response = rig.get("/v1/jobs", &[ANA]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(number(&response, "ratelimit-limit"), 30);
        assert_eq!(number(&response, "ratelimit-remaining"), 30 - request);
        assert_eq!(number(&response, "ratelimit-reset"), request.div_ceil(4));
        assert_eq!(response.headers()["ratelimit-policy"], "30;w=8");
        assert!(!response.headers().contains_key("retry-after"));
    }
    let response = rig.get("/v1/network", &[ANA]).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    // The request costs 10 units, and the bucket is empty.
    assert_eq!(number(&response, "retry-after"), 3);
    assert_eq!(number(&response, "ratelimit-remaining"), 0);
    assert_eq!(number(&response, "ratelimit-reset"), 8);
    let exposed = response.headers()["access-control-expose-headers"]
        .to_str()
        .expect("text");
    for name in [
        "retry-after",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
    ] {
        assert!(exposed.contains(name), "{exposed}");
    }
    let problem = json(response).await;
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&"rate_limited".into(), &429.into())
    );
    assert_eq!(rig.count(AccessOutcome::Limited), 1);
    assert_eq!(
        rig.status("/v1/network", &[BEA]).await,
        503,
        "another address has units"
    );
    rig.time.advance(Duration::from_millis(2_499));
    assert_eq!(rig.status("/v1/network", &[ANA]).await, 429);
    rig.time.advance(Duration::from_millis(501));
    // Nothing is counted yet, so the route itself answers 503.
    assert_eq!(rig.status("/v1/network", &[ANA]).await, 503);
}

#[tokio::test]
async fn a_request_costs_what_its_route_costs() {
    let cases = [
        ("/healthz", None),
        ("/readyz", None),
        ("/metrics", None),
        ("/", Some(1)),
        ("/openapi.json", Some(1)),
        ("/v1/nowhere", Some(1)),
        ("/v1/jobs", Some(1)),
        ("/v1/actors/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Some(1)),
        ("/v1/trends/posts", Some(2)),
        (
            "/v1/trends/posts?window=1h&as_of=2026-07-04T14:00:00Z",
            Some(10),
        ),
        ("/v1/trends/posts?as%5Fof=2026-07-04T14:00:00Z", Some(10)),
        ("/v1/trends/posts?as_of=", Some(2)),
        ("/v1/network", Some(10)),
        (
            "/v1/actors/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/interactions",
            Some(10),
        ),
        ("/v1/stream", Some(10)),
        ("/original/collStats", Some(2)),
        // Refused for its missing key, by the route itself.
        ("/original/dd/top_blocks", Some(10)),
        // Refused by the guard, and because of the method.
        ("/v1/admin/keys", Some(1)),
        ("/v1/admin/jobs/snapshot/run", Some(1)),
        ("/original/interactions", Some(1)),
    ];
    for (uri, cost) in cases {
        let response = limited().get(uri, &[ANA]).await;
        let remaining = response.headers().get("ratelimit-remaining");
        let remaining = remaining.map(|value| value.to_str().expect("digits").to_owned());
        assert_eq!(remaining, cost.map(|cost| (30 - cost).to_string()), "{uri}");
    }
}

#[tokio::test]
async fn a_valid_key_has_a_bucket_and_an_invalid_one_uses_that_of_the_address() {
    let rig = limited();
    let key = rig.add(1, |_| {}).await;
    let own = rig
        .add(2, |key| (key.rate, key.burst) = (Some(1), Some(15)))
        .await;
    let free = rig.add(3, |key| key.rate = Some(0)).await;
    let get = |key: &str| {
        let key = key.to_owned();
        let rig = &rig;
        async move { rig.get("/v1/jobs", &[ANA, ("x-api-key", &key)]).await }
    };
    assert_eq!(number(&get(&key).await, "ratelimit-remaining"), 39);
    assert_eq!(number(&get(&own).await, "ratelimit-remaining"), 14);
    assert!(!get(&free).await.headers().contains_key("ratelimit-limit"));
    for request in 1..=30 {
        let unknown = KeyText::new(&KeyId::from_random(900 + request), [9; 32]);
        let response = get(unknown.reveal()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(number(&response, "ratelimit-remaining"), 30 - request);
    }
    let response = get("sky_guess").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(number(&get(&key).await, "ratelimit-remaining"), 38);
    // A refresh refills no bucket, unless the limit of the key changes.
    rig.add(4, |_| {}).await;
    assert_eq!(number(&get(&key).await, "ratelimit-remaining"), 37);
}

#[tokio::test]
async fn a_cursor_of_a_list_of_the_past_costs_as_much_as_that_list() {
    let list = ListName {
        view: "posts",
        window: "1h",
        lang: "",
        measure: "likes",
    };
    let after = ListPosition {
        value: 1.0,
        key: "a".into(),
    };
    let current = Cursor::new(list, 25, after);
    let mut past = current.clone();
    past.as_of = Some(1);
    for (cursor, cost) in [
        (current.encode(), 2),
        (past.encode(), 10),
        ("x".to_owned(), 2),
    ] {
        let uri = format!("/v1/trends/posts?cursor={cursor}");
        let response = limited().get(&uri, &[ANA]).await;
        assert_eq!(number(&response, "ratelimit-remaining"), 30 - cost, "{uri}");
    }
}

#[tokio::test]
async fn original_charges_the_key_in_its_own_header_whatever_the_other_header_has() {
    let rig = limited();
    let key = rig.add(1, |_| {}).await;
    let streamer = rig.add(2, |key| key.scopes = vec![Scope::Live]).await;
    let bearer = format!("Bearer {key}");
    let ours = ("x-api-key", key.as_str());
    let uri = "/original/dd/top_blocks";
    // The limit of the bucket, and what is left of it.
    let cases: [(&[(&str, &str)], u64, u64); 5] = [
        (&[ANA, ours, ("authorization", "Bearer x")], 40, 30),
        (&[ANA, ours], 40, 20),
        (&[ANA, ("authorization", &bearer)], 30, 20),
        (&[ANA, ("x-api-key", "sky_guess")], 30, 10),
        (&[ANA, ("x-api-key", &streamer)], 30, 0),
    ];
    for (headers, limit, remaining) in cases {
        let response = rig.get(uri, headers).await;
        assert_eq!(number(&response, "ratelimit-limit"), limit, "{headers:?}");
        let left = number(&response, "ratelimit-remaining");
        assert_eq!(left, remaining, "{headers:?}");
    }
    for (outcome, count) in [
        (AccessOutcome::Key, 2),
        (AccessOutcome::Missing, 1),
        (AccessOutcome::Invalid, 1),
        (AccessOutcome::Scope, 1),
        (AccessOutcome::Anonymous, 0),
    ] {
        assert_eq!(rig.count(outcome), count, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_key_without_the_scope_pays_one_unit_of_its_own_bucket() {
    let rig = limited();
    let key = rig.add(1, |_| {}).await;
    let headers = [ANA, ("x-api-key", key.as_str())];
    let refused = rig.get("/v1/stream", &headers).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(number(&refused, "ratelimit-remaining"), 39);
    // An empty bucket is reported before the refusal.
    for _ in 0..39 {
        rig.get("/v1/jobs", &headers).await;
    }
    assert_eq!(rig.status("/v1/stream", &headers).await, 429);
}
