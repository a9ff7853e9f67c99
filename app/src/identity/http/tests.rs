use std::io;
use std::net::SocketAddr;

use super::*;
use skytide_core::memory::MemoryProfiles;
use skytide_core::port::clock::ManualClock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANA: &str = "did:plc:3ir4kq33qnjyzawsel2s2vak";
const NOW: Timestamp = Timestamp(1_783_175_888_000);

/// Resolves every host name to one address.
#[derive(Clone)]
struct FixedLookup(SocketAddr);

impl HostLookup for FixedLookup {
    async fn lookup(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![self.0])
    }
}

/// Answers each request by `respond`, which may write what it likes. Returns the address and the
/// number of connections so far.
async fn server<F>(
    respond: impl Fn(TcpStream, String) -> F + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicU64>)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let connections = Arc::new(AtomicU64::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match socket.read_u8().await {
                    Ok(byte) => request.push(byte),
                    Err(_) => break,
                }
            }
            // The client may disconnect before the end of the response.
            tokio::spawn(respond(
                socket,
                String::from_utf8_lossy(&request).into_owned(),
            ));
        }
    });
    (address, connections)
}

/// A server with one response.
async fn fixed(response: String) -> (SocketAddr, Arc<AtomicU64>) {
    server(move |mut socket, _| {
        let response = response.clone();
        async move {
            socket.write_all(response.as_bytes()).await?;
            socket.shutdown().await
        }
    })
    .await
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn json(body: &str) -> String {
    http("200 OK", "Content-Type: application/json\r\n", body)
}

fn identity(address: SocketAddr, lookup: impl HostLookup) -> (HttpIdentity, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    clock.set(NOW);
    let url = Endpoint::parse(&format!("http://{address}/"), &["http"]).expect("an address");
    let made = HttpIdentity::with_lookup(&url, &url, clock.clone(), lookup);
    (made.expect("a client"), clock)
}

/// The results of both requests for a server with one response, as text.
async fn both(response: String) -> [String; 2] {
    let (address, _) = fixed(response).await;
    let (identity, _) = identity(address, SystemLookup);
    let did = ANA.parse().expect("a DID");
    [
        shown(identity.resolve_handle("ana.test").await),
        shown(identity.document(&did).await),
    ]
}

/// `Ok` as it is, an error with its causes.
fn shown<T: std::fmt::Debug>(result: Result<T, IdentityError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        }
    }
}

