//! A relay for tests. It serves frames over WebSockets on a loopback port, and misbehaves as its
//! scripts say.
//!
//! ```text
//! connection 1 ─▶ script 1: [Frames(5), Reset]        each connection takes the next script;
//! connection 2 ─▶ script 2: [Refuse { 429, .. }]      after the last one, a connection receives
//! connection 3 ─▶ Follow, ...                         all frames after its cursor
//! ```
//!
//! The relay runs on its own thread and stops when it is dropped, so that tests of whole processes
//! can use it too. Cursors follow the protocol: with a cursor, the relay sends the frames after it;
//! with 0 or with a cursor that is too old, all frames that it has; without a cursor, only frames
//! that are published from then on.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use skytide_ingest::frame::{Frame as Decoded, Verify, decode};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};
use tokio_util::sync::CancellationToken;

/// A step of a script: what the relay does on one connection. After the last step it closes the
/// connection.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends this many of the next frames, waiting for those that are not yet published.
    Frames(usize),
    /// Sends all frames, including those that are published later.
    Follow,
    /// Sends the last frames once more, this many of them.
    Again(usize),
    /// Sends this as a binary message.
    Binary(Vec<u8>),
    /// Sends a text message.
    Text(String),
    /// Sends the header of a binary message of this many bytes, and nothing of the message.
    Announce(u64),
    /// Sends nothing, not even replies to pings, and keeps the connection open for ever.
    Stall,
    /// Sends nothing except replies to pings, until the client disconnects.
    Quiet,
    /// Closes the connection by a close frame with this code.
    Close(u16),
    /// Resets the connection without a close frame.
    Reset,
    /// Answers the request with this response instead of a WebSocket. Must be the first step.
    Refuse {
        /// The status, for example 429.
        status: u16,
        /// The header fields: name and value.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: &'static str,
    },
}

/// The running relay.
#[derive(Debug)]
pub struct RelayServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<(u64, Bytes)>,
    scripts: VecDeque<Vec<Act>>,
    cursors: Vec<Option<u64>>,
    sent: u64,
}

impl RelayServer {
    /// Starts the relay on a free port with these frames. A frame keeps the `seq` that it contains;
    /// a frame without one receives the next number.
    pub fn start(frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        listener
            .set_nonblocking(true)
            .expect("a socket can be nonblocking");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let stop = CancellationToken::new();
        let (serving, stopped) = (shared.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, serving) => {}
                    () = stopped.cancelled() => {}
                }
            });
        });
        let relay = Self {
            address,
            shared,
            stop,
            thread: Some(thread),
        };
        relay.publish(frames);
        relay
    }

    /// The relay's address, for `FIREHOSE_URL`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Adds scripts for the next connections, one script per connection.
    pub fn script(&self, scripts: impl IntoIterator<Item = Vec<Act>>) {
        self.change(|state| state.scripts.extend(scripts));
    }

    /// Appends frames to the stream.
    pub fn publish(&self, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.change(|state| {
            for frame in frames {
                let before = state.frames.last().map_or(0, |(seq, _)| *seq);
                let seq = seq_of(&frame).unwrap_or(before + 1);
                state.frames.push((seq, frame.into()));
            }
        });
    }

    /// The cursors that the connections so far have requested, in order.
    pub fn cursors(&self) -> Vec<Option<u64>> {
        self.shared.lock().cursors.clone()
    }

    /// Waits until this many connections have been made.
    pub async fn connections(&self, count: usize) {
        self.shared
            .until(|state| state.cursors.len() >= count)
            .await;
    }

    /// Waits until this many messages have been sent over all connections.
    pub async fn sent(&self, count: u64) {
        self.shared.until(|state| state.sent >= count).await;
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.lock());
        self.shared.changed.send_replace(());
    }
}

impl Drop for RelayServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while !reached(&self.lock()) {
            changed.changed().await.expect("the sender is ours");
        }
    }
}

