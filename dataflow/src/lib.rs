//! Events to view rows: live records, windows and views in timely and differential dataflow.
//!
//! ```text
//! log ─ source ─▶ batches of whole epochs ─▶ workers (timely threads, the graph) ─▶ committer ─▶ view store
//!         ▲                                     └─ cuts ─▶ keeper ─▶ checkpoints ─▶ the log is trimmed behind them
//!         └─ restore ◀─ recover: which checkpoint?
//! ```
//!
//! The dataflow reads no clock: the same log gives the same rows, epoch by epoch, on any number of workers and however
//! epochs are grouped into commits. Queues: one batch waits while one is at work and one is committed; a batch is
//! bounded by events, so a slow store makes commits larger up to that bound and then slows the reading.
//!
//! After a restart the newest good checkpoint is taken in and the log behind it fed again, with the store closed up to
//! what it has committed; there the number of rows and their hashes must be the store's own. The first commit behind it
//! ends at the recorded intent. Without a checkpoint the log is fed from its start. See `docs/checkpoints.md`.

mod batch;
mod checkpoint;
mod commit;
mod error;
pub mod fact;
pub mod graph;
mod metrics;
pub mod operators;
mod rebuild;
pub mod records;
mod recover;
mod restore;
mod settle;
mod source;
mod tasks;
#[cfg(test)]
mod testing;
pub mod types;
pub mod views;
mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use checkpoint::{CheckpointOptions, LogKeep};
pub use error::DataflowError;
pub use metrics::Metrics;
pub use records::AccountPolicy;

use skytide_core::id::Epoch;
use skytide_core::port::checkpoint::CheckpointStore;
use skytide_core::port::log::Log;
use skytide_core::port::store::{Control, Recipe, ViewStore};
use skytide_core::view::ViewId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use checkpoint::{Gate, Keeper, News, Planner};
use commit::Committer;
use graph::Wanted;
use rebuild::Rebuild;
use recover::Start;
use restore::Restore;
use source::Source;
use tasks::{Task, Threads};
use types::Time;
use worker::{Done, Queues, Setup};

/// How the dataflow works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Timely worker threads, at least 1.
    pub workers: usize,
    /// What an account's status does to its facts.
    pub account_policy: AccountPolicy,
    /// Days for which `interactions` are kept, the open one included; `None`: for ever.
    pub interactions_days: Option<u32>,
    /// The views to compute.
    pub views: Vec<ViewId>,
    /// Events at which a commit takes no further epoch.
    pub batch_events_max: usize,
    /// Epochs in a commit at most; 1 commits each epoch.
    pub batch_epochs_max: usize,
    /// Whether to return behind the tick that says it is the last.
    pub until_last: bool,
    /// When checkpoints are made, if there is a place for them.
    pub checkpoint: CheckpointOptions,
    /// Whether to compute the rows of a checkpoint again and compare them with the sums it states. Without, its sections'
    /// checksums are compared, and the rows from its last cut on.
    pub verify: bool,
    /// Whether to start over from what the log has, whatever the store and the checkpoints hold.
    pub rebuild: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            account_policy: AccountPolicy::default(),
            interactions_days: Some(8),
            views: ViewId::ALL.to_vec(),
            batch_events_max: 50_000,
            batch_epochs_max: usize::MAX,
            until_last: false,
            checkpoint: CheckpointOptions::default(),
            verify: false,
            rebuild: false,
        }
    }
}

impl Options {
    /// How rows are computed with these options.
    pub fn recipe(&self) -> Recipe {
        let views = self.views.iter().map(|view| (*view, view.version()));
        Recipe {
            account_policy: self.account_policy.name().into(),
            interactions_days: self.interactions_days,
            views: views.collect(),
        }
    }
}

/// What the dataflow stands on.
#[derive(Clone)]
pub struct Ports {
    /// Where events come from.
    pub log: Arc<dyn Log>,
    /// Where rows go.
    pub store: Arc<dyn ViewStore>,
    /// Where checkpoints are kept; `None`: none are made, and a restart reads the whole log.
    pub checkpoints: Option<Arc<dyn CheckpointStore>>,
}

/// Keeps all views up to date with the log until `stop`, or behind the last tick.
///
/// # Errors
/// The log, the store or the checkpoints refused, are damaged, or do not belong together; or a worker panicked.
pub async fn run(
    options: Options,
    ports: Ports,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), DataflowError> {
    let beginning = async {
        let control = ports.store.lead().await?;
        let start = recover::start(&control, &ports, &options).await?;
        Ok::<_, DataflowError>((control, start))
    };
    let Some(begun) = stop.run_until_cancelled(beginning).await else {
        return Ok(());
    };
    let (control, start) = begun?;
    let run = Run {
        options,
        ports,
        metrics,
        stop,
        gate: Arc::default(),
        control,
    };
    let workers = run.options.workers.max(1);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(1)).unzip();
    let (done_sender, done) = mpsc::channel(workers);
    let (news, keeper) = run.keeper(&start).unzip();
    let threads = run.threads(&start, (receivers, done_sender), news.as_ref());
    let keeper = keeper.map(Task::start);

    let known = run.control.committed.is_some() || run.control.intent.is_some();
    let catching_up = known || start.checkpoint.is_some();
    run.metrics.catching_up.set(i64::from(catching_up));
    let committer = run.committer(&start, news.clone());
    let _report = Task::start(report(run.metrics.clone()));
    let source = Task::start(run.source(start, senders, news).run());
    let committed = committer.run(done).await;
    if committed.is_err() {
        source.0.abort();
    }
    let read = source.end().await;
    let worked = tokio::task::spawn_blocking(|| threads.join()).await;
    if let Some(keeper) = keeper {
        keeper.end().await?;
    }
    committed?;
    read??;
    worked.map_err(|error| DataflowError::Panicked(error.to_string()))?
}

