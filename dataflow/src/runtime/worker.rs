//! A timely worker of the leading process: a thread that processes its part of each batch.
//!
//! The worker feeds its part into the graph, steps until all workers have completed the batch, and
//! sends the changed rows to the committer. It also serves some workers of the other processes: it
//! forwards their commands to them and their replies to the committer and the keeper.

use std::sync::Arc;
use std::time::Instant;

use timely::worker::Worker;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::options::Scratch;
use crate::runtime::checkpoint::{CheckpointEvent, CutGate, Part};
use crate::runtime::cluster::{Liveness, Mailbox, PARK, Reply};
use crate::runtime::command::{BatchInput, BatchOutput, Command};
use crate::runtime::eviction::Eviction;
use crate::runtime::operator_log::OperatorLog;
use crate::runtime::worker_clock::Activity;
use crate::runtime::worker_graph::WorkerGraph;

/// A worker of the leading process.
#[derive(Debug)]
pub(crate) struct LeaderWorker {
    /// Commands from the source.
    pub commands: mpsc::Receiver<Command>,
    /// The workers of other processes that this one serves.
    pub remote_workers: Vec<RemoteWorker>,
    /// Results of batches, to the committer.
    pub outputs: mpsc::Sender<BatchOutput>,
    /// Parts of checkpoints, to the keeper; `None` if no checkpoints are made.
    pub checkpoint_events: Option<mpsc::UnboundedSender<CheckpointEvent>>,
    /// Where sizes and durations are reported.
    pub metrics: Arc<Metrics>,
    /// Counts the parts on their way to the keeper.
    pub gate: Arc<CutGate>,
    /// Whether the computation still runs.
    pub liveness: Arc<Liveness>,
    /// Whether the worker logs its operators.
    pub logs_operators: bool,
    /// Decides how much state it moves to disk.
    pub eviction: Eviction,
    /// Where state can move to when memory is short.
    pub scratch: Option<Scratch>,
}

/// A worker of another process, as the leading process sees it.
#[derive(Debug)]
pub(crate) struct RemoteWorker {
    /// Its number among all workers.
    pub index: usize,
    /// Its commands from the source.
    pub commands: mpsc::Receiver<Command>,
}

/// The computation has ended, or nobody receives this worker's results.
struct Disconnected;

impl LeaderWorker {
    /// Runs until there are no more commands, or nobody receives the results.
    pub fn work(mut self, worker: &mut Worker) {
        let mut log = OperatorLog::register(worker, self.metrics.clone(), self.logs_operators);
        // Timely requires that all workers build the mailbox, or none.
        let mut mailbox = (!self.remote_workers.is_empty()).then(|| Mailbox::build(worker));
        // However this ends, the remote workers must leave, too, or no worker could.
        let _disconnected = self.run(worker, &mut mailbox, &mut log);
        // A worker that has ended waits for nothing.
        log.switch(worker, Activity::Other);
        log.report_now(worker);
        if let Some(mailbox) = &mut mailbox {
            for remote in &self.remote_workers {
                mailbox.send_command(remote.index, None);
            }
        }
    }

    fn run(
        &mut self,
        worker: &mut Worker,
        mailbox: &mut Option<Mailbox>,
        log: &mut OperatorLog,
    ) -> Result<(), Disconnected> {
        let mut graph = None;
        loop {
            log.switch(worker, Activity::WaitForBatch);
            let Some(command) = self.commands.blocking_recv() else {
                break;
            };
            log.switch(worker, Activity::Other);
            let pending_replies = match mailbox {
                Some(mailbox) => self.forward_commands(mailbox),
                None => 0,
            };
            match command {
                Command::Build(command) => {
                    let (index, metrics) = (worker.index(), self.metrics.clone());
                    let report = move |gauges, drops| metrics.record_worker(index, gauges, drops);
                    let scratch = self.scratch.as_ref();
                    graph = Some(WorkerGraph::build(worker, &command, log, report, scratch));
                }
                Command::Feed(input) => {
                    let graph = graph.as_mut().expect("the first command builds the graph");
                    self.process(worker, graph, log, input)?;
                }
                Command::Report => {
                    if let Some(graph) = &mut graph {
                        graph.set_open_runs(self.gate.open_runs());
                    }
                    self.eviction.while_waiting(log.states());
                }
            }
            if let Some(mailbox) = mailbox {
                log.switch(worker, Activity::Step);
                self.forward_replies(worker, mailbox, log, pending_replies)?;
                log.switch(worker, Activity::Other);
            }
            log.report_if_due(worker);
        }
        Ok(())
    }

