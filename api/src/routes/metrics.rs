//! `/metrics`: all metrics of the process. If the API is public, only the probe serves them.

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
    if context.details_on_probe {
        let detail = "metrics are not public: they are on the probe's address, see the option \
                      SKYTIDE_PROBE_ADDRESS";
        return Err(Problem::not_found(detail));
    }
    show_on_probe(State(context), headers).await
}

/// `GET /metrics` of the probe.
pub(crate) async fn show_on_probe(
    State(context): State<ApiContext>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registry = context.registry.lock();
    render(&registry.unwrap_or_else(PoisonError::into_inner), &headers)
}
