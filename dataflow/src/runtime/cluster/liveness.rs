//! Whether this process's part of a computation still runs, and why it ended.
//!
//! ```text
//! a worker panicked ─┐
//! a connection lost ─┼─▶ ended ─▶ workers leave ─▶ connection threads leave ─▶ one error
//! the run dropped ───┘
//! ```
//!
//! Timely waits without limit for a worker that has ended, and panics on a thread of its own when a
//! connection breaks. So broken connections are detected here, workers check for the end between
//! two steps, and timely's threads learn of it last.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::name::Name;

/// Why the computation ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A worker of this process panicked.
    Panicked,
    /// Another process disconnected.
    Lost {
        /// The other process.
        peer: Name,
        /// The error of the connection.
        why: String,
    },
    /// No failure: nobody waits for the result any more.
    Over,
}

/// How long a process waits for the leading process to notice a loss, too.
const NOTICED_MAX: Duration = Duration::from_secs(2);

/// The state of the computation, shared by the threads of a process.
#[derive(Debug)]
pub(crate) struct Liveness {
    ended: AtomicBool,
    /// Cancelled when the computation ends early, for asynchronous tasks.
    pub ended_token: CancellationToken,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    cause: Option<Cause>,
    /// Workers that have not finished their work. A finished worker only waits for the others.
    unfinished: usize,
    /// Worker threads that exist.
    threads: usize,
    /// Connections on which timely may still send.
    sending: usize,
    /// Whether the leading process disconnected, or is this process.
    leaderless: bool,
    sockets: Vec<TcpStream>,
}

impl Liveness {
    /// Tracks `workers` workers that use these connections. `leads`: whether this is the leading
    /// process.
    pub fn new(workers: usize, sockets: Vec<TcpStream>, leads: bool) -> Self {
        Self {
            ended: false.into(),
            ended_token: CancellationToken::new(),
            state: Mutex::new(State {
                cause: None,
                unfinished: workers,
                threads: workers,
                sending: sockets.len(),
                leaderless: leads,
                sockets,
            }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the computation ended early. A thread that sees this leaves.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Why the computation ended early: the first cause.
    pub fn cause(&self) -> Option<Cause> {
        self.state().cause.clone()
    }

    /// Ends the computation. The other processes notice, because their connections close.
    pub fn end(&self, cause: Cause) {
        let mut state = self.state();
        state.cause.get_or_insert(cause);
        for socket in &state.sockets {
            // An error means that the socket is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.notify_ended(state);
    }

    fn notify_ended(&self, state: MutexGuard<'_, State>) {
        self.ended.store(true, Ordering::Release);
        self.changed.notify_all();
        drop(state);
        self.ended_token.cancel();
    }

    /// Records that a connection closed. If all workers of this process have finished, this is the
    /// normal end: the other process has finished, too.
    ///
    /// A follower that loses another follower keeps its connection to the leading process.
    /// Otherwise the leading process could report this follower as the lost one.
    pub fn connection_lost(&self, peer: &Name, why: String) {
        let mut state = self.state();
        state.leaderless |= peer.process == 0;
        let peer = peer.clone();
        let cause = match state.unfinished {
            0 => Cause::Over,
            _ => Cause::Lost { peer, why },
        };
        if state.leaderless {
            drop(state);
            self.end(cause);
        } else {
            state.cause.get_or_insert(cause);
            self.notify_ended(state);
        }
    }

    /// Waits, after a loss, until the leading process has noticed it, too, at most [`NOTICED_MAX`].
    pub fn wait_for_leader(&self) {
        let state = self.state();
        let unnoticed = |state: &mut State| !state.leaderless && state.cause.is_some();
        drop(
            self.changed
                .wait_timeout_while(state, NOTICED_MAX, unnoticed),
        );
    }

    /// Records that a worker has finished its work.
    pub fn worker_finished(&self) {
        self.state().unfinished -= 1;
    }

    /// A guard that a worker thread holds while it exists.
    pub fn guard(&self) -> LivenessGuard<'_> {
        LivenessGuard(self)
    }

    /// Records that timely has sent everything on one connection.
    pub fn sender_finished(&self) {
        let mut state = self.state();
        state.sending = state.sending.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Waits until no worker thread exists.
    pub fn wait_for_workers(&self) {
        let state = self.state();
        let none = self.changed.wait_while(state, |state| state.threads > 0);
        drop(none);
    }

    /// Waits until everything is sent, or the computation has ended early.
    pub fn wait_for_senders(&self) {
        let state = self.state();
        let more = |state: &mut State| state.sending > 0 && state.cause.is_none();
        drop(self.changed.wait_while(state, more));
    }
}

/// Proof that a worker thread exists. If the thread panics, the guard ends the computation.
pub(crate) struct LivenessGuard<'a>(&'a Liveness);

impl Drop for LivenessGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Cause::Panicked);
        }
        self.0.state().threads -= 1;
        self.0.changed.notify_all();
    }
}

/// Ends the computation when it is dropped.
pub(crate) struct EndOnDrop(pub Arc<Liveness>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(Cause::Over);
    }
}
