//! Hostile answers of the identity servers and the AppView: what a client must survive.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::answer_fault::AnswerFault;
use super::shared::Shared;

/// Maximum size of an answer that is changed, in bytes.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Length of a name that is too long, in bytes.
const LONG_NAME_BYTES: usize = 1 << 20;
/// Time between two bytes of a slow body.
const SLOW_BYTE_INTERVAL: Duration = Duration::from_millis(250);
/// An account that nobody asked for.
const OTHER_DID: &str = "did:plc:zzzzzzzzzzzzzzzzzzzzzzzz";
/// An account whose document is at a private address.
const PRIVATE_DID: &str = "did:web:169.254.169.254";

/// Spoils the answers while a fault is set.
pub(super) async fn spoil(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(fault) = shared.answer_fault() else {
        return next.run(request).await;
    };
    let json = [(header::CONTENT_TYPE, "application/json")];
    match fault {
        AnswerFault::Redirect => redirect("/xrpc/_health"),
        AnswerFault::PrivateRedirect => redirect("http://169.254.169.254/latest/meta-data/"),
        AnswerFault::Html => {
            let html = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            (html, "<!doctype html><title>Welcome</title>").into_response()
        }
        AnswerFault::Endless => {
            let chunk = Bytes::from_static(&[b' '; 8_192]);
            let chunks = stream::repeat_with(move || Ok::<_, Infallible>(chunk.clone()));
            (json, Body::from_stream(chunks)).into_response()
        }
        AnswerFault::Slow => {
            let bytes = stream::unfold((), |()| async {
                tokio::time::sleep(SLOW_BYTE_INTERVAL).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
            });
            (json, Body::from_stream(bytes)).into_response()
        }
        AnswerFault::TextType => {
            let mut response = next.run(request).await;
            let text = HeaderValue::from_static("text/plain");
            response.headers_mut().insert(header::CONTENT_TYPE, text);
            response
        }
        AnswerFault::PrivateDid
        | AnswerFault::OtherDid
        | AnswerFault::LongNames
        | AnswerFault::Reordered => changed(fault, next.run(request).await).await,
    }
}

fn redirect(to: &'static str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

/// Changes a JSON answer. An error of the server stays as it is.
async fn changed(fault: AnswerFault, response: Response) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, ANSWER_BYTES_MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
        return Response::from_parts(head, Body::from(body));
    };
    change(fault, &mut answer);
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(answer.to_string()))
}

fn change(fault: AnswerFault, answer: &mut Value) {
    if fault == AnswerFault::Reordered {
        if let Some(profiles) = answer["profiles"].as_array_mut() {
            profiles.reverse();
        }
        return;
    }
    change_account(fault, answer);
    if let Some(profiles) = answer.get_mut("profiles").and_then(Value::as_array_mut) {
        for profile in profiles {
            change_account(fault, profile);
        }
    }
}

/// Changes an object that describes an account: a profile, a document, or a resolved handle.
fn change_account(fault: AnswerFault, account: &mut Value) {
    let Some(account) = account.as_object_mut() else {
        return;
    };
    let did = match fault {
        AnswerFault::LongNames => {
            let name = json!("x".repeat(LONG_NAME_BYTES));
            for key in ["displayName", "handle", "alsoKnownAs"] {
                if account.contains_key(key) {
                    account.insert(key.to_owned(), name.clone());
                }
            }
            return;
        }
        AnswerFault::PrivateDid => PRIVATE_DID,
        _ => OTHER_DID,
    };
    for key in ["did", "id"] {
        if account.contains_key(key) {
            account.insert(key.to_owned(), json!(did));
        }
    }
}
