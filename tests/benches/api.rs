//! The API next to the pipeline at 1,000 events per second; client and server share the machine.
//!
//! ```text
//! frames made in advance ─ 1,000 events/s ─▶ relay ─▶ `skytide up`, a separate process
//!                                                         ▲ closed loop: as fast as it answers
//!                                    64 connections ──────┘ open loop: at half of the goal
//! ```
//!
//! "per core" divides the answers by the CPU time of the process beyond what it used without load.
//! Latencies of the open loop are counted from the time at which a request was due.

pub mod client;

use std::sync::Arc;
use std::time::{Duration, Instant};

use skytide_core::config::{Origin, Variable, check_names};

use self::client::{Loaded, load, request};
use crate::latency::{runtime, serve, visible};
use crate::whole::{
    Gate, Used, Whole, client as http_client, make, of_process, peak_bytes, rss_bytes,
};

/// Number of events that are counted before the measurement.
const HISTORY: u64 = 200_000;
const RATE: f64 = 1_000.0;
/// Live frames for both processes' measurements.
const LIVE_SECONDS: f64 = 120.0;
const CONNECTIONS: usize = 64;
/// How long one load lasts.
const SECONDS: f64 = 8.0;
/// Half of the goals for one core of the server, in answers per second.
const HALF_CACHED: f64 = 10_000.0;
const HALF_UNCACHED: f64 = 2_500.0;
/// How often a load at half of a goal is measured. A single pause of the machine of 50 ms delays more
/// than half a percent of the requests of one load.
const ROUNDS: usize = 3;
/// Points that are requested in turn.
const POINTS: usize = 100;

/// Measures the API with reused answers, and with every answer read again.
pub fn run() {
    println!(
        "\nAPI next to the pipeline at 1,000 events/s (goals per core: 20,000 cached and 5,000 \
         uncached points/s, p99 below 5 ms at half of that; /v1/network: 2,000/s, commit times \
         within 20 %)"
    );
    println!(
        "{:<34}{:>9}{:>10}{:>8}{:>10}{:>8}{:>8}{:>8}{:>8}{:>11}{:>10}{:>8}{:>8}",
        "question, 64 connections",
        "goal/s",
        "answers/s",
        "cores",
        "per core",
        "p50 ms",
        "p99 ms",
        "max ms",
        "kB each",
        "commits/s",
        "ms/commit",
        "RSS MB",
        "failed"
    );
    with_pipeline("1s", cached);
    with_pipeline("0s", uncached);
}

/// Variables that turn the rate limits off, if there are any.
pub fn without_rate_limits() -> Option<(&'static str, String)> {
    let name = "API_RATE";
    let origin = Origin::Environment;
    let unknown = check_names([Variable {
        name: name.to_owned(),
        origin,
    }]);
    unknown
        .is_ok_and(|it| it.is_empty())
        .then(|| (name, "0".to_owned()))
}

