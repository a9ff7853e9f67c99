//! Runs the graph: batches of whole epochs from the log, timely workers, commits, checkpoints,
//! recovery.
//!
//! ```text
//! recover ─▶ restore ─▶ source ─▶ batch ─▶ worker ─▶ consolidate ─▶ commit
//!                                             └─▶ checkpoint
//! worker: a worker of the leading process     follower: a process that executes its commands
//! worker_graph: the graph of one worker       cluster: connections, messages and worker threads
//! command: messages between these parts       task: tasks that end with a run
//! sections: the sections of a checkpoint as plain values, for the audit
//! section_name, section_file: their names; a section as the file of a run
//! ```

mod batch;
mod budget;
pub(crate) mod checkpoint;
pub(crate) mod cluster;
mod command;
mod commit;
mod consolidate;
mod eviction;
pub(crate) mod follower;
mod operator_log;
mod progress;
mod rebuild;
mod recover;
mod restore;
mod section_file;
mod section_name;
pub(crate) mod sections;
mod source;
mod task;
mod worker;
pub(crate) mod worker_clock;
mod worker_graph;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use skytide_core::id::Epoch;
use skytide_core::port::BoxFuture;
use skytide_core::port::checkpoint::Manifest;
use skytide_core::port::store::Control;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::graph::GraphConfig;
use crate::records::Names;
use crate::types::Time;
use crate::{DataflowError, Metrics, Options, Ports, metrics};
use budget::Budget;
use checkpoint::{Base, CheckpointEvent, CutGate, Keeper, Planner};
use cluster::{EndOnDrop, Links, Liveness, Threads};
use command::{BatchOutput, BuildCommand, Command};
use commit::Committer;
use eviction::Eviction;
use rebuild::Rebuild;
use recover::Start;
use restore::Restore;
use source::Source;
use task::Task;
use worker::{LeaderWorker, RemoteWorker};

/// Keeps all views up to date with the log, until `stop` or the last tick.
///
/// # Errors
/// The log, the store or the checkpoints failed, are damaged, or do not belong together; or a
/// worker panicked.
pub fn run(
    options: Options,
    ports: Ports,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> BoxFuture<'static, Result<(), DataflowError>> {
    lead(options, ports, Links::alone(), metrics, stop)
}

/// Does the same as [`run`], together with the workers of other processes. Each of these calls
/// [`follow`](follower::follow) with the same number of workers.
///
/// # Errors
/// As [`run`]; or another process disconnected.
///
/// # Panics
/// If `links` are not the connections of process 0.
pub fn lead(
    options: Options,
    ports: Ports,
    links: Links,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> BoxFuture<'static, Result<(), DataflowError>> {
    assert_eq!(links.process(), 0, "process 0 leads");
    Box::pin(lead_workers(options, ports, links, metrics, stop))
}

async fn lead_workers(
    options: Options,
    ports: Ports,
    links: Links,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), DataflowError> {
    let threads = options.workers.max(1);
    let liveness = links.liveness(threads)?;
    let run_stop = stop.child_token();
    let run = Run {
        workers: threads * links.processes(),
        threads,
        options,
        ports,
        metrics,
        stop: run_stop.clone(),
        gate: Arc::default(),
    };
    let (queues, ends) = channels(run.workers, run.ports.checkpoints.is_some());
    let threads = run.start_threads(links, &liveness, ends)?;
    let ended = liveness.ended_token.clone();
    let _stop_when_ended = Task::start(async move {
        ended.cancelled().await;
        run_stop.cancel();
    });
    let mut keeper = None;
    let processed = match run.recover(&queues.commands).await {
        Some(Ok(recovered)) => run.process(recovered, queues, &mut keeper).await,
        // Workers wait for commands until the queues are dropped.
        failed => {
            drop(queues);
            match failed {
                None if stop.is_cancelled() => return Ok(()),
                None => Ok(()),
                Some(failed) => failed.map(drop),
            }
        }
    };
    let _end_on_drop = EndOnDrop(liveness);
    let worked = tokio::task::spawn_blocking(|| threads.join()).await;
    if let Some(keeper) = keeper {
        // A checkpoint that is not complete by then is dropped; previous ones stay.
        let ended = commit::within_grace(&stop, keeper.join()).await;
        ended.unwrap_or(Ok(()))?;
    }
    match worked.map_err(|error| DataflowError::Panicked(error.to_string()))? {
        // During a shutdown it is no failure that another process stopped first.
        Err(DataflowError::Lost { .. }) if stop.is_cancelled() => processed,
        worked => worked.and(processed),
    }
}

