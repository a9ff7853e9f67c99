//! The HTTP server: it bounds the number of connections, the time of each of their phases, and the
//! time of a stop.
//!
//! ```text
//! accept ─▶ slots: one per connection ─▶ connection: HTTP/1.1, a limit for each phase
//!             └ if all are used, the least     └ connection_state: its phase, read by `slots`
//!               needed one is evicted            and by the event streams
//! ```

mod connection;
mod slots;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus_client::metrics::gauge::Gauge;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::connection_state::{Outcome, Peer, Timeouts};
use crate::metrics::ConnectionMetrics;
use crate::options::Options;
use crate::routing::{ApiState, router};

use slots::{ConnectionSlots, Slot};

/// Maximum number of connections in the system's queue that are not accepted yet.
const BACKLOG: u32 = 1_024;
/// Size of the system's send buffer, for bytes that the client has not acknowledged. Once it is
/// full, the server notices that a client reads nothing. The system buffers no more for such a
/// client.
const SEND_BUFFER_BYTES: u32 = 128 << 10;
/// Time without traffic after which the system asks whether the client is still there, and then the
/// time between its questions.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How much later than `send_ms_max` the system closes a connection whose client acknowledges
/// nothing. So the server's own limit, which the metrics count, comes first.
const USER_TIMEOUT_EXTRA: Duration = Duration::from_secs(10);
/// Number of attempts to acquire a slot. After each, the server yields to the other tasks.
const ACQUIRE_ATTEMPTS: u32 = 4;
/// Pause before the next attempt when the system has no file descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a server could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or does not belong to this machine. The remedy is another address.
    #[error("cannot listen on {address} for the API")]
    Bind {
        /// The requested address.
        address: SocketAddr,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The listening socket failed. The remedy is a restart.
    #[error("the listening socket of the API failed")]
    Socket(#[source] io::Error),
    /// The task that reads the keys panicked, so no key can be checked. The remedy is a restart.
    #[error("the task that reads the API keys panicked")]
    Keys(#[source] JoinError),
}

/// A server that is bound to its address. Connections wait in the system's queue until
/// [`Server::run`] accepts them.
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
        let listener = listen(&options).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            address,
            options,
        })
    }

    /// The address on which it listens, with the selected port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the keys, then answers requests until `stop` is cancelled. Then it ends the event
    /// streams, and gives the requests in progress `stop_ms_max` to finish.
    ///
    /// # Errors
    /// `Socket` if the listening socket fails, `Keys` if the keys are no longer read.
    pub async fn run(self, state: ApiState, stop: CancellationToken) -> Result<(), ServeError> {
        tracing::info!(address = %self.address, "API listens");
        let metrics = state.connection_metrics();
        // Otherwise the first requests with a key would get 503. A store that does not answer
        // delays the start by a bounded time.
        stop.run_until_cancelled(state.read_keys()).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(state.refresh_keys(stop.clone()));
        let keys = async {
            // The task ends when `stop` is cancelled, after it has recorded the last uses.
            match tasks.join_next().await {
                Some(Err(why)) => Err(ServeError::Keys(why)),
                Some(Ok(())) | None => Ok(()),
            }
        };
        let state = state.with_listener(self.address).with_stop(stop.clone());
        let served = self.run_router(router(state), metrics, stop);
        tokio::try_join!(served, keys).map(|((), ())| ())
    }

    /// Like [`Server::run`], for other routes.
    pub(crate) async fn run_router(
        self,
        app: Router,
        metrics: ConnectionMetrics,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let stop_max = Duration::from_millis(self.options.stop_ms_max);
        let acceptor = Acceptor {
            app,
            metrics,
            timeouts: Timeouts::of(&self.options),
            stop,
        };
        let mut open = acceptor.accept(self.listener, &self.options).await?;
        let drained = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(stop_max, drained).await.is_err() {
            tracing::warn!("closed the API while requests were in progress");
        }
        Ok(())
    }
}

