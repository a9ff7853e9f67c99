//! The log becomes batches, as large as the workers let them grow.

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
use crate::runtime::checkpoint::{Cut, Planner};
use crate::runtime::restore::Restore;
use crate::runtime::worker::{Fed, Order};

/// Feeds the workers.
pub struct Source {
    /// What is fed before the log.
    pub(crate) restore: Option<Restore>,
    /// The log, from its first message that is needed on.
    pub reader: Box<dyn LogReader>,
    /// Messages that were read from it already.
    pub read: Vec<(Seq, Message)>,
    /// Knows the tick before.
    pub epochs: Epochs,
    /// The collections that have a name of their own.
    pub(crate) names: Names,
    /// The epoch up to which each shard's accounts were restored; empty: none was.
    pub through: Vec<Epoch>,
    /// One queue a worker.
    pub workers: Vec<mpsc::Sender<Order>>,
    /// What [`undivided`] says.
    pub undivided: Option<(Epoch, Epoch)>,
    /// Epochs at which a batch must end: those that the store names, and the last cut of the checkpoint.
    pub ends: Vec<Epoch>,
    /// Decides when checkpoints are cut, if they are.
    pub(crate) planner: Option<Planner>,
    /// Events at which a batch takes no further epoch.
    pub batch_events_max: usize,
    /// Bytes at which a batch takes no further epoch.
    pub batch_bytes_max: usize,
    /// Epochs in a batch at most.
    pub batch_epochs_max: usize,
    /// Whether to end behind the tick that says it is the last.
    pub until_last: bool,
    /// Where to tell.
    pub metrics: Arc<Metrics>,
    /// Ends reading.
    pub stop: CancellationToken,
}

/// A commit that was begun and not completed, and that must be one batch: what is committed before it, and its end. It was
/// a batch of a former run, so it is no larger than batches are.
///
/// Where all rows are gathered until it is made there is none: any number of batches may lead there, and may have to.
pub fn undivided(
    control: &Control,
    views: &[ViewId],
    gathered: &BTreeSet<ViewId>,
) -> Option<(Epoch, Epoch)> {
    let committed = control.committed.as_ref().map(|it| it.epoch);
    let begun = committed.zip(control.intent);
    begun.filter(|_| !views.iter().all(|view| gathered.contains(view)))
}

/// Messages read at once; the log bounds their bytes.
const READ_MESSAGES_MAX: usize = 4_096;