/// What the parts of a run share.
struct Run {
    options: Options,
    ports: Ports,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    gate: Arc<CutGate>,
    /// The number of workers of this process.
    threads: usize,
    /// The number of workers of all processes.
    workers: usize,
}

type EventSender = mpsc::UnboundedSender<CheckpointEvent>;
type EventReceiver = mpsc::UnboundedReceiver<CheckpointEvent>;

/// The run's ends of the channels to and from the workers.
struct Queues {
    /// The command queue of each worker.
    commands: Vec<mpsc::Sender<Command>>,
    outputs: mpsc::Receiver<BatchOutput>,
    /// Events for the keeper; `None` if no checkpoints are made.
    checkpoint_events: Option<(EventSender, EventReceiver)>,
}

/// The ends of the same channels that the workers get.
struct WorkerEnds {
    /// The command queue of each worker.
    commands: Vec<mpsc::Receiver<Command>>,
    outputs: mpsc::Sender<BatchOutput>,
    checkpoint_events: Option<EventSender>,
}

/// Creates the channels of this number of workers.
fn channels(workers: usize, with_checkpoints: bool) -> (Queues, WorkerEnds) {
    let (senders, receivers) = (0..workers).map(|_| mpsc::channel(1)).unzip();
    let (output_sender, outputs) = mpsc::channel(workers);
    let events = with_checkpoints.then(mpsc::unbounded_channel);
    let ends = WorkerEnds {
        commands: receivers,
        outputs: output_sender,
        checkpoint_events: events.as_ref().map(|(sender, _)| sender.clone()),
    };
    let queues = Queues {
        commands: senders,
        outputs,
        checkpoint_events: events,
    };
    (queues, ends)
}

/// The outcome of recovery.
struct Recovered {
    /// The store's control record, as [`Start::control`] returns it.
    control: Control,
    start: Start,
}

impl Run {
    /// Acquires the store's lease, decides how to start, and sends all workers the command to build
    /// the graph. Returns `None` if `stop` came first.
    async fn recover(
        &self,
        workers: &[mpsc::Sender<Command>],
    ) -> Option<Result<Recovered, DataflowError>> {
        let recovery = async {
            let control = self.ports.store.lead().await?;
            let start = recover::start(&control, &self.ports, &self.options).await?;
            let control = start.control(control);
            for worker in workers {
                // An error means that the worker has ended; joining its thread reports why.
                let _ = worker.send(self.build_command(&start)).await;
            }
            Ok(Recovered { control, start })
        };
        self.stop.run_until_cancelled(recovery).await
    }

    /// Processes the log until the end. Stores the task of the keeper in `keeper`.
    async fn process(
        &self,
        Recovered { control, start }: Recovered,
        queues: Queues,
        keeper: &mut Option<Task<()>>,
    ) -> Result<(), DataflowError> {
        let restored = start.checkpoint.as_ref();
        self.open_runs(restored.and_then(|it| Base::of(it, 0)))
            .await;
        let (sender, receiver) = queues.checkpoint_events.unzip();
        let task = |events| Some(Task::start(self.keeper(&control, &start)?.run(events)));
        *keeper = receiver.and_then(task);

        let has_rows = control.committed.is_some() || control.intent.is_some();
        let catching_up = has_rows || start.checkpoint.is_some();
        self.metrics.catching_up.set(i64::from(catching_up));
        let committer = self.committer(&control, &start, sender.clone());
        let _progress_log = Task::start(log_progress(self.metrics.clone()));
        let planner = sender.map(|sender| self.planner(&control, &start, sender));
        let source = self.source(&control, start, queues.commands, planner);
        let source = Task::start(source.run());
        let committed = committer.run(queues.outputs).await;
        if committed.is_err() {
            source.0.abort();
        }
        let read = source.join().await;
        committed?;
        read?
    }

