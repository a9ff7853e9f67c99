//! The task that runs the assembler, and does or tells what it asks for.

use std::sync::Arc;
use std::time::Duration;

use skytide_core::port::clock::Clock;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;
use tracing::{error, warn};

use super::Work;
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
    pub(super) clock: Arc<dyn Clock>,
    pub(super) samples: Samples,
    pub(super) reconnect: Arc<Notify>,
}

/// Runs until the stream ends or nobody takes epochs any more. Answers the time it worked.
pub(super) async fn assemble(mut task: Assembling) -> Duration {
    let mut worked = Duration::ZERO;
    let begin = task.assembler.position();
    while let Some(work) = task.works.recv().await {
        let started = Instant::now();
        task.assembler.clock(task.clock.now());
        let mut over = false;
        match work {
            Work::Batch(batch, _room) => task.batch(batch),
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
        worked += started.elapsed();
        for cut in task.assembler.take_cuts() {
            if task.cuts.send(cut).await.is_err() {
                return worked;
            }
        }
        if over {
            break;
        }
    }
    worked
}

impl Assembling {
    fn batch(&mut self, batch: Vec<Raw>) {
        for raw in batch {
            match raw {
                Raw::Binary(bytes) => self.assembler.frame(bytes),
                Raw::Past(bytes) => self.assembler.past(&bytes),
                Raw::Text(bytes) => self.assembler.text(&bytes),
                Raw::Oversized => self.assembler.oversized(),
            }
        }
        if self.assembler.live() && self.assembler.unusable_row() >= UNUSABLE_ROW_MAX {
            let messages = self.assembler.unusable_row();
            warn!(
                messages,
                "the relay sends nothing that is a frame, connecting again"
            );
            self.reconnect.notify_one();
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
                             began anew or it is another one; ingest waits for it to come back"
                        );
                    }
                    if self.assembler.live() {
                        self.reconnect.notify_one();
                    }
                }
                Note::Info { name, message } => warn!(name, message, "the relay tells"),
                Note::Reset { before, after } => {
                    error!(?before, ?after, "the relay's numbers began anew");
                }
            }
        }
    }
}
