use super::*;
use skytide_core::port::clock::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const ANA: &str = "did:plc:3ir4kq33qnjyzawsel2s2vak";
const BEA: &str = "did:web:bea.example.com";
const NOW: Timestamp = Timestamp(1_783_175_888_000);

/// Answers one question with these bytes; tells what was asked.
async fn server(answer: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(socket.read_u8().await.expect("a question"));
        }
        // The client may have heard enough before the end.
        let _ = socket.write_all(answer.as_bytes()).await;
        let _ = socket.shutdown().await;
        String::from_utf8(asked).expect("text")
    });
    (address, asked)
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

async fn answered(answer: String) -> Result<FetchedProfiles, SourceError> {
    let (address, asked) = server(answer).await;
    let fetched = ask(&address, Duration::from_secs(60)).await;
    asked.await.expect("it was asked");
    fetched
}

#[tokio::test]
async fn profiles_are_asked_for_by_name_and_read() {
    let body = format!(
        r#"{{"profiles": [{{"did": "{BEA}", "handle": "bea.example.com", "displayName": " Bea 🌊 ",
            "avatar": "https://cdn.example.com/a@jpeg", "viewer": {{"muted": false}}, "labels": []}},
            {{"did": "{ANA}", "handle": "ana.test", "displayName": "", "avatar": "javascript:x"}}]}}"#
    );
    let reset =
        "ratelimit-limit: 3000\r\nratelimit-remaining: 7\r\nratelimit-reset: 1783175999\r\n";
    let (address, asked) = server(json(reset, &body)).await;
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
    let asked = asked.await.expect("asked").to_lowercase();
    let query = "actors=did%3aplc%3a3ir4kq33qnjyzawsel2s2vak&actors=did%3aweb%3abea.example.com";
    let line = format!("get /xrpc/app.bsky.actor.getprofiles?{query} http/1.1\r\n");
    assert!(asked.starts_with(&line), "{asked}");
    assert!(asked.contains("\r\nuser-agent: skytide/"), "{asked}");
}

#[tokio::test]
async fn a_spent_allowance_is_told_with_the_moment_of_the_next() {
    let headers = "RateLimit-Remaining: 0\r\nRateLimit-Reset: 1783175999\r\n";
    let fetched = answered(json(headers, r#"{"profiles": []}"#)).await;
    let not_before = fetched.expect("an answer").not_before;
    assert_eq!(not_before, Some(Timestamp(1_783_175_999_000)));
}

#[tokio::test]
async fn a_server_that_was_asked_too_often_says_when_to_go_on() {
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
            NOW.0 + WAIT_MS_MAX,
        ),
    ];
    for (status, headers, expected) in cases {
        match answered(http(status, headers, "slow down")).await {
            Err(SourceError::RateLimited { not_before }) => {
                assert_eq!(not_before.0, expected, "{status} {headers}");
            }
            other => panic!("{status} {headers}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_no_answer() {
    let long = format!(
        r#"{{"profiles": [], "more": "{}"}}"#,
        "x".repeat(ANSWER_BYTES_MAX)
    );
    let half = json("", r#"{"profiles": [{"did": "did:plc:3ir4kq33"#);
    let cut = json("", r#"{"profiles": []}"#);
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
        cut[..cut.len() - 3].to_owned(),
        "no HTTP at all\r\n\r\n".to_owned(),
        String::new(),
    ];
    for answer in cases {
        let fetched = answered(answer.clone()).await;
        let end = answer.len().min(200);
        assert!(
            matches!(fetched, Err(SourceError::Failed(_))),
            "{}: {fetched:?}",
            &answer[..end]
        );
    }
}

/// 25 entries, of which one is replaced by this.
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
fn a_malformed_entry_costs_no_other() {
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
fn a_text_that_cannot_be_read_costs_only_itself() {
    let of = |field: &[u8]| {
        let mut entry = format!(r#"{{"did": "{ANA}", "handle": "ana.test", "#).into_bytes();
        entry.extend(field);
        entry.push(b'}');
        let (profiles, malformed) = parse(&one_of_25(&entry)).expect("25 profiles");
        assert_eq!((profiles.len(), malformed), (25, 0));
        let ana = profiles.into_iter().find(|(did, _)| did.to_string() == ANA);
        ana.expect("Ana").1
    };
    // The first half of an emoji, as clients that truncate a text leave it.
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
    let (elsewhere, asked) = server(json("", r#"{"profiles": []}"#)).await;
    let location = format!("Location: {elsewhere}/\r\n");
    let fetched = answered(http("302 Found", &location, "")).await;
    assert!(
        matches!(fetched, Err(SourceError::Failed(_))),
        "{fetched:?}"
    );
    asked.abort();
}

#[tokio::test]
async fn a_refused_question_is_told_apart_from_a_failure() {
    let body = r#"{"error": "InvalidRequest", "message": "actors must be valid"}"#;
    match answered(http(
        "400 Bad Request",
        "Content-Type: application/json\r\n",
        body,
    ))
    .await
    {
        Err(SourceError::Refused(why)) => assert!(why.contains("actors must be valid"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_away_fails_without_a_secret() {
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
        let told = crate::failure::chain(&SourceError::Failed(why));
        assert!(!told.contains("secret"), "{told}");
    }
}

#[test]
fn long_names_are_cut_between_characters() {
    let long = "é".repeat(400);
    let cut = name(long).expect("a name");
    assert_eq!(cut.chars().count(), 320);
    assert_eq!(name(" \n".to_owned()), None);
    let far = format!("https://{}", "a".repeat(AVATAR_BYTES_MAX));
    assert_eq!(avatar(far), None);
}
