//! The connections of one process to all other processes of the cluster.
//!
//! ```text
//! process 2 ─connects─▶ process 1 ─connects─▶ process 0     each process connects to those with a lower
//!     └─────────connects──────────────────────▲             number, and retries until they answer
//! ```
//!
//! In the code, a process *calls* another one: it connects and starts the handshake. Anybody may
//! connect to the address of a process, so the handshake of each incoming connection runs in a task
//! of its own. The number of these tasks is bounded and so is their time; when there are too many,
//! the oldest is aborted. A connection that ends before all processes are connected is made again.
//! A process that is connected to all others reports this to process 0. Process 0 is done when
//! every process has reported.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use skytide_dataflow::{Links, Name, Peer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::handshake::{HANDSHAKE_MAX, HandshakeOptions, Refusal};
use super::state::ClusterState;

/// Maximum number of concurrent handshakes with callers.
const INCOMING_MAX: usize = 64;

/// The pause before a process is called again.
const CALL_AGAIN: Duration = Duration::from_millis(500);

/// TCP keepalive: the silence before the first probe, the interval of probes, and how many
/// unanswered probes end the connection.
const KEEPALIVE_TIME: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 4;

/// How long sent bytes may stay unacknowledged before the connection ends.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// The message by which a process reports to process 0 that it is connected to all others.
const COMPLETE: u8 = 1;

