//! The socket: bound before anything else, bounded in connections, closed in bounded time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::state::ApiState;

/// How the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Open connections at most; further ones wait to be accepted.
    pub connections_max: usize,
    /// How long requests that are under way may take when stopping.
    pub stop_ms_max: u64,
}

impl Default for Options {
    /// Loopback only.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7780)),
            connections_max: 1_024,
            stop_ms_max: 2_000,
        }
    }
}

/// Bounds of single requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of path and query.
    pub uri_bytes_max: usize,
    /// Time for an answer; event streams have none.
    pub request_ms_max: u64,
    /// Open event streams.
    pub stream_clients_max: usize,
    /// Time without a new commit at which `/readyz` says no; `None`: it does not matter, as for a recording.
    pub ready_age_ms_max: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uri_bytes_max: 16_384,
            request_ms_max: 10_000,
            stream_clients_max: 256,
            ready_age_ms_max: None,
        }
    }
}

/// Why the API could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or not ours: choose another one.
    #[error("the API cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The socket failed: stop.
    #[error("the API's socket failed")]
    Socket(#[source] io::Error),
}

/// A bound socket: connections wait in the system's queue until [`Server::run`].
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// `Bind` if the address cannot be had.
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind {
            address: options.address,
            source,
        };
        let listener = TcpListener::bind(options.address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is cancelled; then ends event streams, and gives requests under way `stop_ms_max`.
    ///
    /// # Errors
    /// `Socket` if the system takes the socket away.
    pub async fn run(self, state: ApiState, stop: CancellationToken) -> Result<(), ServeError> {
        tracing::info!(address = %self.address, "API listens");
        let app = crate::router(state.with_stop(stop.clone()));
        self.run_router(app, stop).await
    }

    /// As [`Server::run`], for other routes.
    pub(crate) async fn run_router(
        self,
        app: Router,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let listener = Bounded {
            listener: self.listener,
            places: Arc::new(Semaphore::new(self.options.connections_max)),
        };
        let serving = axum::serve(listener, app)
            .with_graceful_shutdown(stop.clone().cancelled_owned())
            .into_future();
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_millis(self.options.stop_ms_max)).await;
        };
        tokio::select! {
            served = serving => served.map_err(ServeError::Socket),
            () = too_late => {
                tracing::warn!("API closed with requests under way");
                Ok(())
            }
        }
    }
}

/// Binds, tells where, and serves until `stop` is cancelled.
///
/// # Errors
/// As [`Server::bind`] and [`Server::run`].
pub async fn run(
    options: Options,
    state: ApiState,
    bound: impl FnOnce(SocketAddr),
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let server = Server::bind(options).await?;
    bound(server.address());
    server.run(state, stop).await
}

/// Accepts only while there is a place.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self
            .places
            .clone()
            .acquire_owned()
            .await
            .expect("never closed");
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        // Answers are small and wanted now; without it the head of an event may wait for an acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        (
            Connection {
                stream,
                _place: place,
            },
            peer,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that holds its place until it is closed.
struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