/// What the parts of a run share.
struct Run {
    options: Options,
    ports: Ports,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    gate: Arc<Gate>,
    control: Control,
}

/// Where news for the keeper go.
type Teller = mpsc::UnboundedSender<News>;

impl Run {
    fn committer(&self, start: &Start, news: Option<Teller>) -> Committer {
        let quiet = start.quiet(self.options.verify);
        let last = start.checkpoint.as_ref().map(|it| it.last.clone());
        let noted = last.iter().flat_map(|last| &last.sums);
        let quietly = noted.filter(|(view, _)| quiet.through(**view) > 0);
        let rebuilt = start.rebuilt.clone();
        Committer {
            store: self.ports.store.clone(),
            control: self.control.clone(),
            log_id: start.log_id,
            recipe: self.options.recipe(),
            workers: self.options.workers.max(1),
            sums: quietly.map(|(view, sum)| (*view, *sum)).collect(),
            recounted: start.recounted.clone(),
            rebuild: Rebuild::of(&rebuilt),
            rebuilt,
            restored: last,
            start_over: self.options.rebuild,
            news,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        }
    }

    fn source(
        &self,
        start: Start,
        workers: Vec<mpsc::Sender<worker::Fed>>,
        news: Option<Teller>,
    ) -> Source {
        let options = &self.options;
        let committed = self.control.committed.as_ref().map(|it| it.epoch);
        let intent = self.control.intent;
        let checkpoint = start.checkpoint;
        let cut = checkpoint.as_ref().map(|it| it.last.epoch);
        let planner = news.map(|news| Planner {
            gate: self.gate.clone(),
            news,
            events_max: options.checkpoint.events,
            shards_per_cut: options.checkpoint.shards_per_cut,
            metrics: self.metrics.clone(),
            // No epoch before a recorded intent is committed: a checkpoint that ended there would wait for ever.
            behind: committed.max(intent).max(cut).unwrap_or_default(),
            active: None,
            events: 0,
        });
        let through = checkpoint.as_ref().map(|it| it.through.clone());
        let restore = checkpoint.zip(self.ports.checkpoints.clone());
        let restore = restore.map(|(manifest, checkpoints)| Restore {
            checkpoints,
            manifest,
            without_lists: start.recounted,
            metrics: self.metrics.clone(),
        });
        Source {
            restore,
            reader: start.reader,
            read: start.read,
            epochs: start.epochs,
            through: through.unwrap_or_default(),
            workers,
            undivided: source::undivided(&self.control, &options.views, &start.rebuilt),
            ends: [committed, intent, cut].into_iter().flatten().collect(),
            planner,
            batch_events_max: options.batch_events_max,
            batch_epochs_max: options.batch_epochs_max,
            until_last: options.until_last,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        }
    }

    /// The task that makes checkpoints, if there is a place for them.
    fn keeper(&self, start: &Start) -> Option<(Teller, impl Future<Output = ()> + Send + use<>)> {
        let checkpoints = self.ports.checkpoints.clone()?;
        if start.exposed {
            self.gate.want();
        }
        let (teller, news) = mpsc::unbounded_channel();
        let keeper = Keeper {
            checkpoints,
            store: self.ports.store.clone(),
            term: self.control.term,
            log: self.ports.log.clone(),
            options: self.options.checkpoint,
            workers: self.options.workers.max(1),
            metrics: self.metrics.clone(),
            gate: self.gate.clone(),
            unusable: start.unusable.clone(),
        };
        Some((teller, keeper.run(news)))
    }

    /// Starts the worker threads.
    fn threads(
        &self,
        start: &Start,
        (receivers, done): (Vec<mpsc::Receiver<worker::Fed>>, mpsc::Sender<Done>),
        news: Option<&Teller>,
    ) -> Threads {
        let last = start.checkpoint.as_ref().map(|it| it.last.epoch);
        let setup = Setup {
            wanted: Wanted {
                views: self.options.views.clone(),
                interactions_days: self.options.interactions_days,
                quiet: start.quiet(self.options.verify),
            },
            policy: self.options.account_policy,
            counted_through: last.map_or(0, |Epoch(last)| last as Time),
            metrics: self.metrics.clone(),
            gate: self.gate.clone(),
            broken: false.into(),
        };
        let config = timely::Config::process(receivers.len());
        let queues = receivers.into_iter().map(|batches| {
            let queues = Queues {
                batches,
                done: done.clone(),
                news: news.cloned(),
            };
            Mutex::new(Some(queues))
        });
        let queues: Vec<_> = queues.collect();
        let guards = timely::execute(config, move |worker| {
            let taken = queues[worker.index()].lock().map(|mut slot| slot.take());
            if let Ok(Some(queues)) = taken {
                worker::work(worker, &setup, queues);
            }
        });
        Threads(Some(guards))
    }
}

/// Tells one line a second.
async fn report(metrics: Arc<Metrics>) {
    const PERIOD: Duration = Duration::from_secs(1);
    let mut before = metrics::Snapshot::default();
    let mut due = tokio::time::interval(PERIOD);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    due.tick().await;
    loop {
        due.tick().await;
        metrics.line(&mut before, PERIOD);
    }
}
