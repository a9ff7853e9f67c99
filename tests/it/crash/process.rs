//! One process: ingest and dataflow over faulty ports, on a runtime of their own that can be
//! dropped at any moment.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::registry::Registry;
use skytide_core::memory::MemoryLog;
use skytide_core::port::BoxError;
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::{ViewReader, ViewStore};
use skytide_dataflow::{CheckpointOptions, Ports};
use skytide_embedded::{EmbeddedCheckpoints, EmbeddedLog, EmbeddedStore, LogOptions, StoreOptions};
use skytide_ingest::{Context, RecordingSource};
use skytide_tests::faulty::{FaultyCheckpoints, FaultyLog, FaultyStore, Plan};
use skytide_tests::meter::random_memory;
use skytide_tests::model::{Model, Options, Policy, Rows};
use skytide_tests::reading::{messages_of, rows_of};
use skytide_tests::world::Random;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use skytide_core::id::Epoch;

use crate::ingest::{frames, harness};

/// The interval at which the test checks whether everything is committed.
const POLL: Duration = Duration::from_millis(2);

/// Opens log, store and checkpoints, as often as processes start.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens all ports, as a new process does.
    async fn open(&self) -> Result<Ports, BoxError>;

    /// Opens only the store, for reading.
    async fn reader(&self) -> Result<Arc<dyn ViewReader>, BoxError>;
}

/// A backend with everything in a folder of its own.
pub struct Embedded {
    folder: tempfile::TempDir,
    log_bytes_max: u64,
}

impl Embedded {
    /// A new, empty folder, with a log of this size.
    pub fn new(log_bytes_max: u64) -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            log_bytes_max,
        }
    }

    /// Whether the log is at its size limit.
    pub fn is_full(&self) -> bool {
        let log = self.log().expect("it opens");
        let runtime = Runtime::new().expect("a runtime");
        let bounds = runtime.block_on(log.bounds()).expect("it answers");
        bounds.bytes >= bounds.bytes_max
    }

    /// Whether a complete checkpoint is there.
    pub fn has_checkpoint(&self) -> bool {
        let entries = std::fs::read_dir(self.folder.path().join("checkpoints"));
        let entries = entries.into_iter().flatten().flatten();
        let mut names = entries.map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().ends_with(".manifest"))
    }

    fn log(&self) -> Result<EmbeddedLog, BoxError> {
        let options = LogOptions {
            segment_bytes: 20_000,
            bytes_max: self.log_bytes_max,
            sync: false,
        };
        Ok(EmbeddedLog::open(&self.folder.path().join("log"), options)?)
    }

    fn store(&self) -> Result<Arc<EmbeddedStore>, BoxError> {
        let options = StoreOptions::default();
        // The previous process has just ended; its database is closed within a moment.
        loop {
            match EmbeddedStore::open(&self.folder.path().join("store"), options) {
                Ok(store) => return Ok(Arc::new(store)),
                Err(error) if in_use(&error) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn in_use(error: &dyn std::error::Error) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .into_iter()
        .any(|cause| cause.to_string().contains("Locked"))
}

#[async_trait]
impl Backend for Embedded {
    async fn open(&self) -> Result<Ports, BoxError> {
        let checkpoints = self.folder.path().join("checkpoints");
        Ok(Ports {
            log: Arc::new(self.log()?),
            store: self.store()?,
            checkpoints: Some(Arc::new(EmbeddedCheckpoints::open(&checkpoints)?)),
        })
    }

    async fn reader(&self) -> Result<Arc<dyn ViewReader>, BoxError> {
        Ok(self.store()?)
    }
}

/// How a process ended.
#[derive(Debug)]
pub enum Ending {
    /// It crashed as planned.
    Crashed,
    /// It stopped after a planned failure.
    Failed(#[expect(dead_code, reason = "shown when a test fails")] String),
    /// The stream ended and everything is committed.
    Whole,
}

/// A contiguous part of the recorded frames.
pub struct Stretch {
    file: PathBuf,
    _folder: tempfile::TempDir,
    events_max: usize,
    text: String,
}

impl std::fmt::Debug for Stretch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The frames of the recorded network, read once.
fn recorded() -> &'static [Vec<u8>] {
    static FRAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FRAMES.get_or_init(pds)
}

fn pds() -> Vec<Vec<u8>> {
    let file = std::fs::File::open(frames::fixture("frames/pds.frames.zst")).expect("the fixture");
    frames::split(&zstd::decode_all(file).expect("zstd"), u32::from_be_bytes)
}

impl Stretch {
    /// Some hundred frames from a random position.
    pub fn random(random: &mut Random) -> Self {
        let all = recorded();
        let length = 150 + random.below(350) as usize;
        let begin = random.below((all.len() - length) as u64) as usize;
        let events_max = 5 + random.below(40) as usize;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("frames");
        let bytes = frames::join(&all[begin..begin + length], u32::to_be_bytes);
        std::fs::write(&file, bytes).expect("written");
        Self {
            file,
            _folder: folder,
            events_max,
            text: format!("{length} frames from {begin}, epochs of {events_max}"),
        }
    }

    fn source(&self) -> RecordingSource {
        RecordingSource::open(vec![self.file.clone()]).expect("a recording")
    }

    fn reading(&self) -> (skytide_ingest::Options, Box<RecordingSource>) {
        (self.options(), Box::new(self.source()))
    }

    fn options(&self) -> skytide_ingest::Options {
        skytide_ingest::Options {
            tick_events_max: self.events_max,
            ..harness::options()
        }
    }

    /// The recount of what ingest writes for the stretch without faults.
    pub fn expected(&self) -> Rows {
        let log = Arc::new(MemoryLog::new(1));
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let read = skytide_ingest::run(
                self.options(),
                vec![Box::new(self.source())],
                context(log.clone(), CancellationToken::new()),
            );
            read.await.expect("an undisturbed run");
            let mut model = Model::new(Options {
                policy: Policy::ActiveAccountsOnly,
                interactions_days: None,
            });
            for message in messages_of(log.as_ref()).await.expect("messages") {
                model.read(&message);
            }
            model.rows()
        })
    }
}

