//! The steps of a commit, as the one who leads takes them.
//!
//! ```text
//! begin ─ compare and set the intent ─▶ write: pending, flushed when it is much ─▶ commit: flush, compare and set
//!           └ rebuild: views noted beside it ┘
//! ```

use std::collections::BTreeSet;
use std::time::Instant;

use skytide_core::port::store::{Committed, Control, Intent, StoreError, Term, check_rows};
use skytide_core::view::{Change, ViewId};

use super::Shared;
use crate::batch::{self, Pending, WriteError, WriteOrder};
use crate::error::failed;
use crate::guard;
use crate::purge::Purge;

/// What the writer knows.
#[derive(Debug, Default)]
pub struct Writer {
    /// The control record, as far as we changed it ourselves.
    control: Control,
    pending: Pending,
    /// A commit that failed, and that may have been made all the same, or be made yet, as what was sent may arrive at any
    /// time. Kept until one of the two is certain: a majority may show the record as it was for a while.
    uncertain: Option<Committed>,
    /// The commit that is being made again was made.
    already_committed: bool,
    /// Until when a batch of the writer before may still be under way, if it had begun a commit.
    old_batches_until: Option<Instant>,
    /// Until when a batch that a writer before had given up and repeated may still be under way.
    repeated_batches_until: Option<Instant>,
    /// Whether the commit in progress replaces everything.
    replaces_all: bool,
}

impl Writer {
    /// Draws the next term and makes it known everywhere, so that the one before cannot begin to write anything more.
    pub async fn lead(&mut self, store: &Shared) -> Result<Control, StoreError> {
        let control = store.record.take_over().await?;
        if !guard::raise_term(&store.connection, control.term).await? {
            return Err(fenced(store, control.term).await?);
        }
        let newest = control.committed.as_ref().map(|it| it.epoch);
        if let Some(newest) = newest.max(control.intent) {
            ViewId::ALL
                .iter()
                .for_each(|view| store.purge.note(*view, newest));
        }
        let old_batches_until = Instant::now() + Purge::grace_period(&store.connection);
        *self = Self {
            control: control.clone(),
            old_batches_until: control.intent.map(|_| old_batches_until),
            repeated_batches_until: Some(old_batches_until),
            ..Self::default()
        };
        Ok(control)
    }

    /// See `ViewStore::begin`.
    pub async fn begin(
        &mut self,
        store: &Shared,
        term: Term,
        intent: Intent,
    ) -> Result<(), StoreError> {
        self.check_may_write(store, term).await?;
        self.pending.clear();
        (self.already_committed, self.replaces_all) = (false, false);
        if self.uncertain.is_some() {
            self.control = self.current(store, term).await?;
            let found = self.control.committed.as_ref();
            let committed = self.uncertain.take_if(|it| found == Some(it));
            if committed.is_some_and(|it| it.epoch == intent.epoch) {
                self.already_committed = true;
                return Ok(());
            }
        }
        if intent.replaces_all {
            return self.begin_replacing(store, term, intent).await;
        }
        self.control.check_begin(term, intent)?;
        if !store.record.begin(&self.control, intent).await? {
            let found = self.current(store, term).await?;
            if self.uncertain_is_committed(&found) {
                return Err(committed_late());
            }
            found.check_begin(term, intent)?;
            return Err(lost_commit(&self.control, &found));
        }
        self.control.record_intent(intent);
        Ok(())
    }

    /// Begins a commit that replaces everything. First nothing of a writer before must be under way: its rows may be of
    /// later epochs, and would stay.
    async fn begin_replacing(
        &mut self,
        store: &Shared,
        term: Term,
        intent: Intent,
    ) -> Result<(), StoreError> {
        if let Some(until) = self.repeated_batches_until {
            tokio::time::sleep_until(until.into()).await;
            (self.repeated_batches_until, self.old_batches_until) = (None, None);
        }
        if !store.record.begin_replacing(term, intent).await? {
            return Err(fenced(store, term).await?);
        }
        store.purge.start_over(&store.connection, term).await?;
        self.control.committed = None;
        self.control.record_intent(intent);
        self.control.rebuilding = ViewId::ALL.iter().copied().collect();
        self.replaces_all = true;
        Ok(())
    }