    fn build_command(&self, start: &Start) -> Command {
        let last = start.checkpoint.as_ref().map(|it| it.last.epoch);
        Command::Build(Box::new(BuildCommand {
            graph: GraphConfig {
                views: self.options.views.clone(),
                interactions_days: self.options.interactions_days,
                suppressed: start.suppressed(self.options.verify),
            },
            policy: self.options.account_policy,
            restores_runs: start.checkpoint.as_ref().is_some_and(Manifest::has_runs),
            counted_through: last.map_or(0, |Epoch(last)| last as Time),
        }))
    }

    fn committer(
        &self,
        control: &Control,
        start: &Start,
        checkpoint_events: Option<EventSender>,
    ) -> Committer {
        // If the restored rows of a view are not emitted, its checksum starts with that of the
        // checkpoint, which includes them.
        let suppressed = start.suppressed(self.options.verify);
        let last = start.checkpoint.as_ref().map(|it| it.last.clone());
        let recorded = last.iter().flat_map(|last| &last.sums);
        let initial = recorded.filter(|(view, _)| suppressed.through(**view) > 0);
        let rebuilt = start.rebuilt.clone();
        let rebuilt_if_different = start.rebuilt_if_different.clone();
        let gathered = &rebuilt | &rebuilt_if_different;
        Committer {
            store: self.ports.store.clone(),
            control: control.clone(),
            log_id: start.log_id,
            recipe: self.options.recipe(),
            workers: self.workers,
            sums: initial.map(|(view, sum)| (*view, *sum)).collect(),
            recounted: start.recounted.clone(),
            rebuild: Rebuild::new(&gathered),
            rebuilt,
            rebuilt_if_different,
            restored: last,
            replaces_all: start.replaces_all,
            checkpoint_events,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        }
    }

    fn planner(&self, control: &Control, start: &Start, checkpoint_events: EventSender) -> Planner {
        let committed = control.committed.as_ref().map(|it| it.epoch);
        let last_cut = start.checkpoint.as_ref().map(|it| it.last.epoch);
        Planner {
            gate: self.gate.clone(),
            checkpoint_events,
            events_max: self.options.checkpoint.events,
            shards_per_cut: self.options.checkpoint.shards_per_cut,
            metrics: self.metrics.clone(),
            // No epoch before a recorded intent is committed, so a checkpoint that ended there
            // would never be complete.
            after: committed
                .max(control.intent)
                .max(last_cut)
                .unwrap_or_default(),
            attempts: 0,
            active: None,
            events: 0,
        }
    }

    fn source(
        &self,
        control: &Control,
        start: Start,
        workers: Vec<mpsc::Sender<Command>>,
        planner: Option<Planner>,
    ) -> Source {
        let options = &self.options;
        let committed = control.committed.as_ref().map(|it| it.epoch);
        let checkpoint = start.checkpoint;
        let last_cut = checkpoint.as_ref().map(|it| it.last.epoch);
        let through = checkpoint.as_ref().map(|it| it.through.clone());
        let restore = checkpoint.zip(self.ports.checkpoints.clone());
        let restore = restore.map(|(manifest, checkpoints)| Restore {
            checkpoints,
            manifest,
            without_lists: start.recounted,
            metrics: self.metrics.clone(),
        });
        let ends = [committed, control.intent, last_cut];
        let ends: Vec<Epoch> = ends.into_iter().flatten().collect();
        let (limit, metrics) = (options.memory.clone(), self.metrics.clone());
        Source {
            budget: Budget::new(limit, self.threads, &ends, metrics),
            restore,
            reader: start.reader,
            read_ahead: start.read_ahead,
            epochs: start.epochs,
            names: Names::default(),
            through: through.unwrap_or_default(),
            workers,
            pending_commit: source::pending_commit(control, &options.views, &start.rebuilt),
            ends,
            planner,
            batch_events_max: options.batch_events_max,
            batch_bytes_max: options.batch_bytes_max,
            batch_epochs_max: options.batch_epochs_max,
            until_last: options.until_last,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        }
    }

