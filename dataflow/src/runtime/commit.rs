//! Commits the row changes of all workers to the view store.
//!
//! ```text
//! outputs of all workers ─▶ is the batch committed already, by a former run?
//!                            ├─ yes ─▶ only add to the checksums; at the last commit, compare them
//!                            └─ no ──▶ begin, write, commit; retry until it succeeds
//! ```
//!
//! Some views are rebuilt after a start, for example because their version changed. All their rows
//! are gathered until the first commit, which replaces the old rows by them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use skytide_core::port::store::{
    Committed, Control, Intent, Recipe, StoreError, Sum, TickRef, ViewStore,
};
use skytide_core::view::{Change, ViewId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::DataflowError;
use crate::metrics::Metrics;
use crate::runtime::batch::End;
use crate::runtime::checkpoint::CheckpointEvent;
use crate::runtime::command::BatchOutput;
use crate::runtime::rebuild::Rebuild;

/// Commits batches to the view store.
pub struct Committer {
    /// The view store.
    pub store: Arc<dyn ViewStore>,
    /// The store's control record at the time when this process took the lease.
    pub control: Control,
    /// The id of the log that the rows are computed from.
    pub log_id: u64,
    /// How the rows are computed: the options that affect them, and the version of each view.
    pub recipe: Recipe,
    /// The number of workers, each of which sends one output per batch.
    pub workers: usize,
    /// The checksum of each view's rows so far: their number and the sum of their hashes.
    pub sums: BTreeMap<ViewId, Sum>,
    /// The commit at the last cut of the restored checkpoint; `None` once that cut is reached. The
    /// computed rows must have the checksums of this commit there.
    pub restored: Option<Committed>,
    /// Views whose recipe differs from that of the restored checkpoint. Their rows are counted
    /// again, so their checksums cannot be compared with those of the checkpoint.
    pub recounted: BTreeSet<ViewId>,
    /// Views that the first commit rebuilds, so their checksums cannot be compared with those of
    /// the store.
    pub rebuilt: BTreeSet<ViewId>,
    /// Views that the first commit also rebuilds, unless their checksums equal those of the store.
    pub rebuilt_if_different: BTreeSet<ViewId>,
    /// The rows of the rebuilt views, until the first commit.
    pub(crate) rebuild: Rebuild,
    /// Whether the next commit replaces all stored rows, also rows of later epochs.
    pub replaces_all: bool,
    /// Where commits and a verified restore are reported; `None` if no checkpoints are made.
    pub(crate) checkpoint_events: Option<mpsc::UnboundedSender<CheckpointEvent>>,
    /// Metrics of the commits.
    pub metrics: Arc<Metrics>,
    /// Stops retrying a commit that fails.
    pub stop: CancellationToken,
}

/// The delay after the first failure of a commit. It doubles with each failure.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The longest delay. It is reached after about 13 s; from then on failures are logged as errors.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// How long a commit in progress, or the keeper of checkpoints, may take after the signal to stop.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(2);

/// Changes by view, one part from each worker.
type Changes = BTreeMap<ViewId, Vec<Vec<Change>>>;

impl Committer {
    /// Runs until `outputs` ends, or until `stop` while the store accepts no commit; the next start
    /// makes that commit.
    ///
    /// # Errors
    /// The store refused a commit, or recomputed rows differ from the stored ones.
    pub async fn run(
        mut self,
        mut outputs: mpsc::Receiver<BatchOutput>,
    ) -> Result<(), DataflowError> {
        let started = Instant::now();
        let mut received = Vec::new();
        while let Some(output) = outputs.recv().await {
            received.push(output);
            if received.len() < self.workers {
                continue;
            }
            let end = received[0].end;
            let mut changes = Changes::new();
            let (mut rows, mut bytes) = (0, 0);
            for output in received.drain(..) {
                let size = output.changes.size();
                (rows, bytes) = (rows + size.0, bytes + size.1);
                self.metrics.record_rows_left_out(&output.changes.left_out);
                for (view, more) in output.changes.changes {
                    changes.entry(view).or_default().push(more);
                }
                for (view, more) in output.changes.sums {
                    let sum = self.sums.entry(view).or_default();
                    sum.rows += more.rows;
                    sum.hash = sum.hash.wrapping_add(more.hash);
                }
            }
            // Gathered rows are not on their way to the store: they count once.
            let gathered = self.rebuild.gather(&mut changes);
            self.metrics.queues.changes.remove(gathered.0, gathered.1);
            (rows, bytes) = (rows - gathered.0, bytes - gathered.1);
            let (all_rows, all_bytes) = self.rebuild.size();
            self.metrics.queues.rebuild.set(all_rows, all_bytes);
            if end.restored {
                let seconds = started.elapsed().as_secs_f64();
                self.metrics.restore_seconds.set(seconds);
            }
            let finished = self.finish_batch(end, changes).await;
            self.metrics.queues.changes.remove(rows, bytes);
            if !finished? {
                tracing::warn!(
                    epoch = end.epoch.0,
                    "stopped before this commit was made; nothing is lost: the next start makes it"
                );
                return Ok(());
            }
        }
        Ok(())
    }

    /// Verifies or commits a complete batch. Returns `false` if `stop` came before the commit was
    /// made.
    async fn finish_batch(&mut self, end: End, changes: Changes) -> Result<bool, DataflowError> {
        let committed = self.committed(&end);
        let cut = self.restored.take_if(|it| it.epoch == end.epoch);
        if let Some(expected) = cut {
            compare(&expected, &committed, &self.recounted)?;
            // A full log has no room for the next epoch, so there may be no commit. The keeper
            // trims the log only after the start is verified, which this event reports.
            if self.control.committed.is_none() {
                self.report(CheckpointEvent::Restored);
            }
        }
        let stored = self.control.committed.clone();
        match &stored {
            Some(stored) if end.epoch < stored.epoch => {
                self.metrics.record_stored(end.epoch, true);
            }
            Some(stored) if end.epoch == stored.epoch => {
                self.rebuild_if_different(stored, &committed);
                compare(stored, &committed, &self.rebuilt)?;
                self.metrics.record_stored(end.epoch, true);
                let epoch = stored.epoch.0;
                tracing::info!(epoch, "rows computed again equal those in the store");
                self.report(CheckpointEvent::Committed(committed));
            }
            _ if self.too_early(&end) => {}
            _ => {
                if !self.commit(&changes, committed.clone()).await? {
                    return Ok(false);
                }
                self.metrics.record_stored(end.epoch, false);
                self.rebuild.clear();
                self.metrics.queues.rebuild.set(0, 0);
                self.replaces_all = false;
                self.report(CheckpointEvent::Committed(committed));
            }
        }
        let replaying = stored.is_some_and(|stored| end.epoch < stored.epoch);
        let m = &self.metrics;
        m.catching_up
            .set(i64::from(replaying || self.too_early(&end)));
        if !end.restored {
            m.epoch.set(end.epoch.0 as i64);
            m.network_time_seconds.set(end.time.0 as f64 / 1e3);
            m.events.inc_by(end.events as u64);
            m.batches_pending.dec();
        }
        Ok(true)
    }

    /// Decides at the store's last commit which of [`Committer::rebuilt_if_different`] are rebuilt.
    fn rebuild_if_different(&mut self, stored: &Committed, computed: &Committed) {
        for view in std::mem::take(&mut self.rebuilt_if_different) {
            let (before, now) = (sum_of(stored, view), sum_of(computed, view));
            if before == now {
                self.rebuild.keep_stored(view);
                continue;
            }
            tracing::warn!(
                view = view.name(),
                stored = before.rows,
                computed = now.rows,
                "the stored rows were computed from another checkpoint: the next commit replaces \
                 them"
            );
            self.rebuilt.insert(view);
        }
    }

    /// Whether the batch must not be committed yet. There are two reasons: the last cut of the
    /// restored checkpoint is not reached, so the views are not exact; or a former run began a
    /// commit that ends at a later epoch, and the first commit must end there as well. In the
    /// second case all rows of the batch are gathered, so none is lost
    /// ([`pending_commit`](crate::runtime::source::pending_commit)).
    fn too_early(&self, end: &End) -> bool {
        let begun = self.control.intent;
        end.restored || self.restored.is_some() || begun.is_some_and(|begun| end.epoch < begun)
    }

    fn committed(&self, end: &End) -> Committed {
        let sums = self.sums.iter().filter(|(_, sum)| **sum != Sum::default());
        Committed {
            epoch: end.epoch,
            time: end.time,
            since: end.since,
            log_id: self.log_id,
            log_seq: end.log_seq,
            tick_hash: Some(end.hash),
            recipe: Some(self.recipe.clone()),
            sums: sums.map(|(view, sum)| (*view, *sum)).collect(),
        }
    }

    fn report(&self, event: CheckpointEvent) {
        if let Some(events) = &self.checkpoint_events {
            // An error means that the keeper has ended, which makes no more checkpoints.
            let _ = events.send(event);
        }
    }

    /// Makes a commit and retries it without limit. Returns `false` if `stop` came before it was
    /// made.
    async fn commit(&self, changes: &Changes, committed: Committed) -> Result<bool, DataflowError> {
        let started = Instant::now();
        self.metrics.commit_started();
        let (mut delay, mut is_retry) = (RETRY_DELAY, false);
        loop {
            let attempt = self.try_commit(changes, &committed, is_retry);
            let error = match within_grace(&self.stop, attempt).await {
                None => return Ok(false),
                Some(Ok(())) => break,
                Some(Err(error)) => error,
            };
            if !matches!(error, StoreError::Failed { .. }) {
                return Err(error.into());
            }
            is_retry = true;
            self.metrics.commit_failed(&error);
            let epoch = committed.epoch.0;
            if delay < RETRY_DELAY_MAX {
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(epoch, error = cause, "commit failed, retrying");
            } else {
                let cause = &error as &dyn std::error::Error;
                let seconds = started.elapsed().as_secs();
                let what = "views stand still: the commit keeps failing; check the view store";
                tracing::error!(epoch, seconds, error = cause, "{what}");
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(delay) => delay = (delay * 2).min(RETRY_DELAY_MAX),
            }
        }
        let m = &self.metrics;
        m.commit_made();
        for change in changes.values().flatten().flatten() {
            let columns = change.row.as_ref().map_or(0, |row| row.len());
            m.row_bytes
                .inc_by((change.key.as_bytes().len() + columns) as u64);
        }
        m.rows
            .inc_by(changes.values().flatten().map(Vec::len).sum::<usize>() as u64);
        Ok(true)
    }

    /// Tries a commit once. With `is_retry`, the previous attempt failed but may have committed.
    async fn try_commit(
        &self,
        changes: &Changes,
        committed: &Committed,
        is_retry: bool,
    ) -> Result<(), StoreError> {
        if is_retry && self.store.control().await?.committed.as_ref() == Some(committed) {
            return Ok(());
        }
        let term = self.control.term;
        let intent = Intent {
            epoch: committed.epoch,
            tick: committed.tick_hash.map(|tick_hash| TickRef {
                log_seq: committed.log_seq,
                tick_hash,
            }),
            replaces_all: self.replaces_all,
        };
        self.store.begin(term, intent).await?;
        self.rebuild.write(self.store.as_ref(), term).await?;
        for (&view, parts) in changes {
            for part in parts.iter().flat_map(|part| chunks(part)) {
                self.store.write(term, view, part.to_vec()).await?;
            }
        }
        self.store.commit(term, committed.clone()).await
    }
}

/// Completes `work`. Returns `None` if that takes longer than [`STOP_GRACE`] after `stop`.
pub(crate) async fn within_grace<T>(
    stop: &CancellationToken,
    work: impl Future<Output = T>,
) -> Option<T> {
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = overdue => None,
    }
}

