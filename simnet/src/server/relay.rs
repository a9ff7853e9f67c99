//! `com.atproto.sync.subscribeRepos`: answers a request with an open stream or a refusal
//! (<https://atproto.com/specs/event-stream>).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::connection::Connection;
use super::problem::Problem;
use super::query::Query;
use super::shared::Shared;
use crate::faults::{Fault, FaultSequence};

/// Handles a request for the stream.
pub(super) async fn subscribe(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let number = shared.counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let mut faults = shared.faults.for_connection(number);
    let any_connection = shared.faults.any_connection();
    if let Some(fault) = faults.refusal().or_else(|| any_connection.refusal()) {
        shared.faults.count(fault);
        return refusal(fault, shared.faults.retry_after_seconds());
    }
    let cursor = match Query::of(request.uri()).number("cursor") {
        Ok(cursor) => cursor,
        Err(problem) => return problem.into_response(),
    };
    let Some(accept) = accept_key(request.headers()) else {
        let status = StatusCode::UPGRADE_REQUIRED;
        let message = "this is a stream: it needs a WebSocket (version 13)";
        return Problem::new(status, "InvalidRequest", message).into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
            tracing::error!("cannot upgrade: the connection is not a TCP connection");
            return;
        };
        let (stream, received) = (parts.io.into_inner(), parts.read_buf.to_vec());
        run(shared, stream, received, cursor, faults).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Serves a stream after the upgrade. `received` are the bytes that the client has already sent.
async fn run(
    shared: Arc<Shared>,
    stream: TcpStream,
    received: Vec<u8>,
    cursor: Option<u64>,
    faults: FaultSequence,
) {
    let config = WebSocketConfig::default();
    let socket =
        WebSocketStream::from_partially_read(stream, received, Role::Server, Some(config)).await;
    let _open = OpenGuard::new(&shared);
    let connection = Connection::new(&shared, socket, faults);
    let stopped = shared
        .stop
        .run_until_cancelled(connection.run(cursor))
        .await;
    if let Some(Err(error)) = stopped {
        tracing::debug!(%error, "a client of the stream disconnected");
    }
}

/// A guard that counts an open stream in `connections_open` until it is dropped.
struct OpenGuard<'a>(&'a Shared);

impl<'a> OpenGuard<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared
            .counts
            .connections_open
            .fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for OpenGuard<'_> {
    fn drop(&mut self) {
        let open = &self.0.counts.connections_open;
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The value of `Sec-WebSocket-Accept` in the response to a WebSocket request
/// (<https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2>); `None` for any other request.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |name, value: &str| {
        let found: Option<&HeaderValue> = headers.get(name);
        found.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if !is(header::UPGRADE, "websocket") || !is(header::SEC_WEBSOCKET_VERSION, "13") {
        return None;
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    derive_accept_key(key.as_bytes()).parse().ok()
}

/// The response to a request that the fault refuses.
fn refusal(fault: Fault, retry_after_seconds: u32) -> Response {
    let problem = |status, name, message| Problem::new(status, name, message).into_response();
    let mut response = match fault {
        Fault::Html => {
            return Html("<!doctype html><title>Welcome</title><p>Nothing to stream here.")
                .into_response();
        }
        Fault::Http429 => problem(
            StatusCode::TOO_MANY_REQUESTS,
            "RateLimitExceeded",
            "Rate Limit Exceeded",
        ),
        Fault::Http503 => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "NotEnoughResources",
            "Service Unavailable",
        ),
        _ => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalServerError",
            "Internal Server Error",
        ),
    };
    if matches!(fault, Fault::Http429 | Fault::Http503) {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, retry_after_seconds.into());
    }
    response
}
