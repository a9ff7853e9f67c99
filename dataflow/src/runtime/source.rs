//! Reads the log, groups its epochs into batches, and sends the batches to the workers.
//!
//! A batch grows, up to its limits, while the workers process the previous one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use skytide_core::event::Message;
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::log::LogReader;
use skytide_core::port::store::Control;
use skytide_core::view::ViewId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::DataflowError;
use crate::metrics::Metrics;
use crate::records::{Names, SHARDS};
use crate::runtime::batch::{Batch, End, Epochs, WholeEpoch};
use crate::runtime::budget::Budget;
use crate::runtime::checkpoint::{Cut, CutReason, Planner};
use crate::runtime::command::{BatchInput, Command};
use crate::runtime::restore::Restore;

/// Feeds the workers with the checkpoint, then with the log.
pub struct Source {
    /// The checkpoint that is fed before the log.
    pub(crate) restore: Option<Restore>,
    /// The log, after the messages in `read_ahead`.
    pub reader: Box<dyn LogReader>,
    /// The first messages of the log, which recovery has read already.
    pub read_ahead: Vec<(Seq, Message)>,
    /// Assembles epochs; it knows the tick before the first message.
    pub epochs: Epochs,
    /// The collections that `activity` counts under their own names; it counts all others together.
    pub(crate) names: Names,
    /// For each shard, the epoch up to which its accounts are restored; empty without a checkpoint.
    pub through: Vec<Epoch>,
    /// The command queue of each worker.
    pub workers: Vec<mpsc::Sender<Command>>,
    /// See [`pending_commit`].
    pub pending_commit: Option<PendingCommit>,
    /// Epochs at which a batch must end: the store's commit and intent, and the last cut of the
    /// checkpoint.
    pub ends: Vec<Epoch>,
    /// Decides whether memory allows a further batch.
    pub(crate) budget: Budget,
    /// Decides when checkpoints are cut; `None` if none are made.
    pub(crate) planner: Option<Planner>,
    /// The number of events at which a batch is complete.
    pub batch_events_max: usize,
    /// The size of its events, in bytes, at which a batch is complete.
    pub batch_bytes_max: usize,
    /// The largest number of epochs in a batch.
    pub batch_epochs_max: usize,
    /// Whether to end after the tick that is marked as the last.
    pub until_last: bool,
    /// Metrics of the queues.
    pub metrics: Arc<Metrics>,
    /// Stops the source.
    pub stop: CancellationToken,
}

/// A commit that a former run began and did not complete. Its epochs must be one batch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingCommit {
    /// The epoch of the previous commit.
    pub after: Epoch,
    /// The epoch at which the pending commit ends.
    pub through: Epoch,
}

/// The commit that must be one batch again. It was a batch of a former run, so it is within the
/// limits of a batch.
///
/// Returns `None` if all views are rebuilt: their rows are gathered in memory until the first
/// commit. Any number of batches may precede that commit.
pub fn pending_commit(
    control: &Control,
    views: &[ViewId],
    rebuilt: &BTreeSet<ViewId>,
) -> Option<PendingCommit> {
    let committed = control.committed.as_ref().map(|it| it.epoch);
    let pending = PendingCommit {
        after: committed?,
        through: control.intent?,
    };
    let all_rebuilt = views.iter().all(|view| rebuilt.contains(view));
    (!all_rebuilt).then_some(pending)
}

/// The number of messages read at once; the log bounds their bytes.
const READ_MESSAGES_MAX: usize = 4_096;

