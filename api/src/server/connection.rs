//! One connection: HTTP/1.1 over a socket that updates a [`ConnectionState`], and the time limits
//! of its phases.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::connection_state::{ConnectionState, Outcome, Peer, Timeouts};

/// Maximum number of bytes that a connection buffers: of the head of a request, and of an answer
/// that the client has not read.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Answers the requests of a connection until one side closes it, it exceeds a limit, or it is
/// evicted.
pub(super) async fn serve(
    stream: TcpStream,
    peer: Peer,
    app: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
) -> Outcome {
    let state = peer.connection.clone();
    let socket = TokioIo::new(Socket {
        stream,
        state: state.clone(),
    });
    let service = service_fn(move |request| answer(request, peer.clone(), app.clone()));
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(socket, service));
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut stopping = false;
    loop {
        // The connection is polled first, so a request that arrived in time is answered even if
        // this task runs late.
        tokio::select! {
            biased;
            served = connection.as_mut() => return outcome_of(served, stopping),
            () = state.evicted.cancelled() => return Outcome::Evicted,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            outcome = poll_fn(|context| {
                let Some((deadline, outcome)) = state.deadline(&timeouts) else {
                    return Poll::Pending;
                };
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                timer.as_mut().poll(context).map(|()| outcome)
            }) => return outcome,
        }
    }
}

/// Why a connection ended that was not closed by a limit or an eviction.
fn outcome_of(served: hyper::Result<()>, stopping: bool) -> Outcome {
    match served {
        _ if stopping => Outcome::Stopped,
        Err(error) if error.is_parse() => Outcome::Malformed,
        Ok(()) | Err(_) => Outcome::Closed,
    }
}

/// Answers one request. Most handlers do not read the body of a request, so a body that does not
/// arrive delays no answer; hyper then closes the connection. The handlers that read it bound its
/// length, and the time limit of a request bounds the wait.
async fn answer(
    mut request: Request<Incoming>,
    peer: Peer,
    app: Router,
) -> Result<axum::http::Response<AnswerBody>, std::convert::Infallible> {
    let guard = RequestGuard(peer.connection.clone());
    peer.connection.request_started();
    request.extensions_mut().insert(peer);
    let response = app.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| AnswerBody {
        body,
        _guard: guard,
    }))
}

/// A drop guard that marks the request as finished, when its answer is complete or abandoned.
struct RequestGuard(Arc<ConnectionState>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.request_finished();
    }
}

/// The body of an answer. hyper drops it when it is complete.
struct AnswerBody {
    body: Body,
    _guard: RequestGuard,
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A socket that records its reads and writes in a [`ConnectionState`].
struct Socket {
    stream: TcpStream,
    state: Arc<ConnectionState>,
}

impl Socket {
    fn note_write(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Ready(Ok(_)) => self.state.write_progressed(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.state.write_blocked(),
        }
        result
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if result.is_pending() {
            self.state.read_pending();
        }
        ready!(result)?;
        if buffer.filled().len() > before {
            self.state.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper calls this when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
