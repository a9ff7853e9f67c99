//! The steps of a commit on the leading process.
//!
//! ```text
//! begin: compare-and-set the intent ─▶ write: pending, flushed when large ─▶ commit: flush,
//!   └─ rebuild: record the views                                             compare-and-set
//! ```
//!
//! The intent is the epoch at which the commit will end. It is recorded before the first row is
//! written, so that after a crash the next writer ends its first commit at the same epoch.

use std::collections::BTreeSet;
use std::time::Instant;

use skytide_core::port::store::{Committed, Control, Intent, StoreError, Term, check_rows};
use skytide_core::view::{Change, ViewId};

use super::Shared;
use crate::batch::{self, Pending, WriteError, WriteOrder};
use crate::error::failed;
use crate::guard;
use crate::purge::Purge;

/// The state of the writer.
#[derive(Debug, Default)]
pub struct Writer {
    /// The control record as of our own last change.
    control: Control,
    pending: Pending,
    /// A commit that failed with an unknown outcome: the server may have executed it, or may still
    /// execute it when a delayed command arrives. It is remembered until the outcome is certain,
    /// because a majority read may return the old record for a while.
    uncertain: Option<Committed>,
    /// Whether the commit that is being retried turned out to be committed already.
    already_committed: bool,
    /// Until when batches of a commit that the previous writer left unfinished may still be in
    /// flight; `None` if it left none.
    unfinished_batches_until: Option<Instant>,
    /// Until when any batch of a previous writer may still be in flight, even of a finished commit:
    /// the writer may have retried a batch whose first attempt is still delayed.
    old_batches_until: Option<Instant>,
    /// Whether the commit in progress replaces everything.
    replaces_all: bool,
}

impl Writer {
    /// Takes the next term and records it in all guards, so that no batch of the previous writer
    /// can start any more.
    pub async fn lead(&mut self, store: &Shared) -> Result<Control, StoreError> {
        let control = store.record.take_over().await?;
        if !guard::raise_term(&store.connection, control.term).await? {
            return Err(fenced_error(store, control.term).await?);
        }
        let newest = control.committed.as_ref().map(|it| it.epoch);
        if let Some(newest) = newest.max(control.intent) {
            ViewId::ALL
                .iter()
                .for_each(|view| store.purge.record_removals(*view, newest));
        }
        let old_batches_until = Instant::now() + Purge::grace_period(&store.connection);
        *self = Self {
            control: control.clone(),
            unfinished_batches_until: control.intent.map(|_| old_batches_until),
            old_batches_until: Some(old_batches_until),
            ..Self::default()
        };
        Ok(control)
    }

    /// Implements `ViewStore::begin`.
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

    /// Begins a commit that replaces everything. First waits until no batch of a previous writer
    /// can be in flight. Rows of such a batch could have later epochs than this commit, and nothing
    /// would replace them.
    async fn begin_replacing(
        &mut self,
        store: &Shared,
        term: Term,
        intent: Intent,
    ) -> Result<(), StoreError> {
        if let Some(until) = self.old_batches_until {
            tokio::time::sleep_until(until.into()).await;
            (self.old_batches_until, self.unfinished_batches_until) = (None, None);
        }
        if !store.record.begin_replacing(term, intent).await? {
            return Err(fenced_error(store, term).await?);
        }
        store.purge.reset(&store.connection, term).await?;
        self.control.committed = None;
        self.control.record_intent(intent);
        self.control.rebuilding = ViewId::ALL.iter().copied().collect();
        self.replaces_all = true;
        Ok(())
    }

    /// Implements `ViewStore::rebuild`. First waits until no batch of an unfinished commit of the
    /// previous writer can be in flight. Its rows would have the same epoch as ours, but may differ
    /// from them.
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
        if let Some(until) = self.unfinished_batches_until {
            tokio::time::sleep_until(until.into()).await;
            self.unfinished_batches_until = None;
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

    /// Implements `ViewStore::write`.
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

    /// Implements `ViewStore::commit`.
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
                return Err(failed("commit")(
                    "the control record changed in the meantime: try again",
                ));
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
            store.purge.record_removals(view, epoch);
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
                // If no row is of a later epoch, two attempts to insert the same row collided. A
                // retry finds the inserted row.
                Err(later.map_or_else(
                    || {
                        failed("write rows")(
                            "a batch collided with another attempt to write the same rows",
                        )
                    },
                    StoreError::Damaged,
                ))
            }
        }
    }

    /// Returns an error unless this is our term and we hold the lease.
    async fn check_may_write(&self, store: &Shared, term: Term) -> Result<(), StoreError> {
        if self.control.term == term && store.lease.ensure_held().await? {
            return Ok(());
        }
        Err(fenced_error(store, term).await?)
    }

    /// Whether the record contains the commit whose outcome was unknown.
    fn uncertain_is_committed(&self, found: &Control) -> bool {
        self.uncertain.is_some() && found.committed == self.uncertain
    }

    /// Reads the record from the server. Returns an error if the term is no longer ours.
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

async fn fenced_error(store: &Shared, ours: Term) -> Result<StoreError, StoreError> {
    let current = store.record.read().await?.term;
    Ok(StoreError::Fenced { current, ours })
}

/// The error if a commit that was considered failed was executed in the meantime. The caller
/// retries the whole commit, and then finds that it is committed already.
fn committed_late() -> StoreError {
    failed("repeat a commit")("the previous attempt arrived late and is already committed")
}

/// The error if the server lost a commit that it had acknowledged. Causes are a failover without a
/// majority, and the restoration of an older copy of the database.
fn lost_commit(known: &Control, found: &Control) -> StoreError {
    let epoch = |control: &Control| {
        let committed = control.committed.as_ref();
        committed.map_or("none".to_owned(), |it| it.epoch.to_string())
    };
    StoreError::Damaged(format!(
        "the control record ends at epoch {}, but epoch {} was committed before: \
         the server lost a commit",
        epoch(found),
        epoch(known)
    ))
}
