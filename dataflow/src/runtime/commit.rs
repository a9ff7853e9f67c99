//! Rows of all workers become commits.
//!
//! ```text
//! done of each worker ─ all there ─▶ epoch committed already? ─ yes ─▶ only count (after a restart)
//!                                                             └ no ──▶ begin, write, commit; again until it is done
//! ```
//!
//! Views that are rebuilt are gathered whole until the first commit, which puts them in the place of the old rows.

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
use crate::runtime::checkpoint::News;
use crate::runtime::rebuild::Rebuild;
use crate::runtime::worker::Done;

/// Turns finished batches into commits.
pub struct Committer {
    /// Where rows go.
    pub store: Arc<dyn ViewStore>,
    /// What the store said when this process took it over.
    pub control: Control,
    /// Which log the rows are computed from.
    pub log_id: u64,
    /// How they are computed.
    pub recipe: Recipe,
    /// How many workers each batch has.
    pub workers: usize,
    /// What the rows add up to so far.
    pub sums: BTreeMap<ViewId, Sum>,
    /// What the rows must add up to at the last cut of the checkpoint that was taken in.
    pub restored: Option<Committed>,
    /// Views that the checkpoint has in another form.
    pub recounted: BTreeSet<ViewId>,
    /// Views that the store has in another form.
    pub rebuilt: BTreeSet<ViewId>,
    /// What of them will be written anew.
    pub(crate) rebuild: Rebuild,
    /// Whether the first commit replaces everything, whatever epochs the store's rows have.
    pub replaces_all: bool,
    /// Who wants to know of commits, and that what was taken in is right.
    pub(crate) news: Option<mpsc::UnboundedSender<News>>,
    /// Where to tell.
    pub metrics: Arc<Metrics>,
    /// Ends waiting for a store that does not answer.
    pub stop: CancellationToken,
}

/// The wait after a failed commit: doubled each time, up to the second one. At that, some 13 s on, it is no hiccup any more.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How long a commit that is under way, or the keeper of checkpoints, may take once the process is to stop.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(2);

/// Changes of a view, a part from each worker.
type Changes = BTreeMap<ViewId, Vec<Vec<Change>>>;

