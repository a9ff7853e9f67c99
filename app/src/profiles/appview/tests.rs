use super::*;
use skytide_core::port::clock::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const ANA: &str = "did:plc:3ir4kq33qnjyzawsel2s2vak";
const BEA: &str = "did:web:bea.example.com";
const NOW: Timestamp = Timestamp(1_783_175_888_000);

/// Answers one request with these bytes. The task returns the request.
async fn server(response: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let request = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.expect("a request"));
        }
        // The client may disconnect before the end of the response.
        let _ = socket.write_all(response.as_bytes()).await;
        let _ = socket.shutdown().await;
        String::from_utf8(request).expect("text")
    });
    (address, request)
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn json(headers: &str, body: &str) -> String {
    http(
        "200 OK",
        &format!("Content-Type: application/json; charset=utf-8\r\n{headers}"),
        body,
    )
}

async fn ask(url: &str, time_max: Duration) -> Result<FetchedProfiles, SourceError> {
    let clock = Arc::new(ManualClock::default());
    clock.set(NOW);
    let url = Endpoint::parse(url, &["http"]).expect("an address");
    let source = AppView::new(&url, time_max, clock).expect("a client");
    let dids = [ANA, BEA].map(|did| did.parse().expect("a DID"));
    source.fetch(&dids).await
}

async fn fetch_response(response: String) -> Result<FetchedProfiles, SourceError> {
    let (address, request) = server(response).await;
    let fetched = ask(&address, Duration::from_secs(60)).await;
    request.await.expect("a request");
    fetched
}

#[tokio::test]
async fn profiles_are_requested_by_did_and_parsed() {
    let body = format!(
        r#"{{"profiles": [{{"did": "{BEA}", "handle": "bea.example.com", "displayName": " Bea 🌊 ",
            "avatar": "https://cdn.example.com/a@jpeg", "viewer": {{"muted": false}}, "labels": []}},
            {{"did": "{ANA}", "handle": "ana.test", "displayName": "", "avatar": "javascript:x"}}]}}"#
    );
    let reset =
        "ratelimit-limit: 3000\r\nratelimit-remaining: 7\r\nratelimit-reset: 1783175999\r\n";
    let (address, request) = server(json(reset, &body)).await;
    let fetched = ask(&format!("{address}/"), Duration::from_secs(60)).await;
    let bea = Profile {
        handle: "bea.example.com".into(),
        name: Some("Bea 🌊".into()),
        avatar: Some("https://cdn.example.com/a@jpeg".into()),
    };
    let ana = Profile {
        handle: "ana.test".into(),
        name: None,
        avatar: None,
    };
    let expected = FetchedProfiles {
        profiles: vec![(BEA.parse().unwrap(), bea), (ANA.parse().unwrap(), ana)],
        malformed: 0,
        not_before: None,
    };
    assert_eq!(fetched.expect("profiles"), expected);
    let request = request.await.expect("a request").to_lowercase();
    let query = "actors=did%3aplc%3a3ir4kq33qnjyzawsel2s2vak&actors=did%3aweb%3abea.example.com";
    let line = format!("get /xrpc/app.bsky.actor.getprofiles?{query} http/1.1\r\n");
    assert!(request.starts_with(&line), "{request}");
    assert!(request.contains("\r\nuser-agent: skytide/"), "{request}");
}

