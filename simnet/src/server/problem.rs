//! Errors as the protocol's servers tell them: `{"error": NAME, "message": TEXT}`
//! (<https://atproto.com/specs/xrpc#error-responses>).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request has no answer.
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

    /// The client asked for something that cannot be.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::named("InvalidRequest", message)
    }

    /// 400 with a name.
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

/// Nothing is at this address.
pub(super) async fn nowhere() -> Problem {
    let status = StatusCode::NOT_IMPLEMENTED;
    Problem::new(status, "MethodNotImplemented", "Method Not Implemented")
}
