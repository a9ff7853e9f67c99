//! `/v1/audit`: the hash of all rows at an epoch, and the newest audit.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;
use skytide_core::id::Epoch;
use skytide_core::port::audit::{AuditReport, AuditedView, Difference};
use skytide_core::port::store::{Committed, Recipe, Sum};
use skytide_core::time::Timestamp;
use skytide_core::view::ViewId;

use crate::catalogue::AUDIT;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiContext;

/// The answer. Everything but `audit` and the view `coverage` is a function of the log up to the
/// epoch, and of `recipe`.
#[derive(Debug, Serialize)]
struct Answer {
    epoch: Epoch,
    as_of: Option<String>,
    since: Option<String>,
    /// Identifies the log up to the epoch.
    tick_hash: Option<String>,
    recipe: Option<ShownRecipe>,
    /// The sum of the hashes of all views but `coverage`, which also depends on when this machine
    /// got a version that has that view.
    hash: String,
    views: BTreeMap<&'static str, ShownSum>,
    audit: Option<ShownAudit>,
}

/// The options that the rows depend on, and the versions of the views.
#[derive(Debug, Serialize)]
struct ShownRecipe {
    account_policy: Box<str>,
    interactions_days: Option<u32>,
    views: BTreeMap<&'static str, u32>,
}

#[derive(Debug, Serialize)]
struct ShownSum {
    rows: i64,
    hash: String,
}

#[derive(Debug, Serialize)]
struct ShownAudit {
    scope: Box<str>,
    epoch: Epoch,
    as_of: Option<String>,
    checkpoint: Option<Epoch>,
    events: u64,
    live_records: u64,
    seconds: f64,
    rows: u64,
    differing: u64,
    views: Vec<AuditedView>,
    differences: Vec<ShownDifference>,
}

/// A difference, with the columns as JSON objects.
#[derive(Debug, Serialize)]
struct ShownDifference {
    view: Box<str>,
    key: Box<str>,
    expected: Option<Box<RawValue>>,
    found: Option<Box<RawValue>>,
}

/// `GET /v1/audit`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &AUDIT)?;
    let (_, committed) = context.committed().await?;
    let newest = context.audits.as_ref().and_then(|audits| audits.newest());
    let answer = Answer::new(committed, newest.as_deref());
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((no_store, Json(answer)).into_response())
}

impl Answer {
    fn new(committed: Committed, audit: Option<&AuditReport>) -> Self {
        let sums = committed.sums.iter();
        let sums = sums.filter(|(view, _)| **view != ViewId::Coverage);
        let hash = sums.fold(0_u128, |hash, (_, sum)| hash.wrapping_add(sum.hash));
        let shown = |sum: &Sum| ShownSum {
            rows: sum.rows,
            hash: format!("{:032x}", sum.hash),
        };
        let views = committed.sums.iter();
        Self {
            epoch: committed.epoch,
            as_of: committed.time.known().map(Timestamp::rfc3339),
            since: committed.since.known().map(Timestamp::rfc3339),
            tick_hash: committed.tick_hash.map(|hash| format!("{hash:016x}")),
            recipe: committed.recipe.map(ShownRecipe::new),
            hash: format!("{hash:032x}"),
            views: views.map(|(view, sum)| (view.name(), shown(sum))).collect(),
            audit: audit.map(ShownAudit::new),
        }
    }
}

impl ShownRecipe {
    fn new(recipe: Recipe) -> Self {
        let views = recipe.views.into_iter();
        Self {
            account_policy: recipe.account_policy,
            interactions_days: recipe.interactions_days,
            views: views
                .map(|(view, version)| (view.name(), version))
                .collect(),
        }
    }
}

impl ShownAudit {
    fn new(report: &AuditReport) -> Self {
        Self {
            scope: report.scope.clone(),
            epoch: report.epoch,
            as_of: report.time.known().map(Timestamp::rfc3339),
            checkpoint: report.checkpoint,
            events: report.events,
            live_records: report.live_records,
            seconds: report.seconds,
            rows: report.rows,
            differing: report.differing,
            views: report.views.clone(),
            differences: report
                .differences
                .iter()
                .map(ShownDifference::new)
                .collect(),
        }
    }
}

impl ShownDifference {
    fn new(difference: &Difference) -> Self {
        // The audit writes valid JSON; anything else is shown as a string.
        let json = |text: &Option<Box<str>>| {
            let text = text.as_deref()?;
            let raw = RawValue::from_string(text.to_owned());
            raw.or_else(|_| serde_json::value::to_raw_value(text)).ok()
        };
        Self {
            view: difference.view.clone(),
            key: difference.key.clone(),
            expected: json(&difference.expected),
            found: json(&difference.found),
        }
    }
}
