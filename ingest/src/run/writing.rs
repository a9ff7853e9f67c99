//! The task that makes epochs durable.

use skytide_core::port::log::{LogError, LogWriter};
use tokio::sync::mpsc::{Receiver, WeakSender};
use tokio::time::Instant;

use super::reading::Extent;
use super::{Context, IngestError, Progress, Summary, Work};
use crate::assemble::{Cut, Position};

/// Largest number of epochs that one flush makes durable (group commit: the cost of an fsync hardly
/// depends on its size).
const FLUSH_EPOCHS_MAX: usize = 16;

/// Writes the assembler's epochs to the log and reports the progress.
pub(super) struct WriteTask<'a> {
    pub(super) context: &'a Context,
    pub(super) live: bool,
    /// The queue to the assembler, whose length is reported as a metric.
    pub(super) work: WeakSender<Work>,
    /// Finished epochs from the assembler.
    pub(super) cuts: Receiver<Cut>,
    pub(super) extent: &'a Extent,
    pub(super) summary: &'a mut Summary,
}

impl WriteTask<'_> {
    /// Writes until the assembler sends no more epochs.
    pub(super) async fn write(&mut self, log: &mut dyn LogWriter) -> Result<(), IngestError> {
        while let Some(cut) = self.cuts.recv().await {
            let started = Instant::now();
            let mut durable = vec![append(log, cut).await?];
            while durable.len() < FLUSH_EPOCHS_MAX {
                let Ok(cut) = self.cuts.try_recv() else { break };
                durable.push(append(log, cut).await?);
            }
            log.flush().await?;
            let took = started.elapsed();
            self.summary.log += took;
            self.context.metrics.published(took);
            self.report(durable);
        }
        Ok(())
    }

    /// Updates summary and metrics after a flush, and calls back with the progress.
    fn report(&mut self, durable: Vec<Cut>) {
        let metrics = &self.context.metrics;
        for cut in durable {
            metrics.epoch(&cut.tick, &cut.counts);
            self.summary.counts.add(&cut.counts);
            self.summary.tick = Some(cut.tick);
        }
        let work = self.work.upgrade();
        let waiting = work.map_or(0, |work| work.max_capacity() - work.capacity());
        metrics.queues(waiting, self.cuts.len());
        let Some(tick) = &self.summary.tick else {
            return;
        };
        if self.live {
            metrics.lag(self.context.clock.now(), tick.time);
        }
        let (source_bytes, source_bytes_read) = self.extent.get();
        (self.context.progress)(&Progress {
            position: Position::of(tick),
            epoch: tick.epoch,
            time: tick.time,
            frames: self.summary.counts.frames,
            frame_bytes: self.summary.counts.frame_bytes,
            events: self.summary.counts.events,
            source_bytes,
            source_bytes_read,
        });
    }
}

/// Appends an epoch's messages. Returns the cut without them: its tick and counts.
async fn append(log: &mut dyn LogWriter, mut cut: Cut) -> Result<Cut, LogError> {
    log.append(std::mem::take(&mut cut.messages)).await?;
    Ok(cut)
}
