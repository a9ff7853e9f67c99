//! `com.atproto.sync.subscribeRepos`: from a request to an open stream, or to a refusal
//! (<https://atproto.com/specs/event-stream>).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
use super::net::Net;
use super::problem::Problem;
use super::query::Query;
use crate::faults::{Fault, Lane};

/// How the stream is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What cursors that are too old or too new are told.
    pub cursors: Cursors,
    /// Frames that a client may be behind once the history is over; with more it is cut off.
    pub lag_frames_max: u64,
    /// How long a client may take no bytes before it is cut off.
    pub write_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cursors: Cursors::Told,
            lag_frames_max: 50_000,
            write_max: Duration::from_secs(10),
        }
    }
}

/// What cursors that are too old or too new are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursors {
    /// `#info OutdatedCursor`, and an error `FutureCursor`: as the protocol says.
    Told,
    /// Nothing: the stream begins with the oldest frame, or at its end, as at bsky.network.
    Untold,
}

/// Answers a request for the stream.
pub(super) async fn subscribe(State(net): State<Arc<Net>>, mut request: Request) -> Response {
    let number = net.counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let mut lane = net.faults.connection(number);
    let anywhere = net.faults.anywhere();
    if let Some(fault) = lane.refusal().or_else(|| anywhere.refusal()) {
        net.faults.count(fault);
        return refusal(fault, net.faults.retry_after_seconds());
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
            tracing::error!("the connection of a stream is no TCP connection");
            return;
        };
        let (stream, begun) = (parts.io.into_inner(), parts.read_buf.to_vec());
        run(net, stream, begun, (cursor, lane)).await;
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

async fn run(net: Arc<Net>, stream: TcpStream, begun: Vec<u8>, wanted: (Option<u64>, Lane)) {
    let config = WebSocketConfig::default();
    let socket =
        WebSocketStream::from_partially_read(stream, begun, Role::Server, Some(config)).await;
    let _open = Open::new(&net);
    let (cursor, lane) = wanted;
    let connection = Connection::new(&net, socket, lane);
    let stopped = net.stop.run_until_cancelled(connection.run(cursor)).await;
    if let Some(Err(error)) = stopped {
        tracing::debug!(%error, "a client of the stream is gone");
    }
}

/// Counts an open stream.
struct Open<'a>(&'a Net);

impl<'a> Open<'a> {
    fn new(net: &'a Net) -> Self {
        net.counts.connections_open.fetch_add(1, Ordering::Relaxed);
        Self(net)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let open = &self.0.counts.connections_open;
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The answer to a WebSocket's key (<https://www.rfc-editor.org/rfc/rfc6455#section-4.2.2>); `None`: it is no such request.
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
