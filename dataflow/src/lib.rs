//! Events to view rows: live records, windows and views in timely and differential dataflow.
//!
//! ```text
//! log ─ source ─▶ batches of whole epochs ─▶ workers (timely threads, the graph) ─▶ committer ─▶ view store
//! ```
//!
//! The dataflow reads no clock: the same log gives the same rows, epoch by epoch, on any number of workers and however
//! epochs are grouped into commits. Queues: one batch waits while one is at work and one is committed; a batch is
//! bounded by events, so a slow store makes commits larger up to that bound and then slows the reading.
//!
//! After a restart the log is fed again from its start with the store closed up to what it has committed; there the
//! number of rows and their hashes must be the store's own. The first commit behind it ends at the recorded intent.

mod batch;
mod commit;
mod error;
pub mod fact;
pub mod graph;
mod metrics;
pub mod operators;
pub mod records;
mod settle;
mod source;
pub mod types;
pub mod views;
mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use error::DataflowError;
pub use metrics::Metrics;
pub use records::AccountPolicy;

use skytide_core::id::Seq;
use skytide_core::port::log::Log;
use skytide_core::port::store::{Control, ViewStore};
use skytide_core::view::ViewId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use commit::Committer;
use graph::Wanted;
use source::Source;
use worker::{Done, Fed, Setup};

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
        }
    }
}

/// Keeps all views up to date with the log until `stop`, or behind the last tick.
///
/// # Errors
/// The log or the store refused, is damaged, or they do not belong together; or a worker panicked.
pub async fn run(
    options: Options,
    log: Arc<dyn Log>,
    store: Arc<dyn ViewStore>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), DataflowError> {
    let control = store.lead().await?;
    let log_id = check(&control, log.as_ref()).await?;
    let workers = options.workers.max(1);

    let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(1)).unzip();
    let (done_sender, done) = mpsc::channel(workers);
    let threads = start(&options, receivers, done_sender, metrics.clone());

    let ends = control
        .committed
        .iter()
        .map(|committed| committed.epoch)
        .chain(control.intent);
    let source = Source {
        reader: log.reader(Seq(1)).await?,
        workers: senders,
        ends: ends.collect(),
        batch_events_max: options.batch_events_max,
        batch_epochs_max: options.batch_epochs_max,
        until_last: options.until_last,
        metrics: metrics.clone(),
        stop: stop.clone(),
    };
    metrics
        .catching_up
        .set(i64::from(control.committed.is_some()));
    let committer = Committer {
        store,
        control,
        log_id,
        workers,
        metrics: metrics.clone(),
        stop,
    };

    let report = tokio::spawn(report(metrics));
    let source = tokio::spawn(source.run());
    let committed = committer.run(done).await;
    report.abort();
    if committed.is_err() {
        source.abort();
    }
    let read = source.await;
    let worked = tokio::task::spawn_blocking(threads).await;
    committed?;
    match read {
        Ok(read) => read?,
        Err(error) => return Err(DataflowError::Panicked(error.to_string())),
    }
    worked.map_err(|error| DataflowError::Panicked(error.to_string()))?
}

/// Checks that log and store belong together; answers the log's id.
async fn check(control: &Control, log: &dyn Log) -> Result<u64, DataflowError> {
    let bounds = log.bounds().await?;
    if bounds.first > Seq(1) {
        return Err(DataflowError::Trimmed {
            first: bounds.first,
        });
    }
    if let Some(committed) = &control.committed {
        if committed.log_id != bounds.id {
            return Err(DataflowError::OtherLog {
                epoch: committed.epoch,
            });
        }
        if committed.log_seq >= bounds.next {
            return Err(DataflowError::LogBehind {
                store: committed.log_seq,
                log: bounds.next,
            });
        }
    }
    Ok(bounds.id)
}

/// Starts the worker threads; the answer joins them.
fn start(
    options: &Options,
    receivers: Vec<mpsc::Receiver<Fed>>,
    done: mpsc::Sender<Done>,
    metrics: Arc<Metrics>,
) -> impl FnOnce() -> Result<(), DataflowError> + Send + 'static {
    let setup = Setup {
        wanted: Wanted {
            views: options.views.clone(),
            interactions_days: options.interactions_days,
        },
        policy: options.account_policy,
        metrics,
        broken: false.into(),
    };
    let config = timely::Config::process(receivers.len());
    let receivers: Vec<_> = receivers
        .into_iter()
        .map(|receiver| Mutex::new(Some((receiver, done.clone()))))
        .collect();
    drop(done);
    let guards = timely::execute(config, move |worker| {
        let taken = receivers[worker.index()].lock().map(|mut slot| slot.take());
        if let Ok(Some((batches, done))) = taken {
            worker::work(worker, &setup, batches, &done);
        }
    });
    move || {
        let guards = guards.map_err(DataflowError::Panicked)?;
        for result in guards.join() {
            result.map_err(DataflowError::Panicked)?;
        }
        Ok(())
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