impl Committer {
    /// Runs until `done` ends, or until `stop` while the store does not take a commit: that one is made by the next start.
    ///
    /// # Errors
    /// The store refused a commit, or the rows that were computed again are not those it has.
    pub async fn run(mut self, mut done: mpsc::Receiver<Done>) -> Result<(), DataflowError> {
        let started = Instant::now();
        let mut waiting = Vec::new();
        while let Some(one) = done.recv().await {
            waiting.push(one);
            if waiting.len() < self.workers {
                continue;
            }
            let end = waiting[0].end;
            let mut changes = Changes::new();
            for Done { settled, .. } in waiting.drain(..) {
                self.metrics.left_out(&settled.left_out);
                for (view, more) in settled.changes {
                    changes.entry(view).or_default().push(more);
                }
                for (view, more) in settled.sums {
                    let sum = self.sums.entry(view).or_default();
                    sum.rows += more.rows;
                    sum.hash = sum.hash.wrapping_add(more.hash);
                }
            }
            self.rebuild.gather(&mut changes);
            if end.restored {
                let seconds = started.elapsed().as_secs_f64();
                self.metrics.restore_seconds.set(seconds);
            }
            if !self.settle(end, changes).await? {
                tracing::warn!(
                    epoch = end.epoch.0,
                    "stopping before this commit was made: the next start makes it, nothing is lost"
                );
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers `false` if it was stopped before the commit was made.
    async fn settle(&mut self, end: End, changes: Changes) -> Result<bool, DataflowError> {
        let committed = self.committed(&end);
        let cut = self.restored.take_if(|it| it.epoch == end.epoch);
        if let Some(expected) = cut {
            compare(&expected, &committed, &self.recounted)?;
            // There may be no room for the epoch of the first commit before the keeper makes some.
            if self.control.committed.is_none() {
                self.tell(News::Restored);
            }
        }
        let known = self.control.committed.clone();
        match &known {
            Some(known) if end.epoch < known.epoch => {}
            Some(known) if end.epoch == known.epoch => {
                compare(known, &committed, &self.rebuilt)?;
                let epoch = known.epoch.0;
                tracing::info!(epoch, "rows computed again equal those in the store");
                self.tell(News::Committed(committed));
            }
            _ if self.too_early(&end) => {}
            _ => {
                if !self.commit(&changes, committed.clone()).await? {
                    return Ok(false);
                }
                self.rebuild.done();
                self.replaces_all = false;
                self.tell(News::Committed(committed));
            }
        }
        let behind = known.is_some_and(|known| end.epoch < known.epoch);
        let m = &self.metrics;
        m.catching_up.set(i64::from(behind || self.too_early(&end)));
        if !end.restored {
            m.epoch.set(end.epoch.0 as i64);
            m.network_time_seconds.set(end.time.0 as f64 / 1e3);
            m.events.inc_by(end.events as u64);
            m.batches_pending.dec();
        }
        Ok(true)
    }

    /// Whether views are not exact yet, or a commit that was begun before ends later: the first one must end there. A
    /// batch that ends within that one has no rows but those that are gathered ([`undivided`](crate::runtime::source::undivided)).
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

    fn tell(&self, told: News) {
        if let Some(news) = &self.news {
            // A keeper that is gone makes no checkpoints.
            let _ = news.send(told);
        }
    }

    /// Makes a commit, however often it fails; answers `false` if it was stopped before it was made.
    async fn commit(&self, changes: &Changes, committed: Committed) -> Result<bool, DataflowError> {
        let started = Instant::now();
        let (mut wait, mut repeated) = (RETRY.0, false);
        loop {
            let attempt = self.try_commit(changes, &committed, repeated);
            let error = match within_grace(&self.stop, attempt).await {
                None => return Ok(false),
                Some(Ok(())) => break,
                Some(Err(error)) => error,
            };
            if !matches!(error, StoreError::Failed { .. }) {
                return Err(error.into());
            }
            repeated = true;
            self.metrics.commit_failed(&error);
            let epoch = committed.epoch.0;
            if wait < RETRY.1 {
                let cause = &error as &dyn std::error::Error;
                tracing::warn!(epoch, error = cause, "commit failed, trying again");
            } else {
                let cause = &error as &dyn std::error::Error;
                let seconds = started.elapsed().as_secs();
                let what =
                    "views stand still: the commit fails again and again, somebody must look why";
                tracing::error!(epoch, seconds, error = cause, "{what}");
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY.1),
            }
        }
        let m = &self.metrics;
        m.commit_made();
        m.commit_seconds.inc_by(started.elapsed().as_secs_f64());
        for change in changes.values().flatten().flatten() {
            let columns = change.row.as_ref().map_or(0, |row| row.len());
            m.row_bytes
                .inc_by((change.key.as_bytes().len() + columns) as u64);
        }
        m.rows
            .inc_by(changes.values().flatten().map(Vec::len).sum::<usize>() as u64);
        Ok(true)
    }

    /// `repeated`: the attempt before failed, and may have been made all the same.
    async fn try_commit(
        &self,
        changes: &Changes,
        committed: &Committed,
        repeated: bool,
    ) -> Result<(), StoreError> {
        if repeated && self.store.control().await?.committed.as_ref() == Some(committed) {
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
            for part in parts.iter().flat_map(|part| pieces(part)) {
                self.store.write(term, view, part.to_vec()).await?;
            }
        }
        self.store.commit(term, committed.clone()).await
    }
}

/// What is under way, completed; `None` if that takes longer than [`STOP_GRACE`] after `stop`.
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

/// Bytes of rows after which one write to the store ends: a write has these bytes and one row more.
const WRITE_BYTES_MAX: usize = 4 << 20;

/// The parts of some changes that the store receives one after the other: it may write each part
/// before the next one is copied.
fn pieces(mut changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |change: &&Change| {
            let has_room = bytes < WRITE_BYTES_MAX;
            bytes += change.bytes();
            has_room
        };
        let (piece, rest) = changes.split_at(changes.iter().take_while(fits).count());
        changes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Compares what was computed again with what was noted, except for some views.
fn compare(
    noted: &Committed,
    computed: &Committed,
    except: &BTreeSet<ViewId>,
) -> Result<(), DataflowError> {
    let (hash, ours) = (noted.tick_hash, computed.tick_hash);
    if noted.log_seq != computed.log_seq || hash.is_some() && hash != ours {
        return Err(DataflowError::LogChanged { epoch: noted.epoch });
    }
    for &view in ViewId::ALL.iter().filter(|view| !except.contains(view)) {
        let of = |committed: &Committed| committed.sums.get(&view).copied().unwrap_or_default();
        let (noted_sum, computed_sum) = (of(noted), of(computed));
        if noted_sum != computed_sum {
            return Err(DataflowError::Differs {
                view: view.name(),
                epoch: noted.epoch,
                stored: noted_sum.rows,
                computed: computed_sum.rows,
            });
        }
    }
    Ok(())
}
