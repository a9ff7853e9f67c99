//! `/healthz`: the process lives. `/readyz`: it can answer, and what is the matter.
//!
//! Old rows are still right for the time they name, so age and a relay out of reach are told but do not make the
//! service unready. That nothing more is committed does, if a limit is set: commits go on when the stream is quiet, and
//! network time does not, so the age of a commit is counted from when this process first saw it. Then a part that does not
//! do its work is told as a reason, too. An answer comes in time, also when the store gives none.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skytide_core::id::Epoch;
use skytide_core::time::Timestamp;

use crate::state::{ApiState, Part};

/// How long the store may take to tell how it does.
const STORE_MAX: Duration = Duration::from_secs(2);

/// `GET /healthz`
pub(crate) async fn alive() -> Response {
    let alive = serde_json::json!({"status": "alive"});
    ([(header::CACHE_CONTROL, "no-store")], Json(alive)).into_response()
}

/// Whether questions can be answered, as JSON.
#[derive(Serialize)]
pub(crate) struct Ready {
    ready: bool,
    /// Why not; empty if ready.
    reasons: Vec<String>,
    epoch: Option<u64>,
    as_of: Option<String>,
    since: Option<String>,
    freshness_ms: Option<u64>,
    parts: Vec<Part>,
}

/// `GET /readyz`
pub(crate) async fn ready(State(state): State<ApiState>) -> Response {
    let ready = Ready::read(&state).await;
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(ready)).into_response()
}

/// The newest epoch that was seen, and when it was seen first.
#[derive(Debug, Default)]
pub(crate) struct Newest(Mutex<Option<(Epoch, Timestamp)>>);

impl Newest {
    /// How long this has been the committed epoch, as far as it was looked at.
    fn age_ms(&self, epoch: Epoch, now: Timestamp) -> u64 {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, since) = match *newest {
            Some(seen) if seen.0 == epoch => seen,
            _ => *newest.insert((epoch, now)),
        };
        now.0.saturating_sub(since.0)
    }
}

impl Ready {
    pub(crate) async fn read(state: &ApiState) -> Self {
        let mut reasons = Vec::new();
        if state.stop.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        let asked = tokio::time::timeout(STORE_MAX, state.reader.control());
        let committed = match asked.await {
            Ok(Ok(control)) => control.committed,
            Err(_) => {
                reasons.push("the view store does not answer".to_owned());
                None
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "store not readable"
                );
                reasons.push("the view store cannot be read".to_owned());
                None
            }
        };
        if committed.is_none() && reasons.is_empty() {
            reasons.push(
                "nothing is counted yet: waiting for the first events of the relay".to_owned(),
            );
        }
        let now = state.clock.now();
        let freshness_ms = committed
            .as_ref()
            .map(|last| now.0.saturating_sub(last.time.0));
        let age_ms = committed
            .as_ref()
            .map(|last| state.newest.age_ms(last.epoch, now));
        let limit_ms = state.limits.ready_age_ms_max;
        if let Some(age) = age_ms.filter(|age| limit_ms.is_some_and(|limit| *age > limit)) {
            reasons.push(format!("nothing has been committed for {age} ms"));
        }
        let parts = state.health.parts();
        if !reasons.is_empty() || state.health.needs_help() {
            let wrong = parts.iter().filter(|part| !part.ok);
            reasons.extend(wrong.map(|part| format!("{}: {}", part.name, part.detail)));
        }
        Self {
            ready: reasons.is_empty(),
            reasons,
            epoch: committed.as_ref().map(|last| last.epoch.0),
            as_of: committed.as_ref().map(|last| last.time.rfc3339()),
            since: committed.as_ref().map(|last| last.since.rfc3339()),
            freshness_ms,
            parts,
        }
    }
}
