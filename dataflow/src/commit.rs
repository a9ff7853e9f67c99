//! Rows of all workers become commits.
//!
//! ```text
//! done of each worker ─ all there ─▶ epoch committed already? ─ yes ─▶ only count (after a restart)
//!                                                             └ no ──▶ begin, write, commit; again until it is done
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use skytide_core::port::store::{Committed, Control, StoreError, Sum, Term, ViewStore};
use skytide_core::view::{Change, ViewId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::DataflowError;
use crate::batch::End;
use crate::metrics::Metrics;
use crate::worker::Done;

/// Turns finished batches into commits.
pub struct Committer {
    /// Where rows go.
    pub store: Arc<dyn ViewStore>,
    /// What the store said when this process took it over.
    pub control: Control,
    /// Which log the rows are computed from.
    pub log_id: u64,
    /// How many workers each batch has.
    pub workers: usize,
    /// Where to tell.
    pub metrics: Arc<Metrics>,
    /// Ends waiting for a store that does not answer.
    pub stop: CancellationToken,
}

/// The wait after a failed commit: doubled each time, up to the second one.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

impl Committer {
    /// Runs until `done` ends.
    ///
    /// # Errors
    /// The store refused a commit, or the rows that were computed again are not those it has.
    pub async fn run(self, mut done: mpsc::Receiver<Done>) -> Result<(), DataflowError> {
        let mut sums = BTreeMap::<ViewId, Sum>::new();
        let mut waiting = Vec::new();
        while let Some(one) = done.recv().await {
            waiting.push(one);
            if waiting.len() < self.workers {
                continue;
            }
            let end = waiting[0].end;
            let mut changes = BTreeMap::<ViewId, Vec<Vec<Change>>>::new();
            for Done { settled, .. } in waiting.drain(..) {
                for (view, more) in settled.changes {
                    changes.entry(view).or_default().push(more);
                }
                for (view, more) in settled.sums {
                    let sum = sums.entry(view).or_default();
                    sum.rows += more.rows;
                    sum.hash = sum.hash.wrapping_add(more.hash);
                }
            }
            self.settle(end, changes, &sums).await?;
        }
        Ok(())
    }

    async fn settle(
        &self,
        end: End,
        changes: BTreeMap<ViewId, Vec<Vec<Change>>>,
        sums: &BTreeMap<ViewId, Sum>,
    ) -> Result<(), DataflowError> {
        let committed = Committed {
            epoch: end.epoch,
            time: end.time,
            since: end.since,
            log_id: self.log_id,
            log_seq: end.log_seq,
            sums: sums
                .iter()
                .filter(|(_, sum)| **sum != Sum::default())
                .map(|(v, s)| (*v, *s))
                .collect(),
        };
        let known = self.control.committed.as_ref();
        match known {
            Some(known) if end.epoch < known.epoch => {}
            Some(known) if end.epoch == known.epoch => compare(known, &committed)?,
            _ => self.commit(&changes, committed).await?,
        }
        let m = &self.metrics;
        m.catching_up.set(i64::from(
            known.is_some_and(|known| end.epoch < known.epoch),
        ));
        m.epoch.set(end.epoch.0 as i64);
        m.network_time_seconds.set(end.time.0 as f64 / 1e3);
        m.events.inc_by(end.events as u64);
        m.batches_pending.dec();
        Ok(())
    }

    async fn commit(
        &self,
        changes: &BTreeMap<ViewId, Vec<Vec<Change>>>,
        committed: Committed,
    ) -> Result<(), DataflowError> {
        let started = Instant::now();
        let mut wait = RETRY.0;
        while let Err(error) = self.try_commit(changes, &committed).await {
            if !matches!(error, StoreError::Failed { .. }) {
                return Err(error.into());
            }
            self.metrics.retries.inc();
            tracing::warn!(
                epoch = committed.epoch.0,
                error = &error as &dyn std::error::Error,
                "commit failed, trying again"
            );
            tokio::select! {
                () = self.stop.cancelled() => return Err(error.into()),
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY.1),
            }
        }
        let m = &self.metrics;
        m.commits.inc();
        m.commit_seconds.inc_by(started.elapsed().as_secs_f64());
        for change in changes.values().flatten().flatten() {
            let columns = change.row.as_ref().map_or(0, |row| row.len());
            m.row_bytes
                .inc_by((change.key.as_bytes().len() + columns) as u64);
        }
        m.rows
            .inc_by(changes.values().flatten().map(Vec::len).sum::<usize>() as u64);
        Ok(())
    }

    async fn try_commit(
        &self,
        changes: &BTreeMap<ViewId, Vec<Vec<Change>>>,
        committed: &Committed,
    ) -> Result<(), StoreError> {
        let term: Term = self.control.term;
        self.store.begin(term, committed.epoch).await?;
        for (&view, parts) in changes {
            for part in parts {
                self.store.write(term, view, part.clone()).await?;
            }
        }
        self.store.commit(term, committed.clone()).await
    }
}

/// Compares what was computed again with what the store says it has.
fn compare(stored: &Committed, computed: &Committed) -> Result<(), DataflowError> {
    if stored.log_seq != computed.log_seq {
        return Err(DataflowError::OtherLog {
            epoch: stored.epoch,
        });
    }
    for &view in ViewId::ALL {
        let of = |committed: &Committed| committed.sums.get(&view).copied().unwrap_or_default();
        let (stored_sum, computed_sum) = (of(stored), of(computed));
        if stored_sum != computed_sum {
            return Err(DataflowError::Differs {
                view: view.name(),
                epoch: stored.epoch,
                stored: stored_sum.rows,
                computed: computed_sum.rows,
            });
        }
    }
    tracing::info!(
        epoch = stored.epoch.0,
        "rows computed again equal those in the store"
    );
    Ok(())
}
