//! Ends the documents of removed rows, once no late batch can bring a row back.
//!
//! ```text
//! removals of a commit ─▶ it is complete: floor := its epoch ─ twice the longest time of a batch ─▶ documents go
//! ```
//!
//! A row is removed by a document that says so, because a batch of an older epoch that arrives later would make it anew
//! if there was nothing. Behind the floor no such batch begins, and one that had begun has ended when the wait is over,
//! because the server ends it. Rows that were put again are no longer such documents, so they stay.
//!
//! A day of rows may be due at once: documents go in portions, each an operation of its own, and commits go on meanwhile.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use skytide_core::id::Epoch;
use skytide_core::port::store::{StoreError, Term};
use skytide_core::view::ViewId;

use super::connection::Connection;
use super::control::ControlRecord;
use super::error::failed;
use super::guard;
use super::row::REMOVED;
use super::values::number;

const OPERATION: &str = "purge removed rows";
/// Documents that go in one operation, at most.
const DELETE_BATCH: u32 = 5_000;

/// What is to be purged.
#[derive(Debug, Default)]
pub struct Purge {
    state: Mutex<State>,
    /// Held for a round, and while a commit that replaces everything begins: a round must not raise a floor that is lowered.
    round_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Views with documents of removed rows, each with the newest epoch of one.
    views: BTreeMap<ViewId, Epoch>,
    /// Floors that were raised, and when.
    raised: Option<(Instant, Epoch, Vec<ViewId>)>,
}

impl Purge {
    /// How long after the floor was raised.
    pub fn grace_period(connection: &Connection) -> Duration {
        connection.operation_max() * 2
    }

    /// Rows of this view are removed at this epoch.
    pub fn note(&self, view: ViewId, epoch: Epoch) {
        let mut state = self.state();
        let newest = state.views.entry(view).or_insert(epoch);
        *newest = epoch.max(*newest);
    }

    /// A commit that replaces everything begins, and no batch of a writer before can arrive any more: lowers all floors, and
    /// ends all documents of removed rows, whose epochs may be later than those to come.
    pub async fn start_over(&self, connection: &Connection, term: Term) -> Result<(), StoreError> {
        let _lock = self.round_lock.lock().await;
        *self.state() = State::default();
        guard::lower_floors(connection, term).await?;
        for view in ViewId::ALL {
            remove(connection, *view, Epoch(i64::MAX as u64)).await?;
        }
        Ok(())
    }

    /// Does what is due, up to the last complete commit. Answers how many documents went.
    pub async fn round(
        &self,
        connection: &Connection,
        record: &ControlRecord,
    ) -> Result<u64, StoreError> {
        let _lock = self.round_lock.lock().await;
        let Some(committed) = record.read().await?.committed else {
            return Ok(0);
        };
        let committed = committed.epoch;
        let wait = Self::grace_period(connection);
        let due = match &self.state().raised {
            Some((at, ..)) if at.elapsed() < wait => return Ok(0),
            Some((_, floor, views)) => Some((*floor, views.clone())),
            None => None,
        };
        let mut deleted_count = 0;
        if let Some((floor, views)) = due {
            for view in views {
                deleted_count += remove(connection, view, floor).await?;
            }
            let mut state = self.state();
            state.views.retain(|_, newest| *newest > floor);
            state.raised = None;
        }
        let views: Vec<ViewId> = self.state().views.keys().copied().collect();
        if views.is_empty() {
            return Ok(deleted_count);
        }
        for view in &views {
            guard::raise_floor(connection, *view, committed).await?;
        }
        self.state().raised = Some((Instant::now(), committed, views));
        Ok(deleted_count)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn remove(connection: &Connection, view: ViewId, floor: Epoch) -> Result<u64, StoreError> {
    let old = doc! { REMOVED: { "$lte": number(floor.0)? } };
    let documents = connection.database().collection::<Document>(view.name());
    let found = documents
        .find(old.clone())
        .projection(doc! { "_id": 1 })
        .batch_size(DELETE_BATCH);
    let mut found = connection.within(OPERATION, found).await?;
    let delete = async |ids: Vec<String>| {
        let mut filter = old.clone();
        filter.insert("_id", doc! { "$in": ids });
        let deleted = documents.delete_many(filter);
        let deleted = connection.within(OPERATION, deleted).await?;
        Ok::<_, StoreError>(deleted.deleted_count)
    };
    let (mut deleted_count, mut ids) = (0, Vec::new());
    while connection.within(OPERATION, found.advance()).await? {
        let id = found.current().get_str("_id").map_err(failed(OPERATION))?;
        ids.push(id.to_owned());
        if ids.len() >= DELETE_BATCH as usize {
            deleted_count += delete(std::mem::take(&mut ids)).await?;
        }
    }
    if !ids.is_empty() {
        deleted_count += delete(ids).await?;
    }
    Ok(deleted_count)
}
