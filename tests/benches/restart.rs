//! A restart of ten million live records: a checkpoint made while the stream goes on, taken in again, and the log behind
//! it fed. `SKYTIDE_BENCH_RECORDS` sets another number of events, `SKYTIDE_BENCH_FOLDER` a folder where the checkpoint stays:
//! the next run with it only restarts, which is what one wants under a profiler.
//!
//! The log that is counted first is made up as it is read, what is behind the checkpoint is made before the restart and
//! decoded by it; the store keeps no rows. Checkpoints are files on this machine's disk.

mod synthetic;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use skytide::embedded::EmbeddedCheckpoints;
use skytide_core::memory::MemoryStore;
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::{
    Committed, Control, Intent, Range, StoreError, Term, ViewReader, ViewStore,
};
use skytide_core::view::{Change, Key, StoredRow, ViewId};
use skytide_dataflow::{CheckpointOptions, Metrics, Options, Ports};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::whole::{of_process, peak_bytes};

pub use synthetic::Synthetic;

/// Events of an epoch.
const EVENTS: u64 = 2_000;
/// Events from the beginning of the checkpoint to the end of the log.
const BEHIND: u64 = 400_000;

/// Set for a process of this program that is to restart in this folder: whether it verifies, events, the folder.
const CHILD: &str = "BENCH_RESTARTS";

/// Restarts, if this process is to do that; answers whether it was.
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

/// Measures and prints.
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
    println!("\nrestart: {events} events, a checkpoint {BEHIND} events before the end");
    if !setting.committed().exists() {
        setting.count();
    }
    for what in ["plain", "verify"] {
        // A process of its own, as a restart is.
        let mut restart = Command::new(std::env::current_exe().expect("this program"));
        let folder = setting.folder.to_str().expect("a plain path");
        restart.env(CHILD, format!("{what} {events} {folder}"));
        let status = restart.status().expect("it starts");
        assert!(status.success(), "the restart failed: {status}");
    }
}

/// What is measured, and where its checkpoint stands.
struct Setting {
    events: u64,
    folder: PathBuf,
}

impl Setting {
    /// What the store had committed in the end.
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

    /// Counts from the log, and tells of the checkpoint that is made meanwhile.
    fn count(&self) {
        let threads = Runtime::new().expect("the runtime starts");
        let ports = self.ports(Arc::new(self.log()));
        let mut options = self.options();
        options.batch_events_max = EVENTS as usize;
        options.batch_bytes_max = usize::MAX;
        options.checkpoint.events = Some(self.events.saturating_sub(BEHIND));
        tell_checkpoint(&threads, &options, &ports);
        let control = threads.block_on(ports.store.control());
        let control = control.expect("the store answers").committed;
        let text = serde_json::to_vec(&control.expect("all is committed"));
        std::fs::write(self.committed(), text.expect("it is plain")).expect("there is room");
    }

    /// Takes the checkpoint in, counts the log behind it, and tells how long that took.
    fn restart(&self, verify: bool) {
        let threads = Runtime::new().expect("the runtime starts");
        let mut ports = self.ports(Arc::new(self.log()));
        let store = ports.checkpoints.as_ref().expect("there are some");
        let newest = threads.block_on(store.list()).expect("the folder is there");
        let made = newest[0].manifest.as_ref().expect("it is readable").first;
        ports.log = Arc::new(self.log().made_from(made.seq));
        let text = std::fs::read(self.committed()).expect("it was counted");
        let committed = serde_json::from_slice(&text).expect("as it was written");
        let done = threads.block_on(commit(ports.store.as_ref(), committed));
        done.expect("the store is new");
        let options = Options {
            verify,
            batch_events_max: 50_000,
            ..self.options()
        };
        // As the indexer does until it has caught up.
        skytide::memory::keep_free_memory(true);
        let before = of_process(std::process::id());
        let (metrics, seconds) = live(&threads, &options, &ports);
        let used = of_process(std::process::id()).since(before);
        let restored = metrics.restore_seconds.get();
        let what = if verify { ", all rows verified" } else { "" };
        let line = format!("taking it in{what}");
        println!("{line:<44}{restored:>14.1} s");
        let line = format!("  and the {} events behind it", metrics.events.get());
        println!("{line:<44}{seconds:>14.1} s in all   (goal 10)");
        let line = "  CPU: its own, and the system's for it";
        println!("{line:<44}{:>14.1} s and {:.1} s", used.user, used.system);
        let peak = peak_bytes(std::process::id()) as f64;
        println!("{:<44}{:>14.2} GB", "  memory, at most", peak / 1e9);
    }
}

/// Commits nothing, as if it had been the last thing.
async fn commit(store: &dyn ViewStore, committed: Committed) -> Result<(), StoreError> {
    let term = store.lead().await?.term;
    store.begin(term, committed.epoch.into()).await?;
    store.commit(term, committed).await
}

/// Counts from the log, and tells of the checkpoint that is made meanwhile.
fn tell_checkpoint(threads: &Runtime, options: &Options, ports: &Ports) {
    let (metrics, seconds) = live(threads, options, ports);
    let records = metrics.live_records.get() as f64;
    println!("{:<44}{records:>14.0}", "live records");
    println!("{:<44}{seconds:>14.1} s", "counting them from the log");
    let bytes = metrics.checkpoint_bytes.get() as f64;
    assert_eq!(metrics.checkpoints.get(), 1, "there is no checkpoint");
    println!("{:<44}{:>14.0} MB", "checkpoint on disk", bytes / 1e6);
    println!("{:<44}{:>14.1}", "bytes per live record", bytes / records);
    let pause = metrics.checkpoint_pause_seconds.get() * 1e3;
    println!("{:<44}{pause:>14.1} ms", "longest pause by one of its cuts");
    let seconds = metrics.checkpoint_seconds.get();
    println!(
        "{:<44}{seconds:>14.1} s",
        "from its first cut until it was complete"
    );
    let read = read_all(
        threads,
        ports.checkpoints.as_deref().expect("there are some"),
    );
    println!(
        "{:<44}{:>14.2} s",
        "reading and checking all sections",
        read.as_secs_f64()
    );
}

/// One life; answers the seconds until the last epoch of the log was through. To give all memory back takes longer.
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
            .expect("it has ticks");
        let through = async {
            let mut look = tokio::time::interval(Duration::from_millis(5));
            while metrics.epoch.get() < last.epoch.0 as i64 {
                look.tick().await;
            }
            started.elapsed().as_secs_f64()
        };
        let lived = async {
            let lived = run.await;
            lived.expect("what is stored is what is counted");
        };
        let (_, seconds) = tokio::join!(lived, through);
        (metrics, seconds)
    })
}

fn read_all(threads: &Runtime, checkpoints: &dyn CheckpointStore) -> Duration {
    let started = Instant::now();
    threads.block_on(async {
        let newest = checkpoints
            .list()
            .await
            .expect("the folder is there")
            .remove(0);
        for section in &newest.manifest.expect("it is readable").sections {
            let read = checkpoints.read(newest.checkpoint, section).await;
            read.expect("it is whole");
        }
    });
    started.elapsed()
}

/// A store that keeps the control record and no row.
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