#[tokio::test]
async fn an_exhausted_rate_limit_is_reported_with_its_reset_time() {
    let headers = "RateLimit-Remaining: 0\r\nRateLimit-Reset: 1783175999\r\n";
    let fetched = fetch_response(json(headers, r#"{"profiles": []}"#)).await;
    let not_before = fetched.expect("an answer").not_before;
    assert_eq!(not_before, Some(Timestamp(1_783_175_999_000)));
}

#[tokio::test]
async fn a_rate_limited_response_gives_the_time_of_the_next_request() {
    let minute = NOW.0 + 60_000;
    let cases = [
        ("429 Too Many Requests", "Retry-After: 7\r\n", NOW.0 + 7_000),
        (
            "503 Service Unavailable",
            "Retry-After: 7\r\n",
            NOW.0 + 7_000,
        ),
        (
            "429 Too Many Requests",
            "ratelimit-reset: 1783175890\r\n",
            NOW.0 + 2_000,
        ),
        (
            "429 Too Many Requests",
            "Retry-After: 1\r\nratelimit-reset: 1783175890\r\n",
            NOW.0 + 2_000,
        ),
        (
            "429 Too Many Requests",
            "Retry-After: Sat, 04 Jul 2026 14:39:08 GMT\r\n",
            minute,
        ),
        ("429 Too Many Requests", "Retry-After: soon\r\n", minute),
        ("429 Too Many Requests", "", minute),
        ("429 Too Many Requests", "ratelimit-reset: 3\r\n", NOW.0),
        (
            "429 Too Many Requests",
            "Retry-After: 99999999999999999999\r\n",
            minute,
        ),
        (
            "429 Too Many Requests",
            "Retry-After: 999999999999\r\n",
            NOW.0 + PAUSE_MS_MAX,
        ),
    ];
    for (status, headers, expected) in cases {
        match fetch_response(http(status, headers, "slow down")).await {
            Err(SourceError::RateLimited { not_before }) => {
                assert_eq!(not_before.0, expected, "{status} {headers}");
            }
            other => panic!("{status} {headers}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_response_in_another_format_is_a_failure() {
    let long = format!(
        r#"{{"profiles": [], "more": "{}"}}"#,
        "x".repeat(BODY_BYTES_MAX)
    );
    let half = json("", r#"{"profiles": [{"did": "did:plc:3ir4kq33"#);
    let truncated = json("", r#"{"profiles": []}"#);
    let cases = [
        http("500 Internal Server Error", "", "{}"),
        http("503 Service Unavailable", "", "{}"),
        http(
            "301 Moved Permanently",
            "Location: http://127.0.0.1:1/\r\n",
            "",
        ),
        http("200 OK", "Content-Type: text/html\r\n", "<!doctype html>"),
        http("200 OK", "", r#"{"profiles": []}"#),
        json("", "<!doctype html>"),
        json("", r#"{"actors": []}"#),
        json("", r#"{"profiles": {}}"#),
        json("", &long),
        half,
        truncated[..truncated.len() - 3].to_owned(),
        "no HTTP at all\r\n\r\n".to_owned(),
        String::new(),
    ];
    for response in cases {
        let fetched = fetch_response(response.clone()).await;
        let end = response.len().min(200);
        assert!(
            matches!(fetched, Err(SourceError::Failed(_))),
            "{}: {fetched:?}",
            &response[..end]
        );
    }
}

/// A body of 25 entries, one of which is `entry`.
fn one_of_25(entry: &[u8]) -> Vec<u8> {
    let mut body = br#"{"profiles": ["#.to_vec();
    for n in 0..25 {
        if n > 0 {
            body.push(b',');
        }
        match n {
            7 => body.extend(entry),
            n => body.extend(
                format!(r#"{{"did": "did:web:n{n}.example.com", "handle": "n{n}.example.com"}}"#)
                    .as_bytes(),
            ),
        }
    }
    body.extend(b"]}");
    body
}

#[test]
fn a_malformed_entry_affects_no_other() {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = format!(
        r#"{{"did": "{ANA}", "handle": "{}.test"}}"#,
        "a.".repeat(200)
    );
    let entries: [&[u8]; 16] = [
        b"null",
        b"7",
        b"\"text\"",
        b"[]",
        b"{}",
        br#"{"did": "nobody", "handle": "a.test"}"#,
        br#"{"did": 7, "handle": "a.test"}"#,
        br#"{"did": "did:plc:3ir4kq33qnjyzawsel2s2vak"}"#,
        br#"{"did": "did:plc:3ir4kq33qnjyzawsel2s2vak", "handle": null}"#,
        br#"{"did": "did:plc:3ir4kq33qnjyzawsel2s2vak", "handle": ""}"#,
        br#"{"did": "did:plc:3ir4kq33qnjyzawsel2s2vak", "handle": "a b"}"#,
        br#"{"did": "did:plc:3ir4kq33qnjyzawsel2s2vak", "handle": "\u212aate.example.com"}"#,
        br#"{"did": "did:plc:3ir4kq33qnjyzawsel2s2vak", "handle": "\ud83c"}"#,
        br#"{"did": "did:web:n3.example.com", "handle": "other.example.com"}"#,
        long.as_bytes(),
        deep.as_bytes(),
    ];
    for entry in entries {
        let (profiles, malformed) = parse(&one_of_25(entry)).expect("24 profiles");
        let entry = String::from_utf8_lossy(&entry[..entry.len().min(80)]);
        assert_eq!((profiles.len(), malformed), (24, 1), "{entry}");
        let third = profiles
            .iter()
            .find(|(_, it)| &*it.handle == "n3.example.com");
        assert!(third.is_some(), "{entry}");
    }
}

#[test]
fn an_invalid_string_affects_only_its_field() {
    let of = |field: &[u8]| {
        let mut entry = format!(r#"{{"did": "{ANA}", "handle": "ana.test", "#).into_bytes();
        entry.extend(field);
        entry.push(b'}');
        let (profiles, malformed) = parse(&one_of_25(&entry)).expect("25 profiles");
        assert_eq!((profiles.len(), malformed), (25, 0));
        let ana = profiles.into_iter().find(|(did, _)| did.to_string() == ANA);
        ana.expect("Ana").1
    };
    // The first half of an emoji, as a client that truncates a text leaves it.
    assert_eq!(of(br#""displayName": "Ana \ud83c""#).name, None);
    assert_eq!(of(br#""displayName": {"x": 1}"#).name, None);
    assert_eq!(of(br#""displayName": null, "avatar": 7"#).avatar, None);
    assert_eq!(
        of(b"\"displayName\": \"A\xffna\"").name,
        Some("A\u{fffd}na".into())
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, request) = server(json("", r#"{"profiles": []}"#)).await;
    let location = format!("Location: {elsewhere}/\r\n");
    let fetched = fetch_response(http("302 Found", &location, "")).await;
    assert!(
        matches!(fetched, Err(SourceError::Failed(_))),
        "{fetched:?}"
    );
    request.abort();
}

#[tokio::test]
async fn a_refused_request_is_distinguished_from_a_failure() {
    let body = r#"{"error": "InvalidRequest", "message": "actors must be valid"}"#;
    match fetch_response(http(
        "400 Bad Request",
        "Content-Type: application/json\r\n",
        body,
    ))
    .await
    {
        Err(SourceError::Refused(why)) => assert!(why.contains("actors must be valid"), "{why}"),
        other => panic!("{other:?}"),
    }
    for status in [
        "413 Content Too Large",
        "414 URI Too Long",
        "431 Request Header Fields Too Large",
    ] {
        let fetched = fetch_response(http(status, "", "too long")).await;
        assert!(
            matches!(fetched, Err(SourceError::Refused(_))),
            "{status}: {fetched:?}"
        );
    }
}

#[tokio::test]
async fn the_error_of_an_unreachable_server_contains_no_secret() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("bound");
    let hidden = format!("http://ana:secret@{address}");
    let late = ask(&hidden, Duration::from_millis(50)).await;
    drop(silent);
    let away = ask(&hidden, Duration::from_secs(60)).await;
    for fetched in [late, away] {
        let Err(SourceError::Failed(why)) = fetched else {
            panic!("{fetched:?}");
        };
        let text = crate::failure::chain(&SourceError::Failed(why));
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_long_name_is_truncated_between_characters() {
    let long = "é".repeat(400);
    let cut = name(long).expect("a name");
    assert_eq!(cut.chars().count(), 320);
    assert_eq!(name(" \n".to_owned()), None);
    let far = format!("https://{}", "a".repeat(AVATAR_BYTES_MAX));
    assert_eq!(avatar(far), None);
}
