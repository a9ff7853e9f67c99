//! The dataflow over several processes, on as many machines: its state is spread over the memory of all of them.
//!
//! ```text
//!                    process 0 leads                                process 1, 2, ... lend workers
//! log ─ source ─┬─ queue ─▶ worker 0 ◀──────── the graph's own exchange ────────▶ worker 1
//!               └─ queue of worker 1 ─▶ worker 0 ── orders (post) ──────────────────▶│
//! committer, keeper ◀─ done, parts ──── worker 0 ◀───────────── replies (post) ──────┘
//! ```
//!
//! Process 0 alone has log, store and checkpoints. Batches, cuts, commits and checkpoints are what they are in one process:
//! each worker has its queue, and that of a worker elsewhere is emptied by a worker of process 0, which passes on what is in
//! it, before it feeds its own part, and hands on what comes back, before it takes the next batch. So at most one batch is on
//! its way. The others learn from their first order what is to be computed.
//!
//! Fail-stop: when a process ends or a connection is lost, all end, and go on together from the last checkpoint.

mod fate;
mod lend;
mod link;
mod post;
mod wire;

use std::fmt;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::WorkerConfig;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Config, Hooks, initialize_from};
use timely::worker::Worker;
use tokio_util::sync::CancellationToken;

pub(crate) use fate::{Cause, Fate};
pub(crate) use post::Post;
pub(crate) use wire::Reply;

use crate::DataflowError;
use crate::metrics::Metrics;
use crate::runtime::tasks::Threads;
use crate::runtime::worker::PARK;
use link::Link;

/// A process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its number; 0 leads.
    pub process: usize,
    /// Where it is, as `10.0.0.2:7600`.
    pub host: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.process, self.host)
    }
}

/// A connection to another process, which nothing was sent on that is the dataflow's.
#[derive(Debug)]
pub struct Peer {
    /// Who is at its other end.
    pub name: Name,
    /// The connection. Either end must have made sure that the other one is of the same version and has as many workers.
    pub socket: TcpStream,
}

/// A process's connections to all others.
#[derive(Debug)]
pub struct Links {
    process: usize,
    peers: Vec<Option<Peer>>,
}

impl Links {
    /// None: there is only this process.
    pub fn alone() -> Self {
        Self::new(0, Vec::new())
    }

    /// The connections of `process` to each of the others.
    ///
    /// # Panics
    /// If a process is missing, or one twice.
    pub fn new(process: usize, others: Vec<Peer>) -> Self {
        let mut peers: Vec<_> = (0..=others.len()).map(|_| None).collect();
        for peer in others {
            let number = peer.name.process;
            assert!(number != process, "a process is not connected to itself");
            assert!(peers[number].replace(peer).is_none(), "one process twice");
        }
        assert!(peers[process].is_none(), "all others are connected");
        Self { process, peers }
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.peers.len()
    }

    /// The number of this one.
    pub fn process(&self) -> usize {
        self.process
    }

    /// What becomes of this process's workers.
    pub(crate) fn fate(&self, threads: usize) -> Result<Arc<Fate>, DataflowError> {
        let peers = self.peers.iter().flatten();
        let sockets: Result<Vec<_>, _> = peers.map(|peer| peer.socket.try_clone()).collect();
        let sockets = sockets.map_err(DataflowError::Connection)?;
        Ok(Arc::new(Fate::new(threads, sockets, self.process == 0)))
    }
}

/// Starts the workers of this process, each on a thread.
pub(crate) fn start(
    links: Links,
    threads: usize,
    (fate, metrics): (Arc<Fate>, Arc<Metrics>),
    work: impl Fn(&mut Worker) + Send + Sync + 'static,
) -> Result<Threads, DataflowError> {
    let hooks = Hooks::default();
    let builders = if links.processes() == 1 {
        let built = Config::Process(threads).try_build();
        built.map_err(DataflowError::Panicked)?.0
    } else {
        let link = |peer: Peer| Link {
            socket: peer.socket,
            peer: peer.name,
            fate: fate.clone(),
            metrics: metrics.clone(),
        };
        let process = links.process;
        let sockets = links.peers.into_iter().map(|peer| peer.map(link)).collect();
        let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), None);
        let built = initialize_networking_from_sockets(local, sockets, process, threads, hooks);
        let (builders, guard) = built.map_err(DataflowError::Connection)?;
        // It waits for threads of connections, and panics with them; they end, and `Fate` knows when.
        std::mem::forget(guard);
        builders.into_iter().map(AllocatorBuilder::Tcp).collect()
    };
    let shared = fate.clone();
    let guards = initialize_from(builders, Box::new(()), move |allocator| {
        let _present = shared.present();
        let started = Some(Instant::now());
        let mut worker = Worker::new(WorkerConfig::default(), allocator, started);
        work(&mut worker);
        leave(&mut worker, &shared);
    });
    Ok(Threads::new(guards.map_err(DataflowError::Panicked)?, fate))
}

/// Steps until all workers of all processes are through, or the computation has ended before its time.
fn leave(worker: &mut Worker, fate: &Fate) {
    fate.through();
    while worker.has_dataflows() && !fate.ended() {
        worker.step_or_park(Some(PARK));
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

/// Ends the computation with whoever holds this.
pub(crate) struct Ends(pub Arc<Fate>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end(Cause::Over);
    }
}

/// How long a process that is told to stop waits for the leading one to end first, which ends everything in order.
const LEADER_FIRST: Duration = Duration::from_secs(2);

/// Lends `workers` threads to process 0, until `stop`.
///
/// # Errors
/// A process of the cluster has ended, process 0 in good order or any in bad; or a worker panicked.
///
/// # Panics
/// If these are the connections of process 0.
pub async fn follow(
    links: Links,
    workers: usize,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), DataflowError> {
    let leader = links.peers[0].as_ref().expect("process 0 leads");
    let leader = leader.name.clone();
    let fate = links.fate(workers)?;
    let (lent, counted) = (fate.clone(), metrics.clone());
    let threads = start(links, workers, (fate.clone(), metrics), move |worker| {
        lend::lend(worker, &counted, &lent);
    })?;
    let _ends_with_us = Ends(fate.clone());
    let mut joined = tokio::task::spawn_blocking(|| threads.join());
    let ended = tokio::select! {
        ended = &mut joined => ended,
        () = stop.cancelled() => {
            tracing::info!(%leader, "told to stop: what it counts ends with this process");
            // Ended or not, it ends now.
            let _ = tokio::time::timeout(LEADER_FIRST, &mut joined).await;
            return Ok(());
        }
    };
    ended.map_err(|error| DataflowError::Panicked(error.to_string()))??;
    Err(DataflowError::LeaderEnded { leader })
}
