//! The log becomes batches, as large as the workers let them grow.

use std::collections::VecDeque;
use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::log::LogReader;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::DataflowError;
use crate::batch::{Batch, Epochs, WholeEpoch};
use crate::metrics::Metrics;
use crate::worker::Fed;

/// Feeds the workers.
pub struct Source {
    /// The log, from its first message on.
    pub reader: Box<dyn LogReader>,
    /// One queue a worker.
    pub workers: Vec<mpsc::Sender<Fed>>,
    /// Epochs at which a batch must end: those that the store names.
    pub ends: Vec<Epoch>,
    /// Events at which a batch takes no further epoch.
    pub batch_events_max: usize,
    /// Epochs in a batch at most.
    pub batch_epochs_max: usize,
    /// Whether to end behind the tick that says it is the last.
    pub until_last: bool,
    /// Where to tell.
    pub metrics: Arc<Metrics>,
    /// Ends reading.
    pub stop: CancellationToken,
}

/// Messages read at once.
const READ_MESSAGES_MAX: usize = 4_096;

impl Source {
    /// Runs until `stop`, or behind the last tick.
    ///
    /// # Errors
    /// The log could not be read, or is damaged.
    pub async fn run(mut self) -> Result<(), DataflowError> {
        let mut epochs = Epochs::default();
        let mut whole = VecDeque::<WholeEpoch>::new();
        let mut batch = Batch::new(self.workers.len());
        let mut last = false;
        loop {
            while !self.full(&batch)
                && let Some(epoch) = whole.pop_front()
            {
                last |= self.until_last && epoch.tick.last;
                batch.add(epoch);
            }
            let pending = batch.end().map_or(0, |end| end.events);
            self.metrics.events_pending.set(pending as i64);
            let stop = self.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                free = self.workers[0].reserve(), if batch.end().is_some() => {
                    let Ok(permit) = free else { return Ok(()) };
                    drop(permit);
                    let fresh = Batch::new(self.workers.len());
                    self.metrics.batches_pending.inc();
                    let sent = send(&self.workers, std::mem::replace(&mut batch, fresh)).await;
                    if !sent || (last && whole.is_empty()) {
                        return Ok(());
                    }
                }
                messages = self.reader.next(READ_MESSAGES_MAX), if whole.is_empty() && !last && !self.full(&batch) => {
                    for (seq, message) in messages? {
                        whole.extend(epochs.take(seq, message)?);
                    }
                }
            }
        }
    }

    /// Whether the batch must not grow.
    fn full(&self, batch: &Batch) -> bool {
        batch.end().is_some_and(|end| {
            end.events >= self.batch_events_max
                || end.epochs >= self.batch_epochs_max
                || self.ends.contains(&end.epoch)
        })
    }
}

/// Hands each worker its part; false if they are gone.
async fn send(workers: &[mpsc::Sender<Fed>], batch: Batch) -> bool {
    let Some(end) = batch.end() else {
        return true;
    };
    for (worker, segments) in workers.iter().zip(batch.into_segments()) {
        if worker.send(Fed { segments, end }).await.is_err() {
            return false;
        }
    }
    true
}
