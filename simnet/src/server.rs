//! Serves the network over one port: relay, PDS, PLC directory, AppView.
//!
//! ```text
//!              ┌─ pump (thread) ──▶ window ──▶ subscribeRepos, a position and faults per client
//! feed (mutex) ┤   paced by a clock
//!              └─ getRepo, getLatestCommit, resolveHandle, /{did}, getProfiles (with hostile
//!                 answers on request)
//! /_simnet/state: what the server has done so far
//! ```
//!
//! All responses are a function of the network, the fault plan and the time of the request. With
//! [`Pace::Clock`] a restarted server continues as if it had never stopped. Limit: clients share
//! the frames of one [`Limits`] window. Older frames are not rendered again; the server reports
//! them as outdated.

mod answer_fault;
mod answers;
mod connection;
mod feed;
mod identities;
mod listen;
mod message;
mod problem;
mod profile_budget;
mod profiles;
mod pump;
mod query;
mod relay;
mod relay_options;
mod repos;
mod shared;
mod window;

pub use answer_fault::{AnswerFault, UnknownFault};
pub use feed::{Feed, HostedAccount, OutgoingFrame, PreparedFrames};
pub use identities::{IdentityCase, IdentityCases};
pub use profile_budget::ProfileOptions;
pub use profiles::ACTORS_MAX;
pub use pump::Pace;
pub use relay_options::{CursorPolicy, RelayOptions};
pub use shared::State;
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
    /// Address and port on which the server listens. Port 0 selects a free port.
    pub address: SocketAddr,
    /// When frames are sent.
    pub pace: Pace,
    /// The time of the clock at which the network has existed for `backlog`; `None` for the start
    /// of the server. A restarted server with the same value continues where an uninterrupted one
    /// would be.
    pub began: Option<Timestamp>,
    /// Network time that has already passed at `began`. The frames of this time are due at once,
    /// and are sent no faster than clients read them.
    pub backlog: Duration,
    /// Frames up to this sequence number are skipped, because clients have them; 0 skips none.
    pub from: u64,
    /// Frames older than this by network time at the start of the server are skipped; `None` skips
    /// none.
    pub retention: Option<Duration>,
    /// Frames that are rendered before the first one is sent, so that rendering causes no delay
    /// later.
    pub prepared: usize,
    /// The recent frames that clients can read.
    pub window: Limits,
    /// How the stream is served.
    pub relay: RelayOptions,
    /// How profiles are served.
    pub profiles: ProfileOptions,
    /// Whether some identities contradict the stream ([`IdentityCases`]).
    pub identity_cases: bool,
    /// How profiles, handles and documents are spoiled; `None` for correct answers.
    pub answers: Option<AnswerFault>,
    /// The connection faults.
    pub faults: Faults,
}

impl Default for Options {
    /// A free port of loopback, at the pace of the clock, from the start of the network, without
    /// faults.
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
            identity_cases: false,
            answers: None,
            faults: Faults::default(),
        }
    }
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is in use or does not belong to this machine. Choose another one.
    #[error("the simulated network cannot listen on {address}")]
    Bind {
        /// The requested address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The operating system refused to create a thread.
    #[error("cannot create a thread for the simulated network")]
    Thread(#[source] io::Error),
}

/// A running server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    shared: Arc<shared::Shared>,
    serving: Option<JoinHandle<()>>,
    pump: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Starts to serve a network. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The server cannot listen on the address, or cannot start a thread.
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
        let identities = match options.identity_cases {
            true => IdentityCases::of(&feed),
            false => IdentityCases::default(),
        };
        let shared = Arc::new(shared::Shared::new(shared::SharedParts {
            feed: Box::new(feed),
            window: window::Window::new(options.window),
            faults: options.faults,
            budget: profile_budget::Budget::new(options.profiles),
            identities,
            answers: options.answers,
            relay: options.relay,
            clock: clock.clone(),
            url: format!("http://{address}"),
            stop: stop.clone(),
        }));
        let plan = pump::Options {
            pace: options.pace,
            began: options.began,
            backlog: options.backlog,
            from: options.from,
            retention: options.retention,
            prepared: options.prepared,
        };
        let pump = pump::Pump::new(shared.clone(), clock, plan, stop);
        let pump = std::thread::Builder::new()
            .name("simnet-pump".to_owned())
            .spawn(move || pump.run())
            .map_err(StartError::Thread)?;
        let serving = tokio::spawn(listen::serve(listener, shared.clone()));
        Ok(Self {
            address,
            shared,
            serving: Some(serving),
            pump: Some(pump),
        })
    }

    /// The address, with the port that was assigned.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the relay, for `FIREHOSE_URL`.
    pub fn relay_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The URL of PDS, PLC directory and AppView.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The current state.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// The faults, with the counts of those that fired.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The identities that contradict the stream.
    pub fn identity_cases(&self) -> &IdentityCases {
        &self.shared.identities
    }

    /// Spoils all following answers with profiles, handles or documents; `None` ends that.
    pub fn set_answers(&self, fault: Option<AnswerFault>) {
        self.shared.set_answer_fault(fault);
    }

    /// Waits until the state satisfies a condition. Checks it at each frame, and every 20 ms.
    pub async fn until(&self, reached: impl Fn(&State) -> bool) -> State {
        let mut changes = self.shared.window.subscribe();
        loop {
            changes.borrow_and_update();
            let state = self.state();
            if reached(&state) {
                return state;
            }
            let changed = self.shared.window.changed(&mut changes);
            // Some changes come without a frame, such as the end of the network.
            let _late = tokio::time::timeout(Duration::from_millis(20), changed).await;
        }
    }

    /// Ends the network: it makes no more frames. Clients can still read those in the window.
    pub fn end(&self) {
        self.shared.counts.ending.store(true, Ordering::Relaxed);
    }

    /// Stops all streams and requests, and waits until they have ended.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        if let Some(serving) = self.serving.take() {
            let _panicked = serving.await;
        }
        if let Some(pump) = self.pump.take() {
            // The pump checks `stop` every few milliseconds.
            let _panicked = tokio::task::spawn_blocking(move || pump.join()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
