//! The latency from a frame that leaves the relay to an answer of the API that includes it, in an
//! open loop.
//!
//! ```text
//! frames made in advance ─ at an even rate ─▶ relay ─▶ `skytide up`, a separate process ─▶ API
//!        some are marked: when each one left          `/v1/posts/{uri}` is polled until it answers
//! ```
//!
//! Posts at random intervals are marked, 33 per second. The probe waits for each one, even when
//! others are late. The cost of polling for the API is part of the results. The CPU use of relay
//! and probe is printed beside them, because all share the machine. `SKYTIDE_BENCH_TICK_MS` sets
//! another tick interval than the default.

use std::time::{Duration, Instant};

use skytide_simnet::server::{Limits, Options, Pace, Server};
use skytide_tests::servers::{Mongo, Nats};
use tokio::runtime::{Builder, Runtime};

use crate::whole::{
    Gate, Handle, Made, Mark, Used, Whole, client, make, of_process, of_threads, rss_bytes,
};

/// Number of events that are counted before the measurement.
const HISTORY: u64 = 200_000;
/// The beginning of the live part that is not measured.
const WARM_UP: Duration = Duration::from_secs(5);
const SECONDS: f64 = 35.0;
/// The interval between two polls for a post.
const POLL: Duration = Duration::from_millis(1);
/// The time after which a post is considered lost.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Number of events of the closed loop.
const SATURATING: u64 = 500_000;

/// Measures the embedded log and store.
pub fn embedded() {
    println!(
        "\nlatency, frame to API: embedded log and store (goal at 10,000 events/s: p99 100 ms)"
    );
    let given = std::env::var("SKYTIDE_BENCH_TICK_MS").ok();
    let variables = given.map(|ms| ("FIREHOSE_TICK_INTERVAL_MS", ms));
    head();
    for rate in [500.0, 1_000.0, 2_000.0, 10_000.0] {
        measure(rate, variables.as_slice(), &[]);
    }
}

/// Measures with real servers on the same machine.
pub fn on_servers() {
    let (Some(nats), Some(mongo)) = (Nats::start(), Mongo::roomy()) else {
        return;
    };
    let servers = [
        ("nats-server", nats.process().expect("a running server")),
        ("mongod", mongo.process().expect("a running server")),
    ];
    let variables = |name: &str| {
        let bytes_max = (4u64 << 30).to_string();
        [
            ("NATS_URL", nats.url()),
            ("NATS_STREAM", format!("skytide-{name}")),
            ("NATS_BYTES_MAX", bytes_max),
            ("MONGODB_URI", mongo.uri()),
            ("MONGODB_DATABASE", format!("skytide-{name}")),
        ]
    };
    println!("\nlatency, frame to API: NATS and MongoDB on the same machine (goal: p99 250 ms)");
    head();
    let given = std::env::var("SKYTIDE_BENCH_TICK_MS").ok();
    for rate in [500.0, 1_000.0, 2_000.0] {
        let mut variables = variables(&format!("{rate}")).to_vec();
        variables.extend(given.clone().map(|ms| ("FIREHOSE_TICK_INTERVAL_MS", ms)));
        measure(rate, &variables, &servers);
    }
    saturate(&variables("saturated"), &servers);
}

fn head() {
    println!(
        "{:>9}{:>7}{:>8}{:>8}{:>8}{:>9} ms{:>9}{:>9}{:>8}{:>8}{:>8}{:>10}{:>11}",
        "events/s",
        "marks",
        "p50",
        "p90",
        "p99",
        "longest",
        "skytide",
        "sender",
        "probe",
        "RSS",
        "rows",
        "bytes",
        "late"
    );
    println!(
        "{:>57}{:>9}{:>9}{:>8}{:>8}{:>8}{:>10}{:>11}",
        "", "CPU %", "CPU %", "CPU %", "MB", "/event", "/event", "p99 ms"
    );
}

