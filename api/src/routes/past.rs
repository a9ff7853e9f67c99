//! `as_of`: a list of the past, from the newest snapshot that is not later.
//!
//! ```text
//! as_of ─ newest moment that is not later ─ the snapshot, of which the last few stay unpacked ─ its list ─▶ page
//! ```
//!
//! The answer names the snapshot's own epoch and time. Accounts are joined as they are now; posts without tallies, as
//! those of now would stand beside values of then.

use std::sync::Arc;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use skytide_core::port::snapshot::Snapshot;
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;
use tokio::sync::Mutex;

use super::trends::Trends;
use crate::answer::{Answer, Meta, Rows};
use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiState;

/// Snapshots that stay unpacked.
const KEPT_MAX: usize = 2;

/// A moment of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsOf {
    pub(crate) time: Timestamp,
    /// Only a snapshot of just this moment will do: it is a further page of one.
    exact: bool,
}

/// The snapshots that were asked for last, that of the newest question last.
#[derive(Debug, Default)]
pub(crate) struct Past(Mutex<Vec<Arc<Snapshot>>>);

impl AsOf {
    /// The moment that `as_of` names, if it is there.
    pub(crate) fn parse(params: &Params) -> Result<Option<Self>, Problem> {
        let Some(text) = params.text("as_of") else {
            return Ok(None);
        };
        let time = Timestamp::parse(text).ok_or_else(|| {
            let detail = "\"as_of\" must be a moment such as 2026-07-04T14:00:00Z";
            Problem::parameter("as_of", text, detail)
        })?;
        let exact = false;
        Ok(Some(Self { time, exact }))
    }

    /// The moment that a cursor carries; `as_of` beside it must be one that leads there.
    pub(crate) fn of_page(params: &Params, cursor: Option<u64>) -> Result<Option<Self>, Problem> {
        let given = Self::parse(params)?;
        let carried = cursor.map(Timestamp);
        if given.is_some_and(|given| carried.is_none_or(|carried| given.time < carried)) {
            let text = params.text("as_of").unwrap_or_default();
            let detail = "the cursor belongs to another moment; leave \"as_of\" out";
            return Err(Problem::parameter("as_of", text, detail));
        }
        let exact = true;
        Ok(carried.map(|time| Self { time, exact }))
    }
}

/// Answers a question about the past.
pub(crate) async fn answer(
    state: &ApiState,
    mut question: Trends,
    as_of: AsOf,
) -> Result<Response, Problem> {
    let snapshot = state.past.find(state, as_of).await?;
    question.as_of = Some(AsOf {
        time: snapshot.time,
        exact: true,
    });
    let committed = Committed {
        epoch: snapshot.epoch,
        time: snapshot.time,
        since: snapshot.since,
        ..Committed::default()
    };
    let list = snapshot
        .lists
        .iter()
        .find(|list| (list.view, &list.key) == question.list());
    // A list that a later commit wrote while the snapshot was taken is not of its epoch.
    let consistent = list.is_none_or(|list| list.epoch <= snapshot.epoch);
    let rows = Rows::new(state, &committed);
    let row = list.map(|list| list.row.clone()).unwrap_or_default();
    let data = question.page(&rows, row).await?;
    let meta = Meta::new(state, &committed, consistent);
    // Names change, snapshots are removed.
    let caching = [(header::CACHE_CONTROL, "no-cache")];
    Ok((caching, Json(Answer { meta, data })).into_response())
}

impl Past {
    /// The newest snapshot that is not later than the moment.
    async fn find(&self, state: &ApiState, as_of: AsOf) -> Result<Arc<Snapshot>, Problem> {
        let moments = state.snapshots.times().await?;
        let newest = moments.partition_point(|moment| *moment <= as_of.time);
        let none = || match moments.first() {
            _ if as_of.exact => Problem::not_found("the snapshot of this cursor is kept no more"),
            Some(oldest) => {
                let (asked, oldest) = (as_of.time.rfc3339(), oldest.rfc3339());
                Problem::not_found(format!(
                    "there is no snapshot of {asked} or before; the oldest is of {oldest}"
                ))
            }
            None => Problem::not_found("there is no snapshot yet"),
        };
        let moment = newest.checked_sub(1).map(|place| moments[place]);
        let right = |found: &Timestamp| !as_of.exact || *found == as_of.time;
        let moment = moment.filter(right).ok_or_else(none)?;

        // Held while one is read: others may want the same one.
        let mut kept = self.0.lock().await;
        if let Some(place) = kept.iter().position(|it| it.time == moment) {
            kept[place..].rotate_left(1);
        } else {
            let found = state.snapshots.at(moment).await?;
            let found = found.filter(|it| it.time == moment).ok_or_else(none)?;
            kept.push(Arc::new(found));
            let surplus = kept.len().saturating_sub(KEPT_MAX);
            kept.drain(..surplus);
        }
        Ok(kept.last().expect("it was put last").clone())
    }
}
