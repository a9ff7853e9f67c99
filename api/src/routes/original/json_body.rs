//! The body `{"handle": text}`, and what FastAPI answers if it is something else. Other fields are
//! ignored.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::failure::{Failure, Violation};

/// Maximum length of a body in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// A valid body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HandleBody {
    pub(crate) handle: String,
}

/// Reads the body of a request.
pub(crate) async fn read(request: Request) -> Result<HandleBody, Failure> {
    let (parts, body) = request.into_parts();
    // A stated length above the limit is refused before the body is read.
    let stated = parts.headers.get(header::CONTENT_LENGTH);
    let stated = stated.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| broken(&bytes, "the body ended early"))?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    parse(&parts.headers, &bytes)
}

fn too_large() -> Failure {
    let detail = format!("the body has more than {BODY_BYTES_MAX} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<HandleBody, Failure> {
    if bytes.is_empty() {
        return Err(missing(&[], Value::Null));
    }
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| broken(bytes, "the body is not UTF-8"))?;
    let value = match is_json(headers) {
        true => serde_json::from_str(text).map_err(|error| not_json(text, &error))?,
        false => Value::String(text.to_owned()),
    };
    match value {
        Value::Null => Err(missing(&[], Value::Null)),
        Value::Object(mut fields) => match fields.remove("handle") {
            Some(Value::String(handle)) => Ok(HandleBody { handle }),
            Some(other) => Err(invalid(
                "string_type",
                &["handle"],
                "Input should be a valid string",
                other,
            )),
            None => Err(missing(&["handle"], Value::Object(fields))),
        },
        other => Err(invalid(
            "model_attributes_type",
            &[],
            "Input should be a valid dictionary or object to extract fields from",
            other,
        )),
    }
}

/// Whether the body is JSON: FastAPI reads `application/json`, `application/*+json`, and a body
/// without a type as JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let media_type = media_type.to_str().unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn invalid(kind: &'static str, at: &[&str], msg: &'static str, input: Value) -> Failure {
    let field = at.iter().map(|name| Value::from(*name));
    let violation = Violation {
        kind,
        loc: std::iter::once("body".into()).chain(field).collect(),
        msg,
        input,
        ctx: None,
    };
    violation.into()
}

fn missing(at: &[&str], input: Value) -> Failure {
    invalid("missing", at, "Field required", input)
}

/// The position is in characters, as Python counts.
fn not_json(text: &str, error: &serde_json::Error) -> Failure {
    let lines = text.split_inclusive('\n').take(error.line() - 1);
    let line_start: usize = lines.map(str::len).sum();
    let byte = line_start + error.column().saturating_sub(1);
    let before = text.char_indices().take_while(|(at, _)| *at < byte);
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    json_invalid(before.count(), message)
}

/// A body that ends early or is not text. The position is that of the first byte that is no text.
fn broken(bytes: &[u8], message: &str) -> Failure {
    let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    json_invalid(text.chars().count(), message)
}

fn json_invalid(at: usize, message: &str) -> Failure {
    let violation = Violation {
        kind: "json_invalid",
        loc: vec!["body".into(), at.into()],
        msg: "JSON decode error",
        input: json!({}),
        ctx: Some(json!({ "error": message })),
    };
    violation.into()
}
