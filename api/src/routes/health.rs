//! `/healthz`: the process runs. `/readyz`: whether the API can answer requests, with the reasons
//! if it cannot.
//!
//! Stored rows stay correct for the time that each answer contains. So a high age and an
//! unreachable relay are reported but do not make the service unready. Missing commits do, if a
//! limit is set: commits continue while the stream is quiet, so their absence means a failure.
//! Network time does not advance while the stream is quiet, so the age of a commit is counted from
//! when this process first saw it. An unready answer also lists the parts that do not work.
//!
//! The read of the store has a timeout, so the answer comes in time when the store hangs.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skytide_core::id::Epoch;
use skytide_core::port::store::Committed;
use skytide_core::time::Timestamp;

use crate::access::Access;
use crate::health::{Audience, ShownPart, ShownWait};
use crate::state::ApiContext;

/// Timeout for reading the store's control record.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// `GET /healthz`
pub(crate) async fn alive() -> Response {
    let alive = serde_json::json!({"status": "alive"});
    ([(header::CACHE_CONTROL, "no-store")], Json(alive)).into_response()
}

/// Whether the API can answer requests, as JSON.
#[derive(Serialize)]
pub(crate) struct Ready {
    ready: bool,
    /// Why it is not ready; empty if it is.
    reasons: Vec<String>,
    epoch: Option<u64>,
    as_of: Option<String>,
    since: Option<String>,
    freshness_ms: Option<u64>,
    /// What the pipeline waits for.
    waits_for: ShownWait,
    parts: Vec<ShownPart>,
}

/// `GET /readyz`
pub(crate) async fn ready(
    State(context): State<ApiContext>,
    State(commit_age): State<CommitAge>,
    State(access): State<Access>,
) -> Response {
    let ready = Ready::read(&context, &commit_age, &access, Audience::Everybody).await;
    ready.into_response()
}

/// `GET /readyz` of the probe: with what the parts report.
pub(crate) async fn ready_in_detail(
    State(context): State<ApiContext>,
    State(commit_age): State<CommitAge>,
    State(access): State<Access>,
) -> Response {
    let ready = Ready::read(&context, &commit_age, &access, Audience::Operator).await;
    ready.into_response()
}

impl IntoResponse for Ready {
    fn into_response(self) -> Response {
        let status = if self.ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, [(header::CACHE_CONTROL, "no-store")], Json(self)).into_response()
    }
}

/// The newest committed epoch that this process has seen, and when it first saw it. So it measures
/// how long there has been no newer commit. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitAge(Arc<Mutex<Option<(Epoch, Timestamp)>>>);

impl CommitAge {
    /// Milliseconds since `epoch` was first passed to this function; 0 at the first call, because
    /// the store does not record the wall-clock time of a commit.
    fn observe(&self, epoch: Epoch, now: Timestamp) -> u64 {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, since) = match *newest {
            Some(seen) if seen.0 == epoch => seen,
            _ => *newest.insert((epoch, now)),
        };
        now.0.saturating_sub(since.0)
    }
}

impl Ready {
    pub(crate) async fn read(
        context: &ApiContext,
        commit_age: &CommitAge,
        access: &Access,
        audience: Audience,
    ) -> Self {
        let mut reasons = Vec::new();
        if context.stop.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        let committed = read_committed(context, &mut reasons).await;
        if access.refuses_all() {
            reasons.push("the API keys cannot be read, and every request needs one".to_owned());
        }
        let now = context.clock.now();
        let as_of = committed.as_ref().and_then(|last| last.time.known());
        let since = committed.as_ref().and_then(|last| last.since.known());
        let freshness_ms = as_of.map(|time| now.0.saturating_sub(time.0));
        let age_ms = committed
            .as_ref()
            .map(|last| commit_age.observe(last.epoch, now));
        let limit_ms = context.limits.ready_age_ms_max;
        if let Some(age) = age_ms.filter(|age| limit_ms.is_some_and(|limit| *age > limit)) {
            reasons.push(format!("nothing has been committed for {age} ms"));
        }
        let parts = ShownPart::all(&*context.health, audience);
        if !reasons.is_empty() || context.health.needs_help() {
            let failing = parts.iter().filter(|part| !part.ok);
            reasons.extend(failing.map(ShownPart::reason));
        }
        Self {
            ready: reasons.is_empty(),
            reasons,
            epoch: committed.as_ref().map(|last| last.epoch.0),
            as_of: as_of.map(Timestamp::rfc3339),
            since: since.map(Timestamp::rfc3339),
            freshness_ms,
            waits_for: ShownWait::of(&*context.health, audience),
            parts,
        }
    }
}

/// Reads the last commit; adds a reason if there is none or the store cannot be read.
async fn read_committed(context: &ApiContext, reasons: &mut Vec<String>) -> Option<Committed> {
    let read = tokio::time::timeout(STORE_TIMEOUT, context.reader.control());
    let committed = match read.await {
        Ok(Ok(control)) => control.committed,
        Err(_) => {
            reasons.push("the view store does not answer".to_owned());
            None
        }
        Ok(Err(error)) => {
            let error = &error as &dyn Error;
            tracing::warn!(error, "cannot read the view store for /readyz");
            reasons.push("the view store cannot be read".to_owned());
            None
        }
    };
    if committed.is_none() && reasons.is_empty() {
        reasons
            .push("nothing is counted yet: waiting for the first events of the relay".to_owned());
    }
    committed
}
