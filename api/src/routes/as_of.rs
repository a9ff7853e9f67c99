//! `as_of`: which snapshot answers a request for a list of the past.
//!
//! ```text
//! as_of ─▶ newest snapshot time that is not later ─▶ LRU cache of decoded snapshots ─▶ snapshot
//! ```

use std::sync::Arc;

use skytide_core::port::snapshot::{Snapshot, SnapshotList};
use skytide_core::time::Timestamp;
use skytide_core::view::ListEntry;
use tokio::sync::Mutex;

use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiContext;

/// Maximum number of decoded snapshots in the cache.
const CACHED_MAX: usize = 2;

/// The time for which a list is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsOf {
    pub(crate) time: Timestamp,
    /// Whether only the snapshot of exactly this time may be used, because the request is for a
    /// further page of its list.
    exact: bool,
}

impl AsOf {
    /// The time of exactly this snapshot.
    pub(crate) fn exactly(snapshot: &Snapshot) -> Self {
        Self {
            time: snapshot.time,
            exact: true,
        }
    }

    /// Parses the parameter `as_of`; `None` if it is absent.
    pub(crate) fn parse(params: &Params) -> Result<Option<Self>, Problem> {
        let Some(text) = params.text("as_of") else {
            return Ok(None);
        };
        let time = Timestamp::parse(text).ok_or_else(|| {
            let detail = "\"as_of\" must be a time such as 2026-07-04T14:00:00Z";
            Problem::parameter("as_of", text, detail)
        })?;
        let exact = false;
        Ok(Some(Self { time, exact }))
    }

    /// The time that a cursor carries in milliseconds. If the request also has the parameter
    /// `as_of`, the cursor's snapshot must not be later than it.
    pub(crate) fn of_page(
        params: &Params,
        cursor_ms: Option<u64>,
    ) -> Result<Option<Self>, Problem> {
        let given = Self::parse(params)?;
        let carried = cursor_ms.map(Timestamp);
        if given.is_some_and(|given| carried.is_none_or(|carried| given.time < carried)) {
            let text = params.text("as_of").unwrap_or_default();
            let detail = "the cursor belongs to another time; leave \"as_of\" out";
            return Err(Problem::parameter("as_of", text, detail));
        }
        let exact = true;
        Ok(carried.map(|time| Self { time, exact }))
    }
}

/// An LRU cache of decoded snapshots, the most recently used one last. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotCache(Arc<Mutex<Vec<Arc<Snapshot>>>>);

impl SnapshotCache {
    /// The number of snapshots, and their bytes. While a snapshot is read, the numbers are 0.
    pub(crate) fn size(&self) -> (u64, u64) {
        let Ok(cached) = self.0.try_lock() else {
            return (0, 0);
        };
        let lists = cached.iter().flat_map(|snapshot| &snapshot.lists);
        let bytes = lists.map(|list| {
            let entries = &list.row.entries;
            let keys: usize = entries.iter().map(|entry| entry.key.len()).sum();
            let slots = entries.capacity() * size_of::<ListEntry>();
            size_of::<SnapshotList>() + list.key.lang.len() + slots + keys
        });
        (cached.len() as u64, bytes.sum::<usize>() as u64)
    }

    /// Finds the newest snapshot that is not later than the requested time.
    ///
    /// The store is asked for the times of its snapshots in every case, so a snapshot that was
    /// removed from the store is no longer answered from the cache.
    ///
    /// # Errors
    /// `not_found` if there is no such snapshot; a problem of the store if it cannot be read.
    pub(crate) async fn find(
        &self,
        context: &ApiContext,
        as_of: AsOf,
    ) -> Result<Arc<Snapshot>, Problem> {
        let times = context.snapshots.times().await?;
        let not_later = times.partition_point(|time| *time <= as_of.time);
        let not_found = || match times.first() {
            _ if as_of.exact => {
                Problem::not_found("the snapshot of this cursor is no longer stored")
            }
            Some(oldest) => {
                let (requested, oldest) = (as_of.time.rfc3339(), oldest.rfc3339());
                Problem::not_found(format!(
                    "there is no snapshot of {requested} or before; the oldest is of {oldest}"
                ))
            }
            None => Problem::not_found("there is no snapshot yet"),
        };
        let newest = not_later.checked_sub(1).map(|index| times[index]);
        let matches = |time: &Timestamp| !as_of.exact || *time == as_of.time;
        let time = newest.filter(matches).ok_or_else(not_found)?;

        // The lock is held during the read, so that concurrent requests for one snapshot read it
        // once.
        let mut cached = self.0.lock().await;
        if let Some(index) = cached.iter().position(|it| it.time == time) {
            cached[index..].rotate_left(1);
        } else {
            let snapshot = context.snapshots.at(time).await?;
            let snapshot = snapshot.filter(|it| it.time == time);
            cached.push(Arc::new(snapshot.ok_or_else(not_found)?));
            let surplus = cached.len().saturating_sub(CACHED_MAX);
            cached.drain(..surplus);
        }
        Ok(cached.last().expect("the snapshot was moved here").clone())
    }
}
