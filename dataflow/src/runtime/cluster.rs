//! One dataflow over several processes, on as many machines: its state is divided among their
//! memory.
//!
//! ```text
//!                    process 0 leads                                  process 1, 2, ... follow
//! log ─ source ─┬─ queue ─▶ worker 0 ◀──────── the graph's own exchange ────────▶ worker 1
//!               └─ queue of worker 1 ─▶ worker 0 ── commands (mailbox) ─────────────▶│
//! committer, keeper ◀─ outputs, parts ─ worker 0 ◀──────────── replies (mailbox) ────┘
//! ```
//!
//! Only process 0 has the log, the store and the checkpoints. Batches, cuts, commits and
//! checkpoints work as in one process. Each worker has a queue of commands. A worker of process 0
//! empties the queues of the remote workers that it serves: it forwards their commands before it
//! feeds its own part of a batch, and forwards their replies before it takes the next batch. So at
//! most one batch is in flight to a process. The first command specifies what the graph computes.
//!
//! Fail-stop: when a process ends or a connection is lost, all processes end. They restart together
//! from the last checkpoint.

mod link;
mod liveness;
mod mailbox;
mod name;
mod threads;
mod wire;

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use timely::WorkerConfig;
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Config, Hooks, initialize_from};
use timely::worker::Worker;

pub(crate) use liveness::{EndOnDrop, Liveness};
pub(crate) use mailbox::Mailbox;
pub use name::Name;
pub(crate) use threads::Threads;
pub(crate) use wire::Reply;

use crate::DataflowError;
use crate::metrics::Metrics;
use link::Link;

/// The longest sleep while a worker waits for the others. Their messages wake it earlier.
pub(crate) const PARK: Duration = Duration::from_millis(1);

/// A connection to another process, on which the dataflow has sent nothing yet.
#[derive(Debug)]
pub struct Peer {
    /// The process at the other end.
    pub name: Name,
    /// The connection. Both ends must have checked that the other one runs the same version with
    /// the same number of workers.
    pub socket: TcpStream,
}

/// The connections of a process to all others.
#[derive(Debug)]
pub struct Links {
    process: usize,
    peers: Vec<Option<Peer>>,
}

impl Links {
    /// No connections: this process is the only one.
    pub fn alone() -> Self {
        Self::new(0, Vec::new())
    }

    /// The connections of `process` to each of the others.
    ///
    /// # Panics
    /// If a process is missing or listed twice.
    pub fn new(process: usize, others: Vec<Peer>) -> Self {
        let mut peers: Vec<_> = (0..=others.len()).map(|_| None).collect();
        for peer in others {
            let number = peer.name.process;
            assert!(number != process, "a process is not connected to itself");
            assert!(
                peers[number].replace(peer).is_none(),
                "process {number} is listed twice"
            );
        }
        assert!(peers[process].is_none(), "all others are connected");
        Self { process, peers }
    }

    /// The number of processes, this one included.
    pub fn processes(&self) -> usize {
        self.peers.len()
    }

    /// The number of this process.
    pub fn process(&self) -> usize {
        self.process
    }

    /// The name of the leading process; `None` if this process leads.
    pub(crate) fn leader(&self) -> Option<&Name> {
        self.peers[0].as_ref().map(|peer| &peer.name)
    }

    /// Tracks the liveness of the computation in this process, which has `threads` worker threads.
    pub(crate) fn liveness(&self, threads: usize) -> Result<Arc<Liveness>, DataflowError> {
        let peers = self.peers.iter().flatten();
        let sockets: Result<Vec<_>, _> = peers.map(|peer| peer.socket.try_clone()).collect();
        let sockets = sockets.map_err(DataflowError::Connection)?;
        Ok(Arc::new(Liveness::new(threads, sockets, self.process == 0)))
    }
}

/// Starts the workers of this process, each on a thread of its own.
pub(crate) fn start(
    links: Links,
    threads: usize,
    liveness: Arc<Liveness>,
    metrics: Arc<Metrics>,
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
            liveness: liveness.clone(),
            metrics: metrics.clone(),
        };
        let process = links.process;
        let sockets = links.peers.into_iter().map(|peer| peer.map(link)).collect();
        let local = ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), None);
        let built = initialize_networking_from_sockets(local, sockets, process, threads, hooks);
        let (builders, guard) = built.map_err(DataflowError::Connection)?;
        // The guard would join the connections' threads and panic with them. These threads end by
        // themselves, and `Liveness` knows when.
        std::mem::forget(guard);
        builders.into_iter().map(AllocatorBuilder::Tcp).collect()
    };
    let shared = liveness.clone();
    let guards = initialize_from(builders, Box::new(()), move |allocator| {
        let _guard = shared.guard();
        let started = Some(Instant::now());
        let mut worker = Worker::new(WorkerConfig::default(), allocator, started);
        work(&mut worker);
        leave(&mut worker, &shared);
    });
    let guards = guards.map_err(DataflowError::Panicked)?;
    Ok(Threads::new(guards, liveness))
}

/// Steps until all workers of all processes have finished, or the computation has ended early.
fn leave(worker: &mut Worker, liveness: &Liveness) {
    liveness.worker_finished();
    while worker.has_dataflows() && !liveness.ended() {
        worker.step_or_park(Some(PARK));
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}
