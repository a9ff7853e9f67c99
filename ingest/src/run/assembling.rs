//! The task that runs the assembler, and does or tells what it asks for.

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

/// So many messages of no use in a row: the connection is taken for broken.
const UNUSABLE_ROW_MAX: u32 = 16;

/// What the task needs.
pub(super) struct Assembling {
    pub(super) assembler: Assembler,
    /// The log already holds the stream's last tick.
    pub(super) ended: bool,
    pub(super) works: Receiver<Work>,
    pub(super) cuts: Sender<Cut>,
    pub(super) context: Context,
    pub(super) samples: Samples,
    pub(super) reconnect: Arc<Notify>,
    /// How often the clock is read while it is wrong.
    pub(super) poll: Duration,
    /// Whether it was reported that the clock is behind, and that the stream has no times.
    pub(super) reported: Reported,
}

/// What was reported and has not ended.
#[derive(Debug, Default)]
pub(super) struct Reported {
    clock_behind: bool,
    untimed: bool,
}

/// Runs until the stream ends or nobody takes epochs any more. Answers the time it worked.
pub(super) async fn assemble(mut task: Assembling) -> Duration {
    let mut worked = Duration::ZERO;
    let begin = task.assembler.position();
    while let Some(work) = task.works.recv().await {
        let mut started = Instant::now();
        task.assembler.clock(task.context.clock.now());
        let mut over = false;
        match work {
            Work::Batch(batch, _room) => {
                for raw in batch {
                    if task.assembler.is_stalled() {
                        worked += started.elapsed();
                        if !task.wait_for_clock().await {
                            return worked;
                        }
                        started = Instant::now();
                    }
                    task.take(raw);
                }
                task.reconnect_if_useless();
            }
            Work::Tick => task.assembler.tick(false),
            Work::Lost(reply) => {
                let _asker_gone = reply.send(task.assembler.disconnected());
            }
            Work::End { last } => {
                over = true;
                // A recording that had ended before, and has not grown since, is not ended again.
                let again = last && task.ended && task.assembler.read_since(begin) == 0;
                if !again {
                    task.assembler.tick(last);
                }
            }
        }
        task.act_on_notes();
        task.report();
        worked += started.elapsed();
        if !task.hand_over().await || over {
            break;
        }
    }
    task.context.status.clock_behind(None);
    task.context.metrics.clock_behind(None);
    worked
}

impl Assembling {
    /// Gives the epochs that ended to the log; false: nobody takes them.
    async fn hand_over(&mut self) -> bool {
        for cut in self.assembler.take_cuts() {
            if self.cuts.send(cut).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Waits while our clock is behind the stream. What was judged before becomes durable; frames wait where they are. False:
    /// it is time to stop.
    async fn wait_for_clock(&mut self) -> bool {
        self.assembler.tick(false);
        while self.assembler.is_stalled() {
            self.report();
            let stop = self.context.stop.clone();
            let stopped = stop.run_until_cancelled(sleep(self.poll)).await.is_none();
            if stopped || !self.hand_over().await {
                return false;
            }
            self.assembler.clock(self.context.clock.now());
        }
        self.report();
        true
    }

    fn take(&mut self, raw: Raw) {
        match raw {
            Raw::Binary(bytes) => self.assembler.frame(bytes),
            Raw::Past(bytes) => self.assembler.past(&bytes),
            Raw::Text(bytes) => self.assembler.text(&bytes),
            Raw::Oversized => self.assembler.oversized(),
        }
    }

    fn reconnect_if_useless(&mut self) {
        if self.assembler.live() && self.assembler.unusable_row() >= UNUSABLE_ROW_MAX {
            let messages = self.assembler.unusable_row();
            warn!(
                messages,
                "the relay sends nothing that is a frame, connecting again"
            );
            self.reconnect.notify_one();
        }
    }

    /// Reports when the clock or the stream's times become wrong, and when they are right again.
    fn report(&mut self) {
        let (status, metrics) = (&self.context.status, &self.context.metrics);
        let behind = self.assembler.clock_behind_ms();
        let was = std::mem::replace(&mut self.reported.clock_behind, behind.is_some());
        if behind.is_some() || was {
            status.clock_behind(behind);
            metrics.clock_behind(behind);
        }
        match behind {
            Some(ms) if !was => error!(
                seconds = ms / 1_000,
                "this machine's clock is behind the stream's time: reading has stopped until it is \
                 right, nothing is dropped"
            ),
            None if was => warn!("this machine's clock agrees with the stream again, reading on"),
            _ => {}
        }
        let untimed = self.assembler.is_untimed();
        if untimed != std::mem::replace(&mut self.reported.untimed, untimed) {
            status.untimed(untimed);
            metrics.untimed(untimed);
            if untimed {
                let host = self.assembler.host();
                warn!(%host, "the stream's frames have no readable time; see the reason frame_time");
            }
        }
    }

    fn act_on_notes(&mut self) {
        for note in self.assembler.take_notes() {
            match note {
                Note::Dropped { reason, frame } => self.samples.keep(reason, &frame),
                Note::Error { name, message } => {
                    warn!(name, message, "the relay reports an error");
                    if name == "FutureCursor" {
                        error!(
                            "the relay does not know the position that the log holds: its numbers \
                             started again or it is another relay. Reading waits until the relay reaches that \
                             position, or until another relay of FIREHOSE_URL is read. To abandon the position, start \
                             once with FIREHOSE_CURSOR_RESET=once"
                        );
                    }
                    if self.assembler.live() {
                        self.reconnect.notify_one();
                    }
                }
                Note::Info { name, message } => warn!(name, message, "the relay tells"),
                Note::Gap(gap) => warn!(
                    from = %gap.from.rfc3339(), to = %gap.to.rfc3339(), cause = gap.cause.as_str(),
                    "the stream may be incomplete here; the log records it"
                ),
                Note::Reset { before, after } => {
                    error!(?before, ?after, "the relay's numbers began anew");
                }
            }
        }
    }
}