    /// Opens the runs of the checkpoint that is restored, so that workers can evict records. If that
    /// fails, all records stay in memory until the next checkpoint.
    async fn open_runs(&self, base: Option<Base>) {
        let max = self.options.records_in_memory_max();
        let (Some(base), Some(checkpoints), Some(max)) = (base, &self.ports.checkpoints, max)
        else {
            return;
        };
        match base.open(checkpoints.as_ref(), None, max).await {
            Ok(open) => self.gate.set_open_runs(Some(Arc::new(open))),
            Err(error) => tracing::warn!(
                error = error.as_ref() as &(dyn std::error::Error + 'static),
                "the runs of the restored checkpoint could not be opened: records stay in memory"
            ),
        }
    }

    /// The keeper of checkpoints; `None` without storage for them.
    fn keeper(&self, control: &Control, start: &Start) -> Option<Keeper> {
        let checkpoints = self.ports.checkpoints.clone()?;
        if start.unprotected {
            self.gate.request();
        }
        let base = start.checkpoint.as_ref();
        let base = base.and_then(|restored| Base::of(restored, 0));
        self.gate.set_base(base.as_ref().map(|it| it.id));
        if let Some(checkpoint) = &start.checkpoint {
            self.gate.set_newest_complete(checkpoint.first.epoch);
        }
        Some(Keeper {
            checkpoints,
            store: self.ports.store.clone(),
            term: control.term,
            log: self.ports.log.clone(),
            options: self.options.checkpoint,
            workers: self.workers,
            metrics: self.metrics.clone(),
            gate: self.gate.clone(),
            unusable: start.unusable.clone(),
            base,
            hot_records_max: self.options.records_in_memory_max(),
        })
    }

    /// Starts the workers of this process. Each serves an equal share of the remote workers.
    fn start_threads(
        &self,
        links: Links,
        liveness: &Arc<Liveness>,
        ends: WorkerEnds,
    ) -> Result<Threads, DataflowError> {
        let mut commands = ends.commands.into_iter();
        let own = commands.by_ref().take(self.threads);
        let own = own.map(|commands| LeaderWorker {
            commands,
            remote_workers: Vec::new(),
            outputs: ends.outputs.clone(),
            checkpoint_events: ends.checkpoint_events.clone(),
            metrics: self.metrics.clone(),
            gate: self.gate.clone(),
            liveness: liveness.clone(),
            logs_operators: self.options.operator_log,
            eviction: Eviction {
                memory: self.options.memory.clone(),
                workers: self.threads,
                gate: self.gate.clone(),
                metrics: self.metrics.clone(),
                is_active: false,
            },
            scratch: self.options.scratch.clone(),
        });
        let mut own: Vec<_> = own.collect();
        for (index, commands) in (self.threads..).zip(commands) {
            let remote = RemoteWorker { index, commands };
            own[index % self.threads].remote_workers.push(remote);
        }
        let own: Vec<_> = own.into_iter().map(|it| Mutex::new(Some(it))).collect();
        let work = move |worker: &mut timely::worker::Worker| {
            let taken = own[worker.index()].lock().map(|mut slot| slot.take());
            if let Ok(Some(leader_worker)) = taken {
                leader_worker.work(worker);
            }
        };
        let (liveness, metrics) = (liveness.clone(), self.metrics.clone());
        cluster::start(links, self.threads, liveness, metrics, work)
    }
}

/// Logs one line of progress each second.
async fn log_progress(metrics: Arc<Metrics>) {
    const PERIOD: Duration = Duration::from_secs(1);
    let mut previous = metrics::LoggedCounters::default();
    let mut interval = tokio::time::interval(PERIOD);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval.tick().await;
    loop {
        interval.tick().await;
        metrics.log_progress(&mut previous, PERIOD);
    }
}
