//! The six views of `skytide_tests::textbook` in three versions: Skytide, textbook differential
//! dataflow, and the crate `dbsp` (`benches/dbsp`).
//!
//! `cargo bench -p skytide-tests -- six [--operations 1200000] [--batches 20000,1000]
//! [--workers 1,2] [--rounds 3] [--dbsp PROGRAM]`
//!
//! All versions get the same decoded messages of the log and compute the exact rows after each
//! batch; a batch is an epoch. CPU time is that of the whole process, from the first event to the
//! last result, and includes parsing the records. Skytide also encodes, hashes and commits its rows
//! (to a store that drops them), and computes every column, window and language of its views; the
//! others only count the changes of their rows. Each run has its own process, versions alternate,
//! and medians are printed. One more run of each version compares all final rows.
//!
//! `dbsp` is built by hand, because it stays out of the workspace:
//! `cargo build --release --manifest-path benches/dbsp/Cargo.toml`.

mod digest;
mod skytide;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use skytide_core::event::Message;
use skytide_tests::model::Policy;
use skytide_tests::textbook::{Reader, Textbook};

use crate::args::Args;
use crate::stream::{Stream, StreamLog};
use crate::whole::{of_process, peak_bytes, rss_bytes};
use digest::Digests;

/// Set for a child process that is to run one version: its name, the file of messages, the number of
/// workers, and `verify` or `measure`.
const CHILD: &str = "BENCH_SIX";
const VERSIONS: [&str; 3] = ["skytide", "differential", "dbsp"];
/// Where the program of `benches/dbsp` is, from the folder of the workspace.
const DBSP: &str = "benches/dbsp/target/release/skytide-bench-dbsp";

/// Runs one version if this process is a child for it; returns whether it is.
pub fn computes() -> bool {
    let Ok(text) = std::env::var(CHILD) else {
        return false;
    };
    let words: Vec<&str> = text.split(' ').collect();
    let [version, file, workers, mode] = words[..] else {
        panic!("version, file, workers, mode: {text}");
    };
    let workers = workers.parse().expect("a number");
    let bytes = std::fs::read(file).expect("the file of messages");
    let messages = Message::decode_all(&bytes).expect("messages of the log");
    drop(bytes);
    let verify = mode == "verify";
    let result = match version {
        "skytide" => skytide::run(messages, workers, verify),
        _ => textbook(&messages, workers, verify),
    };
    println!("{}", result.line());
    true
}

/// What one run measured.
#[derive(Clone, Debug, Default)]
pub struct Run {
    events: f64,
    seconds: f64,
    cpu_seconds: f64,
    /// Peak memory above that of the messages.
    peak_bytes: f64,
    /// Changes of rows.
    changes: f64,
    /// One number for each kind of row.
    digest: String,
}

impl Run {
    fn line(&self) -> String {
        format!(
            "events {} seconds {:.3} cpu_seconds {:.3} peak_bytes {} changes {} digest {}",
            self.events, self.seconds, self.cpu_seconds, self.peak_bytes, self.changes, self.digest
        )
    }

    fn parse(line: &str) -> Self {
        let (numbers, digest) = line.split_once(" digest ").unwrap_or((line, ""));
        let words: Vec<&str> = numbers.split_whitespace().collect();
        let number = |name| {
            let at = words.iter().position(|word| *word == name);
            let word = at.and_then(|at| words.get(at + 1));
            word.and_then(|word| word.parse().ok()).expect(name)
        };
        Self {
            events: number("events"),
            seconds: number("seconds"),
            cpu_seconds: number("cpu_seconds"),
            peak_bytes: number("peak_bytes"),
            changes: number("changes"),
            digest: digest.trim().to_owned(),
        }
    }
}

/// Measures time and memory from its creation.
pub struct Watch {
    began: Instant,
    cpu_seconds: f64,
    rss_bytes: u64,
}

impl Watch {
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            cpu_seconds: of_process(std::process::id()).seconds(),
            rss_bytes: rss_bytes(std::process::id()),
        }
    }

    pub fn stop(&self, events: usize, changes: u64, digest: String) -> Run {
        let id = std::process::id();
        Run {
            events: events as f64,
            seconds: self.began.elapsed().as_secs_f64(),
            cpu_seconds: of_process(id).seconds() - self.cpu_seconds,
            peak_bytes: peak_bytes(id).saturating_sub(self.rss_bytes) as f64,
            changes: changes as f64,
            digest,
        }
    }
}

/// The textbook version.
fn textbook(messages: &[Message], workers: usize, verify: bool) -> Run {
    let mut textbook = Textbook::start(Policy::OpsOnly, workers);
    let mut reader = Reader::new();
    let mut digests = Digests::default();
    let (mut events, mut changes) = (0, 0);
    let watch = Watch::start();
    for epoch in messages.split_inclusive(|message| matches!(message, Message::Tick(_))) {
        let Some((Message::Tick(tick), epoch)) = epoch.split_last() else {
            panic!("an epoch without a tick");
        };
        events += epoch.len();
        let epoch = epoch.iter().filter_map(|message| match message {
            Message::Event(event) => Some(event),
            Message::Tick(_) => None,
        });
        let rows = textbook.feed(reader.read(epoch, tick));
        changes += rows.len() as u64;
        if verify {
            for (row, count) in &rows {
                digests.add(row, *count, reader.collections());
            }
        }
    }
    watch.stop(events, changes, digests.text())
}

