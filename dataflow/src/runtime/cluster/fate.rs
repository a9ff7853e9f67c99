//! What becomes of this process's part of a computation: it goes on until all of it is over, or ends at once.
//!
//! ```text
//! a worker panicked ─┐
//! a connection lost ─┼─▶ ended ─▶ workers leave ─▶ threads of connections leave ─▶ one error, of what came first
//! the run dropped ───┘
//! ```
//!
//! Timely itself waits for ever for a worker that is gone, and panics in a thread of its own when a connection is; so
//! connections come to an end here, where workers look between two steps, and timely's threads are told last.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Name;

/// Why it ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A worker of this process panicked.
    Panicked,
    /// Another process is gone.
    Lost {
        /// Which.
        peer: Name,
        /// How it showed.
        why: String,
    },
    /// Nothing is wrong: nobody waits for the outcome any more.
    Over,
}

/// How long it may take the process that leads to notice what another one has noticed.
const NOTICED_MAX: Duration = Duration::from_secs(2);

/// What the threads of a process know of the computation.
#[derive(Debug)]
pub(crate) struct Fate {
    ended: AtomicBool,
    /// Cancelled when it ended, for who waits without a thread.
    pub told: CancellationToken,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    cause: Option<Cause>,
    /// Workers that have more to do than to see the others end.
    at_work: usize,
    /// Workers that are there.
    present: usize,
    /// Connections on which something may still be sent.
    sending: usize,
    /// Whether the leading process is gone, or this is it.
    leaderless: bool,
    sockets: Vec<TcpStream>,
}

impl Fate {
    /// Of so many workers, which use these connections, in the process that leads or another one.
    pub fn new(workers: usize, sockets: Vec<TcpStream>, leads: bool) -> Self {
        Self {
            ended: false.into(),
            told: CancellationToken::new(),
            state: Mutex::new(State {
                cause: None,
                at_work: workers,
                present: workers,
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

    /// Whether it ended before its time: whoever sees it leaves.
    pub fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Why; the first cause counts.
    pub fn cause(&self) -> Option<Cause> {
        self.state().cause.clone()
    }

    /// Ends it: the other processes are told by their connections.
    pub fn end(&self, cause: Cause) {
        let mut state = self.state();
        state.cause.get_or_insert(cause);
        for socket in &state.sockets {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
        self.tell(state);
    }

    fn tell(&self, state: MutexGuard<'_, State>) {
        self.ended.store(true, Ordering::Release);
        self.changed.notify_all();
        drop(state);
        self.told.cancel();
    }

    /// A connection came to its end. Where all workers are through, this is how the others say that they are, too.
    ///
    /// Who loses one that does not lead keeps the connection to the one that leads: else that one could take it for the
    /// process that is gone.
    pub fn lost(&self, peer: &Name, why: String) {
        let mut state = self.state();
        state.leaderless |= peer.process == 0;
        let peer = peer.clone();
        let cause = match state.at_work {
            0 => Cause::Over,
            _ => Cause::Lost { peer, why },
        };
        if state.leaderless {
            drop(state);
            self.end(cause);
        } else {
            state.cause.get_or_insert(cause);
            self.tell(state);
        }
    }

    /// Waits, behind a loss, until the process that leads has noticed it, too; if it never does, not for long.
    pub fn wait_for_leader(&self) {
        let state = self.state();
        let noticed = |state: &mut State| !state.leaderless && state.cause.is_some();
        drop(self.changed.wait_timeout_while(state, NOTICED_MAX, noticed));
    }

    /// A worker has done all it had to do.
    pub fn through(&self) {
        self.state().at_work -= 1;
    }

    /// Where a worker is there as long as this is held.
    pub fn present(&self) -> Present<'_> {
        Present(self)
    }

    /// Everything that one connection had to send is sent.
    pub fn sent(&self) {
        let mut state = self.state();
        state.sending = state.sending.saturating_sub(1);
        self.changed.notify_all();
    }

    /// Waits until no worker is there any more.
    pub fn wait_for_workers(&self) {
        let state = self.state();
        let gone = self.changed.wait_while(state, |state| state.present > 0);
        drop(gone);
    }

    /// Waits until everything is sent, or nobody takes it.
    pub fn wait_for_senders(&self) {
        let state = self.state();
        let more = |state: &mut State| state.sending > 0 && state.cause.is_none();
        drop(self.changed.wait_while(state, more));
    }
}

/// A worker that is there. When it panics, the others learn of it.
pub(crate) struct Present<'a>(&'a Fate);

impl Drop for Present<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(Cause::Panicked);
        }
        self.0.state().present -= 1;
        self.0.changed.notify_all();
    }
}
