//! Errors in the format of the protocol's servers: `{"error": NAME, "message": TEXT}`
//! (<https://atproto.com/specs/xrpc#error-responses>).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request failed.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            name,
            message: message.into(),
        }
    }

    /// 400 `InvalidRequest`.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::named("InvalidRequest", message)
    }

    /// 400 with another name.
    pub(super) fn named(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.name, "message": self.message });
        (self.status, Json(body)).into_response()
    }
}

/// The answer for a path without a route.
pub(super) async fn not_found() -> Problem {
    let status = StatusCode::NOT_IMPLEMENTED;
    Problem::new(status, "MethodNotImplemented", "Method Not Implemented")
}
