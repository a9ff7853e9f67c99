//! The task that runs the assembler and handles its notes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use super::{Context, Work};
use crate::assemble::{Assembler, Cut, Note};
use crate::samples::Samples;
use crate::source::Raw;

/// After this many consecutive unusable messages, the connection counts as broken.
const CONSECUTIVE_UNUSABLE_MAX: u32 = 16;

/// The state of the task.
pub(super) struct AssembleTask {
    pub(super) assembler: Assembler,
    /// Whether the log already holds the stream's last tick.
    pub(super) stream_ended: bool,
    /// Instructions from the reader.
    pub(super) work: Receiver<Work>,
    /// Finished epochs to the log.
    pub(super) cuts: Sender<Cut>,
    pub(super) context: Context,
    pub(super) samples: Samples,
    /// Requests a new connection from the reader.
    pub(super) reconnect: Arc<Notify>,
    /// The interval at which the clock is read while it is wrong.
    pub(super) poll: Duration,
    /// The problems that were reported and are not resolved yet.
    pub(super) reported: ReportedProblems,
    /// When the frames of the current epoch arrived.
    pub(super) arrival: Arrival,
}

/// When frames arrived.
#[derive(Debug, Default)]
pub(super) struct Arrival {
    /// The first batch since the last epoch ended. It may have had no event, so it is up to one
    /// tick interval older than the epoch's first event.
    first: Option<std::time::Instant>,
    /// The batch that is being processed. It may contain frames of the next epoch.
    current: Option<std::time::Instant>,
}

impl Arrival {
    /// Begins a batch.
    fn batch(&mut self, arrived: std::time::Instant) {
        self.current = Some(arrived);
        self.first.get_or_insert(arrived);
    }

    /// Ends an epoch. Returns when its first batch arrived; `None` if there was none.
    fn end_epoch(&mut self) -> Option<std::time::Instant> {
        std::mem::replace(&mut self.first, self.current)
    }
}

/// Problems that were reported and are not resolved yet.
#[derive(Debug, Default)]
pub(super) struct ReportedProblems {
    /// The machine's clock is behind the stream's time.
    clock_behind: bool,
    /// The stream's frames have no readable time.
    untimed: bool,
}

/// Runs until the stream ends or the receiver of epochs is dropped. Returns the time spent working.
pub(super) async fn assemble(mut task: AssembleTask) -> Duration {
    let mut worked = Duration::ZERO;
    let start = task.assembler.position();
    while let Some(work) = task.work.recv().await {
        let mut started = Instant::now();
        task.assembler.clock(task.context.clock.now());
        let mut is_last = false;
        match work {
            Work::Batch(batch, arrived, _room) => {
                task.arrival.batch(arrived);
                for raw in batch {
                    if task.assembler.is_stalled() {
                        worked += started.elapsed();
                        if !task.wait_for_clock().await {
                            return worked;
                        }
                        started = Instant::now();
                    }
                    task.process(raw);
                }
                task.reconnect_if_unusable();
            }
            Work::Tick => task.assembler.tick(false),
            Work::Lost(reply) => {
                let _receiver_dropped = reply.send(task.assembler.disconnected());
            }
            Work::End { last } => {
                is_last = true;
                // A recording whose last tick is already in the log, and that has not grown since,
                // gets no second last tick.
                let already_written =
                    last && task.stream_ended && task.assembler.read_since(start) == 0;
                if !already_written {
                    task.assembler.tick(last);
                }
            }
        }
        task.act_on_notes();
        task.report();
        worked += started.elapsed();
        if !task.forward_cuts().await || is_last {
            break;
        }
        task.arrival.current = None;
    }
    task.context.status.clock_behind(None);
    task.context.metrics.clock_behind(None);
    worked
}

