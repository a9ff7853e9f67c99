//! A process that follows: its workers execute the commands of the leading process.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::port::BoxFuture;
use skytide_core::port::graph::WorkerReport;
use skytide_core::port::memory::{MemoryExcess, MemoryLimit, MemoryUse};
use timely::worker::Worker;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::options::Scratch;
use crate::records::Drops;
use crate::runtime::cluster::{self, EndOnDrop, Links, Liveness, Mailbox, Reply};
use crate::runtime::command::{BatchInput, BatchOutput, Command, WorkerStats};
use crate::runtime::operator_log::OperatorLog;
use crate::runtime::worker_clock::Activity;
use crate::runtime::worker_graph::WorkerGraph;
use crate::types::Shared;
use crate::{DataflowError, Options};

/// How long a stopped follower waits for the leading process to end first.
const LEADER_FIRST: Duration = Duration::from_secs(2);

/// The longest sleep while a worker waits for a command. A message that arrives wakes it earlier.
const IDLE: Duration = Duration::from_millis(20);

/// Runs worker threads that execute the commands of process 0, until `stop`. Of the options it uses
/// the number of workers, the limit on memory, and whether the workers log their operators; process
/// 0 decides the others.
///
/// On `stop` the process waits up to two seconds for process 0 to end first: if the whole cluster
/// is being stopped, process 0 ends all others in order.
///
/// # Errors
/// Process 0 ended, cleanly or not; another process of the cluster failed; or a worker panicked.
///
/// # Panics
/// If `links` are the connections of process 0.
pub fn follow(
    links: Links,
    options: &Options,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> BoxFuture<'_, Result<(), DataflowError>> {
    Box::pin(follow_leader(links, options, metrics, stop))
}

async fn follow_leader(
    links: Links,
    options: &Options,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<(), DataflowError> {
    let leader = links.leader().expect("process 0 leads").clone();
    let liveness = links.liveness(options.workers)?;
    let (worker_liveness, worker_metrics) = (liveness.clone(), metrics.clone());
    let logs_operators = options.operator_log;
    let memory = OwnMemory {
        limit: options.memory.clone(),
        scratch: options.scratch.clone(),
        process: links.process(),
        metrics: metrics.clone(),
    };
    if let Some(limit) = &memory.limit {
        metrics.record_memory_limit(limit.bytes_max);
    }
    let work = move |worker: &mut Worker| {
        let log = OperatorLog::register(worker, worker_metrics.clone(), logs_operators);
        let mut log = log.reporting_waits();
        execute_commands(worker, &worker_metrics, &worker_liveness, &mut log, &memory);
        log.report_now(worker);
    };
    let threads = cluster::start(links, options.workers, liveness.clone(), metrics, work)?;
    let _end_on_drop = EndOnDrop(liveness);
    let mut joined = tokio::task::spawn_blocking(|| threads.join());
    let ended = tokio::select! {
        ended = &mut joined => ended,
        () = stop.cancelled() => {
            tracing::info!(%leader, "stopping: the leading process ends with this one");
            // This process ends now, whether or not the leading process ended in time.
            let _ = tokio::time::timeout(LEADER_FIRST, &mut joined).await;
            return Ok(());
        }
    };
    ended.map_err(|error| DataflowError::Panicked(error.to_string()))??;
    Err(DataflowError::LeaderEnded { leader })
}

/// The memory of this process, for the reports to process 0.
struct OwnMemory {
    limit: Option<MemoryLimit>,
    /// Where state can move to when memory is short.
    scratch: Option<Scratch>,
    process: usize,
    metrics: Arc<Metrics>,
}

impl OwnMemory {
    /// Measures the memory, and records whether it is over the limit. With `waits`, process 0 takes
    /// no batch meanwhile: then the memory is recorded until it allows that again.
    fn measure(&self, waits: bool) -> Option<MemoryUse> {
        let memory = self.limit.as_ref().map(MemoryLimit::measure);
        let is_excess = |memory: &MemoryUse| match waits {
            true => !memory.may_resume(),
            false => memory.is_over(),
        };
        let excess = memory.filter(is_excess).map(|memory| MemoryExcess {
            process: self.process,
            memory,
            waits,
        });
        self.metrics.record_memory_excess(excess);
        memory
    }
}

/// Executes commands on one worker until there are no more.
fn execute_commands(
    worker: &mut Worker,
    metrics: &Arc<Metrics>,
    liveness: &Liveness,
    log: &mut OperatorLog,
    memory: &OwnMemory,
) {
    let index = worker.index();
    let mut mailbox = Mailbox::build(worker);
    let stats = Shared::<Vec<WorkerStats>>::default();
    let mut graph: Option<WorkerGraph> = None;
    log.switch(worker, Activity::WaitForBatch);
    while !liveness.ended() {
        let Some((leader, command)) = mailbox.receive_command() else {
            worker.step_or_park(Some(IDLE));
            log.report_if_due(worker);
            continue;
        };
        log.switch(worker, Activity::Other);
        let Some(command) = command else {
            return;
        };
        let BatchInput { segments, end, cut } = match command {
            Command::Feed(input) => input,
            Command::Report => {
                // The source requests reports only while it waits.
                if let Some(limit) = &memory.limit {
                    limit.return_free();
                }
                log.report_now(worker);
                if let Some(report) = log.take_report() {
                    let memory = memory.measure(true);
                    let report = Box::new(WorkerReport { memory, ..report });
                    mailbox.send_reply(leader, Reply::Report(report));
                }
                log.switch(worker, Activity::WaitForBatch);
                continue;
            }
            Command::Build(command) => {
                let (metrics, stats) = (metrics.clone(), stats.clone());
                let report = move |gauges, drops: Drops| {
                    metrics.record_worker(index, gauges, drops.clone());
                    stats.borrow_mut().push(WorkerStats { gauges, drops });
                };
                let scratch = memory.scratch.as_ref();
                graph = Some(WorkerGraph::build(worker, &command, log, report, scratch));
                log.switch(worker, Activity::WaitForBatch);
                continue;
            }
        };
        let graph = graph.as_mut().expect("the first command builds the graph");
        if !segments.is_empty() {
            log.switch(worker, Activity::Feed);
            graph.feed(segments, end, log);
            let Some(changes) = graph.complete(worker, end, log, liveness) else {
                return;
            };
            let output = BatchOutput { end, changes };
            log.report_if_due(worker);
            let memory = memory.measure(false);
            let report = log.take_report();
            let report = report.map(|report| Box::new(WorkerReport { memory, ..report }));
            mailbox.send_reply(leader, Reply::Batch(output, stats.take(), report));
        }
        if let Some(cut) = cut {
            log.switch(worker, Activity::Cut);
            mailbox.send_reply(leader, Reply::Part(graph.cut(cut, &end, index)));
        }
        log.switch(worker, Activity::WaitForBatch);
    }
}
