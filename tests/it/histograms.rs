//! The histograms of `/metrics` against what was really done: each duration counts once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use skytide_core::event::{Message, Tick};
use skytide_core::id::{Epoch, Seq};
use skytide_core::memory::{MemoryCheckpoints, MemoryLog, MemoryStore};
use skytide_core::port::arrival::EpochTimes;
use skytide_core::port::clock::ManualClock;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};
use skytide_dataflow::{CheckpointOptions, Metrics, Options, Ports};
use skytide_ingest::RecordingSource;
use skytide_tests::world;
use tokio_util::sync::CancellationToken;

use crate::ingest::harness::{Running, options};

const WORKERS: u64 = 2;

/// The samples of all metrics, by name with labels.
fn samples(registry: &Registry) -> BTreeMap<String, f64> {
    let mut text = String::new();
    encode(&mut text, registry).expect("text");
    samples_of(&text)
}

fn samples_of(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number")));
    pairs.collect()
}

/// The numbers of the epochs that have events.
fn with_events(messages: &[Message]) -> Vec<Epoch> {
    let (mut has_events, mut epochs) = (false, Vec::new());
    for message in messages {
        match message {
            Message::Event(_) => has_events = true,
            Message::Tick(tick) => {
                if std::mem::take(&mut has_events) {
                    epochs.push(tick.epoch);
                }
            }
        }
    }
    epochs
}

async fn append(log: &dyn Log, messages: Vec<Message>) {
    let mut writer = log.writer().await.expect("a writer");
    writer.append(messages).await.expect("appended");
    writer.flush().await.expect("flushed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_commit_cut_and_epoch_counts_once() {
    let messages = world::log(3, world::Options::default());
    let epochs = with_events(&messages);
    let log = Arc::new(MemoryLog::new(1));
    let checkpoints = MemoryCheckpoints::default();
    append(log.as_ref(), messages).await;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, WORKERS as usize);
    let arrivals = EpochTimes::default();
    for epoch in &epochs {
        arrivals.record(*epoch, std::time::Instant::now());
    }
    metrics.measure_latency(Arc::new(ManualClock::default()), Some(arrivals));
    let options = Options {
        workers: WORKERS as usize,
        until_last: true,
        batch_epochs_max: 4,
        checkpoint: CheckpointOptions {
            events: Some(1),
            ..CheckpointOptions::default()
        },
        ..Options::default()
    };
    let ports = Ports {
        log,
        store: Arc::new(MemoryStore::default()),
        checkpoints: Some(Arc::new(checkpoints)),
    };
    let ended = skytide_dataflow::run(options, ports, metrics.clone(), CancellationToken::new());
    ended.await.expect("the run completes");

    let samples = samples(&registry);
    let of = |name: &str| samples.get(name).copied().unwrap_or_default() as u64;
    let commits = of("indexer_commits_total");
    assert_eq!(commits, 15, "60 epochs by 4");
    assert_eq!(of("indexer_commit_duration_seconds_count"), commits);
    assert_eq!(of("indexer_step_duration_seconds_count"), commits);
    for since in ["arrival", "network_time"] {
        let count = format!("indexer_frame_to_row_seconds_count{{since=\"{since}\"}}");
        assert_eq!(of(&count), epochs.len() as u64, "{since}");
    }
    // A cut has a part of each worker. Parts of checkpoints that were not completed count as well.
    let parts = of("indexer_checkpoint_pause_duration_seconds_count");
    let completed = of("indexer_checkpoints_total");
    assert!(completed > 0 && parts >= WORKERS * completed, "{parts}");
    assert_eq!(parts % WORKERS, 0, "{parts} parts");
    let sum = samples["indexer_commit_duration_seconds_sum"];
    assert!((sum - metrics.commit_seconds.get()).abs() < 1e-9);
    let sum = samples["indexer_step_duration_seconds_sum"];
    assert!((sum - metrics.step_seconds.get()).abs() < 1e-9);
}

/// A log that counts the calls of `flush` of its writers.
struct Flushes {
    log: MemoryLog,
    count: Arc<AtomicU64>,
}

struct CountingWriter {
    writer: Box<dyn LogWriter>,
    count: Arc<AtomicU64>,
}

#[async_trait]
impl LogWriter for CountingWriter {
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError> {
        self.writer.append(messages).await
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.writer.flush().await
    }
}

#[async_trait]
impl Log for Flushes {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        self.log.bounds().await
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        self.log.newest_tick().await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        let (writer, count) = (self.log.writer().await?, self.count.clone());
        Ok(Box::new(CountingWriter { writer, count }))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        self.log.reader(from).await
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        self.log.trim(below).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_flush_of_the_log_counts_once() {
    let frames = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/frames/pds.frames.zst"
    );
    let source = RecordingSource::open(vec![frames.into()]).expect("a recording");
    let count = Arc::<AtomicU64>::default();
    let log = Arc::new(Flushes {
        log: MemoryLog::new(1),
        count: count.clone(),
    });
    let mut running = Running::start(Box::new(source), options(), log);
    running.ended().await.expect("the recording ends");
    let text = running.metrics();
    let published = samples_of(&text)["skytide_ingest_publish_duration_seconds_count"];
    let flushes = count.load(Ordering::SeqCst);
    assert!(flushes > 0);
    assert_eq!(published as u64, flushes);
}