/// The size of one write to the store: a write ends with the row that reaches this size.
const WRITE_BYTES_MAX: usize = 4 << 20;

/// Splits changes into writes of about [`WRITE_BYTES_MAX`], so that only one write at a time is
/// copied.
fn chunks(mut changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let has_room = bytes < WRITE_BYTES_MAX;
            bytes += change.bytes();
            has_room
        };
        let (chunk, rest) = changes.split_at(changes.iter().take_while(fits).count());
        changes = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// The checksum of a view's rows; a commit does not record that of a view without rows.
fn sum_of(committed: &Committed, view: ViewId) -> Sum {
    committed.sums.get(&view).copied().unwrap_or_default()
}

/// Compares a recomputed commit with the recorded one: the position and hash of the tick, and the
/// checksums of all views but `except`.
fn compare(
    recorded: &Committed,
    computed: &Committed,
    except: &BTreeSet<ViewId>,
) -> Result<(), DataflowError> {
    let (hash, computed_hash) = (recorded.tick_hash, computed.tick_hash);
    if recorded.log_seq != computed.log_seq || hash.is_some() && hash != computed_hash {
        return Err(DataflowError::LogChanged {
            epoch: recorded.epoch,
        });
    }
    for &view in ViewId::ALL.iter().filter(|view| !except.contains(view)) {
        let (recorded_sum, computed_sum) = (sum_of(recorded, view), sum_of(computed, view));
        if recorded_sum != computed_sum {
            return Err(DataflowError::Differs {
                view: view.name(),
                epoch: recorded.epoch,
                stored: recorded_sum.rows,
                computed: computed_sum.rows,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
