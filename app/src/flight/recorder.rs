//! What a flight record consists of.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use skytide_api::Health;
use skytide_core::port::clock::Clock;
use skytide_core::port::graph::GraphReporter;
use skytide_core::port::size::{SizeReporter, StateSize};
use skytide_core::time::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::archive::{Archive, Entry};
use super::health::HealthSample;
use super::log_ring::LogRing;
use super::masks::Masks;
use super::samples::{Sample, SampleRing};
use crate::clock::SystemClock;

/// Interval between two samples.
const INTERVAL: Duration = Duration::from_secs(10);
/// Maximum size of an archive of a record, in bytes, and of its parts.
pub const ARCHIVE_BYTES_MAX: usize = 4_500_000;
const LOG_BYTES_MAX: usize = 1_800_000;
const METRICS_BYTES_MAX: usize = 1_500_000;
const GRAPH_BYTES_MAX: usize = 700_000;
const HEALTH_BYTES_MAX: usize = 200_000;
/// Maximum size of a part before compression, in bytes: the memory that an archive needs.
const RAW_BYTES_MAX: usize = 16 << 20;
/// How often a thread that panics tries to lock a part of the record, with a pause between.
const TRIES_MAX: u32 = 200;
const TRY_PAUSE: Duration = Duration::from_millis(1);

/// The process that a record is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The command: `up`, `ingest`, `index`, `schedule` or `serve`.
    pub service: String,
    /// Its number.
    pub pid: u32,
    /// The version of the program.
    pub version: String,
    /// When it started.
    pub started: String,
}

/// Where the samples of a record come from. A service has some of them.
#[derive(Clone, Default)]
pub struct Sources {
    /// The metrics of the process.
    pub registry: Arc<Mutex<Registry>>,
    /// The dataflow.
    pub graph: Option<Arc<dyn GraphReporter>>,
    /// The health of its parts.
    pub health: Option<Arc<dyn Health>>,
}

/// The flight record of this process.
pub struct FlightRecorder {
    process: Process,
    /// The options, masked, as text.
    settings: String,
    masks: Masks,
    /// The data folder that the options name.
    data: PathBuf,
    log: Mutex<LogRing>,
    samples: Mutex<Samples>,
    /// The folder of the record, once the service has opened its data.
    folder: Mutex<Option<PathBuf>>,
}

struct Samples {
    metrics: SampleRing,
    graph: SampleRing,
    health: SampleRing,
}

impl Samples {
    fn too_large(&self) -> u64 {
        let rings = [&self.metrics, &self.graph, &self.health];
        rings.iter().map(|ring| ring.too_large()).sum()
    }
}

