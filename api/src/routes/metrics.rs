//! `/metrics`: all metrics of the process.

use std::sync::PoisonError;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use crate::exposition::render;
use crate::problem::Problem;
use crate::state::ApiContext;

/// `GET /metrics`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registry = context.registry.lock();
    render(&registry.unwrap_or_else(PoisonError::into_inner), &headers)
}