fn seq_of(frame: &[u8]) -> Option<u64> {
    match decode(frame, Verify::Records) {
        Ok(Decoded::Commit(commit)) => Some(commit.seq.0),
        Ok(
            Decoded::Identity { seq, .. }
            | Decoded::Account { seq, .. }
            | Decoded::Sync { seq, .. },
        ) => Some(seq.0),
        Ok(Decoded::Unknown { seq, .. }) => seq.map(|seq| seq.0),
        Ok(Decoded::Info { .. } | Decoded::Error { .. }) => None,
        Err(rejected) => rejected.seq.map(|seq| seq.0),
    }
}

async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            let _disconnected = connection(stream, &shared).await;
        });
    }
}

async fn connection(stream: TcpStream, shared: &Shared) -> Result<(), Error> {
    let script = shared.lock().scripts.pop_front();
    let script = script.unwrap_or_else(|| vec![Act::Follow]);
    let mut cursor = None;
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let answer = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let query = request.uri().query().unwrap_or_default();
        cursor = query
            .strip_prefix("cursor=")
            .and_then(|text| text.parse().ok());
        match script.first() {
            Some(Act::Refuse {
                status,
                headers,
                body,
            }) => Err(refusal(*status, headers, body)),
            _ => Ok(response),
        }
    };
    let opened = accept_hdr_async(stream, answer).await;
    shared.lock().cursors.push(cursor);
    shared.changed.send_replace(());
    let mut connection = Connection {
        socket: opened?,
        next: shared.lock().begin(cursor),
        shared,
    };
    for act in script {
        connection.act(act).await?;
    }
    connection.socket.close(None).await
}

fn refusal(status: u16, headers: &[(&'static str, String)], body: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(body.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        let value = value.parse().expect("a header value");
        response.headers_mut().insert(*name, value);
    }
    response
}

impl State {
    /// The index of the first frame to send.
    fn begin(&self, cursor: Option<u64>) -> usize {
        match cursor {
            None => self.frames.len(),
            Some(0) => 0,
            Some(cursor) => {
                let later = self.frames.iter().position(|(seq, _)| *seq > cursor);
                later.unwrap_or(self.frames.len())
            }
        }
    }
}

struct Connection<'a> {
    socket: WebSocketStream<TcpStream>,
    next: usize,
    shared: &'a Shared,
}

impl Connection<'_> {
    async fn act(&mut self, act: Act) -> Result<(), Error> {
        match act {
            Act::Frames(count) => self.frames(count).await,
            Act::Follow => self.frames(usize::MAX).await,
            Act::Again(count) => {
                self.next = self.next.saturating_sub(count);
                self.frames(count).await
            }
            Act::Binary(bytes) => self.send(Message::Binary(bytes.into())).await,
            Act::Text(text) => self.send(Message::Text(text.into())).await,
            Act::Announce(bytes) => {
                let mut header = vec![0x82, 127];
                header.extend(bytes.to_be_bytes());
                self.socket.flush().await?;
                self.socket.get_mut().write_all(&header).await?;
                Ok(())
            }
            Act::Stall => std::future::pending().await,
            Act::Quiet => {
                while self.socket.next().await.transpose()?.is_some() {}
                Ok(())
            }
            Act::Close(code) => {
                let reason = "scripted".into();
                let code = CloseCode::from(code);
                self.socket.close(Some(CloseFrame { code, reason })).await
            }
            Act::Reset => {
                self.socket.get_ref().set_zero_linger()?;
                Err(Error::ConnectionClosed)
            }
            Act::Refuse { .. } => panic!("a refusal is the first step or none"),
        }
    }

    async fn frames(&mut self, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            let next = self.next;
            let available = self.shared.until(|state| state.frames.len() > next);
            tokio::select! {
                () = available => {}
                () = closed(&mut self.socket) => return Err(Error::ConnectionClosed),
            }
            let frame = self.shared.lock().frames[next].1.clone();
            self.next += 1;
            self.send(Message::Binary(frame)).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.socket.send(message).await?;
        self.shared.lock().sent += 1;
        self.shared.changed.send_replace(());
        Ok(())
    }
}

/// Waits until the client disconnects, and answers its pings meanwhile.
async fn closed(socket: &mut WebSocketStream<TcpStream>) {
    while let Some(Ok(_)) = socket.next().await {}
}
