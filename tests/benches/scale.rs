//! The whole dataflow with millions of live records of a stream like the network's, on the embedded
//! store: speed, memory and disk by number of live records, checkpoints, restart, exactness.
//!
//! `cargo bench -p skytide-tests -- scale [OPTIONS]`
//!
//! | option | what |
//! |---|---|
//! | `--records 10M` | live records at the end; 1M by default |
//! | `--days 7` | network time of the stream; by default what the network needs for so many records, at least 3 |
//! | `--workers 2` | timely workers; by default one per core |
//! | `--checkpoint` | makes checkpoints, kills the process before the end of the stream, and measures the restart |
//! | `--checkpoint-events 5M` | events between two checkpoints; by default a fifth of all |
//! | `--dataflow-only` | drops the rows instead of storing them; no restart, no comparison |
//! | `--memory-max 1536MiB` | limit of the process: by a control group, or else of its address space |
//! | `--indexer-memory-max 1GiB` | limit of the dataflow, as `INDEXER_MEMORY_MAX`; none by default |
//! | `--live-rate 2000` | the last events come at this rate, and the longest epoch among them is measured |
//! | `--live-seconds 60` | for so long |
//! | `--folder PATH` | where the data are written, and stay |
//!
//! The stream is generated while it is read (`stream`), which needs no memory. Its CPU time is
//! measured and subtracted, but it takes its part of the machine, so the rate by the clock is lower
//! than that of a log on disk. At the end, rows of a sample of keys are compared with what the
//! generator says they are.

mod count;
mod disk;
mod limit;
mod restart;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use skytide::memory_report::ProcessMemory;
use skytide_core::port::memory::MemoryLimit;
use skytide_core::port::store::ViewStore;
use skytide_dataflow::{CheckpointOptions, Options, Ports};
use skytide_embedded::{EmbeddedCheckpoints, EmbeddedStore, StoreOptions};
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::restart::Rowless;
use crate::stream::{Expected, Sample, Stream, StreamLog};

/// Set for a child process: `count` or `restart`.
const CHILD: &str = "BENCH_SCALE";
/// Set for a child process: the folder of its data.
const FOLDER: &str = "BENCH_SCALE_FOLDER";
/// Number of events in an epoch: twenty epochs a second at 40,000 events/s.
const EPOCH_EVENTS: u64 = 2_000;
/// Number of events that are left for the restart.
const EVENTS_AFTER: u64 = 200_000;

/// Runs a part of the benchmark if this process is a child for it; returns whether it is.
pub fn measures() -> bool {
    let Ok(part) = std::env::var(CHILD) else {
        return false;
    };
    let folder = std::env::var_os(FOLDER).expect("the parent sets the folder");
    let setting = Setting::of(&Args::of_process(), folder.into());
    match &*part {
        "restart" => restart::run(&setting),
        _ => count::run(&setting),
    }
    true
}

/// Runs the benchmark and prints its results.
pub fn run() {
    let args = Args::of_process();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let kept = args.text("--folder").map(PathBuf::from);
    let setting = Setting::of(&args, kept.unwrap_or_else(|| scratch.path().to_owned()));
    println!(
        "\nscale: {} events for about {} live records, {} days, {} workers{}{}",
        setting.stream.events,
        setting.records,
        setting.stream.days,
        setting.options().workers,
        if setting.embedded {
            ""
        } else {
            ", dataflow only"
        },
        if setting.checkpoint_events.is_some() {
            ", checkpoints"
        } else {
            ""
        },
    );
    setting.child("count");
    if setting.checkpoint_events.is_some() {
        setting.child("restart");
    }
    if setting.embedded {
        setting.compare();
    }
}

/// What is measured.
struct Setting {
    records: u64,
    stream: Stream,
    workers: Option<u64>,
    embedded: bool,
    checkpoint_events: Option<u64>,
    /// The hard limit of the operating system, in bytes.
    memory_max: Option<u64>,
    /// The limit of the dataflow, in bytes, below which it keeps its memory.
    indexer_memory_max: Option<u64>,
    /// The number of events that come at a rate, and the events per second.
    live: Option<(u64, u64)>,
    folder: PathBuf,
}

