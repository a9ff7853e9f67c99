//! Deletes the documents of removed rows, once no late batch can restore such a row.
//!
//! ```text
//! removals of a commit ─▶ it is committed: floor := its epoch
//!                       ─▶ twice the longest time of a batch later: their documents are deleted
//! ```
//!
//! A removed row becomes a document that records the removal (a tombstone). Without it, a late
//! batch of an earlier epoch would insert the row again. After the floor is raised, no such batch
//! can start; and a batch that had started has ended when the grace period is over, because the
//! server aborts it. A row that was written again is no longer a tombstone, so it stays.
//!
//! The rows of a whole day may become due at once. They are deleted in portions, each in its own
//! operation, while commits continue.

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
/// The maximum number of documents that one operation deletes.
const DELETE_BATCH: u32 = 5_000;

/// What is to be purged.
#[derive(Debug, Default)]
pub struct Purge {
    state: Mutex<State>,
    /// Held during a round, and while a commit that replaces everything begins: a round must not
    /// raise a floor that is being lowered.
    round_lock: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Views with tombstones, each with the epoch of its newest one.
    views: BTreeMap<ViewId, Epoch>,
    /// When floors were last raised, to which epoch, and for which views.
    raised: Option<(Instant, Epoch, Vec<ViewId>)>,
}

impl Purge {
    /// How long to wait between raising the floor and deleting documents.
    pub fn grace_period(connection: &Connection) -> Duration {
        connection.operation_timeout() * 2
    }

    /// Records that rows of this view are removed at this epoch.
    pub fn record_removals(&self, view: ViewId, epoch: Epoch) {
        let mut state = self.state();
        let newest = state.views.entry(view).or_insert(epoch);
        *newest = epoch.max(*newest);
    }

    /// Called when a commit that replaces everything begins and no batch of a previous writer can
    /// arrive any more. Lowers all floors and deletes all tombstones, because their epochs may be
    /// later than those of the following commits.
    pub async fn reset(&self, connection: &Connection, term: Term) -> Result<(), StoreError> {
        let _lock = self.round_lock.lock().await;
        *self.state() = State::default();
        guard::lower_floors(connection, term).await?;
        for view in ViewId::ALL {
            remove(connection, *view, Epoch(i64::MAX as u64)).await?;
        }
        Ok(())
    }

    /// Does what is due up to the last commit: deletes tombstones, then raises floors. Returns the
    /// number of deleted documents.
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