fn context(log: Arc<dyn Log>, stop: CancellationToken) -> Context {
    Context {
        log,
        clock: harness::clock(),
        metrics: skytide_ingest::Metrics::register(&mut Registry::default()),
        progress: Arc::new(|_| {}),
        status: skytide_ingest::Status::default(),
        stop,
    }
}

/// Runs a process until it crashes, fails, or has committed the whole stretch.
pub fn run(stretch: &Stretch, backend: &dyn Backend, plan: &Plan, random: &mut Random) -> Ending {
    let options = skytide_dataflow::Options {
        workers: 1 + random.below(2) as usize,
        batch_epochs_max: *random.pick(&[1, 3, usize::MAX]),
        batch_events_max: *random.pick(&[30, 50_000]),
        interactions_days: None,
        checkpoint: CheckpointOptions {
            interval: None,
            events: Some(20 + random.below(150)),
            keep: 2,
            shards_per_cut: *random.pick(&[None, Some(8), Some(16), Some(64)]),
            ..CheckpointOptions::default()
        },
        verify: random.chance(50),
        hot_records_max: *random.pick(&[None, Some(0), Some(64)]),
        memory: random
            .chance(50)
            .then(|| random_memory(random.below(u64::MAX))),
        ..skytide_dataflow::Options::default()
    };
    let runtime = Runtime::new().expect("a runtime");
    let ending = runtime.block_on(async {
        let ports = match backend.open().await {
            Ok(ports) => ports,
            Err(why) => panic!("nothing can be opened: {why}"),
        };
        let (store, ports) = (ports.store.clone(), faulty(ports, plan));
        // The services run as a separate task: after a crash, that task is dropped with the
        // runtime.
        let (reading, source) = stretch.reading();
        let working = tokio::spawn(services(reading, source, ports, store, options));
        tokio::select! {
            () = plan.crashed() => Ending::Crashed,
            ended = working => match ended.expect("no panic") {
                Ok(()) => Ending::Whole,
                Err(why) => Ending::Failed(chain(why.as_ref())),
            }
        }
    });
    // A blocking thread that is still at work ends with its current file operation.
    runtime.shutdown_timeout(Duration::from_secs(60));
    ending
}

/// The error with its causes.
fn chain(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The same ports, with the faults of a plan.
pub fn faulty(ports: Ports, plan: &Plan) -> Ports {
    let plan = || plan.clone();
    let checkpoints = ports.checkpoints.map(|checkpoints| {
        let plan = plan();
        Arc::new(FaultyCheckpoints { plan, checkpoints }) as Arc<dyn CheckpointStore>
    });
    Ports {
        log: Arc::new(FaultyLog {
            plan: plan(),
            log: ports.log,
        }),
        store: Arc::new(FaultyStore {
            plan: plan(),
            store: ports.store,
        }) as Arc<dyn ViewStore>,
        checkpoints,
    }
}

/// Reads the stream and runs the dataflow until `store`, which has no faults, has the last epoch.
async fn services(
    reading: skytide_ingest::Options,
    source: Box<RecordingSource>,
    ports: Ports,
    store: Arc<dyn ViewStore>,
    options: skytide_dataflow::Options,
) -> Result<(), BoxError> {
    let stop = CancellationToken::new();
    let _ends_with_us = stop.clone().drop_guard();
    let context = context(ports.log.clone(), stop.clone());
    let reading = async {
        let read = skytide_ingest::run(reading, vec![source], context).await?;
        let last = read.tick.map_or(Epoch(0), |tick| tick.epoch);
        let mut look = tokio::time::interval(POLL);
        while store
            .control()
            .await?
            .committed
            .is_none_or(|it| it.epoch < last)
        {
            look.tick().await;
        }
        stop.cancel();
        Ok::<_, BoxError>(())
    };
    let counting = skytide_dataflow::run(options, ports, Arc::default(), stop.clone());
    let counting = async { counting.await.map_err(BoxError::from) };
    tokio::try_join!(reading, counting)?;
    Ok(())
}

/// All rows that are stored.
pub fn rows(backend: &dyn Backend) -> Rows {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let reader = backend.reader().await.expect("a reader");
        rows_of(reader.as_ref()).await.expect("rows")
    })
}