/// Runs the benchmark and prints its results.
pub fn run() {
    let args = Args::of_process();
    let operations = args.number("--operations").unwrap_or(1_200_000);
    let batches = args.numbers("--batches").unwrap_or(vec![20_000, 1_000]);
    let workers = args.numbers("--workers").unwrap_or(vec![1, 2]);
    let rounds = args.number("--rounds").unwrap_or(3);
    let dbsp = args.text("--dbsp").map_or_else(dbsp, PathBuf::from);
    let has_dbsp = dbsp.exists();
    println!("\nsix views: {operations} events, medians of {rounds} alternating runs");
    if !has_dbsp {
        println!("without dbsp: {} does not exist", dbsp.display());
    }
    println!(
        "{:<14}{:>8}{:>8}{:>14}{:>12}{:>12}{:>12}{:>8}",
        "version", "batch", "workers", "events/CPU s", "events/s", "peak MB", "changes", "ratio"
    );
    let folder = tempfile::tempdir().expect("a scratch folder");
    for batch in batches {
        let file = folder.path().join("messages");
        write(&file, operations, batch);
        let job = |version: &str, workers: u64, mode: &str| Job {
            version: version.to_owned(),
            file: file.clone(),
            workers,
            mode: mode.to_owned(),
            dbsp: dbsp.clone(),
        };
        let versions = VERSIONS.iter().filter(|it| **it != "dbsp" || has_dbsp);
        let versions: Vec<&str> = versions.copied().collect();
        for &workers in &workers {
            let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
            for _ in 0..rounds.max(1) {
                for version in &versions {
                    let run = job(version, workers, "measure").run();
                    runs.entry(version).or_default().push(run);
                }
            }
            report(&versions, &runs, (batch, workers));
        }
        compare(
            versions
                .iter()
                .map(|version| (*version, job(version, 2, "verify").run())),
        );
    }
}

/// The usual place of the program of `benches/dbsp`.
fn dbsp() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DBSP)
}

/// Writes the messages of the stream to a file.
fn write(file: &Path, operations: u64, batch: u64) {
    let stream = Stream {
        events: operations / batch * batch,
        epoch_events: batch,
        days: 3,
    };
    let log = StreamLog::new(stream);
    let file = std::fs::File::create(file).expect("the scratch folder is writable");
    let mut file = std::io::BufWriter::new(file);
    let mut bytes = Vec::new();
    for seq in 1..=log.end() {
        bytes.clear();
        log.message(seq).encode(&mut bytes);
        file.write_all(&bytes).expect("the disk has room");
    }
    file.flush().expect("the disk has room");
}

/// One run of a version in its own process.
struct Job {
    version: String,
    file: PathBuf,
    workers: u64,
    mode: String,
    dbsp: PathBuf,
}

impl Job {
    fn run(&self) -> Run {
        let (file, workers) = (self.file.to_str().expect("a plain path"), self.workers);
        let mut command = if self.version == "dbsp" {
            let mut command = Command::new(&self.dbsp);
            command.args([file, &workers.to_string()]);
            command.args((self.mode == "verify").then_some("verify"));
            command
        } else {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            let words = format!("{} {file} {workers} {}", self.version, self.mode);
            command.env(CHILD, words);
            command
        };
        let output = command.output().expect("the child starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().rfind(|line| line.starts_with("events "));
        match line {
            Some(line) if output.status.success() => Run::parse(line),
            _ => panic!(
                "{}: {}",
                self.version,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

/// Prints the medians, and how many times Skytide processes the events of the better of the others.
fn report(versions: &[&str], runs: &BTreeMap<&str, Vec<Run>>, (batch, workers): (u64, u64)) {
    let median = |version: &str, value: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs[version].iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let per_cpu = |version: &str| median(version, |run| run.events / run.cpu_seconds.max(0.01));
    let others = versions.iter().filter(|it| **it != "skytide");
    let best = others.map(|version| per_cpu(version)).fold(0.0, f64::max);
    for version in versions {
        println!(
            "{version:<14}{batch:>8}{workers:>8}{:>14.0}{:>12.0}{:>12.1}{:>12.0}{:>8.2}",
            per_cpu(version),
            median(version, |run| run.events / run.seconds),
            median(version, |run| run.peak_bytes) / 1e6,
            median(version, |run| run.changes),
            per_cpu(version) / best,
        );
    }
}

/// Compares the final rows of all versions.
fn compare<'a>(runs: impl Iterator<Item = (&'a str, Run)>) {
    let runs: Vec<_> = runs.collect();
    let (first, expected) = &runs[0];
    for (version, run) in &runs[1..] {
        assert_eq!(
            expected.digest,
            run.digest,
            "{first} and {version} have other rows ({})",
            digest::KINDS.join(", ")
        );
    }
    let names: Vec<_> = runs.iter().map(|(version, _)| *version).collect();
    println!("all final rows are equal: {}", names.join(", "));
}
