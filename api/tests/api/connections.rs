//! Clients that hold connections: their connections end, and they do not exclude other clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::to_bytes;
use skytide_api::{ApiState, Limits, Options, Probe, Server};
use skytide_core::port::store::{Control, Range, StoreError, ViewReader};
use skytide_core::view::{Change, Key, Measure, StoredRow, ViewId, Window};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::world::{World, list, request, send};

/// An hour: longer than any test, so that the limit has no effect.
const NEVER_MS: u64 = 3_600_000;
const HEALTHZ: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
const STREAM: &[u8] =
    b"GET /v1/stream?lists=hashtags&window=1h&limit=100 HTTP/1.1\r\nhost: x\r\n\r\n";

/// Options without effective time limits.
fn without_timeouts(connections_max: usize) -> Options {
    Options {
        connections_max,
        header_ms_max: NEVER_MS,
        idle_ms_max: NEVER_MS,
        send_ms_max: NEVER_MS,
        ..free_port()
    }
}

fn free_port() -> Options {
    Options {
        address: "127.0.0.1:0".parse().unwrap(),
        ..Options::default()
    }
}

/// A server that listens on a socket.
struct RunningServer {
    state: ApiState,
    address: SocketAddr,
}

impl RunningServer {
    async fn start(options: Options, state: ApiState) -> Self {
        let server = Server::bind(options).await.unwrap();
        let address = server.address();
        tokio::spawn(server.run(state.clone(), CancellationToken::new()));
        Self { state, address }
    }

    /// Opens a connection and sends these bytes.
    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        client.write_all(bytes).await.unwrap();
        client
    }

    /// The value of a metric in `/metrics`; 0 if it is not there yet.
    async fn metric(&self, name: &str) -> u64 {
        let answer = send(self.state.clone(), request("/metrics")).await;
        let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |number| number.trim().parse().unwrap())
    }

    /// The number of connections that ended with this outcome.
    async fn ended(&self, outcome: &str) -> u64 {
        let name = format!("api_connections_ended_total{{outcome=\"{outcome}\"}}");
        self.metric(&name).await
    }
}

