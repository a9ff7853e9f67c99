//! How the graph is driven: batches of whole epochs from the log, timely workers, commits, checkpoints, recovery.
//!
//! ```text
//! recover ─▶ restore ─▶ source ─▶ batch ─▶ worker ─▶ settle ─▶ commit
//!                                             └─▶ checkpoint
//! cluster: workers in other processes         tasks: threads and tasks that report how they end
//! ```

mod batch;
pub(crate) mod checkpoint;
pub(crate) mod cluster;
mod commit;
mod rebuild;
mod recover;
mod restore;
mod settle;
mod source;
mod tasks;
mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use skytide_core::id::Epoch;
use skytide_core::port::store::Control;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::graph::GraphConfig;
use crate::records::Names;
use crate::types::Time;
use crate::{DataflowError, Metrics, Options, Ports, metrics};
use checkpoint::{Gate, Keeper, News, Planner};
use cluster::{Ends, Fate, Links};
use commit::Committer;
use rebuild::Rebuild;
use recover::Start;
use restore::Restore;
use source::Source;
use tasks::{Task, Threads};
use worker::{Begin, Done, Leading, Order};

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
    lead(options, ports, Links::alone(), metrics, stop).await
}

/// Does the same with the workers of other processes, each of which [`follow`]s with as many.
///
/// # Errors
/// As [`run`]; or another process is gone.
///
/// # Panics
/// If these are not the connections of process 0.
pub async fn lead(
    options: Options,
    ports: Ports,
    links: Links,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), DataflowError> {
    assert_eq!(links.process(), 0, "process 0 leads");
    let threads = options.workers.max(1);
    let fate = links.fate(threads)?;
    let goes_on = stop.child_token();
    let run = Run {
        workers: threads * links.processes(),
        threads,
        options,
        ports,
        metrics,
        stop: goes_on.clone(),
        gate: Arc::default(),
    };
    let (orders, taken): (Vec<_>, Vec<_>) = (0..run.workers).map(|_| mpsc::channel(1)).unzip();
    let (done_sender, done) = mpsc::channel(run.workers);
    let made = run.ports.checkpoints.is_some();
    let (teller, news) = made.then(mpsc::unbounded_channel).unzip();
    let threads = run.threads(links, &fate, (taken, done_sender, teller.clone()))?;
    let told = fate.told.clone();
    let _watch = Task::start(async move {
        told.cancelled().await;
        goes_on.cancel();
    });
    let mut keeper = None;
    let counted = match run.begin(&orders).await {
        Some(Ok(begun)) => {
            let news = teller.zip(news);
            run.count(begun, (orders, done), news, &mut keeper).await
        }
        // Workers wait for orders until nobody can give them any.
        ended => {
            drop(orders);
            match ended {
                None if stop.is_cancelled() => return Ok(()),
                None => Ok(()),
                Some(ended) => ended.map(drop),
            }
        }
    };
    let _ends_with_us = Ends(fate);
    let worked = tokio::task::spawn_blocking(|| threads.join()).await;
    if let Some(keeper) = keeper {
        // A checkpoint that is not complete by then never is one; the ones before it stay.
        let ended = commit::within_grace(&stop, keeper.end()).await;
        ended.unwrap_or(Ok(()))?;
    }
    match worked.map_err(|error| DataflowError::Panicked(error.to_string()))? {
        // Who is told to stop has lost nothing when another one has stopped before.
        Err(DataflowError::Lost { .. }) if stop.is_cancelled() => counted,
        worked => worked.and(counted),
    }
}

/// What the parts of a run share.
struct Run {
    options: Options,
    ports: Ports,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    gate: Arc<Gate>,
    /// Workers of this process.
    threads: usize,
    /// Workers of all processes.
    workers: usize,
}

/// Where news for the keeper go.
type Teller = mpsc::UnboundedSender<News>;

impl Run {
    /// Takes the lead, finds out where to begin, and tells the workers; `None`: it was stopped before.
    async fn begin(
        &self,
        orders: &[mpsc::Sender<Order>],
    ) -> Option<Result<(Control, Start), DataflowError>> {
        let beginning = async {
            let control = self.ports.store.lead().await?;
            let start = recover::start(&control, &self.ports, &self.options).await?;
            let control = start.control(control);
            for worker in orders {
                // One that is gone says why when it is joined.
                let _ = worker.send(self.first_order(&start)).await;
            }
            Ok((control, start))
        };
        self.stop.run_until_cancelled(beginning).await
    }

