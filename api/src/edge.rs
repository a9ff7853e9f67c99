//! What holds for every request: limits, who may read, and plain words for addresses that lead nowhere.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::catalogue::{METRICS, ROUTES};
use crate::problem::Problem;
use crate::state::ApiState;

/// Refuses what is too long, ends what takes too long, and marks every answer.
pub(crate) async fn guard(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let open_to_all = request.uri().path() != METRICS.path;
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |uri| uri.as_str().len());
    let mut response = if length > state.limits.uri_bytes_max {
        Problem::uri_too_long(state.limits.uri_bytes_max).into_response()
    } else if open_to_all && request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let time = Duration::from_millis(state.limits.request_ms_max);
        let late = || Problem::unavailable("too_slow", "the answer took too long").into_response();
        tokio::time::timeout(time, next.run(request))
            .await
            .unwrap_or_else(|_| late())
    };
    mark(response.headers_mut(), open_to_all);
    response
}

/// Everything here but `/metrics` is public data that is only read, so pages of any origin may read it.
fn mark(headers: &mut HeaderMap, open_to_all: bool) {
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if open_to_all {
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, "*");
        set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "etag, retry-after");
        set(header::ACCESS_CONTROL_MAX_AGE, "86400");
    }
}

/// Nothing is at this address.
pub(crate) async fn nowhere(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let routes = ROUTES.iter().map(|route| route.path.replace("{*", "{"));
    Problem::not_found(format!("there is nothing at {path:?}")).allowed(routes)
}

/// Only reading is possible here.
pub(crate) async fn wrong_method() -> Response {
    ([(header::ALLOW, "GET, HEAD")], Problem::method()).into_response()
}
