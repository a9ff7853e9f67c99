//! Clients that hold connections or ask too much: what they cost the API, and whether others are
//! served. A process of `skytide up` without events and without rate limits, and then one with the
//! default limits, which believes the address that a proxy states.
//!
//! Each line: what the clients do, the process' memory before and meanwhile, how long another client
//! waits for an answer, and what the metrics counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skytide_simnet::server::Server;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::api::client::{Connection, load, request};
use crate::api::without_rate_limits;
use crate::latency::{runtime, serve, visible};
use crate::whole::{Gate, Whole, client as http_client, make, peak_bytes, rss_bytes};

const HISTORY: u64 = 50_000;
/// As many connections as the API accepts by default.
const SOCKETS: usize = 1_024;
const STREAMS: usize = 256;
const DISTINCT: usize = 100_000;
/// Different addresses, and different keys.
const CLIENTS: usize = 1_000_000;
/// Connections of the clients that ask many different things.
const CONNECTIONS: usize = 64;
/// How long each case lasts before it is measured.
const HELD: Duration = Duration::from_secs(5);
/// Requests of another client that are timed.
const OTHERS: usize = 200;

/// Measures each kind of client on the same process.
pub fn run() {
    skytide::files::raise_limit();
    println!("\nclients that hold connections or ask too much");
    println!(
        "{:<44}{:>9}{:>9}{:>12}{:>12}  what the metrics counted",
        "clients", "RSS MB", "then MB", "others p50", "longest ms"
    );
    let variables: Vec<_> = without_rate_limits().into_iter().collect();
    let bench = Bench::start(&variables);
    bench.case("none", |_| Box::pin(async { Vec::new() }));
    bench.case("1,024 connections without a request", |whole| {
        Box::pin(send_on_each(whole, SOCKETS, b""))
    });
    bench.case("1,024 connections with half a head", |whole| {
        Box::pin(send_on_each(
            whole,
            SOCKETS,
            b"GET /v1/network HTTP/1.1\r\nhost: x\r\nx-half: ",
        ))
    });
    bench.case("1,024 connections, one byte a second", |whole| {
        Box::pin(write_slowly(whole))
    });
    bench.case("256 clients that read no answer", |whole| {
        let requests = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
        Box::pin(async move { send_on_each(whole, STREAMS, &requests).await })
    });
    bench.case("256 streams that are not read", |whole| {
        let stream =
            b"GET /v1/stream?lists=hashtags,posts,links&limit=100 HTTP/1.1\r\nhost: x\r\n\r\n";
        Box::pin(send_on_each(whole, STREAMS, stream))
    });
    bench.case("100,000 different questions", |whole| {
        Box::pin(ask_all(whole, DISTINCT, |nth| {
            let path = format!("/v1/trends/hashtags/tag{nth}");
            request(&path, "accept-encoding: gzip\r\n")
        }))
    });
    bench.stop();

    let bench = Bench::start(&[("API_TRUSTED_HOPS", "1".to_owned())]);
    bench.case("none, with rate limits", |_| Box::pin(async { Vec::new() }));
    bench.case("1,000,000 addresses", |whole| {
        Box::pin(ask_all(whole, CLIENTS, |nth| {
            let [_, a, b, c] = (nth as u32).to_be_bytes();
            let head = format!("x-forwarded-for: 100.{a}.{b}.{c}\r\n");
            request("/v1/trends/hashtags", &head)
        }))
    });
    bench.case("1,000,000 unknown keys of one address", |whole| {
        Box::pin(ask_all(whole, CLIENTS, |nth| {
            let head = format!("authorization: Bearer {nth:032x}\r\nx-forwarded-for: 9.9.9.9\r\n");
            request("/v1/trends/hashtags", &head)
        }))
    });
    bench.case("1,000,000 unknown keys of as many addresses", |whole| {
        Box::pin(ask_all(whole, CLIENTS, |nth| {
            let [_, a, b, c] = (nth as u32).to_be_bytes();
            let head =
                format!("authorization: Bearer {nth:032x}\r\nx-forwarded-for: 101.{a}.{b}.{c}\r\n");
            request("/v1/trends/hashtags", &head)
        }))
    });
    bench.stop();
}

