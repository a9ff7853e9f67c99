//! `/v1/snapshots`: the moments of which all lists are kept.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skytide_core::time::Timestamp;

use crate::catalogue::SNAPSHOTS;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiState;

/// Moments of a page, at most.
const LIMIT_MAX: usize = 1_000;

/// The moments, as JSON.
#[derive(Serialize)]
struct Snapshots {
    /// All that are kept, of which this is a page.
    kept: usize,
    /// Newest first.
    snapshots: Vec<Moment>,
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Moment {
    as_of: String,
}

/// `GET /v1/snapshots`
pub(crate) async fn show(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &SNAPSHOTS)?;
    let limit = params.number("limit", 1..=LIMIT_MAX, 100)?;
    let before = params.text("cursor").map(read_cursor).transpose()?;
    let moments = state.snapshots.times().await?;
    let page = moments.iter().rev();
    let page = page.filter(|moment| before.is_none_or(|before| **moment < before));
    let mut page: Vec<Timestamp> = page.take(limit + 1).copied().collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let answer = Snapshots {
        kept: moments.len(),
        cursor: page.last().filter(|_| more).map(|last| last.0.to_string()),
        snapshots: page
            .into_iter()
            .map(|moment| Moment {
                as_of: moment.rfc3339(),
            })
            .collect(),
    };
    Ok(([(header::CACHE_CONTROL, "no-cache")], Json(answer)).into_response())
}

fn read_cursor(text: &str) -> Result<Timestamp, Problem> {
    text.parse().map(Timestamp).map_err(|_| {
        let detail = "\"cursor\" must be the cursor of an answer of this API, unchanged";
        Problem::parameter("cursor", text, detail)
    })
}
