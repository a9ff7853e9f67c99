//! A network link between a client and a server on loopback, which a test can cut or hold.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Cut,
    Held,
    Gone,
}

/// A proxy port that forwards to another port. It runs on its own thread and stops when it is
/// dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    connections: watch::Receiver<usize>,
    held: watch::Receiver<usize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Link {
    /// A link to a port on 127.0.0.1.
    pub fn to(port: u16) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        listener
            .set_nonblocking(true)
            .expect("a socket can be nonblocking");
        let state = watch::Sender::new(State::Open);
        let (counted, connections) = watch::channel(0);
        let (holding, held) = watch::channel(0);
        let states = state.subscribe();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .expect("a runtime")
                .block_on(serve(listener, port, states, holding, counted));
        });
        Self {
            address,
            state,
            connections,
            held,
            thread: Some(thread),
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Closes all connections and refuses new ones.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Keeps all connections open, but forwards no bytes.
    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    /// Waits until the link holds back bytes that a client has sent.
    pub async fn holds_something(&self) {
        let held = self.held.clone().wait_for(|held| *held > 0).await.is_ok();
        assert!(held, "the link has stopped");
    }

    /// Restores the link: held bytes are forwarded, and clients may connect again.
    pub fn mend(&self) {
        self.state.send_replace(State::Open);
    }

    /// The number of connections accepted so far.
    pub fn connections(&self) -> usize {
        *self.connections.borrow()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.send_replace(State::Gone);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    port: u16,
    state: watch::Receiver<State>,
    holding: watch::Sender<usize>,
    counted: watch::Sender<usize>,
) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    let mut states = state.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                if *state.borrow() != State::Cut {
                    counted.send_modify(|count| *count += 1);
                    tokio::spawn(connect(client, port, state.clone(), holding.clone()));
                }
            }
            changed = states.wait_for(|state| *state == State::Gone) => {
                if changed.is_ok() { return }
            }
        }
    }
}

async fn connect(
    client: TcpStream,
    port: u16,
    state: watch::Receiver<State>,
    holding: watch::Sender<usize>,
) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let ended = async {
        let ended = |state: &State| matches!(state, State::Cut | State::Gone);
        let _ = state.clone().wait_for(ended).await.is_ok();
    };
    tokio::select! {
        _ = pass(from_client, to_server, state.clone(), Some(holding)) => {}
        _ = pass(from_server, to_client, state.clone(), None) => {}
        () = ended => {}
    }
}

/// Forwards bytes in one direction. Bytes that are read while the link is held wait here.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    holding: Option<watch::Sender<usize>>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut bytes).await?;
        if let Some(holding) = &holding
            && *state.borrow() == State::Held
        {
            holding.send_modify(|held| *held += count);
        }
        let open = state.wait_for(|state| *state == State::Open).await.is_ok();
        if count == 0 || !open {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}