/// Measures one rate, on a newly started system.
fn measure(rate: f64, variables: &[(&str, String)], servers: &[(&str, u32)]) {
    let mut made = make(HISTORY, rate, SECONDS);
    let (gate, handle) = Gate::of(&mut made, rate);
    let relay_threads = runtime("relay");
    let server = serve(&relay_threads, gate, rate, made.backlog);
    let whole = Whole::start(&server.relay_url(), variables);
    let probe_threads = runtime("probe");
    let seen = probe_threads.block_on(observe(&whole, &handle, &made, servers));
    report(rate, &seen, servers);
    drop(whole);
    relay_threads.block_on(server.stop());
}

/// The results for one rate.
struct Measured {
    /// Latencies in milliseconds, sorted.
    latencies: Vec<f64>,
    late: Vec<f64>,
    cpu: [f64; 3],
    servers: Vec<(f64, u64)>,
    rss: u64,
    rows: f64,
    bytes: f64,
}

async fn observe(whole: &Whole, handle: &Handle, made: &Made, servers: &[(&str, u32)]) -> Measured {
    let client = client();
    let settled = made.settled.as_ref().expect("a post");
    visible(&client, whole, settled).await;
    // Time for compaction and other work that the history has left.
    tokio::time::sleep(Duration::from_secs(3)).await;
    handle.open();
    let usage = || {
        (
            Instant::now(),
            [
                of_process(whole.id()),
                of_threads("simnet").plus(of_threads("relay")),
                of_threads("probe"),
            ],
        )
    };
    let of_servers = || -> Vec<Used> { servers.iter().map(|(_, id)| of_process(*id)).collect() };
    let mut before = None;
    let (mut latencies, mut late) = (Vec::new(), Vec::new());
    let mut first = None;
    for (place, mark) in made.marks.iter().enumerate() {
        let sent = loop {
            match handle.sent(place) {
                Some(sent) => break sent,
                None => tokio::time::sleep(POLL).await,
            }
        };
        let first = *first.get_or_insert(sent.left);
        visible(&client, whole, mark).await;
        let seen = Instant::now();
        if sent.left.duration_since(first) < WARM_UP {
            continue;
        }
        if before.is_none() {
            before = Some((usage(), of_servers(), whole.metrics(&client).await));
            continue;
        }
        latencies.push(seen.duration_since(sent.left).as_secs_f64() * 1e3);
        late.push(sent.left.saturating_duration_since(sent.due).as_secs_f64() * 1e3);
    }
    let ((begun, cpu_before), servers_before, metrics_before) = before.expect("a mark");
    let (ended, cpu) = usage();
    let seconds = ended.duration_since(begun).as_secs_f64();
    let servers_after = of_servers();
    let metrics = whole.metrics(&client).await;
    let more =
        |name: &str| metrics.get(name).unwrap_or(&0.0) - metrics_before.get(name).unwrap_or(&0.0);
    let events = more("indexer_events_total");
    latencies.sort_by(f64::total_cmp);
    late.sort_by(f64::total_cmp);
    Measured {
        cpu: [0, 1, 2].map(|i| cpu[i].percent_since(cpu_before[i], seconds)),
        servers: servers
            .iter()
            .zip(servers_after.iter().zip(servers_before))
            .map(|((_, id), (after, before))| {
                (after.percent_since(before, seconds), rss_bytes(*id))
            })
            .collect(),
        rss: rss_bytes(whole.id()),
        rows: more("indexer_rows_total") / events,
        bytes: more("indexer_rows_bytes_total") / events,
        latencies,
        late,
    }
}