impl Source {
    /// Runs until `stop`, or until the last tick is fed.
    ///
    /// # Errors
    /// The log or the checkpoint could not be read, or is damaged.
    pub async fn run(mut self) -> Result<(), DataflowError> {
        let stop = self.stop.clone();
        if let Some(restore) = self.restore.take() {
            let feed = restore.feed(&self.workers);
            let feed = self.budget.observe_restore(feed);
            let fed = stop.run_until_cancelled(feed).await;
            let Some(fed) = fed else {
                return Ok(()); // stopped
            };
            let Some(names) = fed? else {
                return Ok(()); // a worker has ended
            };
            self.names = names;
        }
        let mut epochs = VecDeque::<WholeEpoch>::new();
        for (seq, message) in std::mem::take(&mut self.read_ahead) {
            epochs.extend(self.push(seq, message)?);
        }
        let mut batch = Batch::new(self.workers.len());
        let (mut last, mut newest) = (false, None);
        loop {
            while !self.is_full(&batch)
                && let Some(epoch) = epochs.pop_front()
            {
                last |= self.until_last && epoch.tick.last;
                if !epoch.events.is_empty() {
                    self.metrics.record_read(epoch.tick.epoch, epoch.tick.time);
                }
                let names = self.names.assign_new(&epoch.events);
                batch.add(epoch, &names);
            }
            let end = batch.end();
            let pending = end.map_or(0, |end| end.events);
            self.metrics.events_pending.set(pending as i64);
            self.report_sizes(&epochs, end);
            let waits = self.budget.is_waiting();
            // While the source waits for memory, a cut lets workers evict more, and can make room in a
            // full log.
            let idle = end.is_none() && epochs.is_empty() || waits;
            let can_send = end.is_some() && !waits && !self.splits_pending_commit(&batch);
            let can_read = epochs.is_empty() && !last && !waits && !self.is_full(&batch);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                is_open = has_room(&self.workers[0]), if can_send => {
                    let admitted = if is_open { self.admits(end).await } else { None };
                    match admitted {
                        None => return Ok(()), // stopped, or a worker has ended
                        Some(false) => continue,
                        Some(true) => {}
                    }
                    let batch = std::mem::replace(&mut batch, Batch::new(self.workers.len()));
                    newest = end;
                    let sent = self.send(batch).await;
                    if !sent || (last && epochs.is_empty()) {
                        return Ok(());
                    }
                }
                () = self.budget.recheck(), if waits => self.request_reports(),
                () = cut_requested(self.planner.as_ref()), if idle && newest.is_some() => {
                    if !self.cut_without_batch(newest).await {
                        return Ok(());
                    }
                }
                messages = self.reader.next(READ_MESSAGES_MAX), if can_read => {
                    for (seq, message) in messages? {
                        epochs.extend(self.push(seq, message)?);
                    }
                }
            }
        }
    }

    /// Reports the size of what was read and is not sent to the workers yet.
    fn report_sizes(&self, epochs: &VecDeque<WholeEpoch>, batch: Option<End>) {
        let (mut events, mut bytes) = self.epochs.pending();
        for epoch in epochs {
            events += epoch.events.len();
            bytes += epoch.bytes;
        }
        if let Some(batch) = batch {
            events += batch.events;
            bytes += batch.bytes;
        }
        self.metrics.queues.read.set(events as u64, bytes as u64);
    }

    /// Adds a message. Returns the epoch that it ends, without the events that the checkpoint
    /// includes.
    fn push(&mut self, seq: Seq, message: Message) -> Result<Option<WholeEpoch>, DataflowError> {
        let mut ended = self.epochs.push(seq, message)?;
        if let Some(ended) = &mut ended
            && !self.through.is_empty()
        {
            let epoch = ended.tick.epoch;
            let through = &self.through;
            let restored = |shard: u16| through.get(usize::from(shard)) >= Some(&epoch);
            ended
                .events
                .retain(|event| !restored(event.did.partition(SHARDS)));
            if through.iter().all(|through| *through <= epoch) {
                self.through = Vec::new();
            }
        }
        Ok(ended)
    }

    /// Whether the batch ends inside the pending commit, so it must grow up to the end of that
    /// commit.
    fn splits_pending_commit(&self, batch: &Batch) -> bool {
        let end = batch.end().map(|end| end.epoch);
        end.zip(self.pending_commit)
            .is_some_and(|(end, pending)| pending.after < end && end < pending.through)
    }

    /// Whether the batch must not grow.
    fn is_full(&self, batch: &Batch) -> bool {
        !self.splits_pending_commit(batch)
            && batch.end().is_some_and(|end| {
                end.events >= self.batch_events_max
                    || end.bytes >= self.batch_bytes_max
                    || end.epochs >= self.batch_epochs_max
                    || self.ends.contains(&end.epoch)
            })
    }

    /// Sends each worker its part of the batch. Returns `false` if a worker has ended.
    async fn send(&mut self, batch: Batch) -> bool {
        let Some(end) = batch.end() else {
            return true;
        };
        self.metrics.batches_pending.inc();
        let (events, bytes) = (end.events as u64, end.bytes as u64);
        self.metrics.queues.batches.add(events, bytes);
        let cut = self.planner.as_mut().and_then(|planner| {
            planner.count_events(&end);
            planner.next_cut(&end, CutReason::Batch)
        });
        for (worker, segments) in self.workers.iter().zip(batch.into_segments()) {
            let cut = cut.clone();
            let command = Command::Feed(BatchInput { segments, end, cut });
            if worker.send(command).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Whether memory allows the batch that ends at `end`; `None` if the source is stopped first.
    /// Releasing memory may take some seconds.
    async fn admits(&mut self, end: Option<End>) -> Option<bool> {
        let Some(end) = end else {
            return Some(true);
        };
        let stop = self.stop.clone();
        stop.run_until_cancelled(self.budget.admits(&end)).await
    }

    /// While the source waits, requests a report from each worker, unless some queue is full: then
    /// the worker processes a batch, and its reply has a report.
    fn request_reports(&self) {
        if !self.budget.is_waiting() {
            return;
        }
        let slots = self.workers.iter().map(mpsc::Sender::try_reserve);
        let slots: Result<Vec<_>, _> = slots.collect();
        for slot in slots.into_iter().flatten() {
            slot.send(Command::Report);
        }
    }

    /// Cuts a checkpoint at the end of the newest batch. The log is full or memory is short, so there
    /// may be no further batch until a checkpoint allows trimming the log or evicting records.
    /// Returns `false` if a worker has ended.
    async fn cut_without_batch(&mut self, newest: Option<End>) -> bool {
        let reason = match self.budget.is_waiting() {
            true => CutReason::Memory,
            false => CutReason::FullLog,
        };
        let planner = self.planner.as_mut();
        let cut: Option<(End, Cut)> = planner
            .zip(newest)
            .and_then(|(planner, end)| Some((end, planner.next_cut(&end, reason)?)));
        let Some((end, cut)) = cut else {
            return true;
        };
        for worker in &self.workers {
            let input = BatchInput {
                segments: Vec::new(),
                end,
                cut: Some(cut.clone()),
            };
            if worker.send(Command::Feed(input)).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Waits until a worker's queue has room for a batch. Returns `false` if the worker has ended.
async fn has_room(worker: &mpsc::Sender<Command>) -> bool {
    worker.reserve().await.is_ok()
}

/// Waits until a cut is requested that does not wait for a further batch. Never returns without a
/// planner.
async fn cut_requested(planner: Option<&Planner>) {
    match planner {
        Some(planner) => planner.cut_requested().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::port::store::Committed;

    use super::*;

    #[test]
    fn a_pending_commit_is_one_batch_unless_all_views_are_rebuilt() {
        let control = |committed: Option<u64>, intent: Option<u64>| Control {
            committed: committed.map(|epoch| Committed {
                epoch: Epoch(epoch),
                ..Committed::default()
            }),
            intent: intent.map(Epoch),
            ..Control::default()
        };
        let views = [ViewId::Posts, ViewId::Actors];
        let (all, some): (BTreeSet<_>, _) = (views.into(), [ViewId::Posts].into());
        let begun = control(Some(3), Some(9));
        let expected = PendingCommit {
            after: Epoch(3),
            through: Epoch(9),
        };
        assert_eq!(pending_commit(&begun, &views, &some), Some(expected));
        assert_eq!(pending_commit(&begun, &views, &all), None);
        assert_eq!(pending_commit(&control(Some(3), None), &views, &some), None);
        // The store is empty, so all views are rebuilt.
        assert_eq!(pending_commit(&control(None, Some(9)), &views, &all), None);
    }
}