impl Source {
    /// Runs until `stop`, or behind the last tick.
    ///
    /// # Errors
    /// The log or the checkpoint could not be read, or is damaged.
    pub async fn run(mut self) -> Result<(), DataflowError> {
        let stop = self.stop.clone();
        if let Some(restore) = self.restore.take() {
            let fed = stop.run_until_cancelled(restore.feed(&self.workers)).await;
            let Some(names) = fed.unwrap_or(Ok(None))? else {
                return Ok(());
            };
            self.names = names;
        }
        let mut whole = VecDeque::<WholeEpoch>::new();
        for (seq, message) in std::mem::take(&mut self.read) {
            whole.extend(self.take(seq, message)?);
        }
        let mut batch = Batch::new(self.workers.len());
        let (mut last, mut newest) = (false, None);
        loop {
            while !self.full(&batch)
                && let Some(epoch) = whole.pop_front()
            {
                last |= self.until_last && epoch.tick.last;
                let names = self.names.give(&epoch.events);
                batch.add(epoch, &names);
            }
            let end = batch.end();
            let pending = end.map_or(0, |end| end.events);
            self.metrics.events_pending.set(pending as i64);
            let idle = end.is_none() && whole.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                free = is_free(&self.workers[0]), if end.is_some() && !self.unfinished(&batch) => {
                    if !free {
                        return Ok(());
                    }
                    let batch = std::mem::replace(&mut batch, Batch::new(self.workers.len()));
                    newest = end;
                    let sent = self.send(batch).await;
                    if !sent || (last && whole.is_empty()) {
                        return Ok(());
                    }
                }
                () = at_once(self.planner.as_ref()), if idle && newest.is_some() => {
                    if !self.cut_at_once(newest).await {
                        return Ok(());
                    }
                }
                messages = self.reader.next(READ_MESSAGES_MAX), if whole.is_empty() && !last && !self.full(&batch) => {
                    for (seq, message) in messages? {
                        whole.extend(self.take(seq, message)?);
                    }
                }
            }
        }
    }

    /// Takes a message; the epoch that it ends lacks the events that were restored.
    fn take(&mut self, seq: Seq, message: Message) -> Result<Option<WholeEpoch>, DataflowError> {
        let mut whole = self.epochs.take(seq, message)?;
        if let Some(whole) = &mut whole
            && !self.through.is_empty()
        {
            let epoch = whole.tick.epoch;
            let through = &self.through;
            let restored = |shard: u16| through.get(usize::from(shard)) >= Some(&epoch);
            whole
                .events
                .retain(|event| !restored(event.did.partition(SHARDS)));
            if through.iter().all(|through| *through <= epoch) {
                self.through = Vec::new();
            }
        }
        Ok(whole)
    }

    /// Whether the batch ends inside a commit that was begun before: it must grow up to that one's end.
    fn unfinished(&self, batch: &Batch) -> bool {
        let end = batch.end().map(|end| end.epoch);
        end.zip(self.undivided)
            .is_some_and(|(end, (committed, intent))| committed < end && end < intent)
    }

    /// Whether the batch must not grow.
    fn full(&self, batch: &Batch) -> bool {
        !self.unfinished(batch)
            && batch.end().is_some_and(|end| {
                end.events >= self.batch_events_max
                    || end.bytes >= self.batch_bytes_max
                    || end.epochs >= self.batch_epochs_max
                    || self.ends.contains(&end.epoch)
            })
    }

    /// Hands each worker its part; false if they are gone.
    async fn send(&mut self, batch: Batch) -> bool {
        let Some(end) = batch.end() else {
            return true;
        };
        self.metrics.batches_pending.inc();
        let cut = self.planner.as_mut().and_then(|planner| {
            planner.count(&end);
            planner.cut(&end, false)
        });
        for (worker, segments) in self.workers.iter().zip(batch.into_segments()) {
            let cut = cut.clone();
            let order = Order::Feed(Fed { segments, end, cut });
            if worker.send(order).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Cuts what is to be cut at the end of the newest batch, for no other one may come; false if the workers are gone.
    async fn cut_at_once(&mut self, newest: Option<End>) -> bool {
        let planner = self.planner.as_mut();
        let cut: Option<(End, Cut)> = planner
            .zip(newest)
            .and_then(|(planner, end)| Some((end, planner.cut(&end, true)?)));
        let Some((end, cut)) = cut else {
            return true;
        };
        for worker in &self.workers {
            let fed = Fed {
                segments: Vec::new(),
                end,
                cut: Some(cut.clone()),
            };
            if worker.send(Order::Feed(fed)).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Waits until a worker takes another batch; false if it is gone.
async fn is_free(worker: &mpsc::Sender<Order>) -> bool {
    worker.reserve().await.is_ok()
}

async fn at_once(planner: Option<&Planner>) {
    match planner {
        Some(planner) => planner.at_once().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::port::store::Committed;

    use super::*;

    #[test]
    fn a_commit_that_was_begun_is_one_batch_unless_all_rows_are_gathered() {
        let found = |committed: Option<u64>, intent: Option<u64>| Control {
            committed: committed.map(|epoch| Committed {
                epoch: Epoch(epoch),
                ..Committed::default()
            }),
            intent: intent.map(Epoch),
            ..Control::default()
        };
        let views = [ViewId::Posts, ViewId::Actors];
        let (all, some): (BTreeSet<_>, _) = (views.into(), [ViewId::Posts].into());
        let begun = found(Some(3), Some(9));
        assert_eq!(undivided(&begun, &views, &some), Some((Epoch(3), Epoch(9))));
        assert_eq!(undivided(&begun, &views, &all), None);
        assert_eq!(undivided(&found(Some(3), None), &views, &some), None);
        // The store is empty: everything is gathered, however much it is.
        assert_eq!(undivided(&found(None, Some(9)), &views, &all), None);
    }
}
