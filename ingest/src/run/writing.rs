//! The task that makes epochs durable.

use skytide_core::port::log::{LogError, LogWriter};
use tokio::sync::mpsc::{Receiver, WeakSender};
use tokio::time::Instant;

use super::assembling::size_of_messages;
use super::reading::Extent;
use super::{Context, IngestError, Progress, Summary, Work};
use crate::assemble::{CUT_BYTES_MAX, Cut, Position};

/// Largest number of epochs that one flush makes durable (group commit: the cost of an fsync hardly
/// depends on its size).
const FLUSH_EPOCHS_MAX: usize = 16;
/// Size in memory from which epochs are flushed, in bytes. What is not flushed cannot be trimmed, so a
/// log must have room for it beside the epoch that exceeds this size.
const FLUSH_BYTES_MAX: u64 = CUT_BYTES_MAX as u64;

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
            let (cut, mut bytes) = self.append(log, cut).await?;
            let mut durable = vec![cut];
            while durable.len() < FLUSH_EPOCHS_MAX && bytes < FLUSH_BYTES_MAX {
                let Ok(cut) = self.cuts.try_recv() else { break };
                let (cut, more) = self.append(log, cut).await?;
                durable.push(cut);
                bytes += more;
            }
            log.flush().await?;
            let took = started.elapsed();
            self.summary.log += took;
            self.context.metrics.published(took);
            self.report(durable);
        }
        Ok(())
    }

    /// Appends an epoch's messages. Returns the cut without them (its tick and counts), and their
    /// size in memory.
    async fn append(&self, log: &mut dyn LogWriter, mut cut: Cut) -> Result<(Cut, u64), LogError> {
        let (messages, bytes) = size_of_messages(&cut.messages);
        log.append(std::mem::take(&mut cut.messages)).await?;
        self.context.metrics.queues.epochs.remove(messages, bytes);
        Ok((cut, bytes))
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
