//! Measures a restart with ten million live records: a checkpoint is made while the stream
//! continues, then restored, and the log after it is replayed. `SKYTIDE_BENCH_RECORDS` sets another
//! number of events. `SKYTIDE_BENCH_FOLDER` sets a folder that keeps the checkpoint: the next run
//! with this folder only restarts, which is useful under a profiler.
//!
//! The log of the first run is generated while it is read. For the restart, the messages after the
//! checkpoint are generated in advance, and the restart decodes them. The store has no rows.
//! Checkpoints are files on the disk of this machine.

mod synthetic;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use skytide_core::memory::MemoryStore;
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::{
    Committed, Control, Intent, Range, StoreError, Term, ViewReader, ViewStore,
};
use skytide_core::view::{Change, Key, StoredRow, ViewId};
use skytide_dataflow::{CheckpointOptions, Metrics, Options, Ports};
use skytide_embedded::EmbeddedCheckpoints;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::whole::{of_process, peak_bytes};

pub use synthetic::Synthetic;

/// Number of events in an epoch.
const EVENTS: u64 = 2_000;
/// Number of events from the beginning of the checkpoint to the end of the log.
const EVENTS_AFTER: u64 = 400_000;

/// Set for a child process that is to restart: whether it verifies, the number of events, the
/// folder.
const CHILD: &str = "BENCH_RESTARTS";

/// Runs the restart if this process is a child for it; returns whether it is.
pub fn restarts() -> bool {
    let Ok(text) = std::env::var(CHILD) else {
        return false;
    };
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().expect("verify, events, folder");
    let verify = word() == "verify";
    let setting = Setting {
        events: word().parse().expect("a number"),
        folder: word().into(),
    };
    setting.restart(verify);
    true
}

/// Runs the benchmark and prints its results.
pub fn run() {
    let given = std::env::var("SKYTIDE_BENCH_RECORDS").ok();
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let kept = std::env::var_os("SKYTIDE_BENCH_FOLDER").map(PathBuf::from);
    let setting = Setting {
        events: given
            .and_then(|text| text.parse().ok())
            .unwrap_or(10_900_000),
        folder: kept.unwrap_or_else(|| scratch.path().to_owned()),
    };
    let events = setting.events;
    println!("\nrestart: {events} events, a checkpoint {EVENTS_AFTER} events before the end");
    if !setting.committed().exists() {
        setting.count();
    }
    for what in ["plain", "verify"] {
        // The restart has its own process, as in reality.
        let mut restart = Command::new(std::env::current_exe().expect("this program"));
        let folder = setting.folder.to_str().expect("a plain path");
        restart.env(CHILD, format!("{what} {events} {folder}"));
        let status = restart.status().expect("the child starts");
        assert!(status.success(), "the restart failed: {status}");
    }
}

/// The size of the benchmark, and the folder of its checkpoint.
struct Setting {
    events: u64,
    folder: PathBuf,
}

impl Setting {
    /// The path of a file with the store's last commit.
    fn committed(&self) -> PathBuf {
        self.folder.join("committed.json")
    }

    fn log(&self) -> Synthetic {
        Synthetic {
            epochs: self.events / EVENTS,
            events: EVENTS,
        }
    }

    fn ports(&self, log: Arc<dyn Log>) -> Ports {
        let checkpoints = EmbeddedCheckpoints::open(&self.folder).expect("the folder opens");
        Ports {
            log,
            store: Arc::new(Rowless::default()),
            checkpoints: Some(Arc::new(checkpoints)),
        }
    }

    fn options(&self) -> Options {
        Options {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            until_last: true,
            checkpoint: CheckpointOptions {
                interval: None,
                events: None,
                ..CheckpointOptions::default()
            },
            ..Options::default()
        }
    }

    /// Counts the whole log, and reports on the checkpoint that is made meanwhile.
    fn count(&self) {
        let threads = Runtime::new().expect("the runtime starts");
        let ports = self.ports(Arc::new(self.log()));
        let mut options = self.options();
        options.batch_events_max = EVENTS as usize;
        options.batch_bytes_max = usize::MAX;
        options.checkpoint.events = Some(self.events.saturating_sub(EVENTS_AFTER));
        report_checkpoint(&threads, &options, &ports);
        let control = threads.block_on(ports.store.control());
        let control = control.expect("the store answers").committed;
        let text = serde_json::to_vec(&control.expect("all is committed"));
        std::fs::write(self.committed(), text.expect("JSON")).expect("the disk has room");
    }