/// Reads until the text contains `wanted`; returns all that was read.
async fn read_until(client: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        let mut bytes = [0; 4_096];
        let count = client.read(&mut bytes).await.unwrap();
        assert_ne!(count, 0, "closed before {wanted:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

/// Reads to the end of the connection. A reset is an end too.
async fn read_to_end(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = client.read_to_end(&mut bytes).await {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn world() -> World {
    let mut world = World::empty();
    world.commit(&[]).await;
    world
}

#[tokio::test]
async fn waiting_connections_do_not_exclude_other_clients() {
    const CONNECTIONS: usize = 64;
    let half = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-half: ";
    for (kind, bytes) in [
        ("nothing", &b""[..]),
        ("half a head", half),
        ("one request", HEALTHZ),
    ] {
        let running =
            RunningServer::start(without_timeouts(CONNECTIONS), world().await.state()).await;
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = running.send(bytes).await;
            if kind == "one request" {
                read_until(&mut client, "alive").await;
            }
            open.push(client);
        }
        for others in 1..=3 {
            let mut other = running.send(HEALTHZ).await;
            let answer = read_until(&mut other, "alive").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{kind}: {answer}");
            drop(other);
            assert!(running.ended("evicted").await <= others, "{kind}");
        }
        read_to_end(&mut open[0]).await;
        assert!(running.ended("evicted").await >= 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_connections_end_and_their_outcomes_are_counted() {
    let running = RunningServer::start(free_port(), world().await.state()).await;
    for (bytes, outcome) in [
        (&b""[..], "header_timeout"),
        (b"GET /heal", "header_timeout"),
        (HEALTHZ, "idle_timeout"),
        (b"not HTTP at all\r\n\r\n", "malformed"),
        (
            b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            "closed",
        ),
    ] {
        let before = running.ended(outcome).await;
        let mut client = running.send(bytes).await;
        let text = read_to_end(&mut client).await;
        assert_eq!(
            running.ended(outcome).await,
            before + 1,
            "{outcome}: {text}"
        );
    }
    assert_eq!(running.metric("api_connections ").await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_byte_by_byte_must_be_complete_in_time() {
    let running = RunningServer::start(free_port(), world().await.state()).await;
    let mut client = running.send(b"GET /healthz HTTP/1.1\r\nx-slow: ").await;
    let mut seconds = 0;
    while running.ended("header_timeout").await == 0 {
        // The time is virtual. The server closes the connection when the time is up.
        if client.write_all(b"x").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
        assert!(seconds <= 2 * Options::default().header_ms_max / 1_000);
    }
    assert_eq!(running.ended("header_timeout").await, 1);
}

#[tokio::test]
async fn a_body_that_never_arrives_delays_no_answer_and_ends_the_connection() {
    let running = RunningServer::start(without_timeouts(4), world().await.state()).await;
    for method in ["GET", "POST"] {
        let head =
            format!("{method} /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf");
        let mut client = running.send(head.as_bytes()).await;
        let text = read_to_end(&mut client).await;
        assert!(text.starts_with("HTTP/1.1 "), "{method}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answers_is_disconnected() {
    let running = RunningServer::start(free_port(), world().await.state()).await;
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(100);
    let mut client = running.send(&requests).await;
    // The time is virtual: it advances only when the server has nothing left to do.
    tokio::time::sleep(Duration::from_millis(2 * Options::default().send_ms_max)).await;
    assert_eq!(running.ended("send_timeout").await, 1);
    read_to_end(&mut client).await;
}

fn hundred_tags(value: u32) -> (ViewId, Vec<Change>) {
    let names: Vec<String> = (0..100).map(|it| format!("{it:0>100}")).collect();
    let entries: Vec<_> = names
        .iter()
        .map(|name| (&**name, value, 1, value))
        .collect();
    let list = list(Window::Hour, Measure::Count, "", &entries);
    (ViewId::TopHashtags, vec![list])
}

#[tokio::test(start_paused = true)]
async fn streams_that_are_not_read_buffer_few_bytes_and_end() {
    const CLIENTS: u64 = 3;
    const COMMITS_MAX: u32 = 500;
    let mut world = World::empty();
    world.commit(&[hundred_tags(0)]).await;
    let running = RunningServer::start(free_port(), world.state()).await;
    let mut blocked = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = running.send(STREAM).await;
        read_until(&mut client, "event: commit").await;
        blocked.push(client);
    }
    let mut commits = 0;
    while running.ended("send_timeout").await < CLIENTS {
        commits += 1;
        assert!(
            commits < COMMITS_MAX,
            "streams whose clients do not read stay open"
        );
        world.commit(&[hundred_tags(commits)]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(running.metric("api_stream_clients ").await, 0);
}

#[tokio::test]
async fn streams_that_are_not_read_do_not_exclude_other_streams() {
    const STREAMS: usize = 8;
    let limits = Limits {
        stream_clients_max: STREAMS,
        ..Limits::default()
    };
    let state = world().await.state().with_limits(limits);
    let running = RunningServer::start(without_timeouts(64), state).await;
    let mut blocked = Vec::new();
    for _ in 0..STREAMS {
        let mut client = running.send(STREAM).await;
        read_until(&mut client, "event: commit").await;
        blocked.push(client);
    }
    let mut other = running.send(STREAM).await;
    read_until(&mut other, "event: commit").await;
    assert_eq!(running.metric("api_streams_replaced_total").await, 1);
    let end = read_until(&mut blocked[0], "0\r\n\r\n").await;
    assert!(
        !end.is_empty(),
        "an evicted stream ends with a complete body"
    );
    blocked[0].write_all(HEALTHZ).await.unwrap();
    read_until(&mut blocked[0], "alive").await;
}

#[tokio::test]
async fn streams_on_all_connections_do_not_exclude_other_clients() {
    const CONNECTIONS: usize = 8;
    let running = RunningServer::start(without_timeouts(CONNECTIONS), world().await.state()).await;
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = running.send(STREAM).await;
        read_until(&mut client, "event: commit").await;
        streams.push(client);
    }
    let mut other = running.send(HEALTHZ).await;
    read_until(&mut other, "alive").await;
    assert_eq!(running.ended("evicted").await, 1);
}

/// A store whose reads never finish; it adds a permit for each read.
struct HangingStore(Arc<Semaphore>);

#[async_trait]
impl ViewReader for HangingStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.0.add_permits(1);
        std::future::pending().await
    }

    async fn get(&self, _: ViewId, _: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        std::future::pending().await
    }

    async fn scan(&self, _: ViewId, _: Range) -> Result<Vec<StoredRow>, StoreError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn health_checks_of_this_machine_are_admitted_while_every_request_hangs() {
    const CONNECTIONS: u32 = 4;
    const SPARE: u32 = 8;
    let limits = Limits {
        request_ms_max: NEVER_MS,
        ..Limits::default()
    };
    let reads = Arc::new(Semaphore::new(0));
    let state = world()
        .await
        .state_on(Arc::new(HangingStore(reads.clone())));
    let running = RunningServer::start(
        without_timeouts(CONNECTIONS as usize),
        state.with_limits(limits),
    )
    .await;
    let network_request = b"GET /v1/network HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut hanging = Vec::new();
    for _ in 0..CONNECTIONS {
        hanging.push(running.send(network_request).await);
    }
    reads.acquire_many(CONNECTIONS).await.unwrap().forget();
    let mut check = running.send(HEALTHZ).await;
    read_until(&mut check, "alive").await;
    drop(check);
    for _ in 0..SPARE {
        hanging.push(running.send(network_request).await);
    }
    reads.acquire_many(SPARE).await.unwrap().forget();
    // A probe beside the API has connections of its own.
    let probe = Probe::bind(free_port().address).await.unwrap();
    let mut check = TcpStream::connect(probe.address()).await.unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(probe.run_beside_api(running.state.clone(), stop));
    check.write_all(HEALTHZ).await.unwrap();
    read_until(&mut check, "alive").await;
    let mut refused = TcpStream::connect(running.address).await.unwrap();
    let text = read_to_end(&mut refused).await;
    assert!(text.starts_with("HTTP/1.1 503 "), "{text:?}");
    assert!(text.contains("retry-after: 1"), "{text}");
    assert_eq!(running.ended("refused").await, 1);
}