    /// See `ViewStore::rebuild`. Waits until nothing of the writer before is under way: what it wrote for the recorded
    /// intent may be other rows than ours, and would be taken for them.
    pub async fn rebuild(
        &mut self,
        store: &Shared,
        term: Term,
        views: &BTreeSet<ViewId>,
    ) -> Result<(), StoreError> {
        self.check_may_write(store, term).await?;
        if self.already_committed || views.is_empty() {
            return Ok(());
        }
        let intent = self.control.check_write(term)?;
        if let Some(until) = self.old_batches_until {
            tokio::time::sleep_until(until.into()).await;
            self.old_batches_until = None;
        }
        if !store.record.rebuild(term, intent, views).await? {
            let found = self.current(store, term).await?;
            if self.uncertain_is_committed(&found) {
                return Err(committed_late());
            }
            return Err(lost_commit(&self.control, &found));
        }
        self.control.rebuilding.extend(views);
        Ok(())
    }

    /// See `ViewStore::write`.
    pub async fn write(
        &mut self,
        store: &Shared,
        term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        self.check_may_write(store, term).await?;
        if self.already_committed {
            return Ok(());
        }
        self.control.check_write(term)?;
        check_rows(view, &changes)?;
        self.pending.push(view, changes);
        match self.pending.is_large(store.limits) {
            true => self.flush(store, term).await,
            false => Ok(()),
        }
    }

    /// See `ViewStore::commit`.
    pub async fn commit(
        &mut self,
        store: &Shared,
        term: Term,
        committed: Committed,
    ) -> Result<(), StoreError> {
        self.check_may_write(store, term).await?;
        if self.uncertain.as_ref() == Some(&committed) {
            self.control = self.current(store, term).await?;
        }
        if !self.control.check_commit(term, &committed)? {
            (self.uncertain, self.already_committed) = (None, false);
            return Ok(());
        }
        self.flush(store, term).await?;
        self.uncertain = Some(committed.clone());
        if !store.record.commit(term, &committed).await? {
            let found = self.current(store, term).await?;
            if found.check_commit(term, &committed)? {
                return Err(failed("commit")("the control record changed meanwhile"));
            }
        }
        self.uncertain = None;
        self.replaces_all = false;
        self.control.committed = Some(committed);
        self.control.forget_intent();
        Ok(())
    }

    async fn flush(&mut self, store: &Shared, term: Term) -> Result<(), StoreError> {
        let epoch = self.control.check_write(term)?;
        for view in self.pending.views_with_removals() {
            store.purge.note(view, epoch);
        }
        let order = WriteOrder {
            term,
            epoch,
            replaces_all: self.replaces_all,
        };
        match self
            .pending
            .write(&store.connection, order, store.limits)
            .await
        {
            Ok(()) => Ok(()),
            Err(WriteError::Failed(error)) => Err(error),
            Err(WriteError::Superseded) => {
                let found = self.current(store, term).await?;
                if self.uncertain_is_committed(&found) {
                    return Err(committed_late());
                }
                found.check_write(term)?;
                let later = batch::later_row(&store.connection, &self.pending, epoch).await?;
                // Else two attempts at the same row met: the next one finds it.
                Err(later.map_or_else(
                    || failed("write rows")("a batch met another one of the same rows"),
                    StoreError::Damaged,
                ))
            }
        }
    }

    /// Whether this is our term and the lease is ours.
    async fn check_may_write(&self, store: &Shared, term: Term) -> Result<(), StoreError> {
        if self.control.term == term && store.lease.ensure_held().await? {
            return Ok(());
        }
        Err(fenced(store, term).await?)
    }

    /// Whether the record has the commit that may have been made.
    fn uncertain_is_committed(&self, found: &Control) -> bool {
        self.uncertain.is_some() && found.committed == self.uncertain
    }

    /// The record as the server has it.
    async fn current(&self, store: &Shared, term: Term) -> Result<Control, StoreError> {
        let control = store.record.read().await?;
        match control.term == term {
            true => Ok(control),
            false => Err(StoreError::Fenced {
                current: control.term,
                ours: term,
            }),
        }
    }
}

async fn fenced(store: &Shared, ours: Term) -> Result<StoreError, StoreError> {
    let current = store.record.read().await?.term;
    Ok(StoreError::Fenced { current, ours })
}

/// What was taken for failed has been made meanwhile: who repeats all of it finds that.
fn committed_late() -> StoreError {
    failed("write a commit again")("it arrived late and is made")
}

/// The server has forgotten what it acknowledged, as after a failover without majority, or somebody restored it.
fn lost_commit(known: &Control, found: &Control) -> StoreError {
    let epoch = |control: &Control| {
        let committed = control.committed.as_ref();
        committed.map_or("none".to_owned(), |it| it.epoch.to_string())
    };
    StoreError::Damaged(format!(
        "its last commit is of epoch {}, and epoch {} was committed",
        epoch(found),
        epoch(known)
    ))
}
