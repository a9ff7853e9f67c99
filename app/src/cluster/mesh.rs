//! Connections of one process to all others of the cluster.
//!
//! ```text
//! process 2 ──calls──▶ process 1 ──calls──▶ process 0          each calls those before it, again and again until it answers
//!     └──────────calls──────────────────────────▲
//! ```
//!
//! Whoever calls may be anybody: each call is answered by a task of its own, of which there is a bounded number, each bounded
//! in time; of too many the oldest is given up. A connection that ends while others are waited for is made again. A
//! process that is connected to all others says so to process 0, for which all is complete when every process has.

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
    /// Which binary this is cannot be found out.
    #[error("the running binary cannot be read, to compare it with that of the other processes")]
    Build(#[source] io::Error),
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
    /// Those that are connected to all others, as far as they have to say so to this one.
    complete: Vec<bool>,
    tasks: JoinSet<Met>,
    /// Calls that are answered, the oldest first.
    answering: VecDeque<AbortHandle>,
}

/// What a process says to process 0 when it is connected to all others.
const COMPLETE: u8 = 1;

impl Mesh {
    /// Of these processes; none is connected yet.
    pub fn new(names: Vec<Name>, manners: Manners) -> Self {
        Self {
            held: names.iter().map(|_| None).collect(),
            complete: vec![false; names.len()],
            names,
            manners,
            tasks: JoinSet::new(),
            answering: VecDeque::new(),
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
        let first = self.own() == 0;
        (0..self.own()).for_each(|process| self.call(process, Duration::ZERO));
        loop {
            let missing = self.missing();
            state.waits_for(&missing);
            if missing.is_empty() && self.say_so().await {
                return self.links();
            }
            tokio::select! {
                Some(met) = self.tasks.join_next() => match met {
                    Ok(met) => self.met(met)?,
                    Err(given_up) => assert!(given_up.is_cancelled(), "it does not panic"),
                },
                (stream, from) = called(listener.as_ref()) => self.answer(stream, from),
                (process, news) = news(&self.held, &self.complete, first) => match news {
                    News::Gone => self.lose(process),
                    News::Complete => self.complete[process] = true,
                },
            }
        }
    }

    /// Processes that are not connected; if all are, for process 0 those that are not connected to all others.
    fn missing(&self) -> Vec<&Name> {
        let others = || self.names.iter().filter(|name| name.process != self.own());
        let missing: Vec<_> = others()
            .filter(|name| self.held[name.process].is_none())
            .collect();
        if missing.is_empty() && self.own() == 0 {
            return others()
                .filter(|name| !self.complete[name.process])
                .collect();
        }
        missing
    }

    /// Tells process 0 that this one is connected to all others; false if that one is gone, which is then to be noticed.
    async fn say_so(&mut self) -> bool {
        match &mut self.held[0] {
            Some(first) => first.write_all(&[COMPLETE]).await.is_ok(),
            None => true,
        }
    }

    fn call(&mut self, process: usize, wait: Duration) {
        let host = self.names[process].host.clone();
        let manners = self.manners.clone();
        self.tasks.spawn(async move {
            sleep(wait).await;
            call(manners, process, host).await
        });
    }

    fn answer(&mut self, stream: TcpStream, from: SocketAddr) {
        self.answering.retain(|answer| !answer.is_finished());
        if self.answering.len() == ANSWERED_MAX
            && let Some(oldest) = self.answering.pop_front()
        {
            oldest.abort();
        }
        let answer = answer(self.manners.clone(), stream, from);
        self.answering.push_back(self.tasks.spawn(answer));
    }

    fn met(&mut self, met: Met) -> Result<(), MeshError> {
        match met {
            Met::Called(process, Ok(stream)) => self.hold(process, stream),
            Met::Called(process, Err(refusal)) => {
                let (peer, why) = (self.names[process].clone(), refusal.to_string());
                return Err(MeshError::Unfit { peer, why });
            }
            Met::Answered(_, Ok((process, stream))) => self.hold(process as usize, stream),
            Met::Answered(from, Err(why)) => {
                tracing::warn!(%from, %why, "a call to the cluster's address was refused");
            }
        }
        Ok(())
    }

    /// The newest connection of a process counts: the one before may be of a machine that is gone without a word.
    fn hold(&mut self, process: usize, stream: TcpStream) {
        let peer = &self.names[process];
        if let Err(error) = watch(&stream) {
            tracing::warn!(%peer, %error, "a machine that vanishes will be noticed late");
        }
        self.complete[process] = false;
        if self.held[process].replace(stream).is_some() {
            tracing::warn!(
                %peer,
                "connected once more, the connection before is closed: are there two with this INDEXER_PROCESS?"
            );
        } else {
            tracing::info!(%peer, "connected");
        }
    }

    fn lose(&mut self, process: usize) {
        let peer = &self.names[process];
        tracing::warn!(%peer, "went away before all were there");
        self.held[process] = None;
        self.complete[process] = false;
        if process < self.own() {
            self.call(process, CALL_AGAIN);
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

/// As the dataflow wants it: blocking, and without delay.
fn prepared(socket: std::net::TcpStream) -> io::Result<std::net::TcpStream> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Lets a connection end when the other machine is gone.
fn watch(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time);
    let keepalive = keepalive.with_interval(interval).with_retries(retries);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNCONFIRMED_MAX))?;
    Ok(())
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

/// What is heard of a process that is connected.
enum News {
    /// Its connection ended.
    Gone,
    /// It is connected to all others.
    Complete,
}

/// What is heard next. `first`: it is process 0 that listens, to whom the others say when they are complete.
async fn news(held: &[Option<TcpStream>], complete: &[bool], first: bool) -> (usize, News) {
    std::future::poll_fn(|cx| {
        let mut open = held.iter().zip(complete).enumerate();
        let heard = open.find_map(|(process, (stream, complete))| {
            let news = heard(stream.as_ref()?, first && !complete, cx)?;
            Some((process, news))
        });
        heard.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// What else is there to be read is the dataflow's, and stays where it is.
fn heard(stream: &TcpStream, listens: bool, cx: &mut Context<'_>) -> Option<News> {
    let mut byte = [0];
    match stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
        Poll::Ready(Ok(1..)) if !listens => None,
        Poll::Ready(Ok(1..)) => match stream.try_read(&mut byte) {
            Ok(1) if byte == [COMPLETE] => Some(News::Complete),
            _ => Some(News::Gone),
        },
        Poll::Ready(_) => Some(News::Gone),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_that_vanishes_is_noticed_within_about_half_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("any port");
        let address = listener.local_addr().expect("its address");
        let stream = TcpStream::connect(address).await.expect("it listens");
        watch(&stream).expect("the system can");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("it is told"));
        let silence = socket.tcp_keepalive_time().expect("it is told");
        let interval = socket.tcp_keepalive_interval().expect("it is told");
        let retries = socket.tcp_keepalive_retries().expect("it is told");
        assert_eq!(silence + interval * retries, Duration::from_secs(30));
        #[cfg(target_os = "linux")]
        assert_eq!(
            socket.tcp_user_timeout().expect("it is told"),
            Some(Duration::from_secs(30))
        );
    }
}
