//! Wrappers of ports that crash or fail as a plan says.
//!
//! ```text
//! service ─▶ Faulty(log | store | checkpoints) ─▶ the real port
//!              │ point "store.commit", third call, after:
//!              ├─▶ Crash: no operation returns any more, as after kill -9
//!              └─▶ Fail: an error; the operation was done (after) or not done (before)
//! ```
//!
//! Every operation of a port is a named point, with a side before it and a side after it. After a
//! crash no operation of the plan's ports returns: the test that drives the services drops them and
//! opens everything again.

mod checkpoints;
mod log;
mod store;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skytide_core::port::BoxError;
use tokio::sync::watch;

pub use checkpoints::FaultyCheckpoints;
pub use log::FaultyLog;
pub use store::{FaultyStore, RejectingStore};

/// The names of all operations at which a fault can be injected.
pub const POINTS: [&str; 20] = [
    "log.bounds",
    "log.newest_tick",
    "log.writer",
    "log.append",
    "log.flush",
    "log.reader",
    "log.read",
    "log.trim",
    "store.lead",
    "store.begin",
    "store.write",
    "store.commit",
    "store.sync",
    "checkpoint.write",
    "checkpoint.share",
    "checkpoint.open",
    "checkpoint.complete",
    "checkpoint.list",
    "checkpoint.read",
    "checkpoint.keep",
];

/// The side of an operation on which a fault happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The operation is not done.
    Before,
    /// The operation is done, but its caller does not learn its result.
    After,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies.
    Crash,
    /// The operation returns an error.
    Fail,
}

/// A fault at one call of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Planned {
    /// The operation, one of [`POINTS`].
    pub point: &'static str,
    /// The number of the call, starting with 1.
    pub nth: u32,
    /// Whether the fault happens before or after the operation.
    pub side: Side,
    /// The kind of the fault.
    pub fault: Fault,
}

/// The planned faults and those that have happened. Clones share one plan.
#[derive(Clone, Debug)]
pub struct Plan(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    crashed: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    planned: Vec<Planned>,
    fired: Vec<Planned>,
    calls: BTreeMap<&'static str, u32>,
}

impl Plan {
    /// A plan of these faults, each of which happens once.
    pub fn new(planned: Vec<Planned>) -> Self {
        for one in &planned {
            assert!(POINTS.contains(&one.point), "no operation {:?}", one.point);
        }
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                planned,
                fired: Vec::new(),
                calls: BTreeMap::new(),
            }),
            crashed: watch::Sender::new(false),
        }))
    }

    /// The faults that have happened.
    pub fn fired(&self) -> Vec<Planned> {
        self.state().fired.clone()
    }

    /// The number of calls of each operation so far.
    pub fn calls(&self) -> BTreeMap<&'static str, u32> {
        self.state().calls.clone()
    }

    /// Waits until a planned crash happens.
    pub async fn crashed(&self) {
        let mut crashed = self.0.crashed.subscribe();
        let _sender_gone = crashed.wait_for(|crashed| *crashed).await;
    }

    /// Runs an operation, unless a fault is planned for it.
    async fn around<T, E>(
        &self,
        point: &'static str,
        operation: impl Future<Output = Result<T, E>>,
        failed: impl Fn(BoxError) -> E,
    ) -> Result<T, E> {
        self.dead().await;
        let nth = {
            let mut state = self.state();
            let calls = state.calls.entry(point).or_default();
            *calls += 1;
            *calls
        };
        self.inject(point, nth, Side::Before, &failed).await?;
        let done = operation.await?;
        self.dead().await;
        self.inject(point, nth, Side::After, &failed).await?;
        Ok(done)
    }

    /// Injects the fault that is planned here, if there is one.
    async fn inject<E>(
        &self,
        point: &'static str,
        nth: u32,
        side: Side,
        failed: impl Fn(BoxError) -> E,
    ) -> Result<(), E> {
        let fault = {
            let mut state = self.state();
            let due = |it: &Planned| (it.point, it.nth, it.side) == (point, nth, side);
            let index = state.planned.iter().position(due);
            index.map(|index| {
                let planned = state.planned.remove(index);
                state.fired.push(planned);
                planned.fault
            })
        };
        match fault {
            None => Ok(()),
            Some(Fault::Fail) => Err(failed(format!("planned at {point} {nth} {side:?}").into())),
            Some(Fault::Crash) => {
                self.0.crashed.send_replace(true);
                std::future::pending().await
            }
        }
    }

    /// Never returns if the process has crashed: a dead process does nothing.
    async fn dead(&self) {
        if *self.0.crashed.borrow() {
            std::future::pending::<()>().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