    /// Feeds the workers until the end.
    async fn count(
        &self,
        (control, start): (Control, Start),
        (orders, done): (Vec<mpsc::Sender<Order>>, mpsc::Receiver<Done>),
        news: Option<(Teller, mpsc::UnboundedReceiver<News>)>,
        keeper: &mut Option<Task<()>>,
    ) -> Result<(), DataflowError> {
        let (teller, news) = news.unzip();
        *keeper = news.and_then(|news| Some(Task::start(self.keeper(&control, &start)?.run(news))));

        let known = control.committed.is_some() || control.intent.is_some();
        let catching_up = known || start.checkpoint.is_some();
        self.metrics.catching_up.set(i64::from(catching_up));
        let committer = self.committer(&control, &start, teller.clone());
        let _report = Task::start(report(self.metrics.clone()));
        let source = self.source(&control, start, (orders, teller));
        let source = Task::start(source.run());
        let committed = committer.run(done).await;
        if committed.is_err() {
            source.0.abort();
        }
        let read = source.end().await;
        committed?;
        read?
    }

    /// What the workers are to compute.
    fn first_order(&self, start: &Start) -> Order {
        let last = start.checkpoint.as_ref().map(|it| it.last.epoch);
        Order::Begin(Box::new(Begin {
            wanted: GraphConfig {
                views: self.options.views.clone(),
                interactions_days: self.options.interactions_days,
                suppressed: start.quiet(self.options.verify),
            },
            policy: self.options.account_policy,
            counted_through: last.map_or(0, |Epoch(last)| last as Time),
        }))
    }

    fn committer(&self, control: &Control, start: &Start, news: Option<Teller>) -> Committer {
        let quiet = start.quiet(self.options.verify);
        let last = start.checkpoint.as_ref().map(|it| it.last.clone());
        let noted = last.iter().flat_map(|last| &last.sums);
        let quietly = noted.filter(|(view, _)| quiet.through(**view) > 0);
        let rebuilt = start.rebuilt.clone();
        Committer {
            store: self.ports.store.clone(),
            control: control.clone(),
            log_id: start.log_id,
            recipe: self.options.recipe(),
            workers: self.workers,
            sums: quietly.map(|(view, sum)| (*view, *sum)).collect(),
            recounted: start.recounted.clone(),
            rebuild: Rebuild::of(&rebuilt),
            rebuilt,
            restored: last,
            replaces_all: start.replaces_all,
            news,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        }
    }

    fn source(
        &self,
        control: &Control,
        start: Start,
        (workers, news): (Vec<mpsc::Sender<Order>>, Option<Teller>),
    ) -> Source {
        let options = &self.options;
        let committed = control.committed.as_ref().map(|it| it.epoch);
        let intent = control.intent;
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
            attempts: 0,
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
            names: Names::default(),
            through: through.unwrap_or_default(),
            workers,
            undivided: source::undivided(control, &options.views, &start.rebuilt),
            ends: [committed, intent, cut].into_iter().flatten().collect(),
            planner,
            batch_events_max: options.batch_events_max,
            batch_bytes_max: options.batch_bytes_max,
            batch_epochs_max: options.batch_epochs_max,
            until_last: options.until_last,
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        }
    }

    /// What makes checkpoints, if there is a place for them.
    fn keeper(&self, control: &Control, start: &Start) -> Option<Keeper> {
        let checkpoints = self.ports.checkpoints.clone()?;
        if start.exposed {
            self.gate.want();
        }
        if let Some(checkpoint) = &start.checkpoint {
            self.gate.completed(checkpoint.first.epoch);
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
        })
    }

    /// Starts the workers of this process. Those of others are in their charge, equally divided.
    fn threads(
        &self,
        links: Links,
        fate: &Arc<Fate>,
        (orders, done, news): (
            Vec<mpsc::Receiver<Order>>,
            mpsc::Sender<Done>,
            Option<Teller>,
        ),
    ) -> Result<Threads, DataflowError> {
        let mut orders = orders.into_iter();
        let own = orders.by_ref().take(self.threads).map(|orders| Leading {
            orders,
            charges: Vec::new(),
            done: done.clone(),
            news: news.clone(),
            metrics: self.metrics.clone(),
            gate: self.gate.clone(),
            fate: fate.clone(),
        });
        let mut own: Vec<_> = own.collect();
        for (worker, orders) in (self.threads..).zip(orders) {
            own[worker % self.threads].charges.push((worker, orders));
        }
        let own: Vec<_> = own.into_iter().map(|it| Mutex::new(Some(it))).collect();
        let told = (fate.clone(), self.metrics.clone());
        cluster::start(links, self.threads, told, move |worker| {
            let taken = own[worker.index()].lock().map(|mut slot| slot.take());
            if let Ok(Some(leading)) = taken {
                leading.work(worker);
            }
        })
    }
}

/// Tells one line a second.
async fn report(metrics: Arc<Metrics>) {
    const PERIOD: Duration = Duration::from_secs(1);
    let mut before = metrics::LoggedCounters::default();
    let mut due = tokio::time::interval(PERIOD);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    due.tick().await;
    loop {
        due.tick().await;
        metrics.log_progress(&mut before, PERIOD);
    }
}