/// Why a process could not connect to all others.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The address is not available.
    #[error(
        "cannot listen on {address} for the other processes of the cluster (INDEXER_HOSTS, \
         INDEXER_LISTEN)"
    )]
    Listen {
        /// The address.
        address: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The build of this process is unknown.
    #[error("cannot read the running binary, to compare it with that of the other processes")]
    Build(#[source] io::Error),
    /// Another process is not compatible with this one.
    #[error("{peer} of the cluster is not compatible: {why}")]
    Incompatible {
        /// The other process.
        peer: Name,
        /// What differs, and the remedy.
        why: String,
    },
    /// A connection cannot be configured for the dataflow.
    #[error("cannot configure a connection of the cluster")]
    Socket(#[source] io::Error),
}

/// The result of a handshake.
enum HandshakeResult {
    /// This process called: the number of the other process, and the connection.
    Outgoing(usize, Result<TcpStream, Refusal>),
    /// This process was called: from which address, the number of the caller, and the connection.
    Incoming(SocketAddr, Result<(u32, TcpStream), Refusal>),
}

/// The processes of the cluster and the connections to them.
pub struct Mesh {
    names: Vec<Name>,
    options: HandshakeOptions,
    /// The connections, by process.
    connections: Vec<Option<TcpStream>>,
    /// Whether a process reported to this one that it is connected to all others.
    complete: Vec<bool>,
    handshakes: JoinSet<HandshakeResult>,
    /// The handshakes with callers, the oldest first.
    incoming: VecDeque<AbortHandle>,
}

impl Mesh {
    /// Creates a mesh of these processes without connections.
    pub fn new(names: Vec<Name>, options: HandshakeOptions) -> Self {
        Self {
            connections: names.iter().map(|_| None).collect(),
            complete: vec![false; names.len()],
            names,
            options,
            handshakes: JoinSet::new(),
            incoming: VecDeque::new(),
        }
    }

    fn own(&self) -> usize {
        self.options.process() as usize
    }

    /// Waits until all processes are connected. Records in `state` which ones are missing.
    ///
    /// # Errors
    ///
    /// Another process is not compatible.
    pub async fn connect(
        mut self,
        listener: Option<TcpListener>,
        state: &ClusterState,
    ) -> Result<Links, MeshError> {
        let is_first = self.own() == 0;
        (0..self.own()).for_each(|process| self.call(process, Duration::ZERO));
        loop {
            let missing = self.missing();
            state.set_missing(&missing);
            if missing.is_empty() && self.report_complete().await {
                return self.links();
            }
            tokio::select! {
                Some(joined) = self.handshakes.join_next() => match joined {
                    Ok(result) => self.on_handshake(result)?,
                    Err(aborted) => assert!(aborted.is_cancelled(), "a handshake never panics"),
                },
                (stream, from) = accept(listener.as_ref()) => self.answer(stream, from),
                (process, event) = next_event(&self.connections, &self.complete, is_first) => {
                    match event {
                        PeerEvent::Disconnected => self.on_disconnect(process),
                        PeerEvent::Complete => self.complete[process] = true,
                    }
                },
            }
        }
    }

    /// The processes that are not connected to this one. If there are none and this is process 0:
    /// the processes that have not reported that they are connected to all others.
    fn missing(&self) -> Vec<&Name> {
        let others = || self.names.iter().filter(|name| name.process != self.own());
        let missing: Vec<_> = others()
            .filter(|name| self.connections[name.process].is_none())
            .collect();
        if missing.is_empty() && self.own() == 0 {
            return others()
                .filter(|name| !self.complete[name.process])
                .collect();
        }
        missing
    }

    /// Reports to process 0 that this process is connected to all others. Returns false if process
    /// 0 has disconnected; the next event of its connection then shows that.
    async fn report_complete(&mut self) -> bool {
        match &mut self.connections[0] {
            Some(first) => first.write_all(&[COMPLETE]).await.is_ok(),
            None => true,
        }
    }

    /// Starts to call a process after a pause.
    fn call(&mut self, process: usize, pause: Duration) {
        let host = self.names[process].host.clone();
        let options = self.options.clone();
        self.handshakes.spawn(async move {
            sleep(pause).await;
            call_until_answered(options, process, host).await
        });
    }

    /// Starts a handshake with a caller.
    fn answer(&mut self, stream: TcpStream, from: SocketAddr) {
        self.incoming.retain(|handshake| !handshake.is_finished());
        if self.incoming.len() == INCOMING_MAX
            && let Some(oldest) = self.incoming.pop_front()
        {
            oldest.abort();
        }
        let handshake = answer_caller(self.options.clone(), stream, from);
        self.incoming.push_back(self.handshakes.spawn(handshake));
    }

    fn on_handshake(&mut self, result: HandshakeResult) -> Result<(), MeshError> {
        match result {
            HandshakeResult::Outgoing(process, Ok(stream)) => self.on_connect(process, stream),
            HandshakeResult::Outgoing(process, Err(refusal)) => {
                let (peer, why) = (self.names[process].clone(), refusal.to_string());
                return Err(MeshError::Incompatible { peer, why });
            }
            HandshakeResult::Incoming(_, Ok((process, stream))) => {
                self.on_connect(process as usize, stream);
            }
            HandshakeResult::Incoming(from, Err(why)) => {
                tracing::warn!(%from, %why, "a call to the cluster's address was refused");
            }
        }
        Ok(())
    }

    /// Stores a connection. It replaces an older connection to the same process, which may belong
    /// to a machine that vanished without closing it.
    fn on_connect(&mut self, process: usize, stream: TcpStream) {
        let peer = &self.names[process];
        if let Err(error) = detect_vanished_peer(&stream) {
            tracing::warn!(
                %peer,
                %error,
                "cannot set the TCP keepalive: if that machine vanishes, this is detected late"
            );
        }
        self.complete[process] = false;
        if self.connections[process].replace(stream).is_some() {
            tracing::warn!(
                %peer,
                "connected again, and the previous connection was closed: do two processes have this \
                 INDEXER_PROCESS?"
            );
        } else {
            tracing::info!(%peer, "connected");
        }
    }

    fn on_disconnect(&mut self, process: usize) {
        let peer = &self.names[process];
        tracing::warn!(%peer, "disconnected before all processes were connected");
        self.connections[process] = None;
        self.complete[process] = false;
        if process < self.own() {
            self.call(process, CALL_AGAIN);
        }
    }

    fn links(self) -> Result<Links, MeshError> {
        let own = self.own();
        let connections = self.names.into_iter().zip(self.connections);
        let peers = connections.filter_map(|(name, stream)| {
            Some(match stream?.into_std().and_then(configure_for_dataflow) {
                Ok(socket) => Ok(Peer { name, socket }),
                Err(error) => Err(MeshError::Socket(error)),
            })
        });
        Ok(Links::new(own, peers.collect::<Result<_, _>>()?))
    }
}

/// Makes a socket blocking and disables Nagle's algorithm.
fn configure_for_dataflow(socket: std::net::TcpStream) -> io::Result<std::net::TcpStream> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Makes a connection fail when the other machine vanishes without closing it.
fn detect_vanished_peer(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// Calls a process until it answers or is found incompatible.
async fn call_until_answered(
    options: HandshakeOptions,
    process: usize,
    host: String,
) -> HandshakeResult {
    loop {
        if let Ok(Ok(mut stream)) = timeout(HANDSHAKE_MAX, TcpStream::connect(&host)).await {
            match options.call(&mut stream, process as u32).await {
                Ok(()) => return HandshakeResult::Outgoing(process, Ok(stream)),
                Err(Refusal::Stranger(why)) => {
                    tracing::debug!(process, host, why, "no process of the cluster answered");
                }
                Err(unfit) => return HandshakeResult::Outgoing(process, Err(unfit)),
            }
        }
        sleep(CALL_AGAIN).await;
    }
}

async fn answer_caller(
    options: HandshakeOptions,
    mut stream: TcpStream,
    from: SocketAddr,
) -> HandshakeResult {
    let caller = options.answer(&mut stream).await;
    HandshakeResult::Incoming(from, caller.map(|process| (process, stream)))
}

/// Waits for the next caller; forever, if this process does not listen.
async fn accept(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The error can concern one caller, or all callers while too many files are open. The
            // next attempt may succeed.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a call to the cluster's address");
                sleep(CALL_AGAIN).await;
            }
        }
    }
}

