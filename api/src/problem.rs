//! Errors as problem details (<https://www.rfc-editor.org/rfc/rfc9457>). A problem of the request
//! names the parameter and the allowed values. A failure on our side is logged with its causes and
//! the id of a request; the client gets only the id.

use std::any::Any;
use std::error::Error;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skytide_core::port::job::{JobError, RunRefusal};
use skytide_core::port::key::{KeyError, Scope};
use skytide_core::port::snapshot::SnapshotError;
use skytide_core::port::store::StoreError;
use skytide_core::view::RowError;
use strsim::damerau_levenshtein;

use crate::request_id::RequestId;

/// An error as the client sees it. `type` is `about:blank`, so `title` is the text of the status;
/// `code` distinguishes the cases in which a client should act differently.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Details>);

#[derive(Clone, Debug, Serialize)]
struct Details {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "status_number")]
    status: StatusCode,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestId>,
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
}

/// Maximum number of characters of a refused value that the answer repeats.
const VALUE_CHARS_MAX: usize = 100;

impl Problem {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            code,
            detail: detail.into(),
            parameter: None,
            value: None,
            allowed: Vec::new(),
            nearest: None,
            request: None,
            retry_after_seconds: None,
        }))
    }

    /// The value of a parameter is not allowed.
    pub(crate) fn parameter(name: &str, value: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail);
        problem.0.parameter = Some(truncated(name));
        problem.0.value = Some(truncated(value));
        problem
    }

    /// The route has no such parameter; `known` are those that it has.
    pub(crate) fn unknown_parameter(name: &str, known: Vec<&str>) -> Self {
        let nearest = nearest(name, &known);
        let hint = nearest.map_or(String::new(), |nearest| {
            format!("; did you mean {nearest:?}?")
        });
        let name = truncated(name);
        let detail = format!("there is no parameter {name:?} here{hint}");
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail);
        problem.0.parameter = Some(name);
        problem.0.nearest = nearest.map(str::to_owned);
        problem.allowed(known)
    }

    /// The path or the target of the request does not exist.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// This process runs no jobs.
    pub(crate) fn no_scheduler() -> Self {
        let detail = "this process runs no jobs: send the request to `skytide up`, or run \
                      `skytide schedule --run` beside the database";
        Self::new(StatusCode::NOT_IMPLEMENTED, "no_scheduler", detail)
    }

    /// The route has no such method; `allowed` are those that it has.
    pub(crate) fn method_not_allowed(allowed: &str) -> Self {
        let detail = format!("this route does not accept this method; it accepts: {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    /// The route needs a key, and the request has none.
    pub(crate) fn key_required() -> Self {
        let detail = "this route needs a key in the header X-API-Key (or Authorization: Bearer); \
                      the operator of this server makes one with `skytide keys add`";
        Self::new(StatusCode::UNAUTHORIZED, "key_required", detail)
    }

    /// The key is malformed, unknown, expired or revoked. The answer does not say which.
    pub(crate) fn invalid_key() -> Self {
        let detail = "the key in X-API-Key or Authorization is not valid; the operator of this \
                      server makes one with `skytide keys add`";
        Self::new(StatusCode::UNAUTHORIZED, "invalid_key", detail)
    }

    /// The key is valid, and may not call this route.
    pub(crate) fn scope_missing(scope: Scope) -> Self {
        let detail = format!("the key is valid, but this route needs one with the scope `{scope}`");
        Self::new(StatusCode::FORBIDDEN, "scope_missing", detail)
    }

    /// An admin route was called under a foreign name, or by a page of another origin.
    pub(crate) fn foreign_host() -> Self {
        let detail = "admin routes answer only under the server's own names (API_ADDRESS, \
                      API_ADMIN_HOSTS), and no page of another origin";
        Self::new(StatusCode::FORBIDDEN, "foreign_host", detail)
    }

    /// The bucket of the client has too few units for this request.
    pub(crate) fn rate_limited(retry_after_seconds: u32) -> Self {
        let detail = format!(
            "too many requests: this one succeeds in {retry_after_seconds} s; the header \
             RateLimit-Policy shows the limit"
        );
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        problem.0.retry_after_seconds = Some(retry_after_seconds);
        problem
    }

    /// Path and query together are longer than `bytes_max`.
    pub(crate) fn uri_too_long(bytes_max: usize) -> Self {
        let detail = format!("path and query may have at most {bytes_max} bytes");
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", detail)
    }

    /// The request cannot be answered now; the client should retry.
    pub(crate) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_soon()
    }

    /// The answer took too long; the client should retry.
    pub(crate) fn too_slow() -> Self {
        Self::unavailable("too_slow", "the answer took too long")
    }

    /// A defect on our side. It is logged with its causes; the answer does not contain them.
    pub(crate) fn internal(error: &(dyn Error + 'static)) -> Self {
        Self::logged(StatusCode::INTERNAL_SERVER_ERROR, "internal", error)
    }

    /// A store cannot be read now; the client should retry.
    fn unreadable(error: &(dyn Error + 'static)) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::logged(status, "store_unavailable", error).retry_soon()
    }

    /// The code that answers a request panicked: a defect on our side.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::internal(&Panicked(text.unwrap_or("no text").to_owned()))
    }

    fn logged(status: StatusCode, code: &'static str, error: &(dyn Error + 'static)) -> Self {
        let request = RequestId::current();
        tracing::error!(request = request.as_str(), code, error, "request failed");
        let detail =
            "the request failed on our side; the log has the reason under the id in `request`";
        let mut problem = Self::new(status, code, detail);
        problem.0.request = Some(request);
        problem
    }

    fn retry_soon(mut self) -> Self {
        self.0.retry_after_seconds = Some(1);
        self
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The case, for clients.
    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    /// The explanation for people.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Adds the allowed values, and as `nearest` the one that was probably meant.
    pub(crate) fn allowed<T: Into<String>>(mut self, values: impl IntoIterator<Item = T>) -> Self {
        self.0.allowed = values.into_iter().map(Into::into).collect();
        let known: Vec<&str> = self.0.allowed.iter().map(String::as_str).collect();
        if let Some(value) = &self.0.value {
            self.0.nearest = nearest(value, &known).map(str::to_owned);
        }
        self
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the code that answers the request panicked: {0}")]
struct Panicked(String);

/// The first [`VALUE_CHARS_MAX`] characters.
fn truncated(text: &str) -> String {
    text.chars().take(VALUE_CHARS_MAX).collect()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed { .. } => Self::unreadable(&error),
            _ => Self::internal(&error),
        }
    }
}

impl From<SnapshotError> for Problem {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Failed { .. } => Self::unreadable(&error),
            SnapshotError::Damaged(_) => Self::internal(&error),
        }
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Failed { .. } => Self::unreadable(&error),
            JobError::Damaged(_) => Self::internal(&error),
        }
    }
}

