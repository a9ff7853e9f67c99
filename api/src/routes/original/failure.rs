//! Errors in the form of FastAPI: `{"detail": text}`, or for an invalid path or body a list of what
//! is wrong (<https://fastapi.tiangolo.com/tutorial/handling-errors/>,
//! <https://docs.pydantic.dev/latest/errors/validation_errors/>).

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::problem::Problem;

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One of the contract's own errors.
    Text(StatusCode, String),
    /// The path or the body is not valid.
    Invalid(Box<Violation>),
    /// A problem as all routes have it. [`super::adapt_errors`] rewrites it.
    Problem(Problem),
}

/// What is wrong with a path or a body.
#[derive(Debug, Serialize)]
pub(crate) struct Violation {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    /// Where: `path` or `body`, then the name of the field, or a position in the text.
    pub(crate) loc: Vec<Value>,
    pub(crate) msg: &'static str,
    /// The value that is wrong.
    pub(crate) input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ctx: Option<Value>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self::Text(status, detail.into())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self::Invalid(Box::new(violation))
    }
}

#[derive(Serialize)]
struct Detail<D> {
    detail: D,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = match self {
            Self::Problem(problem) => return problem.into_response(),
            Self::Text(status, detail) => (status, Json(Detail { detail })).into_response(),
            Self::Invalid(violation) => {
                let detail = [violation];
                (StatusCode::UNPROCESSABLE_ENTITY, Json(Detail { detail })).into_response()
            }
        };
        let no_store = HeaderValue::from_static("no-store");
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, no_store);
        response
    }
}