/// Starts the pipeline, waits until its history is counted, and measures.
fn with_pipeline(reuse_max: &str, measure: fn(&Bench)) {
    let mut made = make(HISTORY, RATE, LIVE_SECONDS);
    let (gate, handle) = Gate::of(&mut made, RATE);
    let relay_threads = runtime("relay");
    let server = serve(&relay_threads, gate, RATE, made.backlog);
    let mut variables = vec![("API_REUSE_MAX", reuse_max.to_owned())];
    variables.extend(without_rate_limits());
    let whole = Whole::start(&server.relay_url(), &variables);
    let threads = runtime("client");
    threads.block_on(async {
        let client = http_client();
        visible(&client, &whole, made.settled.as_ref().expect("a post")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        handle.open();
        tokio::time::sleep(Duration::from_secs(3)).await;
    });
    let bench = Bench::new(whole, threads);
    measure(&bench);
    drop(bench);
    relay_threads.block_on(server.stop());
}

fn cached(bench: &Bench) {
    let list = [request("/v1/trends/hashtags", "")];
    let gzip = [request("/v1/trends/hashtags", "accept-encoding: gzip\r\n")];
    let network = [request("/v1/network", "")];
    let points = bench.points();
    bench.measure("one list", &list, None);
    bench.measure("one list, gzip", &gzip, None);
    bench.measure("100 accounts", &points, None);
    for _ in 0..ROUNDS {
        bench.measure("100 accounts", &points, Some(HALF_CACHED));
    }
    bench.measure("/v1/network", &network, None);
}

fn uncached(bench: &Bench) {
    let network = [request("/v1/network", "")];
    let points = bench.points();
    bench.measure("100 accounts, not reused", &points, None);
    for _ in 0..ROUNDS {
        bench.measure("100 accounts, not reused", &points, Some(HALF_UNCACHED));
    }
    bench.measure("/v1/network, not reused", &network, None);
}

/// The process, and what it uses without load.
struct Bench {
    whole: Whole,
    threads: tokio::runtime::Runtime,
    http: reqwest::Client,
    /// CPU use without load, in cores.
    base: f64,
}

/// Counters of the process at one time.
struct Reading {
    at: Instant,
    cpu: Used,
    commits: f64,
    commit_seconds: f64,
}

impl Bench {
    fn new(whole: Whole, threads: tokio::runtime::Runtime) -> Self {
        let http = http_client();
        let mut bench = Self {
            whole,
            threads,
            http,
            base: 0.0,
        };
        let before = bench.reading();
        std::thread::sleep(Duration::from_secs_f64(SECONDS));
        bench.base = bench.print("without load", &before, None);
        bench
    }

    fn reading(&self) -> Reading {
        let metrics = self.threads.block_on(self.whole.metrics(&self.http));
        let of = |name: &str| metrics.get(name).copied().unwrap_or(f64::NAN);
        Reading {
            at: Instant::now(),
            cpu: of_process(self.whole.id()),
            commits: of("indexer_commits_total"),
            commit_seconds: of("indexer_commit_seconds_total"),
        }
    }

    /// Requests for the accounts of the top list.
    fn points(&self) -> Vec<Arc<[u8]>> {
        let url = self.whole.url("/v1/trends/actors?limit=100");
        let text = self.threads.block_on(async {
            let answer = self.http.get(url).send().await.expect("an answer");
            answer.text().await.expect("an answer")
        });
        let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let entries = list["entries"].as_array().expect("a list");
        let dids = entries.iter().filter_map(|entry| {
            let did = entry.pointer("/account/did").or_else(|| entry.get("key"));
            did.and_then(serde_json::Value::as_str)
        });
        let points: Vec<_> = dids
            .map(|did| request(&format!("/v1/actors/{did}"), ""))
            .collect();
        assert_eq!(points.len(), POINTS, "the list of accounts: {text}");
        points
    }

    /// Measures one load, and prints it.
    fn measure(&self, name: &str, requests: &[Arc<[u8]>], rate: Option<f64>) {
        let address = self.whole.address();
        let before = self.reading();
        let loading = load(address, requests, CONNECTIONS, rate, SECONDS);
        let loaded = self.threads.block_on(loading);
        self.print(name, &before, Some(&loaded));
    }

    /// Prints a line about the time since a reading; returns the CPU use in cores.
    fn print(&self, name: &str, before: &Reading, loaded: Option<&Loaded>) -> f64 {
        let after = self.reading();
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let cores = after.cpu.percent_since(before.cpu, seconds) / 100.0;
        let commits = after.commits - before.commits;
        let of = |value: fn(&Loaded) -> f64| loaded.map_or(f64::NAN, value);
        let answers = of(|it| it.answers as f64 / it.seconds);
        println!(
            "{name:<34}{:>9}{:>10.0}{cores:>8.2}{:>10.0}{:>8.2}{:>8.2}{:>8.1}{:>8.1}{:>11.1}{:>10.2}{:>8.0}{:>8}",
            loaded
                .and_then(|it| it.rate)
                .map_or("-".to_owned(), |it| format!("{it:.0}")),
            answers,
            answers / (cores - self.base),
            of(|it| it.latency(0.5)),
            of(|it| it.latency(0.99)),
            of(|it| it.latency(1.0)),
            of(|it| it.bytes as f64 / (it.answers + it.failures) as f64 / 1e3),
            commits / seconds,
            (after.commit_seconds - before.commit_seconds) / commits * 1e3,
            rss_bytes(self.whole.id()) as f64 / 1e6,
            loaded.map_or(0, |it| it.failures),
        );
        cores
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let peak = peak_bytes(self.whole.id()) as f64 / 1e6;
        println!("{:<34}peak RSS {peak:.0} MB", "");
    }
}