impl Setting {
    fn of(args: &Args, folder: PathBuf) -> Self {
        let records = args.number("--records").unwrap_or(1_000_000);
        let days = args.number("--days");
        let stream = Stream::of_live_records(records, EPOCH_EVENTS, days);
        let embedded = !args.has("--dataflow-only");
        let between = args
            .number("--checkpoint-events")
            .unwrap_or(stream.events / 5);
        let seconds = args.number("--live-seconds").unwrap_or(60);
        let live = args
            .number("--live-rate")
            .map(|rate| (rate * seconds, rate));
        Self {
            records,
            stream,
            workers: args.number("--workers"),
            embedded,
            checkpoint_events: (embedded && args.has("--checkpoint")).then_some(between),
            memory_max: args.number("--memory-max"),
            indexer_memory_max: args.number("--indexer-memory-max"),
            live,
            folder,
        }
    }

    /// The options of the dataflow: all views, as `skytide index` counts by default.
    fn options(&self) -> Options {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            workers: self.workers.map_or(cores, |workers| workers as usize),
            checkpoint: CheckpointOptions {
                interval: None,
                events: self.checkpoint_events,
                ..CheckpointOptions::default()
            },
            memory: self.indexer_memory_max.map(|bytes_max| MemoryLimit {
                bytes_max,
                meter: Arc::new(ProcessMemory::default()),
            }),
            ..Options::default()
        }
    }

    fn log(&self) -> StreamLog {
        let log = StreamLog::new(self.stream);
        match self.live {
            Some((events, rate)) => log.with_live_end(events, rate),
            None => log,
        }
    }

    /// The epoch after which the process that counts is killed: the last one without a restart.
    fn end(&self) -> u64 {
        let after = match self.checkpoint_events {
            Some(_) => EVENTS_AFTER.min(self.stream.events / 4) / EPOCH_EVENTS,
            None => 0,
        };
        self.stream.epochs() - after
    }

    fn store_folder(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The folder of checkpoints, and of any other state of the dataflow.
    fn state_folder(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn ports(&self, log: StreamLog) -> Ports {
        let store: Arc<dyn ViewStore> = match self.embedded {
            true => Arc::new(open(&self.store_folder())),
            false => Arc::new(Rowless::default()),
        };
        let checkpoints = self.checkpoint_events.map(|_| {
            std::fs::create_dir_all(self.state_folder()).expect("the folder is writable");
            let checkpoints = EmbeddedCheckpoints::open(&self.state_folder());
            Arc::new(checkpoints.expect("the folder opens")) as _
        });
        Ports {
            log: Arc::new(log),
            store,
            checkpoints,
        }
    }

    /// Runs a part in a process of its own, so that its memory is its own.
    fn child(&self, part: &str) {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(std::env::args_os().skip(1));
        command.env(CHILD, part).env(FOLDER, &self.folder);
        let status = limit::run(command, self.memory_max);
        assert!(status.success(), "{part}: {status}");
    }

    /// Compares a sample of the rows in the store with the generator.
    fn compare(&self) {
        let sample = Sample {
            posts: (self.stream.events / 8 / 1_000).next_power_of_two(),
            accounts: (self.stream.events / 50 / 200).next_power_of_two(),
        };
        let expected = Expected::of(self.stream, sample);
        let store = open(&self.store_folder());
        let threads = Runtime::new().expect("the runtime starts");
        match threads.block_on(expected.compare(&store)) {
            Ok(rows) => println!(
                "{:<52}{rows:>14} rows of {} live records",
                "equal to what the generator expects",
                expected.live()
            ),
            Err(text) => panic!("a row is wrong: {text}"),
        }
    }
}

/// Opens the store.
fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, StoreOptions::default()).expect("the store opens")
}

/// Prints a result with its target.
fn result(name: &str, value: String, target: &str) {
    println!("{name:<52}{value:>18}   {target}");
}