    /// Restores the checkpoint, replays the log after it, and reports the time.
    fn restart(&self, verify: bool) {
        let threads = Runtime::new().expect("the runtime starts");
        let mut ports = self.ports(Arc::new(self.log()));
        let store = ports.checkpoints.as_ref().expect("a store");
        let newest = threads.block_on(store.list()).expect("a list");
        let made = newest[0]
            .manifest
            .as_ref()
            .expect("a readable manifest")
            .first;
        ports.log = Arc::new(self.log().made_from(made.seq));
        let text = std::fs::read(self.committed()).expect("the file of the first run");
        let committed = serde_json::from_slice(&text).expect("valid JSON");
        let done = threads.block_on(commit(ports.store.as_ref(), committed));
        done.expect("the store is empty");
        let options = Options {
            verify,
            batch_events_max: 50_000,
            ..self.options()
        };
        // As the indexer does until it has caught up with the log.
        skytide::memory::keep_free_memory(true);
        let before = of_process(std::process::id());
        let (metrics, seconds) = live(&threads, &options, &ports);
        let used = of_process(std::process::id()).since(before);
        let restored = metrics.restore_seconds.get();
        let what = if verify { ", all rows verified" } else { "" };
        let line = format!("restoring the checkpoint{what}");
        println!("{line:<44}{restored:>14.1} s");
        let line = format!("  and replaying {} events after it", metrics.events.get());
        println!("{line:<44}{seconds:>14.1} s in all   (goal 10)");
        let line = "  CPU time: user and system";
        println!("{line:<44}{:>14.1} s and {:.1} s", used.user, used.system);
        let peak = peak_bytes(std::process::id()) as f64;
        println!("{:<44}{:>14.2} GB", "  peak memory", peak / 1e9);
    }
}

/// Makes a commit without rows, so that it is the store's last one.
async fn commit(store: &dyn ViewStore, committed: Committed) -> Result<(), StoreError> {
    let term = store.lead().await?.term;
    store.begin(term, committed.epoch.into()).await?;
    store.commit(term, committed).await
}

/// Counts the whole log, and reports on the checkpoint that is made meanwhile.
fn report_checkpoint(threads: &Runtime, options: &Options, ports: &Ports) {
    let (metrics, seconds) = live(threads, options, ports);
    let records = metrics.live_records.get() as f64;
    println!("{:<44}{records:>14.0}", "live records");
    println!("{:<44}{seconds:>14.1} s", "counting them from the log");
    let bytes = metrics.checkpoint_bytes.get() as f64;
    assert_eq!(metrics.checkpoints.get(), 1, "there is no checkpoint");
    println!("{:<44}{:>14.0} MB", "checkpoint on disk", bytes / 1e6);
    println!("{:<44}{:>14.1}", "bytes per live record", bytes / records);
    let pause = metrics.checkpoint_pause_seconds.get() * 1e3;
    println!("{:<44}{pause:>14.1} ms", "longest pause by a cut");
    let seconds = metrics.checkpoint_seconds.get();
    println!(
        "{:<44}{seconds:>14.1} s",
        "from the first cut to completion"
    );
    let read = read_all(threads, ports.checkpoints.as_deref().expect("a store"));
    println!(
        "{:<44}{:>14.2} s",
        "reading and verifying all sections",
        read.as_secs_f64()
    );
}

/// Runs one life; returns the seconds until the last epoch of the log was committed. Freeing all
/// memory takes longer.
fn live(threads: &Runtime, options: &Options, ports: &Ports) -> (Arc<Metrics>, f64) {
    let metrics = Metrics::register(&mut Registry::default(), options.workers);
    let started = Instant::now();
    let stop = CancellationToken::new();
    let run = skytide_dataflow::run(options.clone(), ports.clone(), metrics.clone(), stop);
    threads.block_on(async {
        let (_, last) = ports
            .log
            .newest_tick()
            .await
            .expect("the log answers")
            .expect("a tick");
        let through = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            while metrics.epoch.get() < last.epoch.0 as i64 {
                look.tick().await;
            }
            started.elapsed().as_secs_f64()
        };
        let lived = async {
            let lived = run.await;
            lived.expect("the rows are equal");
        };
        let (_, seconds) = tokio::join!(lived, through);
        (metrics, seconds)
    })
}

fn read_all(threads: &Runtime, checkpoints: &dyn CheckpointStore) -> Duration {
    let started = Instant::now();
    threads.block_on(async {
        let newest = checkpoints.list().await.expect("a list").remove(0);
        for section in &newest.manifest.expect("a readable manifest").sections {
            let read = checkpoints.read(newest.checkpoint, section).await;
            read.expect("an intact section");
        }
    });
    started.elapsed()
}

/// A store that has a control record but no rows.
#[derive(Default)]
pub struct Rowless(MemoryStore);

#[async_trait]
impl ViewReader for Rowless {
    async fn control(&self) -> Result<Control, StoreError> {
        self.0.control().await
    }

    async fn get(&self, _view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        Ok(vec![None; keys.len()])
    }

    async fn scan(&self, _view: ViewId, _range: Range) -> Result<Vec<StoredRow>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ViewStore for Rowless {
    async fn lead(&self) -> Result<Control, StoreError> {
        self.0.lead().await
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        self.0.begin(term, intent).await
    }

    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        self.0.rebuild(term, views).await
    }

    async fn write(
        &self,
        _term: Term,
        _view: ViewId,
        _changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        self.0.commit(term, committed).await
    }
}
