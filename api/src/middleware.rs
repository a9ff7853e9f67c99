//! What applies to every request: its id, limits, metrics, CORS headers, and the answers for unknown
//! paths and methods.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::catalogue::{self, ADMIN_PREFIX, METRICS, ROUTES};
use crate::problem::Problem;
use crate::request_id::{self, RequestId};
use crate::state::ApiContext;

/// Refuses a request whose URI is too long, stops one that takes too long, answers CORS preflights,
/// and sets the headers that every answer has.
pub(crate) async fn enforce_limits(
    State(context): State<ApiContext>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let cors_allowed = path != METRICS.path && !path.starts_with(ADMIN_PREFIX);
    let uri_bytes = request
        .uri()
        .path_and_query()
        .map_or(0, |uri| uri.as_str().len());
    let limits = context.limits;
    let mut response = if uri_bytes > limits.uri_bytes_max {
        Problem::uri_too_long(limits.uri_bytes_max).into_response()
    } else if cors_allowed && request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let time_max = Duration::from_millis(limits.request_ms_max);
        let late = || Problem::too_slow().into_response();
        tokio::time::timeout(time_max, next.run(request))
            .await
            .unwrap_or_else(|_| late())
    };
    set_headers(response.headers_mut(), cors_allowed);
    response
}

/// Sets the headers that every answer has. Pages of any origin may read all answers except
/// `/metrics` and those of the admin routes: a browser adds no key by itself.
fn set_headers(headers: &mut HeaderMap, cors_allowed: bool) {
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if cors_allowed {
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
        // `*` would not include `Authorization`
        // (<https://fetch.spec.whatwg.org/#cors-non-wildcard-request-header-name>).
        set(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, x-api-key, x-request-id, if-none-match, last-event-id, content-type",
        );
        set(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "etag, retry-after, x-request-id, ratelimit-limit, ratelimit-remaining, \
             ratelimit-reset, ratelimit-policy",
        );
        set(header::ACCESS_CONTROL_MAX_AGE, "86400");
    }
}

/// Gives a request its id, and counts and times it under its route. The path is not used, because
/// clients choose it and each path would become a time series of its own.
pub(crate) async fn observe_request(
    State(context): State<ApiContext>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    let started = Instant::now();
    let mut response = id.clone().scope(next.run(request)).await;
    let duration = started.elapsed();
    let status = response.status().as_u16();
    tracing::debug!(
        request = id.as_str(),
        %method,
        route,
        status,
        ms = duration.as_secs_f64() * 1e3,
        "request answered"
    );
    response
        .headers_mut()
        .insert(request_id::HEADER, id.header());
    context.metrics.answered(route, status, duration);
    response
}

/// Answers a request whose handler panicked.
#[expect(clippy::needless_pass_by_value, reason = "the signature of the layer")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    Problem::panicked(&*panic).into_response()
}

/// Answers a request for an unknown path.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let routes = ROUTES.iter().map(|route| route.path.replace("{*", "{"));
    Problem::not_found(format!("there is no route {path:?}")).allowed(routes)
}

/// Answers a request with a method that its route does not have.
pub(crate) async fn method_not_allowed(matched: Option<MatchedPath>) -> Response {
    let path = matched.as_ref().map_or("", MatchedPath::as_str);
    let allowed = catalogue::allowed_methods(path);
    let problem = Problem::method_not_allowed(&allowed);
    ([(header::ALLOW, allowed)], problem).into_response()
}
