//! Compares the sizes that all structures of the dataflow report with the resident memory of the
//! process, while it counts a log of ten million live records. `SKYTIDE_BENCH_RECORDS` sets another
//! number of events.
//!
//! The log is generated while it is read, and the store has no rows, so nearly all memory belongs to
//! the dataflow.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide::memory_report::ProcessMemory;
use skytide_core::port::graph::GraphReporter;
use skytide_core::port::size::MemoryReporter;
use skytide_dataflow::{Metrics, Options, Ports};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::restart::{Rowless, Synthetic};

/// Number of events in an epoch.
const EVENTS: u64 = 2_000;
/// Live records at which the sizes are printed.
const POINTS: [i64; 3] = [100_000, 1_000_000, 10_000_000];
/// Set for the child process that is measured: the number of events.
const CHILD: &str = "BENCH_MEMORY";

/// Counts the log if this process is a child for it; returns whether it is.
pub fn measures() -> bool {
    let events = std::env::var(CHILD).ok();
    let events = events.map(|text| text.parse().expect("a number"));
    if let Some(events) = events {
        let threads = Runtime::new().expect("the runtime starts");
        threads.block_on(measure(events));
    }
    events.is_some()
}

/// Runs the benchmark and prints its results.
pub fn run() {
    let given = std::env::var("SKYTIDE_BENCH_RECORDS").ok();
    let events = given.unwrap_or_else(|| "10900000".to_owned());
    // A process of its own: the memory of other benchmarks does not count.
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    let status = child.env(CHILD, events).status();
    assert!(status.expect("the child starts").success());
}

async fn measure(events: u64) {
    let log = Synthetic {
        epochs: events / EVENTS,
        events: EVENTS,
    };
    let ports = Ports {
        log: Arc::new(log),
        store: Arc::new(Rowless::default()),
        checkpoints: None,
    };
    let options = Options {
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        ..Options::default()
    };
    let metrics = Metrics::register(&mut Registry::default(), options.workers);
    let memory = ProcessMemory::default();
    memory.add(metrics.clone());
    println!("\nmemory: {events} events, {} workers", options.workers);
    let before = memory.totals().resident_bytes.unwrap_or_default();
    println!("{:<32}{:>9.1} MB", "resident before", mb(before));
    let stop = CancellationToken::new();
    let run = skytide_dataflow::run(options, ports, metrics.clone(), stop.clone());
    let run = tokio::spawn(run);
    let mut points = POINTS.into_iter().peekable();
    let mut reported = 0.0;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    while metrics.epoch.get() < log.epochs as i64 {
        look.tick().await;
        // The memory is compared when worker 0 has just reported its sizes.
        let seconds = metrics.reports().first().map(|it| it.running_seconds);
        let is_new = seconds.is_some_and(|seconds| seconds > reported);
        reported = seconds.unwrap_or_default();
        if is_new
            && points
                .next_if(|it| *it <= metrics.live_records.get())
                .is_some()
        {
            print(&memory, &metrics);
        }
    }
    print(&memory, &metrics);
    // Within this time the allocator returns its free memory.
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("\nfive seconds later, idle:");
    print(&memory, &metrics);
    stop.cancel();
    run.await.expect("it runs").expect("it ends");
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The entries and bytes of each structure, of all workers together, the largest first.
pub fn structures(memory: &ProcessMemory) -> Vec<(String, u64, u64)> {
    let mut sums: Vec<(String, u64, u64)> = Vec::new();
    for size in memory.sizes() {
        match sums.iter_mut().find(|(name, ..)| *name == size.name) {
            Some((_, entries, bytes)) => {
                *entries += size.entries;
                *bytes += size.bytes;
            }
            None => sums.push((size.name.to_string(), size.entries, size.bytes)),
        }
    }
    sums.sort_by_key(|(.., bytes)| std::cmp::Reverse(*bytes));
    sums
}

/// Prints the largest structures of all workers together, and the totals.
pub fn print(memory: &ProcessMemory, metrics: &Metrics) {
    let totals = memory.totals();
    println!("\n{:<32}{:>12}", "live records", metrics.live_records.get());
    let structures = structures(memory).into_iter();
    for (name, entries, bytes) in structures.filter(|(.., bytes)| *bytes > 0) {
        println!("  {name:<30}{:>9.1} MB{entries:>12} entries", mb(bytes));
    }
    let resident = totals.resident_bytes.unwrap_or_default();
    let committed = totals.allocator_committed_bytes.unwrap_or_default();
    let rest = totals.unaccounted_bytes.unwrap_or_default() as f64;
    println!("{:<32}{:>9.1} MB", "accounted", mb(totals.accounted_bytes));
    println!("{:<32}{:>9.1} MB", "resident", mb(resident));
    println!(
        "{:<32}{:>9.1} MB",
        "committed by the allocator",
        mb(committed)
    );
    let share = 100.0 * rest / resident.max(1) as f64;
    println!("{:<32}{:>9.1} MB{share:>9.1} %", "unaccounted", rest / 1e6);
}