/// Opens connections and sends the same bytes on each.
async fn send_on_each(whole: &Whole, connections: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..connections {
        let Ok(mut stream) = TcpStream::connect(whole.address()).await else {
            continue;
        };
        // A client that reads nothing cannot send everything either.
        let sending = stream.write_all(bytes);
        let _sent = tokio::time::timeout(Duration::from_millis(20), sending).await;
        open.push(stream);
    }
    open
}

/// Opens connections, and sends a byte of a head on each once a second while the case lasts.
async fn write_slowly(whole: &Whole) -> Vec<TcpStream> {
    let mut open = send_on_each(whole, SOCKETS, b"").await;
    for byte in b"GET /" {
        for stream in &mut open {
            // The server may have closed the connection.
            let _sent = stream.write_all(&[*byte]).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    open
}

/// Sends numbered requests on several connections, on each one after the other.
async fn ask_all(whole: &Whole, count: usize, ask: fn(usize) -> Arc<[u8]>) -> Vec<TcpStream> {
    let asking = (0..CONNECTIONS).map(|first| async move {
        let opened = Connection::open(whole.address()).await;
        let mut connection = opened.expect("a connection");
        for nth in (first..count).step_by(CONNECTIONS) {
            connection.ask(&ask(nth)).await.expect("an answer");
        }
    });
    futures_util::future::join_all(asking).await;
    Vec::new()
}

type Held<'a> = std::pin::Pin<Box<dyn Future<Output = Vec<TcpStream>> + 'a>>;

struct Bench {
    whole: Whole,
    relay: Server,
    relay_threads: Runtime,
    threads: Runtime,
}

impl Bench {
    /// Starts the process with these variables and waits until the history is counted.
    fn start(variables: &[(&'static str, String)]) -> Self {
        let mut made = make(HISTORY, 1_000.0, 0.0);
        let (gate, _handle) = Gate::of(&mut made, 1_000.0);
        let relay_threads = runtime("relay");
        let relay = serve(&relay_threads, gate, 1_000.0, made.backlog);
        let whole = Whole::start(&relay.relay_url(), variables);
        let threads = runtime("client");
        let settled = made.settled.expect("a post");
        threads.block_on(visible(&http_client(), &whole, &settled));
        Self {
            whole,
            relay,
            relay_threads,
            threads,
        }
    }

    fn stop(self) {
        let peak = peak_bytes(self.whole.id()) as f64 / 1e6;
        println!("{:<44}peak RSS {peak:.0} MB", "");
        drop(self.whole);
        self.relay_threads.block_on(self.relay.stop());
    }

    /// Runs clients, measures while they hold their connections, and prints a line.
    fn case<'a>(&'a self, name: &str, hold: impl FnOnce(&'a Whole) -> Held<'a>) {
        self.threads.block_on(async {
            let before = self.counted().await;
            let memory = rss_bytes(self.whole.id());
            let held = hold(&self.whole).await;
            tokio::time::sleep(HELD).await;
            let started = Instant::now();
            let ask = [request("/v1/trends/hashtags", "")];
            let others = load(
                self.whole.address(),
                &ask,
                1,
                Some(100.0),
                OTHERS as f64 / 100.0,
            );
            let others = others.await;
            let then = rss_bytes(self.whole.id());
            let after = self.counted().await;
            let counted = after.iter().filter_map(|(name, value)| {
                let more = value - before.get(name).copied().unwrap_or(0.0);
                (more > 0.0).then(|| format!("{} {more:.0}", name.trim_start_matches("api_")))
            });
            println!(
                "{name:<44}{:>9.0}{:>9.0}{:>12.2}{:>12.2}  {}",
                memory as f64 / 1e6,
                then as f64 / 1e6,
                others.latency(0.5),
                others.latency(1.0),
                counted.collect::<Vec<_>>().join(", ")
            );
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "others are served"
            );
            drop(held);
            // Time for the server to notice that they are closed.
            tokio::time::sleep(Duration::from_secs(1)).await;
        });
    }

    /// The counters of connections, streams and the cache.
    async fn counted(&self) -> BTreeMap<String, f64> {
        let mut metrics = self.whole.metrics(&http_client()).await;
        metrics.retain(|name, _| {
            let wanted = [
                "api_connections",
                "api_stream",
                "api_access",
                "api_cache_bytes",
                "api_cache_reads",
            ];
            wanted.iter().any(|it| name.starts_with(it))
        });
        metrics
    }
}
