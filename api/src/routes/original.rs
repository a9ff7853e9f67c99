//! `/original`: three calls in the contract of another API, so that its web client runs unchanged.
//! `docs/original.md` describes the contract.
//!
//! ```text
//! request ─▶ layers of all routes ─▶ key ─▶ path, body ─▶ one query ─▶ answer without `epoch` etc.
//!                └ refused ─────────────┴──────────┴── {"detail": ...}
//! ```
//!
//! The other API is a FastAPI application, so errors have the form that FastAPI gives them.

pub(crate) mod counts;
mod failure;
pub(crate) mod interactions;
mod json_body;
pub(crate) mod top;

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use skytide_core::port::key::Scope;

use crate::access::{Access, Refusal};
use crate::catalogue::{ORIGINAL_INTERACTIONS, ORIGINAL_PREFIX};
use crate::problem::Problem;
use failure::Failure;

/// Checks that `X-API-Key` has a key with the scope `read`. No other header counts, and
/// `API_ANONYMOUS` does not matter. The guard has charged the same key.
fn check_key(access: &Access, headers: &HeaderMap) -> Result<(), Failure> {
    match access.check_own(headers, Scope::Read) {
        Ok(_) => Ok(()),
        Err(Refusal::Missing) => Err(Failure::new(StatusCode::FORBIDDEN, "Not authenticated")),
        Err(Refusal::Invalid | Refusal::Scope(_)) => Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "Missing or invalid API key",
        )),
        Err(Refusal::Unavailable) => Err(Problem::from(Refusal::Unavailable).into()),
    }
}

/// The response with an answer. Nothing may store it: the contract has no field that shows its age.
fn respond(answer: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, answer).into_response()
}

/// Writes problems of all layers under [`ORIGINAL_PREFIX`] as `{"detail": text}`, and adds `POST` to
/// the methods that pages of other origins may use there.
pub(crate) async fn adapt_errors(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let rest = path.strip_prefix(ORIGINAL_PREFIX);
    if rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        return next.run(request).await;
    }
    let takes_post = path == ORIGINAL_INTERACTIONS.path;
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let detail = match problem.status() {
            StatusCode::NOT_FOUND => "Not Found",
            StatusCode::METHOD_NOT_ALLOWED => "Method Not Allowed",
            _ => problem.detail(),
        };
        let (mut parts, _) = response.into_parts();
        let body = Json(json!({ "detail": detail })).into_response();
        for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
            parts.headers.remove(name);
        }
        let json = HeaderValue::from_static("application/json");
        parts.headers.insert(header::CONTENT_TYPE, json);
        if parts.headers.contains_key(header::ALLOW) {
            let allowed = if takes_post { "POST" } else { "GET, HEAD" };
            let allowed = HeaderValue::from_static(allowed);
            parts.headers.insert(header::ALLOW, allowed);
        }
        response = Response::from_parts(parts, body.into_body());
    }
    let methods = header::ACCESS_CONTROL_ALLOW_METHODS;
    if response.headers().contains_key(&methods) {
        let with_post = HeaderValue::from_static("GET, HEAD, POST");
        response.headers_mut().insert(methods, with_post);
    }
    response
}
