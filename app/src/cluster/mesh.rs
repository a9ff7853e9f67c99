//! Connections of one process to all others of the cluster.
//!
//! ```text
//! process 2 ──calls──▶ process 1 ──calls──▶ process 0          each calls those before it, again and again until it answers
//!     └──────────calls──────────────────────────▲
//! ```
//!
//! Whoever calls may be anybody: each call is answered by a task of its own, of which there is a bounded number, each bounded
//! in time. A connection that ends while others are waited for is made again. All is complete when every process is there.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use skytide_dataflow::{Links, Name, Peer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::ReadBuf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::handshake::{HANDSHAKE_MAX, Manners, Refusal};
use super::state::ClusterState;

/// Calls that are answered at the same time, at most.
const ANSWERED_MAX: usize = 64;

/// The wait between two calls.
const CALL_AGAIN: Duration = Duration::from_millis(500);

/// Silence behind which the other end of a connection is asked whether it is there; how often; and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 4);

/// How long what was sent may stay unconfirmed.
#[cfg(target_os = "linux")]
const UNCONFIRMED_MAX: Duration = Duration::from_secs(30);

/// Why a process is not connected to all others.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Its address cannot be had.
    #[error(
        "{address} cannot be had for the other processes of the cluster (INDEXER_HOSTS, INDEXER_LISTEN)"
    )]
    Listen {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot count together with another one.
    #[error("{peer} of the cluster does not fit: {why}")]
    Unfit {
        /// Which.
        peer: Name,
        /// What differs.
        why: String,
    },
    /// A connection cannot be used as it must be.
    #[error("a connection of the cluster cannot be used")]
    Socket(#[source] io::Error),
}

/// What happened.
enum Met {
    /// A process that was called has answered.
    Called(usize, Result<TcpStream, Refusal>),
    /// A call was answered.
    Answered(SocketAddr, Result<(u32, TcpStream), Refusal>),
}

/// The processes, and those that are connected.
pub struct Mesh {
    names: Vec<Name>,
    manners: Manners,
    held: Vec<Option<TcpStream>>,
    tasks: JoinSet<Met>,
    answering: usize,
}

impl Mesh {
    /// Of these processes; none is connected yet.
    pub fn new(names: Vec<Name>, manners: Manners) -> Self {
        Self {
            held: names.iter().map(|_| None).collect(),
            names,
            manners,
            tasks: JoinSet::new(),
            answering: 0,
        }
    }

    fn own(&self) -> usize {
        self.manners.process() as usize
    }

    /// Waits until all are connected.
    ///
    /// # Errors
    /// Another one does not fit.
    pub async fn connect(
        mut self,
        listener: Option<TcpListener>,
        state: &ClusterState,
    ) -> Result<Links, MeshError> {
        (0..self.own()).for_each(|process| self.call(process));
        loop {
            let missing = self.missing();
            state.waits_for(&missing);
            if missing.is_empty() {
                return self.links();
            }
            tokio::select! {
                Some(met) = self.tasks.join_next() => self.met(met.expect("it does not panic"))?,
                (stream, from) = called(listener.as_ref()), if self.answering < ANSWERED_MAX => {
                    self.answering += 1;
                    self.tasks.spawn(answer(self.manners.clone(), stream, from));
                }
                process = gone(&self.held) => self.lose(process),
            }
        }
    }

    /// Processes that are not connected.
    fn missing(&self) -> Vec<&Name> {
        let others = self.names.iter().filter(|name| name.process != self.own());
        others
            .filter(|name| self.held[name.process].is_none())
            .collect()
    }

    fn call(&mut self, process: usize) {
        let host = self.names[process].host.clone();
        self.tasks.spawn(call(self.manners.clone(), process, host));
    }

    fn met(&mut self, met: Met) -> Result<(), MeshError> {
        match met {
            Met::Called(process, Ok(stream)) => self.hold(process, stream),
            Met::Called(process, Err(refusal)) => {
                let (peer, why) = (self.names[process].clone(), refusal.to_string());
                return Err(MeshError::Unfit { peer, why });
            }
            Met::Answered(from, answered) => {
                self.answering -= 1;
                match answered {
                    Ok((process, stream)) => self.hold(process as usize, stream),
                    Err(why) => {
                        tracing::warn!(%from, %why, "a call to the cluster's address was refused");
                    }
                }
            }
        }
        Ok(())
    }

    /// The newest connection of a process counts: the one before may be of a machine that is gone without a word.
    fn hold(&mut self, process: usize, stream: TcpStream) {
        let peer = &self.names[process];
        if self.held[process].replace(stream).is_some() {
            tracing::warn!(%peer, "connected once more: the connection before is closed");
        } else {
            tracing::info!(%peer, "connected");
        }
    }

    fn lose(&mut self, process: usize) {
        let peer = &self.names[process];
        tracing::warn!(%peer, "went away before all were there");
        self.held[process] = None;
        if process < self.own() {
            self.call(process);
        }
    }

    fn links(self) -> Result<Links, MeshError> {
        let own = self.own();
        let held = self.names.into_iter().zip(self.held);
        let peers = held.filter_map(|(name, stream)| {
            Some(match stream?.into_std().and_then(prepared) {
                Ok(socket) => Ok(Peer { name, socket }),
                Err(error) => Err(MeshError::Socket(error)),
            })
        });
        Ok(Links::new(own, peers.collect::<Result<_, _>>()?))
    }
}

/// As the dataflow wants it: blocking, without delay, and with an end when the other machine is gone.
fn prepared(socket: std::net::TcpStream) -> io::Result<std::net::TcpStream> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time);
    let keepalive = keepalive.with_interval(interval).with_retries(retries);
    SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&socket).set_tcp_user_timeout(Some(UNCONFIRMED_MAX))?;
    Ok(socket)
}

