//! Thirty simulated days through the whole system, as fast as possible: how memory and disk use
//! develop once the windows are full.
//!
//! No new accounts appear, and accounts delete their oldest records once they have forty, so the
//! number of live records stays nearly constant. The log is trimmed below the checkpoints.
//! `SKYTIDE_BENCH_DAYS` and `SKYTIDE_BENCH_DAYS_RATE` (frames per simulated second) change the
//! size. With `SKYTIDE_BENCH_DAYS_FOLDER` the samples are written there, as `days.csv` and
//! `days.svg`.

mod plot;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use skytide_simnet::server::{Options, Pace, Server};
use skytide_simnet::{Network, Options as NetworkOptions};

use crate::whole::{Whole, client, rss_bytes};

const DAY_MS: u64 = 86_400_000;
/// Network time between two samples.
const SAMPLE_MS: u64 = DAY_MS / 8;
const ACCOUNTS: u32 = 3_000;
const RECORDS_MAX: u32 = 40;
/// The day from which the widest window is full and its effects have settled.
const FULL_DAYS: f64 = 9.0;

/// The measurements at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// Network time since the start.
    pub days: f64,
    pub events: f64,
    pub live_records: f64,
    /// Memory in megabytes; the following fields have the same unit.
    pub memory: f64,
    pub log: f64,
    pub views: f64,
    pub checkpoints: f64,
}

/// Runs the benchmark and prints its results.
pub fn run() {
    let number = |name: &str, default: f64| {
        let given = std::env::var(name).ok();
        given.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let days = number("SKYTIDE_BENCH_DAYS", 30.0);
    let rate = number("SKYTIDE_BENCH_DAYS_RATE", 1.0);
    let threads = tokio::runtime::Runtime::new().expect("the runtime starts");
    let started = Instant::now();
    let samples = threads.block_on(watch(days, rate));
    let last = samples.last().copied().unwrap_or_default();
    println!(
        "\ndays: {:.1} simulated days at {rate} frames/s, {:.0} events in {:.0} s",
        last.days,
        last.events,
        started.elapsed().as_secs_f64()
    );
    println!(
        "{:>6}{:>14}{:>12}{:>12}{:>12}{:>14}{:>16}",
        "day", "live records", "RSS MB", "log MB", "views MB", "events", "checkpoints MB"
    );
    let step = (samples.len() / 15).max(1);
    for s in samples.iter().step_by(step).chain(samples.last()) {
        println!(
            "{:>6.1}{:>14.0}{:>12.0}{:>12.1}{:>12.1}{:>14.0}{:>16.1}",
            s.days, s.live_records, s.memory, s.log, s.views, s.events, s.checkpoints
        );
    }
    for (what, of) in [
        ("memory", (|s: &Sample| s.memory) as fn(&Sample) -> f64),
        ("disk (log, views, checkpoints)", disk),
        ("live records", |s| s.live_records),
    ] {
        let (early, late) = (middle(&samples, 0.0, of), middle(&samples, 0.5, of));
        println!(
            "{what}: {early:.0} in the first half of the days after day {FULL_DAYS:.0}, {late:.0} in the second ({:+.1} %)",
            (late / early - 1.0) * 100.0
        );
    }
    if let Some(folder) = std::env::var_os("SKYTIDE_BENCH_DAYS_FOLDER") {
        save(folder.as_ref(), &samples);
    }
}

fn disk(sample: &Sample) -> f64 {
    sample.log + sample.views + sample.checkpoints
}

/// The median of a half of the samples after [`FULL_DAYS`].
fn middle(samples: &[Sample], from: f64, of: fn(&Sample) -> f64) -> f64 {
    let full: Vec<&Sample> = samples.iter().filter(|s| s.days >= FULL_DAYS).collect();
    let begin = (full.len() as f64 * from) as usize;
    let half = full.into_iter().skip(begin).take(samples.len().div_ceil(2));
    let mut values: Vec<f64> = half.map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Runs the network through the system and takes samples.
async fn watch(days: f64, rate: f64) -> Vec<Sample> {
    let clock = Arc::new(skytide::clock::SystemClock);
    let span = (days * DAY_MS as f64) as u64;
    let start = Timestamp(clock.now().0 - span - DAY_MS);
    let network = Network::new(NetworkOptions {
        accounts: ACCOUNTS,
        records_max: Some(RECORDS_MAX),
        accounts_max: Some(ACCOUNTS),
        signed: false,
        start,
        rate,
        ..NetworkOptions::default()
    });
    let options = Options {
        pace: Pace::Max,
        ..Options::default()
    };
    let server = Server::start(options, network, clock).await;
    let server = server.expect("a free port");
    let whole = Whole::start(
        &server.relay_url(),
        &[
            ("INDEXER_CHECKPOINT_EVENTS", "200000".to_owned()),
            ("STORE_LOG_SEGMENT_BYTES", "8MiB".to_owned()),
        ],
    );
    let client = client();
    let mut samples: Vec<Sample> = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let metrics = whole.metrics(&client).await;
        let of = |name: &str| metrics.get(name).copied().unwrap_or(0.0);
        let passed = of("indexer_network_time_seconds") * 1e3 - start.0 as f64;
        let due = samples.len() as f64 * SAMPLE_MS as f64;
        if passed < due {
            continue;
        }
        let data = whole.folder().join("data");
        samples.push(Sample {
            days: passed / DAY_MS as f64,
            events: of("indexer_events_total"),
            live_records: of("indexer_live_records"),
            memory: rss_bytes(whole.id()) as f64 / 1e6,
            log: megabytes(&data.join("log")),
            views: megabytes(&data.join("store")),
            checkpoints: megabytes(&data.join("checkpoints")),
        });
        if passed >= span as f64 {
            return samples;
        }
    }
}

/// The size of all files in a folder; files that disappear meanwhile count as empty.
fn megabytes(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => megabytes(&entry.path()),
        Ok(meta) => meta.len() as f64 / 1e6,
        Err(_) => 0.0,
    });
    sizes.fold(0.0, |sum, size| sum + size)
}

fn save(folder: &Path, samples: &[Sample]) {
    let mut csv =
        String::from("days,events,live_records,memory_mb,log_mb,views_mb,checkpoints_mb\n");
    for s in samples {
        let _infallible = writeln!(
            csv,
            "{:.3},{:.0},{:.0},{:.1},{:.1},{:.1},{:.1}",
            s.days, s.events, s.live_records, s.memory, s.log, s.views, s.checkpoints
        );
    }
    std::fs::create_dir_all(folder).expect("the folder is writable");
    std::fs::write(folder.join("days.csv"), csv).expect("the disk has room");
    plot::write(&folder.join("days.svg"), samples).expect("the disk has room");
}
