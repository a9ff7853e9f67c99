//! `/healthz`: the process lives. `/readyz`: it can answer, and what is the matter.
//!
//! Old rows are still right for the time they name, so age and a relay out of reach are told but do not make the
//! service unready, unless a limit of age is set; then a part that does not do its work is a reason, too. An answer comes in
//! time, also when the store gives none.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

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
        let now = state.clock.now().0;
        let freshness_ms = committed
            .as_ref()
            .map(|last| now.saturating_sub(last.time.0));
        let limit_ms = state.limits.ready_age_ms_max;
        if let Some(age) = freshness_ms.filter(|age| limit_ms.is_some_and(|limit| *age > limit)) {
            reasons.push(format!("the newest commit is {age} ms old"));
        }
        let parts = state.health.parts();
        if !reasons.is_empty() {
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
