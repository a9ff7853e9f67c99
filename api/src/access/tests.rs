use super::*;

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
    use skytide_core::memory::MemoryKeys;
    use skytide_core::port::clock::ManualClock;
    use skytide_core::port::key::{KeyId, KeyText, StoredKey};
    use skytide_core::time::Timestamp;

    use crate::limiter::LimitClock;
    use crate::options::RateLimit;

    let id = KeyId::from_random(1);
    let text = KeyText::new(&id, [1; 32]);
    let keys = MemoryKeys::default();
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
    keys.add(&key).await.expect("added");
    let quota = KeyQuota::new(RateLimit::NONE, LimitClock::system());
    let access = Access::new(
        Arc::new(keys),
        Arc::new(ManualClock::default()),
        true,
        quota,
    );
    let check = |lines: &[(&'static str, &str)], scope| {
        let checked = access.check(&headers(lines), scope);
        checked.map(|caller| matches!(caller, Caller::Key(_)))
    };
    let ours = [("x-api-key", text.reveal())];
    assert_eq!(check(&ours, Scope::Read), Err(Refusal::Unavailable));
    access.refresh_once().await;
    assert_eq!(check(&ours, Scope::Read), Ok(true));
    assert_eq!(check(&ours, Scope::Live), Err(Refusal::Scope(Scope::Live)));
    assert_eq!(check(&[], Scope::Read), Err(Refusal::Missing));
    assert_eq!(
        check(&[("x-api-key", "k")], Scope::Read),
        Err(Refusal::Invalid)
    );
}
