//! One connection: HTTP/1.1 over a socket that keeps its [`Link`] up to date, and the limits of each phase.

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

use super::link::{Link, Outcome, Peer, Timeouts};

/// Bytes of a head, and of an answer that the client has not read, that a connection holds at most.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Answers the requests of a connection until one side closes it, it exceeds a limit, or its place is needed.
pub(super) async fn serve(
    stream: TcpStream,
    peer: Peer,
    app: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
) -> Outcome {
    let link = peer.link.clone();
    let socket = TokioIo::new(Socket {
        stream,
        link: link.clone(),
    });
    let service = service_fn(move |request| answer(request, peer.clone(), app.clone()));
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER_BYTES_MAX);
    let mut connection = pin!(http.serve_connection(socket, service));
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut stopping = false;
    loop {
        // The connection comes first: what arrived in time counts, however late this task runs.
        tokio::select! {
            biased;
            served = connection.as_mut() => return ended(served, stopping),
            () = link.evicted.cancelled() => return Outcome::Evicted,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            outcome = poll_fn(|context| {
                let Some((deadline, outcome)) = link.deadline(&timeouts) else {
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

fn ended(served: hyper::Result<()>, stopping: bool) -> Outcome {
    match served {
        _ if stopping => Outcome::Stopped,
        Err(error) if error.is_parse() => Outcome::Malformed,
        Ok(()) | Err(_) => Outcome::Closed,
    }
}

/// No handler reads the body of a request: one that does not arrive delays nothing, and ends the connection.
async fn answer(
    mut request: Request<Incoming>,
    peer: Peer,
    app: Router,
) -> Result<axum::http::Response<Answer>, std::convert::Infallible> {
    let request_now = UnderWay(peer.link.clone());
    peer.link.asked();
    request.extensions_mut().insert(peer);
    let response = app.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| Answer {
        body,
        _under_way: request_now,
    }))
}

/// A request until its answer is complete or given up.
struct UnderWay(Arc<Link>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.answered();
    }
}

/// The body of an answer; dropped when it is complete.
struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl hyper::body::Body for Answer {
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

/// A socket that reports what happens on it.
struct Socket {
    stream: TcpStream,
    link: Arc<Link>,
}

impl Socket {
    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(_)) => self.link.sent(),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.link.blocks(),
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            self.link.waits();
        }
        ready!(read)?;
        if buffer.filled().len() > before {
            self.link.received();
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
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once nothing is left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.link.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