#[tokio::test]
async fn a_handle_and_a_document_are_requested_and_parsed() {
    let (address, _) = server(|mut socket, request| async move {
        let body = match request.split(' ').nth(1) {
            Some("/xrpc/com.atproto.identity.resolveHandle?handle=ana.test") => {
                json(&format!(r#"{{"did": "{ANA}"}}"#))
            }
            Some("/did:plc:3ir4kq33qnjyzawsel2s2vak") => http(
                "200 OK",
                "Content-Type: application/did+ld+json; charset=utf-8\r\n",
                &format!(
                    r#"{{"id": "{ANA}", "alsoKnownAs": [7, "https://x", "at://Ana.Test", "at://b.c"]}}"#
                ),
            ),
            path => http("500 No", "", &format!("{path:?}")),
        };
        socket.write_all(body.as_bytes()).await
    })
    .await;
    let (identity, _) = identity(address, SystemLookup);
    let did: Did = ANA.parse().expect("a DID");
    let found = identity.resolve_handle("ana.test").await;
    assert_eq!(found.expect("resolved"), Some(did.clone()));
    let document = identity.document(&did).await.expect("a document");
    let expected = DidDocument {
        did,
        handle: Some("ana.test".into()),
    };
    assert_eq!(document, Some(expected));
}

#[tokio::test]
async fn only_the_first_at_entry_counts_and_it_must_be_a_handle() {
    let names = [
        (r#"[]"#, "None"),
        (r#"["https://ana.test"]"#, "None"),
        (r#"["at://", "at://ana.test"]"#, "None"),
        (r#"["at://ana.test/path"]"#, "None"),
        (r#"["at://did:plc:3ir4kq33qnjyzawsel2s2vak"]"#, "None"),
        (
            r#"["at://bea.test", "at://ana.test"]"#,
            "Some(\"bea.test\")",
        ),
    ];
    for (names, expected) in names {
        let body = format!(r#"{{"id": "{ANA}", "alsoKnownAs": {names}}}"#);
        let [_, document] = both(json(&body)).await;
        assert!(
            document.ends_with(&format!("handle: {expected} }})")),
            "{names}: {document}"
        );
    }
    let [_, document] = both(json(&format!(r#"{{"id": "{ANA}"}}"#))).await;
    assert!(document.ends_with("handle: None })"), "{document}");
}

#[tokio::test]
async fn what_a_server_does_not_know_is_none() {
    let unknown = r#"{"error": "InvalidRequest", "message": "Unable to resolve handle"}"#;
    let kind = "Content-Type: application/json\r\n";
    for (status, headers) in [
        ("400 Bad Request", kind),
        ("404 Not Found", kind),
        ("404 Not Found", ""),
        ("410 Gone", kind),
    ] {
        let found = both(http(status, headers, unknown)).await;
        assert_eq!(found, ["None", "None"], "{status}");
    }
}

#[tokio::test]
async fn hostile_answers_fail_and_redirects_are_not_followed() {
    let (target, followed) = fixed(json(&format!(r#"{{"did": "{ANA}", "id": "{ANA}"}}"#))).await;
    let kind = "Content-Type: application/json\r\n";
    let redirect = format!("Location: http://{target}/\r\n");
    let huge = format!(
        r#"{{"did": "{ANA}", "id": "{ANA}", "x": "{}"}}"#,
        "x".repeat(70_000)
    );
    let deep = format!(r#"{{"did": {}}}"#, "[".repeat(60_000));
    let cases = [
        (http("302 Found", &redirect, ""), "302 Found"),
        (http("307 Temporary Redirect", &redirect, ""), "307"),
        (json(&huge), "too large"),
        (json(&deep), "could not resolve the identity"),
        (json("<html>"), "expected value"),
        (
            http("200 OK", "Content-Type: text/html\r\n", "{}"),
            "not JSON",
        ),
        (http("200 OK", "", "{}"), "not JSON"),
        (http("400 Bad Request", "", "no"), "400 Bad Request"),
        (http("500 Internal Server Error", kind, "{}"), "500"),
        (json(r#"{"did": "did:plc:", "id": "x"}"#), "no valid DID"),
        (json(r#"{"did": 7, "id": []}"#), "invalid type"),
        ("garbage".to_owned(), "could not resolve the identity"),
    ];
    for (response, why) in cases {
        let head: String = response.chars().take(60).collect();
        for found in both(response).await {
            assert!(found.contains(why), "{head}: {found}");
        }
    }
    assert_eq!(followed.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let (address, _) = server(|mut socket, _| async move {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
        socket.write_all(head.as_bytes()).await?;
        loop {
            socket.write_all(&[b' '; 1_024]).await?;
        }
    })
    .await;
    let (identity, _) = identity(address, SystemLookup);
    let found = shown(identity.resolve_handle("ana.test").await);
    assert!(found.ends_with("the response is too large"), "{found}");
}

#[tokio::test]
async fn after_a_rate_limit_no_request_is_sent_before_its_end() {
    let response = http("429 Too Many Requests", "Retry-After: 7\r\n", "");
    let (address, connections) = fixed(response).await;
    let (identity, clock) = identity(address, SystemLookup);
    for (ms, sent) in [(0, 1), (6_999, 1), (7_000, 2)] {
        clock.set(Timestamp(NOW.0 + ms));
        let error = identity
            .resolve_handle("ana.test")
            .await
            .expect_err("limited");
        assert!(
            matches!(error, IdentityError::RateLimited { .. }),
            "{error}"
        );
        assert_eq!(connections.load(Ordering::SeqCst), sent, "after {ms} ms");
    }
}

/// The pauses of both servers are stored. Those of a host of `did:web` are not: strangers choose it.
#[tokio::test]
async fn a_pause_survives_a_restart() {
    let response = http("429 Too Many Requests", "Retry-After: 7\r\n", "");
    let (address, connections) = fixed(response).await;
    let store = MemoryProfiles::default();
    let did: Did = ANA.parse().expect("a DID");
    let mut sent = 0;
    for (ms, requests) in [(0, 2), (6_999, 0), (7_000, 2)] {
        let (identity, clock) = identity(address, SystemLookup);
        let identity = identity.with_pauses(Arc::new(store.clone()));
        clock.set(Timestamp(NOW.0 + ms));
        for _ in 0..2 {
            let found = shown(identity.resolve_handle("ana.test").await);
            assert!(found.contains("rate limit"), "{found}");
            let found = shown(identity.document(&did).await);
            assert!(found.contains("rate limit"), "{found}");
        }
        sent += requests;
        assert_eq!(connections.load(Ordering::SeqCst), sent, "after {ms} ms");
    }
    let profiles = store.pause(PausedServer::Profiles).await;
    assert_eq!(profiles.expect("read"), SourcePause::default());
}

#[tokio::test]
async fn a_stored_pause_ends_although_a_clock_was_wrong() {
    let (address, _) = fixed(json(&format!(r#"{{"did": "{ANA}"}}"#))).await;
    let store = MemoryProfiles::default();
    let pause = SourcePause {
        not_before: Timestamp(u64::MAX),
        failures_in_a_row: 0,
    };
    let stored = store.set_pause(PausedServer::Resolver, &pause).await;
    stored.expect("stored");
    let (identity, clock) = identity(address, SystemLookup);
    let identity = identity.with_pauses(Arc::new(store));
    let found = shown(identity.resolve_handle("ana.test").await);
    assert!(found.contains("rate limit"), "{found}");
    clock.set(Timestamp(NOW.0 + PAUSE_MS_MAX));
    let found = identity.resolve_handle("ana.test").await;
    assert!(found.expect("resolved").is_some());
}

#[tokio::test]
async fn hosts_of_did_web_that_are_not_public_are_not_connected_to() {
    let (address, connections) = fixed(json("{}")).await;
    let (identity, _) = identity(address, FixedLookup(address));
    let port = address.port();
    let hosts = [
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "2130706433".to_owned(),
        "0x7f.1".to_owned(),
        format!("localhost%3A{port}"),
        format!("bea.dev%3A{port}"),
        "bea.dev:path".to_owned(),
        "db.internal".to_owned(),
    ];
    for host in hosts {
        let did: Did = format!("did:web:{host}").parse().expect("a DID");
        let found = identity.document(&did).await;
        assert!(
            matches!(found, Err(IdentityError::NotAllowed(_))),
            "{host}: {found:?}"
        );
    }
    // A public name with a private address, as after DNS rebinding.
    let did: Did = "did:web:bea.dev".parse().expect("a DID");
    let found = shown(identity.document(&did).await);
    assert!(
        found.ends_with("the host \"bea.dev\" has no public address"),
        "{found}"
    );
    let did: Did = "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"
        .parse()
        .expect("a DID");
    let found = identity.document(&did).await;
    assert!(
        matches!(found, Err(IdentityError::NotAllowed(_))),
        "{found:?}"
    );
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}
