//! What it costs to look inside: the log of operators, and everything that shows it, once a second.
//!
//! ```text
//! off         INDEXER_OPERATOR_LOG=false
//! operators   the default: workers log their operators
//! all         and INDEXER_DATAFLOW_LOG every second; live also /metrics and /v1/dataflow
//! ```
//!
//! Each round runs all three, in an order that alternates, so that slow drift of the machine
//! affects all alike. The result is CPU time per event, and the median of the differences within a
//! round. `SKYTIDE_BENCH_ROUNDS` sets the number of rounds, `SKYTIDE_BENCH_COPIES` the size of the
//! replay.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::latency::{runtime, serve, visible};
use crate::pipeline::record;
use crate::whole::{Gate, Used, Whole, client, make, of_children, of_process, skytide};

/// Events per second of the live part.
const RATE: f64 = 10_000.0;
/// Number of events that are counted before it.
const HISTORY: u64 = 100_000;
/// The beginning of the live part that is not measured, then the part that is.
const WARM_UP: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(16);

/// What is turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Off,
    Operators,
    All,
}

const SETTINGS: [Setting; 3] = [Setting::Off, Setting::Operators, Setting::All];

impl Setting {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Operators => "operators",
            Self::All => "all",
        }
    }

    fn variables(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Off => vec![("INDEXER_OPERATOR_LOG", "false".to_owned())],
            Self::Operators => Vec::new(),
            Self::All => vec![
                ("INDEXER_DATAFLOW_LOG", "./dataflow.ndjson".to_owned()),
                ("INDEXER_DATAFLOW_LOG_INTERVAL", "1s".to_owned()),
            ],
        }
    }
}

/// Runs the benchmark and prints its results.
pub fn run() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let rounds = number("SKYTIDE_BENCH_ROUNDS").unwrap_or(5) as usize;
    let copies = number("SKYTIDE_BENCH_COPIES").unwrap_or(32);
    let folder = tempfile::tempdir().expect("a scratch folder");
    let recording = folder.path().join("copies.frames.zst");
    let frames = record(&recording, copies);

    println!("\nlooking inside: CPU time per event, {rounds} rounds");
    // Frames are counted: a replay prints no number of events, and the ratio is the same.
    compare("replay, us per frame", rounds, |setting| {
        replay(&recording, setting).seconds() / frames as f64
    });
    compare("live, 10,000 events/s, us per event", rounds, live);
}

/// Measures all settings in each round, and prints the differences.
fn compare(what: &str, rounds: usize, measure: impl Fn(Setting) -> f64) {
    let mut results = [const { Vec::new() }; 3];
    for round in 0..rounds {
        let mut order = [0, 1, 2];
        order.rotate_left(round % 3);
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            results[place].push(measure(SETTINGS[place]) * 1e6);
        }
    }
    println!("{what}");
    let [off, ..] = results.clone();
    for (setting, costs) in SETTINGS.into_iter().zip(results) {
        let more = costs
            .iter()
            .zip(&off)
            .map(|(cost, off)| (cost / off - 1.0) * 100.0);
        let (low, middle, high) = spread(more.collect());
        let (_, cost, _) = spread(costs);
        println!(
            "  {:<12}{cost:>10.3}   {middle:>+6.2} %   ({low:+.2} to {high:+.2} %)",
            setting.name()
        );
    }
}

/// The lowest, the middle and the highest of some numbers.
fn spread(mut numbers: Vec<f64>) -> (f64, f64, f64) {
    numbers.sort_by(f64::total_cmp);
    let last = numbers.len() - 1;
    (numbers[0], numbers[last / 2], numbers[last])
}

/// The CPU time of a replay.
fn replay(recording: &Path, setting: Setting) -> Used {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let before = of_children();
    let ended = skytide(folder.path())
        .arg("replay")
        .arg(recording)
        .env("SKYTIDE_LOG", "warn")
        .envs(setting.variables())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(ended.expect("the child starts").success());
    of_children().since(before)
}

/// The CPU seconds per event of a live stream.
fn live(setting: Setting) -> f64 {
    let seconds = WARM_UP + MEASURED + Duration::from_secs(2);
    let mut made = make(HISTORY, RATE, seconds.as_secs_f64());
    let (gate, handle) = Gate::of(&mut made, RATE);
    let relay_threads = runtime("relay");
    let server = serve(&relay_threads, gate, RATE, made.backlog);
    let whole = Whole::start(&server.relay_url(), &setting.variables());
    let probe_threads = runtime("probe");
    let cost = probe_threads.block_on(async {
        let client = client();
        let settled = made.settled.as_ref().expect("a post");
        visible(&client, &whole, settled).await;
        handle.open();
        tokio::time::sleep(WARM_UP).await;
        let events = async || whole.metrics(&client).await["indexer_events_total"];
        let (before, cpu_before) = (events().await, of_process(whole.id()));
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for _ in 0..MEASURED.as_secs() {
            second.tick().await;
            if setting == Setting::All {
                for path in ["/metrics", "/v1/dataflow"] {
                    let answer = client.get(whole.url(path)).send().await;
                    let answer = answer.expect("an answer").bytes().await;
                    assert!(!answer.expect("a body").is_empty());
                }
            }
        }
        second.tick().await;
        let cpu = of_process(whole.id()).since(cpu_before);
        cpu.seconds() / (events().await - before)
    });
    drop(whole);
    relay_threads.block_on(server.stop());
    cost
}
