//! Replay end to end: recording, ingest, log, dataflow and store, all on the disk of this machine.
//!
//! The events are copies of the recorded network (`skytide_tests::copies`). `SKYTIDE_BENCH_COPIES`
//! sets the number of copies: 64 by default, about a million events. The share of a stage is the
//! CPU time of its threads, read from the kernel.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use skytide_core::port::clock::ManualClock;
use skytide_core::port::log::Log;
use skytide_core::port::store::ViewStore;
use skytide_core::view::ViewId;
use skytide_dataflow::{AccountPolicy, Ports};
use skytide_embedded::{EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions};
use skytide_ingest::frame::Verify;
use skytide_ingest::{Context, RecordingSource};
use skytide_tests::copies::{Copies, frames};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::whole::rss_bytes;

/// Runs the benchmark and prints its results.
pub fn run() {
    let copies = std::env::var("SKYTIDE_BENCH_COPIES")
        .ok()
        .and_then(|text| text.parse().ok());
    let folder = tempfile::tempdir().expect("a scratch folder");
    let recording = folder.path().join("copies.frames.zst");
    let frames = record(&recording, copies.unwrap_or(64));

    println!(
        "\nend to end: {frames} frames of {} copies, embedded log and store",
        copies.unwrap_or(64)
    );
    let sampler = Sampler::start();
    let started = Instant::now();
    let report = replay(folder.path(), &recording);
    let seconds = started.elapsed().as_secs_f64();
    let used = sampler.stop();

    let events = report.events as f64;
    println!(
        "{:<44}{:>14.0} events/s   (goal 100,000)",
        "replay, all stages concurrently",
        events / seconds
    );
    println!("{:<44}{seconds:>14.1} s for {} events", "", report.events);
    let total: f64 = used.seconds.values().sum();
    for (stage, cpu) in &used.seconds {
        let share = cpu / total * 100.0;
        println!(
            "{:<44}{cpu:>14.1} s CPU  {share:>5.1} %   {:>5.2} us/event",
            format!("  {stage}"),
            cpu / events * 1e6
        );
    }
    println!(
        "{:<44}{:>14.2}",
        "rows written per event",
        report.rows as f64 / events
    );
    println!(
        "{:<44}{:>14.0}",
        "bytes of rows written per event",
        report.row_bytes as f64 / events
    );
    println!(
        "{:<44}{:>14.0}",
        "bytes of log per event",
        report.log_bytes as f64 / events
    );
    println!(
        "{:<44}{:>14.0}",
        "bytes of store on disk per event",
        report.store_bytes as f64 / events
    );
    println!("{:<44}{:>14}", "live records", report.live_records);
    let memory = used.rss_bytes as f64 / report.live_records as f64;
    println!(
        "{:<44}{memory:>14.0}",
        "peak RSS of all stages per live record, bytes"
    );

    let started = Instant::now();
    let again = replay_log(folder.path());
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{:<44}{seconds:>14.1} s, {:.0} events/s",
        "restart: the whole log again",
        again as f64 / seconds
    );
}

struct Report {
    events: u64,
    rows: u64,
    row_bytes: u64,
    live_records: u64,
    log_bytes: u64,
    store_bytes: u64,
}

/// Writes a recording of this many copies; returns the number of frames.
pub fn record(path: &Path, copies: u64) -> usize {
    let fixture = include_bytes!("../fixtures/frames/pds.frames.zst");
    let originals = frames(&zstd::decode_all(&fixture[..]).expect("an intact fixture"));
    let count = originals.len() * copies as usize;
    let copies_of = Copies::of(originals);
    let file = std::fs::File::create(path).expect("the scratch folder is writable");
    let mut out = zstd::Encoder::new(file, 1).expect("zstd starts");
    for frame in (0..copies).flat_map(|n| copies_of.copy(n)) {
        out.write_all(&(frame.len() as u32).to_be_bytes())
            .expect("the disk has room");
        out.write_all(&frame).expect("the disk has room");
    }
    out.finish().expect("the disk has room");
    count
}

/// Replays the recording through both services. Each has its own runtime, so that their threads
/// have distinct names.
fn replay(folder: &Path, recording: &Path) -> Report {
    let (log, store) = open(folder);
    let mut registry = Registry::default();
    let metrics = skytide_dataflow::Metrics::register(&mut registry, 2);
    let stop = CancellationToken::new();
    let context = Context {
        log: Arc::new(log.clone()),
        clock: Arc::new(ManualClock::default()),
        metrics: skytide_ingest::Metrics::register(&mut registry),
        progress: Arc::new(|_| ()),
        status: skytide_ingest::Status::default(),
        stop: stop.clone(),
    };
    let source = RecordingSource::open(vec![recording.to_owned()]).expect("the recording opens");
    let ingest_threads = runtime("ingest");
    let index_threads = runtime("index");
    let ingest = skytide_ingest::run(ingest_options(), vec![Box::new(source)], context);
    let ingest = ingest_threads.spawn(ingest);
    let ports = Ports {
        log: Arc::new(log.clone()),
        store: Arc::new(store.clone()),
        checkpoints: None,
    };
    let index = skytide_dataflow::run(options(), ports, metrics.clone(), stop);
    index_threads
        .block_on(index)
        .expect("the dataflow completes");
    ingest_threads
        .block_on(ingest)
        .expect("no panic")
        .expect("ingest completes");
    let log_bytes = index_threads
        .block_on(log.bounds())
        .expect("the log answers")
        .bytes;
    Report {
        events: metrics.events.get(),
        rows: metrics.rows.get(),
        row_bytes: metrics.row_bytes.get(),
        live_records: metrics.live_records.get() as u64,
        log_bytes,
        store_bytes: store.disk_bytes().expect("the store answers"),
    }
}