/// Calls a process until it answers, or says that the two do not fit.
async fn call(manners: Manners, process: usize, host: String) -> Met {
    loop {
        if let Ok(Ok(mut stream)) = timeout(HANDSHAKE_MAX, TcpStream::connect(&host)).await {
            match manners.call(&mut stream, process as u32).await {
                Ok(()) => return Met::Called(process, Ok(stream)),
                Err(Refusal::Stranger(why)) => {
                    tracing::debug!(process, host, why, "no answer of the cluster there");
                }
                Err(unfit) => return Met::Called(process, Err(unfit)),
            }
        }
        sleep(CALL_AGAIN).await;
    }
}

async fn answer(manners: Manners, mut stream: TcpStream, from: SocketAddr) -> Met {
    let answered = manners.answer(&mut stream).await;
    Met::Answered(from, answered.map(|process| (process, stream)))
}

/// The next call; never, if nobody listens.
async fn called(listener: Option<&TcpListener>) -> (TcpStream, SocketAddr) {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(called) => return called,
            // Of one caller, or of all while there are too many files: the next one may do better.
            Err(error) => {
                tracing::warn!(%error, "a call to the cluster's address was lost");
                sleep(CALL_AGAIN).await;
            }
        }
    }
}

/// A process whose connection ended.
async fn gone(held: &[Option<TcpStream>]) -> usize {
    std::future::poll_fn(|cx| {
        let mut open = held.iter().enumerate();
        let ended = open.find_map(|(process, stream)| {
            let ended = has_ended(stream.as_ref()?, cx);
            ended.then_some(process)
        });
        ended.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// What is there to be read already is of a process that is complete, and stays where it is.
fn has_ended(stream: &TcpStream, cx: &mut Context<'_>) -> bool {
    let mut byte = [0];
    match stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
        Poll::Ready(read) => read.map_or(true, |bytes| bytes == 0),
        Poll::Pending => false,
    }
}
