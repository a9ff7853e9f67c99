//! The socket: bound before anything else, bounded in connections, closed in bounded time.
//!
//! ```text
//! accept ─▶ places: one for each connection, by client ─▶ connection: HTTP/1.1 with a limit for each phase
//!             └ the least needed one is evicted              └ link: its phase, for places and event streams
//! ```

mod connection;
mod link;
mod places;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Connections;
use crate::state::ApiState;

#[cfg(test)]
pub(crate) use link::Link;
pub(crate) use link::{ClientAddress, Outcome, Peer};

use link::Timeouts;
use places::{Place, Places};

/// Connections that wait in the system's queue until they are accepted.
const BACKLOG: u32 = 1_024;
/// Bytes that the system holds of an answer that the client has not acknowledged. A client that reads nothing is noticed
/// once they are full, and costs no more than that.
const SEND_BUFFER_BYTES: u32 = 128 << 10;
/// How often a place is looked for, with a turn of the other tasks after each.
const LOOKS: u32 = 4;
/// How long the server waits for a file descriptor when the system has none.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Open connections at most. A further one replaces the one that is needed least; it is refused while all have
    /// requests under way.
    pub connections_max: usize,
    /// Open connections of one client at most (an IPv4 address, an IPv6 `/64`); 0: as many as of all.
    pub per_client_max: usize,
    /// Time for the head of a request, from the first byte, or from the start of the connection.
    pub header_ms_max: u64,
    /// Time between an answer and the next request.
    pub idle_ms_max: u64,
    /// Time in which a client reads nothing of its answer.
    pub send_ms_max: u64,
    /// How long requests that are under way may take when stopping.
    pub stop_ms_max: u64,
}

impl Default for Options {
    /// Loopback only.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7780)),
            connections_max: 1_024,
            per_client_max: 0,
            header_ms_max: 10_000,
            idle_ms_max: 60_000,
            send_ms_max: 20_000,
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
    /// `Bind` if the address is not available.
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let bind = |source| ServeError::Bind {
            address: options.address,
            source,
        };
        let listener = listen(options.address).map_err(bind)?;
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
        let counts = state.metrics.connections.clone();
        let app = crate::router(state.with_stop(stop.clone()));
        self.run_router(app, counts, stop).await
    }

    /// As [`Server::run`], for other routes.
    pub(crate) async fn run_router(
        self,
        app: Router,
        counts: Connections,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let stop_max = Duration::from_millis(self.options.stop_ms_max);
        let serving = Serving {
            app,
            counts,
            timeouts: Timeouts::of(&self.options),
            stop,
        };
        let mut open = serving.accept(self.listener, &self.options).await?;
        let all = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(stop_max, all).await.is_err() {
            tracing::warn!("API closed with requests under way");
        }
        Ok(())
    }
}

/// As [`TcpListener::bind`], with a bound on what the system sends ahead.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What the connections share.
struct Serving {
    app: Router,
    counts: Connections,
    timeouts: Timeouts,
    stop: CancellationToken,
}

impl Serving {
    /// Accepts until the server stops; answers the connections that are open then.
    async fn accept(
        &self,
        listener: TcpListener,
        options: &Options,
    ) -> Result<JoinSet<()>, ServeError> {
        let places = Places::new(options.connections_max, options.per_client_max);
        let mut open = JoinSet::new();
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = open.join_next() => continue,
                () = self.stop.cancelled() => return Ok(open),
            };
            match accepted {
                Ok((stream, address)) => {
                    failing = false;
                    match admit(&places, address.ip()).await {
                        Some(place) => drop(open.spawn(self.connection(stream, place))),
                        None => self.refuse(&stream),
                    }
                }
                Err(error) if is_of_the_socket(&error) => return Err(ServeError::Socket(error)),
                Err(error) if is_of_the_client(&error) => {}
                // As when there is no file descriptor left: with one connection less there is one.
                Err(error) => {
                    let evicted = places.make_room();
                    if !failing {
                        tracing::warn!(%error, evicted, "a connection cannot be accepted: trying again");
                    }
                    failing = true;
                    let pause = tokio::time::sleep(ACCEPT_PAUSE);
                    self.stop.run_until_cancelled(pause).await;
                }
            }
        }
    }

    fn connection(&self, stream: TcpStream, place: Place) -> impl Future<Output = ()> + use<> {
        let (app, counts) = (self.app.clone(), self.counts.clone());
        let (timeouts, stop) = (self.timeouts, self.stop.clone());
        let counted = Counted::new(counts.open.clone());
        // Answers are small and wanted now; without it the head of an event may wait for an acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        async move {
            let peer = Peer {
                client: place.client,
                link: place.link.clone(),
            };
            let outcome = connection::serve(stream, peer, app, timeouts, stop).await;
            drop(counted);
            counts.ended(outcome);
        }
    }

    /// Says so where that is possible without waiting, and closes.
    fn refuse(&self, stream: &TcpStream) {
        const BUSY: &[u8] =
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
            content-length: 0\r\n\r\n";
        if let Err(error) = stream.try_write(BUSY) {
            tracing::debug!(%error, "a client was refused without an answer");
        }
        self.counts.ended(Outcome::Refused);
    }
}

/// An open connection in the metrics, however it ends.
struct Counted(Gauge);

impl Counted {
    fn new(open: Gauge) -> Self {
        open.inc();
        Self(open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A place for a new connection. Where all seem to be in use, tasks of connections that were just accepted may not have
/// run yet: they get a turn to look for a request first.
async fn admit(places: &Arc<Places>, address: IpAddr) -> Option<Place> {
    for _ in 0..LOOKS {
        if let Some(place) = places.enter(address) {
            return Some(place);
        }
        tokio::task::yield_now().await;
    }
    places.enter_spare(address)
}

/// The client gave up before it was accepted.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// The listening socket itself is unusable (<https://man7.org/linux/man-pages/man2/accept.2.html>); every other error
/// passes.
fn is_of_the_socket(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    const EINVAL: i32 = 22;
    const ENOTSOCK: i32 = 88;
    matches!(error.raw_os_error(), Some(EBADF | EINVAL | ENOTSOCK))
}

/// Binds, reports the address, and serves until `stop` is cancelled.
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