impl AssembleTask {
    /// Sends the finished epochs to the log. Returns false if their receiver was dropped.
    async fn forward_cuts(&mut self) -> bool {
        for cut in self.assembler.take_cuts() {
            let arrived = self.arrival.end_epoch();
            // The tick is a message, too.
            if let Some(arrived) = arrived.filter(|_| cut.messages.len() > 1) {
                self.context.metrics.arrived(cut.tick.epoch, arrived);
            }
            if self.cuts.send(cut).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Waits while the machine's clock is behind the stream's time. Frames that were processed
    /// before become durable; all others stay queued. Returns false if the task must stop.
    async fn wait_for_clock(&mut self) -> bool {
        self.assembler.tick(false);
        while self.assembler.is_stalled() {
            self.report();
            let stop = self.context.stop.clone();
            let stopped = stop.run_until_cancelled(sleep(self.poll)).await.is_none();
            if stopped || !self.forward_cuts().await {
                return false;
            }
            self.assembler.clock(self.context.clock.now());
        }
        self.report();
        true
    }

    fn process(&mut self, raw: Raw) {
        match raw {
            Raw::Binary(bytes) => self.assembler.frame(bytes),
            Raw::Past(bytes) => self.assembler.observe_past(&bytes),
            Raw::Text(bytes) => self.assembler.text(&bytes),
            Raw::Oversized => self.assembler.oversized(),
        }
    }

    fn reconnect_if_unusable(&mut self) {
        if self.assembler.live()
            && self.assembler.consecutive_unusable() >= CONSECUTIVE_UNUSABLE_MAX
        {
            let messages = self.assembler.consecutive_unusable();
            warn!(
                messages,
                "the relay sends only messages that are not frames, reconnecting"
            );
            self.reconnect.notify_one();
        }
    }

    /// Reports when the clock or the stream's times become wrong, and when they are correct again.
    fn report(&mut self) {
        let (status, metrics) = (&self.context.status, &self.context.metrics);
        let behind = self.assembler.clock_behind_ms();
        let was_behind = std::mem::replace(&mut self.reported.clock_behind, behind.is_some());
        if behind.is_some() || was_behind {
            status.clock_behind(behind);
            metrics.clock_behind(behind);
        }
        match behind {
            Some(ms) if !was_behind => error!(
                seconds = ms / 1_000,
                "this machine's clock is behind the stream's time: reading has stopped until the \
                 clock is corrected, nothing is dropped"
            ),
            None if was_behind => {
                warn!("this machine's clock agrees with the stream again, reading resumes");
            }
            _ => {}
        }
        let untimed = self.assembler.is_untimed();
        if untimed != std::mem::replace(&mut self.reported.untimed, untimed) {
            status.untimed(untimed);
            metrics.untimed(untimed);
            if untimed {
                let host = self.assembler.host();
                warn!(
                    %host,
                    "the stream's frames have no readable time; \
                     they are counted as dropped/frame_time"
                );
            }
        }
    }

    fn act_on_notes(&mut self) {
        for note in self.assembler.take_notes() {
            match note {
                Note::Dropped { reason, frame } => self.samples.save(reason, &frame),
                Note::Error { name, message } => {
                    warn!(name, message, "the relay reports an error");
                    if name == "FutureCursor" {
                        error!(
                            "the relay does not know the position that the log holds: its \
                             numbering restarted, or it is another relay. Reading waits until \
                             the relay reaches that position, or until another relay of \
                             FIREHOSE_URL is read. To abandon the position, start once with \
                             FIREHOSE_CURSOR_RESET=once"
                        );
                    }
                    if self.assembler.live() {
                        self.reconnect.notify_one();
                    }
                }
                Note::Info { name, message } => warn!(name, message, "the relay sent a note"),
                Note::Gap(gap) => warn!(
                    from = %gap.from.rfc3339(), to = %gap.to.rfc3339(), cause = gap.cause.as_str(),
                    "the stream may be incomplete in this interval; the next tick records it"
                ),
                Note::Reset { before, after } => {
                    error!(?before, ?after, "the relay's numbering restarted");
                }
            }
        }
    }
}