/// The parts of samples: name, bound of the size in the archive in bytes, and ring.
type Part = (&'static str, usize, fn(&Samples) -> &SampleRing);
const PARTS: [Part; 3] = [
    ("metrics", METRICS_BYTES_MAX, |it| &it.metrics),
    ("graph", GRAPH_BYTES_MAX, |it| &it.graph),
    ("health", HEALTH_BYTES_MAX, |it| &it.health),
];

impl FlightRecorder {
    /// An empty record of this process that uses at most `bytes_max` bytes. `settings`: its options,
    /// masked. `data`: the data folder that the options name.
    pub fn new(
        service: &str,
        settings: String,
        masks: Masks,
        data: &Path,
        bytes_max: usize,
    ) -> Self {
        let process = Process {
            service: service.to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: SystemClock.now().rfc3339(),
        };
        Self {
            process,
            settings,
            masks,
            data: data.to_owned(),
            log: Mutex::new(LogRing::new(bytes_max / 2)),
            samples: Mutex::new(Samples {
                metrics: SampleRing::new(bytes_max / 4),
                graph: SampleRing::new(bytes_max / 8),
                health: SampleRing::new(bytes_max / 8),
            }),
            folder: Mutex::default(),
        }
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Adds a log line.
    pub fn line(&self, line: &[u8]) {
        lock(&self.log).push(line);
    }

    /// The same on a thread that panics. If it panicked in `line`, the line is dropped.
    pub(super) fn line_of_panic(&self, line: &[u8]) {
        if let Some(mut log) = lock_soon(&self.log) {
            log.push(line);
        }
    }

    /// Removes the secrets of this process from a text.
    pub fn mask(&self, text: &str) -> String {
        self.masks.apply(text)
    }

    pub(super) fn set_folder(&self, folder: &Path) {
        *lock(&self.folder) = Some(folder.to_owned());
    }

    /// The folder for the record of a failure; `None` if there is no data folder that belongs to
    /// Skytide. Before the data are open, that is the folder of the options if it holds data.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let folder = lock_soon(&self.folder).and_then(|folder| folder.clone());
        folder.or_else(|| {
            let is_ours = self.data.join("skytide.toml").is_file();
            is_ours.then(|| super::place::folder(&self.data))
        })
    }

    /// Records the sources every 10 s until the future is dropped.
    pub(super) async fn sample(&self, sources: Sources) {
        let mut due = interval(INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            self.sample_once(&sources, SystemClock.now());
        }
    }

    /// Records the sources once.
    pub fn sample_once(&self, sources: &Sources, at: Timestamp) {
        let mut metrics = String::new();
        let encoded = encode(&mut metrics, &lock(&sources.registry));
        let graph = sources.graph.as_ref().map(|graph| graph.reports());
        let graph = graph.filter(|reports| !reports.is_empty());
        let graph = graph.and_then(|reports| serde_json::to_vec(&reports).ok());
        let health = sources.health.as_ref().map(|it| HealthSample::of(&**it));
        let health = health.and_then(|sample| serde_json::to_vec(&sample).ok());
        let mut samples = lock(&self.samples);
        let Samples {
            metrics: of_metrics,
            graph: of_graph,
            health: of_health,
        } = &mut *samples;
        let texts = [
            (of_metrics, encoded.ok().map(|()| metrics.into_bytes())),
            (of_graph, graph),
            (of_health, health),
        ];
        for (ring, text) in texts {
            if let Some(text) = text {
                ring.push(&Sample { at, text });
            }
        }
    }

    /// The record as an archive, without secrets: of each part the newest files that fit. `error`:
    /// the error with which the process fails.
    pub fn archive(&self, error: Option<&str>) -> Vec<u8> {
        let now = SystemClock.now();
        let mut archive = Archive::new(ARCHIVE_BYTES_MAX, now);
        let process = serde_json::to_vec_pretty(&self.process).unwrap_or_default();
        archive.add(&Entry::new("process.json", process));
        if let Some(error) = error {
            archive.add(&Entry::new("error.txt", self.mask(error) + "\n"));
        }
        archive.add(&Entry::new("config.txt", self.mask(&self.settings)));
        for name in ["status", "limits", "cgroup"] {
            if let Ok(text) = std::fs::read_to_string(format!("/proc/self/{name}")) {
                archive.add(&Entry::new(format!("{name}.txt"), text));
            }
        }
        // The thread may have panicked while it held a lock: the part is then missing.
        let log = lock_soon(&self.log).map(|log| (log.snapshot(), log.dropped_lines()));
        let (log, dropped_lines) = log.unzip();
        if let Some(log) = log {
            let (chunks, left_out) = log.newest(RAW_BYTES_MAX);
            archive.add_part("log", LOG_BYTES_MAX, &self.log_entries(chunks));
            archive.left_out(left_out);
        }
        for (part, bytes_max, of_part) in PARTS {
            let samples = lock_soon(&self.samples).map(|it| of_part(&it).newest(RAW_BYTES_MAX));
            let Some((samples, left_out)) = samples else {
                continue;
            };
            archive.add_part(part, bytes_max, &self.sample_entries(part, samples));
            archive.left_out(left_out);
        }
        let record = serde_json::json!({
            "taken": now.rfc3339(),
            "log_lines_dropped": dropped_lines,
            "samples_too_large": lock_soon(&self.samples).map(|it| it.too_large()),
            "parts": archive.parts(),
        });
        let record = serde_json::to_vec_pretty(&record).unwrap_or_default();
        archive.add(&Entry::new("record.json", record));
        archive.finish()
    }

    /// Chunks of log lines as files, newest first.
    fn log_entries(&self, chunks: Vec<(usize, Vec<u8>)>) -> Vec<Entry> {
        let entry = |(number, chunk): (usize, Vec<u8>)| {
            let lines = without_colours(&self.masks.apply_bytes(&chunk));
            Entry::new(format!("log/{number:05}.txt"), lines)
        };
        chunks.into_iter().map(entry).collect()
    }

    /// Samples as files, newest first.
    fn sample_entries(&self, part: &str, samples: Vec<Sample>) -> Vec<Entry> {
        let ending = if part == "metrics" { "txt" } else { "json" };
        let entry = |Sample { at, text }| {
            let time = at.rfc3339().replace(':', "-");
            let path = format!("{part}/{time}.{ending}");
            Entry::new(path, self.masks.apply_bytes(&text))
        };
        samples.into_iter().rev().map(entry).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same on a thread that panics and may hold the lock itself. `None`: it was not free in time.
fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..TRIES_MAX {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(TRY_PAUSE),
        }
    }
    None
}

impl SizeReporter for FlightRecorder {
    fn sizes(&self) -> Vec<StateSize> {
        let log = lock(&self.log);
        let samples = lock(&self.samples);
        let rings = [&samples.metrics, &samples.graph, &samples.health];
        let bytes = rings.iter().map(|ring| ring.bytes()).sum::<usize>() + log.bytes();
        let entries = rings.iter().map(|ring| ring.len()).sum::<usize>() as u64 + log.lines();
        vec![StateSize {
            name: "flight.record".into(),
            worker: None,
            entries,
            bytes: bytes as u64,
            option: Some("SKYTIDE_FLIGHT_BYTES_MAX".into()),
        }]
    }
}

/// Removes the escape sequences with which a terminal shows colours:
/// `ESC [ ... m` (ECMA-48, 8.3.117).
fn without_colours(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first == 0x1b && after.first() == Some(&b'[') {
            let end = after.iter().position(|byte| *byte == b'm');
            rest = end.map_or(&[][..], |end| &after[end + 1..]);
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::super::archive::read;
    use super::*;

    fn recorder(bytes_max: usize) -> FlightRecorder {
        let masks = Masks::new(vec!["hunter22".to_owned()]);
        let settings = "NATS_URL nats://***@h\n".to_owned();
        FlightRecorder::new("up", settings, masks, Path::new("data"), bytes_max)
    }

    fn file(entries: &[Entry], path: &str) -> String {
        let entry = entries.iter().find(|entry| entry.path == path);
        let entry = entry.unwrap_or_else(|| panic!("{path} is missing"));
        String::from_utf8(entry.content.clone()).expect("text")
    }

    #[test]
    fn an_archive_has_every_part_and_no_secret() {
        let recorder = recorder(1 << 20);
        let sources = Sources::default();
        let events = Counter::<u64>::default();
        lock(&sources.registry).register("events", "Events", events.clone());
        for second in 0..3 {
            events.inc();
            recorder.sample_once(&sources, Timestamp(1_700_000_000_000 + second * 10_000));
        }
        recorder.line(b"\x1b[32m INFO\x1b[0m login with hunter22 at ws://a:b@c failed\n");
        let archive = recorder.archive(Some("because hunter22 is wrong"));
        let entries = read(&archive).expect("an archive");
        assert_eq!(
            file(&entries, "log/00000.txt"),
            " INFO login with *** at ws://***@c failed\n"
        );
        assert_eq!(file(&entries, "error.txt"), "because *** is wrong\n");
        let newest = entries
            .iter()
            .find(|entry| entry.path.starts_with("metrics/"));
        let newest = newest.expect("metrics");
        assert!(newest.path.contains("22-13-40"), "{}", newest.path);
        assert!(String::from_utf8_lossy(&newest.content).contains("events_total 3"));
        let [size] = &recorder.sizes()[..] else {
            panic!("one size");
        };
        assert_eq!((size.entries, size.bytes > 0), (4, true), "{size:?}");
        let record = file(&entries, "record.json");
        assert!(record.contains("\"log_lines_dropped\": 0"), "{record}");
        let all: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.content.clone())
            .collect();
        assert!(!String::from_utf8_lossy(&all).contains("hunter22"));
    }

    #[test]
    fn a_panic_that_holds_the_locks_does_not_block_the_record() {
        let recorder = recorder(1 << 20);
        let locks = (lock(&recorder.log), lock(&recorder.samples));
        recorder.line_of_panic(b"panicked\n");
        let entries = read(&recorder.archive(Some("panicked"))).expect("an archive");
        assert_eq!(file(&entries, "error.txt"), "panicked\n");
        drop(locks);
        recorder.line_of_panic(b"panicked\n");
        let entries = read(&recorder.archive(None)).expect("an archive");
        assert_eq!(file(&entries, "log/00000.txt"), "panicked\n");
    }

    #[test]
    fn a_flood_of_lines_stays_within_the_bound_of_the_archive() {
        let recorder = recorder(64 << 20);
        let mut state = 1_u64;
        for _ in 0..400_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            recorder.line(format!("{state:x}{:x}\n", state.rotate_left(29)).as_bytes());
        }
        let archive = recorder.archive(None);
        assert!(archive.len() <= ARCHIVE_BYTES_MAX);
        assert!(archive.len() > LOG_BYTES_MAX / 2, "{} bytes", archive.len());
        let entries = read(&archive).expect("an archive");
        let record: serde_json::Value =
            serde_json::from_str(&file(&entries, "record.json")).expect("JSON");
        assert!(
            record["parts"][0]["cut_files"].as_u64() > Some(0),
            "{record}"
        );
    }
}
