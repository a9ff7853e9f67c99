//! `/v1/snapshots`: the times of the stored snapshots.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skytide_core::time::Timestamp;

use crate::catalogue::SNAPSHOTS;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiContext;

/// Maximum number of snapshots on a page.
const LIMIT_MAX: usize = 1_000;

/// A page of snapshots, as JSON.
#[derive(Serialize)]
struct Snapshots {
    /// Number of all stored snapshots.
    kept: usize,
    /// Newest first.
    snapshots: Vec<SnapshotTime>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct SnapshotTime {
    as_of: String,
}

/// `GET /v1/snapshots`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &SNAPSHOTS)?;
    let limit = params.number("limit", 1..=LIMIT_MAX, 100)?;
    let before = params.text("cursor").map(decode_cursor).transpose()?;
    let times = context.snapshots.times().await?;
    let page = times.iter().rev();
    let page = page.filter(|time| before.is_none_or(|before| **time < before));
    let mut page: Vec<Timestamp> = page.take(limit + 1).copied().collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let answer = Snapshots {
        kept: times.len(),
        cursor: page.last().filter(|_| more).map(|last| last.0.to_string()),
        snapshots: page
            .into_iter()
            .map(|time| SnapshotTime {
                as_of: time.rfc3339(),
            })
            .collect(),
    };
    Ok(([(header::CACHE_CONTROL, "no-cache")], Json(answer)).into_response())
}

/// A cursor is the time of the last snapshot of a page, in milliseconds.
fn decode_cursor(text: &str) -> Result<Timestamp, Problem> {
    text.parse().map(Timestamp).map_err(|_| {
        let detail = "\"cursor\" must be the unchanged cursor of an answer of this API";
        Problem::parameter("cursor", text, detail)
    })
}