/// Polls for a post until the API answers with it.
pub async fn visible(client: &reqwest::Client, whole: &Whole, mark: &Mark) {
    let url = whole.url(&format!("/v1/posts/{}", mark.uri));
    let begun = Instant::now();
    loop {
        if let Ok(answer) = client.get(&url).send().await
            && answer.status().is_success()
        {
            return;
        }
        if begun.elapsed() >= TIMEOUT {
            let metrics = whole.metrics(client).await;
            panic!("{mark:?} did not appear within {TIMEOUT:?}: {metrics:#?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn report(rate: f64, seen: &Measured, servers: &[(&str, u32)]) {
    let at = |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let ms = |share| at(&seen.latencies, share);
    println!(
        "{rate:>9}{:>7}{:>8.1}{:>8.1}{:>8.1}{:>9.1}   {:>9.1}{:>9.1}{:>8.1}{:>8.0}{:>8.2}{:>10.0}{:>11.1}",
        seen.latencies.len(),
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(1.0),
        seen.cpu[0],
        seen.cpu[1],
        seen.cpu[2],
        seen.rss as f64 / 1e6,
        seen.rows,
        seen.bytes,
        at(&seen.late, 0.99)
    );
    for ((name, _), (cpu, rss)) in servers.iter().zip(&seen.servers) {
        println!(
            "{:>9}{name}: {cpu:.1} % CPU, {:.0} MB",
            "",
            *rss as f64 / 1e6
        );
    }
}

/// Measures the maximum throughput: a closed loop, with frames made in advance.
fn saturate(variables: &[(&str, String)], servers: &[(&str, u32)]) {
    let mut made = make(SATURATING, 2_000.0, 0.0);
    let (gate, _handle) = Gate::of(&mut made, 1.0);
    let relay_threads = runtime("relay");
    let server = serve(&relay_threads, gate, 1.0, made.backlog);
    let cpu = || -> Vec<Used> { servers.iter().map(|(_, id)| of_process(*id)).collect() };
    let cpu_before = cpu();
    let whole = Whole::start(&server.relay_url(), variables);
    let client = client();
    let (seconds, metrics) = runtime("probe").block_on(async {
        // The measurement starts with the first commit.
        while whole
            .metrics(&client)
            .await
            .get("indexer_commits_total")
            .is_none_or(|commits| *commits < 1.0)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let begun = Instant::now();
        loop {
            let metrics = whole.metrics(&client).await;
            let events = metrics.get("indexer_events_total").copied().unwrap_or(0.0);
            if events >= made.history_events as f64 {
                break (begun.elapsed().as_secs_f64(), metrics);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let of = |name: &str| metrics.get(name).copied().unwrap_or(0.0);
    let events = of("indexer_events_total");
    println!(
        "  saturated (closed loop): {:.0} events/s, {:.2} rows and {:.0} bytes of rows per event, \
         {:.0} rows/s, {:.0} events per commit; skytide {:.0} % CPU",
        events / seconds,
        of("indexer_rows_total") / events,
        of("indexer_rows_bytes_total") / events,
        of("indexer_rows_total") / seconds,
        events / of("indexer_commits_total"),
        of_process(whole.id()).percent_since(Used::default(), seconds),
    );
    for ((name, id), (before, after)) in servers.iter().zip(cpu_before.into_iter().zip(cpu())) {
        println!(
            "{:>9}{name}: {:.0} % CPU, {:.0} MB",
            "",
            after.percent_since(before, seconds),
            rss_bytes(*id) as f64 / 1e6
        );
    }
    drop(whole);
    relay_threads.block_on(server.stop());
}

/// Serves the frames of a gate as a relay.
pub fn serve(threads: &Runtime, gate: Gate, rate: f64, backlog: Duration) -> Server {
    let options = Options {
        pace: Pace::Rate {
            events_per_second: rate,
        },
        backlog,
        window: Limits {
            frames_max: 1 << 20,
            bytes_max: 2 << 30,
        },
        ..Options::default()
    };
    let clock = std::sync::Arc::new(skytide::clock::SystemClock);
    threads
        .block_on(Server::start(options, gate, clock))
        .expect("a free port")
}

/// A runtime with one thread of this name.
pub fn runtime(name: &str) -> Runtime {
    let built = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build();
    built.expect("the runtime starts")
}