    /// Processes this worker's own part of a batch.
    fn process(
        &mut self,
        worker: &mut Worker,
        graph: &mut WorkerGraph,
        log: &mut OperatorLog,
        input: BatchInput,
    ) -> Result<(), Disconnected> {
        let BatchInput { segments, end, cut } = input;
        graph.set_open_runs(self.gate.open_runs());
        if !segments.is_empty() {
            let started = Instant::now();
            if worker.index() == 0 && !end.restored {
                let (events, bytes) = (end.events as u64, end.bytes as u64);
                self.metrics.queues.batches.remove(events, bytes);
            }
            log.switch(worker, Activity::Feed);
            graph.feed(segments, end, log);
            let changes = graph.complete(worker, end, log, &self.liveness);
            let changes = changes.ok_or(Disconnected)?;
            if worker.index() == 0 {
                self.metrics.record_step(started.elapsed());
            }
            log.report_if_due(worker);
            log.switch(worker, Activity::WaitForCommitter);
            self.send_output(BatchOutput { end, changes })?;
        }
        if let Some(cut) = cut {
            log.switch(worker, Activity::Cut);
            self.send_part(graph.cut(cut, &end, worker.index()))?;
        }
        log.switch(worker, Activity::Other);
        self.eviction.after_batch(log.states());
        Ok(())
    }

    /// Forwards one command to each remote worker. Returns the number of replies to expect.
    fn forward_commands(&mut self, mailbox: &mut Mailbox) -> usize {
        let mut pending_replies = 0;
        self.remote_workers.retain_mut(|remote| {
            let command = remote.commands.blocking_recv();
            pending_replies += match &command {
                Some(Command::Feed(BatchInput { segments, cut, .. })) => {
                    usize::from(!segments.is_empty()) + usize::from(cut.is_some())
                }
                Some(Command::Report) => 1,
                Some(Command::Build(_)) | None => 0,
            };
            // The source sends each command to all workers. If it ended in between, the remote
            // worker must leave, because the other workers would wait for it.
            let has_more = command.is_some();
            mailbox.send_command(remote.index, command);
            has_more
        });
        pending_replies
    }

    /// Steps until all replies have arrived, and forwards them.
    fn forward_replies(
        &self,
        worker: &mut Worker,
        mailbox: &Mailbox,
        log: &mut OperatorLog,
        mut pending_replies: usize,
    ) -> Result<(), Disconnected> {
        while pending_replies > 0 {
            let Some((remote, reply)) = mailbox.receive_reply() else {
                worker.step_or_park(Some(PARK));
                log.report_if_due(worker);
                match self.liveness.ended() {
                    true => return Err(Disconnected),
                    false => continue,
                }
            };
            pending_replies -= 1;
            match reply {
                Reply::Batch(output, stats, report) => {
                    if let Some(report) = report {
                        self.metrics.record_remote_report(*report);
                    }
                    for stats in stats {
                        self.metrics
                            .record_worker(remote, stats.gauges, stats.drops);
                    }
                    // The queue may be full: then the committer is what the worker waits for.
                    log.switch(worker, Activity::WaitForCommitter);
                    self.send_output(output)?;
                    log.switch(worker, Activity::Step);
                }
                Reply::Part(part) => self.send_part(part)?,
                Reply::Report(report) => self.metrics.record_remote_report(*report),
            }
        }
        Ok(())
    }

    fn send_output(&self, output: BatchOutput) -> Result<(), Disconnected> {
        let (rows, bytes) = output.changes.size();
        self.metrics.queues.changes.add(rows, bytes);
        let sent = self.outputs.blocking_send(output);
        sent.map_err(|_| Disconnected)
    }

    fn send_part(&self, part: Part) -> Result<(), Disconnected> {
        self.metrics.record_pause(part.pause_seconds);
        let Some(events) = &self.checkpoint_events else {
            return Ok(());
        };
        self.gate.part_sent();
        self.metrics.queues.checkpoint_parts.add(1, part.bytes());
        let sent = events.send(CheckpointEvent::Part(part));
        sent.map_err(|_| Disconnected)
    }
}