impl From<RunRefusal> for Problem {
    fn from(refusal: RunRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            RunRefusal::Unknown { name, known } => {
                let mut problem = Self::not_found(format!("there is no job {name:?}"));
                problem.0.value = Some(truncated(&name));
                problem.allowed(known)
            }
            RunRefusal::Running { .. } => Self::new(StatusCode::CONFLICT, "job_running", detail),
            RunRefusal::NotStored => Self::unavailable("store_unavailable", detail),
            RunRefusal::Stopping => Self::unavailable("interrupted", detail),
        }
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Failed { .. } => Self::unreadable(&error),
            _ => Self::internal(&error),
        }
    }
}

impl From<RowError> for Problem {
    fn from(error: RowError) -> Self {
        Self::internal(&error)
    }
}

/// The response has the problem in its extensions, for a layer that writes errors in another form.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, Json(&*self.0)).into_response();
        let headers = response.headers_mut();
        let media_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, media_type);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.0.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.0.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

fn status_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

/// The known name with the smallest edit distance (Damerau-Levenshtein) to `name`, if it is near
/// enough to assume a typo: the distance may be a third of the shorter name's length, or 1.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = name.chars().count();
    let distance = |known: &'a str| {
        let shorter = known.chars().count().min(length);
        let longer = known.chars().count().max(length);
        let edits_max = (shorter / 3).max(1);
        // The distance is at least the difference of the lengths. If that is too large, the
        // distance is not computed: its cost would grow with what the client sends.
        let edits = (longer - shorter <= edits_max).then(|| damerau_levenshtein(name, known))?;
        (edits <= edits_max).then_some((edits, known))
    };
    let nearest = known.iter().filter_map(|known| distance(known)).min();
    nearest.map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_matched_with_the_name_that_was_meant() {
        let known = ["window", "lang", "limit", "cursor"];
        let cases = [
            ("windw", Some("window")),
            ("lnag", Some("lang")),
            ("langs", Some("lang")),
            ("limits", Some("limit")),
            ("q", None),
            ("", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
    }

    #[test]
    fn a_long_name_is_near_only_to_a_name_of_similar_length() {
        let known = ["app.bsky.graph.verification.statement", "lang"];
        let cases = [
            ("app.bsky.graph.verifcation.statement", Some(known[0])),
            ("app.bsky.graph.verification.statements", Some(known[0])),
            ("app.bsky.feed.post", None),
        ];
        for (name, expected) in cases {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
        assert_eq!(nearest(&"lang".repeat(4_000), &known), None);
    }
}