/// Feeds the log to a store that already has everything, as a restart does; returns the number of
/// events.
fn replay_log(folder: &Path) -> u64 {
    let (log, store) = open(folder);
    let mut registry = Registry::default();
    let metrics = skytide_dataflow::Metrics::register(&mut registry, 2);
    let threads = runtime("index");
    let store: Arc<dyn ViewStore> = Arc::new(store);
    let stop = CancellationToken::new();
    let ports = Ports {
        log: Arc::new(log),
        store: store.clone(),
        checkpoints: None,
    };
    let index = skytide_dataflow::run(options(), ports, metrics.clone(), stop);
    threads
        .block_on(index)
        .expect("the recomputed rows equal the stored ones");
    let control = threads
        .block_on(store.control())
        .expect("the store answers");
    assert!(
        control
            .committed
            .is_some_and(|committed| committed.sums.contains_key(&ViewId::Posts))
    );
    metrics.events.get()
}

fn open(folder: &Path) -> (EmbeddedLog, EmbeddedStore) {
    let log = EmbeddedLog::open(&folder.join("log"), LogOptions::default());
    let store = EmbeddedStore::open(&folder.join("store"), StoreOptions::default());
    (log.expect("the log opens"), store.expect("the store opens"))
}

fn options() -> skytide_dataflow::Options {
    skytide_dataflow::Options {
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        account_policy: AccountPolicy::default(),
        interactions_days: None,
        until_last: true,
        ..Default::default()
    }
}

/// The defaults of `skytide replay`.
fn ingest_options() -> skytide_ingest::Options {
    skytide_ingest::Options {
        collections: Vec::new(),
        dids_allow: None,
        dids_deny: None,
        verify: Verify::Records,
        tick_interval: Duration::from_millis(100),
        tick_events_max: 5_000,
        samples: None,
        stop_grace: Duration::from_secs(5),
        cursor_reset: false,
    }
}

fn runtime(name: &str) -> Runtime {
    let built = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build();
    built.expect("the runtime starts")
}

/// The CPU seconds of this process by stage, and its peak memory.
#[derive(Default)]
struct Usage {
    seconds: BTreeMap<&'static str, f64>,
    rss_bytes: u64,
}

/// Samples the threads of this process repeatedly, because the kernel keeps no figures of threads
/// that have ended.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Usage>,
}

impl Sampler {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut before = BTreeMap::new();
        sample(&mut before);
        let thread = std::thread::spawn(move || {
            let (mut threads, mut rss) = (before.clone(), 0);
            while !stopped.load(Ordering::Relaxed) {
                sample(&mut threads);
                rss = rss_bytes(std::process::id()).max(rss);
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut used = Usage {
                rss_bytes: rss,
                ..Usage::default()
            };
            for (id, (stage, seconds)) in threads {
                let spent_before = before.get(&id).map_or(0.0, |(_, seconds)| *seconds);
                *used.seconds.entry(stage).or_default() += seconds - spent_before;
            }
            used
        });
        Self { stop, thread }
    }

    fn stop(self) -> Usage {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// Records the stage and the CPU seconds of each current thread.
fn sample(threads: &mut BTreeMap<String, (&'static str, f64)>) {
    for task in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let Some((head, tail)) = stat.rsplit_once(") ") else {
            continue;
        };
        let Some((id, name)) = head.split_once(" (") else {
            continue;
        };
        let fields: Vec<&str> = tail.split(' ').collect();
        let ticks = |i: usize| {
            fields
                .get(i)
                .and_then(|f| f.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        // utime and stime, fields 14 and 15 of proc(5), in hundredths of a second on every current
        // Linux.
        threads.insert(
            id.to_owned(),
            (stage(name), (ticks(11) + ticks(12)) / 100.0),
        );
    }
}

fn stage(thread: &str) -> &'static str {
    match thread {
        name if name.starts_with("timely") => "dataflow: timely workers",
        name if name.starts_with("index") => "dataflow: read log, commit rows",
        name if name.starts_with("ingest") => "ingest: read, decode, write log",
        "bench" => "other",
        _ => "store: flush and compaction, and other work",
    }
}