/// An event of a connected process.
enum PeerEvent {
    /// Its connection ended.
    Disconnected,
    /// It is connected to all others.
    Complete,
}

/// Waits for the next event of any connection. `is_first`: this is process 0, to which the others
/// report that they are complete.
async fn next_event(
    connections: &[Option<TcpStream>],
    complete: &[bool],
    is_first: bool,
) -> (usize, PeerEvent) {
    std::future::poll_fn(|cx| {
        let mut processes = connections.iter().zip(complete).enumerate();
        let event = processes.find_map(|(process, (stream, complete))| {
            let event = poll_event(stream.as_ref()?, is_first && !complete, cx)?;
            Some((process, event))
        });
        event.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// The event of one connection, if there is one. `expects_report`: the next byte is the report of
/// the other process. Otherwise received bytes belong to the dataflow and are left in the socket.
fn poll_event(stream: &TcpStream, expects_report: bool, cx: &mut Context<'_>) -> Option<PeerEvent> {
    let mut byte = [0];
    match stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
        Poll::Ready(Ok(1..)) if !expects_report => None,
        Poll::Ready(Ok(1..)) => match stream.try_read(&mut byte) {
            Ok(1) if byte == [COMPLETE] => Some(PeerEvent::Complete),
            _ => Some(PeerEvent::Disconnected),
        },
        Poll::Ready(_) => Some(PeerEvent::Disconnected),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vanished_machine_is_detected_within_30_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("any port");
        let address = listener.local_addr().expect("its address");
        let stream = TcpStream::connect(address).await.expect("a connection");
        detect_vanished_peer(&stream).expect("the options are set");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("the option"));
        let silence = socket.tcp_keepalive_time().expect("the option");
        let interval = socket.tcp_keepalive_interval().expect("the option");
        let retries = socket.tcp_keepalive_retries().expect("the option");
        assert_eq!(silence + interval * retries, Duration::from_secs(30));
        #[cfg(target_os = "linux")]
        assert_eq!(
            socket.tcp_user_timeout().expect("the option"),
            Some(Duration::from_secs(30))
        );
    }
}