/// Like [`TcpListener::bind`], with a bound on the system's send buffer and on the time for which a
/// client that vanished is not noticed. Accepted sockets inherit these options
/// (<https://man7.org/linux/man-pages/man7/tcp.7.html>).
fn listen(options: &Options) -> io::Result<TcpListener> {
    let address = options.address;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    {
        let user_timeout = Duration::from_millis(options.send_ms_max) + USER_TIMEOUT_EXTRA;
        SockRef::from(&socket).set_tcp_user_timeout(Some(user_timeout))?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections, and holds what they share.
struct Acceptor {
    app: Router,
    metrics: ConnectionMetrics,
    timeouts: Timeouts,
    stop: CancellationToken,
}

impl Acceptor {
    /// Accepts connections until the server stops. Returns the tasks of those that are still open.
    async fn accept(
        &self,
        listener: TcpListener,
        options: &Options,
    ) -> Result<JoinSet<()>, ServeError> {
        let slots = ConnectionSlots::new(options.connections_max, options.per_client_max);
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
                    match acquire_slot(&slots, address.ip()).await {
                        Some(slot) => drop(open.spawn(self.connection(stream, slot))),
                        None => self.refuse(&stream),
                    }
                }
                Err(error) if is_listener_error(&error) => return Err(ServeError::Socket(error)),
                Err(error) if is_client_error(&error) => {}
                // The usual cause is that no file descriptor is left; closing a connection frees
                // one.
                Err(error) => {
                    let evicted = slots.evict_one();
                    if !failing {
                        tracing::warn!(%error, evicted, "cannot accept a connection: retrying");
                    }
                    failing = true;
                    let pause = tokio::time::sleep(ACCEPT_PAUSE);
                    self.stop.run_until_cancelled(pause).await;
                }
            }
        }
    }

    fn connection(&self, stream: TcpStream, slot: Slot) -> impl Future<Output = ()> + use<> {
        let (app, metrics) = (self.app.clone(), self.metrics.clone());
        let (timeouts, stop) = (self.timeouts, self.stop.clone());
        let guard = OpenConnectionGuard::new(metrics.open.clone());
        // Without TCP_NODELAY, the head of an event may wait for an acknowledgement of the client.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        async move {
            let peer = Peer {
                client: slot.client,
                connection: slot.connection.clone(),
            };
            let outcome = connection::serve(stream, peer, app, timeouts, stop).await;
            drop(guard);
            metrics.ended(outcome);
        }
    }

    /// Closes a connection; answers 503 before if the socket accepts it without waiting.
    fn refuse(&self, stream: &TcpStream) {
        const BUSY: &[u8] =
            b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
            content-length: 0\r\n\r\n";
        if let Err(error) = stream.try_write(BUSY) {
            tracing::debug!(%error, "cannot send 503 to a refused client");
        }
        self.metrics.ended(Outcome::Refused);
    }
}

/// A drop guard that counts an open connection in the metrics.
struct OpenConnectionGuard(Gauge);

impl OpenConnectionGuard {
    fn new(open: Gauge) -> Self {
        open.inc();
        Self(open)
    }
}

impl Drop for OpenConnectionGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Acquires a slot for a new connection; `None` if there is none.
///
/// The task of a connection that was just accepted may not have run yet. Then its connection cannot
/// be evicted, because it is not known whether a request has arrived. So this function yields to
/// these tasks between its attempts.
async fn acquire_slot(slots: &Arc<ConnectionSlots>, address: IpAddr) -> Option<Slot> {
    for _ in 0..ACQUIRE_ATTEMPTS {
        if let Some(slot) = slots.acquire(address) {
            return Some(slot);
        }
        tokio::task::yield_now().await;
    }
    slots.acquire_spare(address)
}

/// The client closed the connection before it was accepted.
fn is_client_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// The listening socket itself is unusable (<https://man7.org/linux/man-pages/man2/accept.2.html>).
/// All other errors are temporary.
fn is_listener_error(error: &io::Error) -> bool {
    const EBADF: i32 = 9;
    const EINVAL: i32 = 22;
    const ENOTSOCK: i32 = 88;
    matches!(error.raw_os_error(), Some(EBADF | EINVAL | ENOTSOCK))
}

/// Binds the address, passes it to `bound`, and answers requests until `stop` is cancelled.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    use skytide_core::memory::MemoryStore;
    use skytide_core::port::clock::ManualClock;
    use skytide_core::port::key::{KeyError, KeyId, KeyStore, StoredKey};
    use skytide_core::time::Timestamp;

    use crate::options::AccessOptions;

    /// Keys that are read once; each further read panics.
    #[derive(Default)]
    struct PanickingKeys(AtomicBool);

    #[async_trait::async_trait]
    impl KeyStore for PanickingKeys {
        async fn all(&self) -> Result<Vec<StoredKey>, KeyError> {
            assert!(!self.0.swap(true, Ordering::SeqCst), "a test panics");
            Ok(Vec::new())
        }

        async fn add(&self, _: &StoredKey) -> Result<(), KeyError> {
            Ok(())
        }

        async fn revoke(&self, _: &KeyId, _: Timestamp) -> Result<Option<StoredKey>, KeyError> {
            Ok(None)
        }

        async fn note_used(&self, _: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_server_whose_keys_are_no_longer_read_ends() {
        let options = Options {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..Options::default()
        };
        let server = Server::bind(options).await.expect("a free port");
        let store = Arc::new(MemoryStore::new());
        let state = ApiState::new(store, Arc::new(ManualClock::default()), Arc::default());
        let keys = Arc::new(PanickingKeys::default());
        let state = state.with_access(AccessOptions::default(), keys);
        let running = server.run(state, CancellationToken::new());
        let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
        let error = ended.expect("the server ends").expect_err("a failure");
        assert!(matches!(error, ServeError::Keys(_)), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn accepted_sockets_notice_a_client_that_vanished() {
        let options = Options {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            send_ms_max: 5_000,
            ..Options::default()
        };
        let listener = listen(&options).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let _client = client.expect("a connection");
        let (accepted, _) = accepted.expect("a connection");
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().expect("an option"));
        assert_eq!(
            socket.tcp_keepalive_time().expect("an option"),
            KEEPALIVE_TIME
        );
        let user_timeout = socket.tcp_user_timeout().expect("an option");
        assert_eq!(user_timeout, Some(Duration::from_secs(15)));
    }
}
