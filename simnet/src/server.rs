//! The network over one loopback port: relay, PDS, PLC directory, AppView.
//!
//! ```text
//!              ┌─ pump (thread) ──▶ window ──▶ subscribeRepos, each client at its own place, with its own faults
//! feed (mutex) ┤   paced by a clock
//!              └─ getRepo, getLatestCommit, resolveHandle, /{did}, getProfiles
//! /_simnet/state: what really happened
//! ```
//!
//! Everything a client gets is a function of the network, of the plan of faults, and of the moment at which it asks; with
//! [`Pace::Clock`] a server that is started again goes on as if it had never stopped. Limits: clients share the frames of
//! one [`Limits`] window; what is older is not made again, it is refused as outdated.

mod connection;
mod feed;
mod listen;
mod message;
mod net;
mod problem;
mod profiles;
mod pump;
mod query;
mod relay;
mod repos;
mod window;

pub use feed::{Feed, Outgoing, Person, Prepared};
pub use net::State;
pub use profiles::{ACTORS_MAX, Options as ProfileOptions};
pub use pump::Pace;
pub use relay::{Cursors, Options as RelayOptions};
pub use window::Limits;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::faults::Faults;

/// How a network is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// When frames leave.
    pub pace: Pace,
    /// The moment of the clock at which the network stood `backlog` after its beginning; `None`: now. Given again after
    /// a restart, the stream goes on where it would be without it.
    pub began: Option<Timestamp>,
    /// Network time that has passed at `began`: its frames leave at once, and wait for readers.
    pub backlog: Duration,
    /// Frames up to this number are not made: clients have them; 0: all are.
    pub from: u64,
    /// Frames that are older than this by network time when the server starts are not made; `None`: all are.
    pub retention: Option<Duration>,
    /// Frames that are made before the first one leaves, so that making them takes no time later.
    pub prepared: usize,
    /// Frames that clients can have.
    pub window: Limits,
    /// How the stream is served.
    pub relay: RelayOptions,
    /// How profiles are served.
    pub profiles: ProfileOptions,
    /// What goes wrong.
    pub faults: Faults,
}

impl Default for Options {
    /// A free port of loopback, at the pace of the clock, from the beginning, without faults.
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            pace: Pace::Clock { speed: 1.0 },
            began: None,
            backlog: Duration::ZERO,
            from: 0,
            retention: None,
            prepared: 0,
            window: Limits::default(),
            relay: RelayOptions::default(),
            profiles: ProfileOptions::default(),
            faults: Faults::default(),
        }
    }
}

/// The server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use, or not ours: choose another one.
    #[error("the simulated network cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("the simulated network gets no thread")]
    Thread(#[source] io::Error),
}

/// A network that is served. Stops when it is dropped.
pub struct Server {
    address: SocketAddr,
    net: Arc<net::Net>,
    serving: Option<JoinHandle<()>>,
    pump: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Starts to serve a network, within a runtime.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn start(
        options: Options,
        feed: impl Feed,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let bind = |source| StartError::Bind {
            address: options.address,
            source,
        };
        let listener = TcpListener::bind(options.address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let stop = CancellationToken::new();
        let net = Arc::new(net::Net::new(net::Parts {
            feed: Box::new(feed),
            window: window::Window::new(options.window),
            faults: options.faults,
            budget: profiles::Budget::new(options.profiles),
            relay: options.relay,
            clock: clock.clone(),
            url: format!("http://{address}"),
            stop: stop.clone(),
        }));
        let plan = pump::Plan {
            pace: options.pace,
            began: options.began,
            backlog: options.backlog,
            from: options.from,
            retention: options.retention,
            prepared: options.prepared,
        };
        let pump = pump::Pump::new(net.clone(), clock, plan, stop);
        let pump = std::thread::Builder::new()
            .name("simnet-pump".to_owned())
            .spawn(move || pump.run())
            .map_err(StartError::Thread)?;
        let serving = tokio::spawn(listen::serve(listener, net.clone()));
        Ok(Self {
            address,
            net,
            serving: Some(serving),
            pump: Some(pump),
        })
    }

    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The relay, for `FIREHOSE_URL`.
    pub fn relay_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// PDS, PLC directory and AppView.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How things stand.
    pub fn state(&self) -> State {
        self.net.state()
    }

    /// The faults, with what has happened of them.
    pub fn faults(&self) -> &Faults {
        &self.net.faults
    }

    /// Waits until this is true of how things stand; looks at each frame, and some times a second.
    pub async fn until(&self, reached: impl Fn(&State) -> bool) -> State {
        let mut news = self.net.window.subscribe();
        loop {
            news.borrow_and_update();
            let state = self.state();
            if reached(&state) {
                return state;
            }
            let changed = self.net.window.changed(&mut news);
            // Some things change without a frame, as the end of the network.
            let _late = tokio::time::timeout(Duration::from_millis(20), changed).await;
        }
    }

    /// Lets the network end: no more frames are made, and what there is can be read on.
    pub fn end(&self) {
        self.net.counts.ending.store(true, Ordering::Relaxed);
    }

    /// Ends all streams and requests, and waits for that.
    pub async fn stop(mut self) {
        self.net.stop.cancel();
        if let Some(serving) = self.serving.take() {
            let _panicked = serving.await;
        }
        if let Some(pump) = self.pump.take() {
            // It looks for `stop` every few milliseconds.
            let _panicked = tokio::task::spawn_blocking(move || pump.join()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.net.stop.cancel();
    }
}
